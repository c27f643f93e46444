//! `hostctl member`.

use std::io::{self, Write};

use hostd_client::Client;
use hostd_protocol::{Member, MemberChange, NodeId};

use crate::args::{Format, Global, address, node_id};
use crate::exit::Exit;
use crate::{connect, output};

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  hostctl member list
  hostctl member add 4 10.0.0.4:11001 --learner   hostd -n 4 --join ... there is not to vote
  hostctl member remove 2                         then stop it there
  hostctl member transfer 3                       before node 1, the leader, is restarted

A node that is started with `hostd --join` adds itself, and votes once it is in sync. `add` \
waits until the node answers.")]
pub(crate) enum Command {
    /// List the members as the answering node knows them
    List,
    /// Add a node; it becomes a voter by itself once it is in sync
    Add {
        /// Its number, 1 or more, never used before
        #[arg(value_parser = node_id)]
        id: NodeId,
        /// host:port that the others dial
        #[arg(value_name = "ADDR", value_parser = address)]
        address: String,
        /// Leave it without a vote
        #[arg(long)]
        learner: bool,
    },
    /// Give a learner a vote; refused while it lags behind
    Promote {
        /// Its number
        #[arg(value_parser = node_id)]
        id: NodeId,
    },
    /// Take a voter's vote away
    Demote {
        /// Its number
        #[arg(value_parser = node_id)]
        id: NodeId,
    },
    /// Remove a node for good
    Remove {
        /// Its number
        #[arg(value_parser = node_id)]
        id: NodeId,
    },
    /// Hand leadership over
    Transfer {
        /// To this voter; to the most up-to-date one when not given
        #[arg(value_parser = node_id)]
        id: Option<NodeId>,
    },
}

pub(crate) async fn run(global: &Global, command: Command) -> Result<(), Exit> {
    let client = connect::one_shot(global).await?;
    let change = match command {
        Command::List => {
            let members = client.members().await;
            client.close().await;
            return Ok(list(global.output, &members?)?);
        }
        Command::Add {
            id,
            address,
            learner,
        } => MemberChange::Add {
            node: id,
            address,
            learner,
        },
        Command::Promote { id } => MemberChange::Promote(id),
        Command::Demote { id } => MemberChange::Demote(id),
        Command::Remove { id } => MemberChange::Remove(id),
        Command::Transfer { id } => MemberChange::Transfer(id),
    };
    let stranger = stranger(&client, &change).await;
    let changed = client.change_member(change).await;
    client.close().await;
    changed?;
    if let Some(id) = stranger {
        // It succeeds all the same: a removal that is repeated must.
        writeln!(io::stderr(), "node {id} is not a member; nothing to do")?;
    }
    match global.output {
        Format::Json => output::json(&"OK")?,
        Format::Text => output::line("OK")?,
    }
    Ok(())
}

/// The node that is to be removed, if the answering node does not know it as a member: perhaps a
/// number that was mistyped.
async fn stranger(client: &Client, change: &MemberChange) -> Option<NodeId> {
    let MemberChange::Remove(id) = *change else {
        return None;
    };
    let members = client.members().await.ok()?;
    let known = members.iter().any(|member| member.id == id);
    (!known).then_some(id)
}

fn list(format: Format, members: &[Member]) -> std::io::Result<()> {
    match format {
        Format::Json => output::json(&members),
        Format::Text => output::table(
            &[">ID", "ADDRESS", "ROLE", "LEADER"],
            members
                .iter()
                .map(|member| {
                    vec![
                        member.id.to_string(),
                        member.address.clone(),
                        if member.voter { "voter" } else { "learner" }.to_owned(),
                        if member.leader { "yes" } else { "no" }.to_owned(),
                    ]
                })
                .collect(),
        ),
    }
}

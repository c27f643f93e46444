//! `hostctl token`: join tokens for nodes on other machines.

use std::time::{Duration, SystemTime};

use hostd_client::Client;
use hostd_pki::JoinToken;
use hostd_protocol::{NodeId, TokenChange, TokenInfo};
use serde_json::json;

use crate::args::{Format, Global, node_id, time};
use crate::exit::Exit;
use crate::{connect, output};

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  hostctl token create                     a token for one new node, for an hour
  hostctl token create --node 4 --ttl 10m
  hostd -n 4 -a 10.0.0.4:11001 -j 10.0.0.1:11001 --token TOKEN
                                           on the new machine, with an empty --pki
  hostctl token revoke ID

The new node knows the cluster by the token, makes its own key, and gets its certificate from a node that \
has the authority's key. Each token takes in one node, and never one that the cluster had before. The \
cluster keeps a digest only; treat the token as a password.")]
pub(crate) enum Command {
    /// Make a token; it is printed and kept nowhere
    Create {
        /// How long it lasts, such as 10m or 1h; 30 days at most
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
        ttl: Duration,
        /// The only node that it takes in; any new one when not given
        #[arg(long, value_name = "ID", value_parser = node_id)]
        node: Option<NodeId>,
    },
    /// List the tokens that are of use: ids, not what proves them
    List,
    /// Take a token back
    Revoke {
        /// Its id: what is before the first dot
        id: String,
    },
}

pub(crate) async fn run(global: &Global, command: Command) -> Result<(), Exit> {
    let credentials = connect::credentials(global)?;
    let client = connect::one_shot(global).await?;
    let done = async {
        match command {
            Command::Create { ttl, node } => {
                if let Some(id) = node {
                    refuse_member(&client, id).await?;
                }
                let authority = credentials.authority_sha256().map_err(Exit::Pki)?;
                let token = JoinToken::generate(authority).map_err(Exit::Pki)?;
                let change = TokenChange::Create {
                    id: token.id().to_owned(),
                    digest: token.digest(),
                    node,
                    ttl_ns: u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX),
                };
                client.change_tokens(change).await?;
                match global.output {
                    Format::Json => output::json(&json!({
                        "id": token.id(),
                        "token": token.to_string(),
                        "node": node,
                    }))?,
                    Format::Text => output::line(&token.to_string())?,
                }
            }
            Command::List => list(global, &client.tokens().await?)?,
            Command::Revoke { id } => {
                // The whole token is what people have at hand.
                let id = id.split('.').next().unwrap_or_default().to_owned();
                client.change_tokens(TokenChange::Revoke { id }).await?;
            }
        }
        Ok(())
    }
    .await;
    client.close().await;
    done
}

/// A token takes in new nodes only: one for a member would be found out to be useless on the other machine.
async fn refuse_member(client: &Client, id: NodeId) -> Result<(), Exit> {
    let members = client.members().await?;
    if members.iter().all(|member| member.id != id) {
        return Ok(());
    }
    Err(Exit::invalid(format!(
        "node {id} is a member, and a token takes in new nodes only; for a member's certificate: \
         hostctl pki issue --node {id} --replace"
    )))
}

fn list(global: &Global, tokens: &[TokenInfo]) -> Result<(), Exit> {
    let expires = |token: &TokenInfo| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(token.expires);
        humantime::format_rfc3339_seconds(time).to_string()
    };
    if global.output == Format::Json {
        let rows: Vec<_> = tokens
            .iter()
            .map(|token| json!({"id": token.id, "node": token.node, "expires": expires(token)}))
            .collect();
        return Ok(output::json(&rows)?);
    }
    let rows = tokens
        .iter()
        .map(|token| {
            let node = token
                .node
                .map_or_else(|| "any".to_owned(), |node| node.to_string());
            vec![token.id.clone(), node, expires(token)]
        })
        .collect();
    Ok(output::table(&["ID", ">NODE", "EXPIRES"], rows)?)
}

//! `hostctl user`.

use hostd_protocol::{PolicyChange, hex};
use serde_json::json;

use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::{connect, output};

/// Random bytes of a secret.
const SECRET_BYTES: usize = 24;

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  hostctl user add alice                           prints alice's secret, once
  redis-cli -p 11001 --user alice --pass SECRET
  curl -H 'Authorization: Bearer SECRET' http://127.0.0.1:11001/v1/commands
  hostctl policy allow alice read /app             what alice may do, once there are rules
  hostctl user remove alice

Users are for RESP and HTTP clients without a certificate. The cluster keeps a digest of the secret only.")]
pub(crate) enum Command {
    /// Make a user, or give one a new secret; the secret is printed and kept nowhere
    Add {
        /// The user's name
        name: String,
    },
    /// List the users
    List,
    /// Remove a user; its rules stay
    Remove {
        /// The user's name
        name: String,
    },
}

pub(crate) async fn run(global: &Global, command: Command) -> Result<(), Exit> {
    let client = connect::one_shot(global).await?;
    let done = async {
        match command {
            Command::Add { name } => {
                let mut bytes = [0; SECRET_BYTES];
                getrandom::fill(&mut bytes).map_err(|error| Exit::Io(error.into()))?;
                let secret = hex(&bytes);
                let change = PolicyChange::PutUser {
                    name: name.clone(),
                    secret: *blake3::hash(secret.as_bytes()).as_bytes(),
                };
                client.change_policy(change).await?;
                match global.output {
                    Format::Json => output::json(&json!({"name": name, "secret": secret}))?,
                    Format::Text => output::line(&secret)?,
                }
            }
            Command::List => {
                let policy = client.policy().await?;
                let names: Vec<&String> = policy.users.keys().collect();
                match global.output {
                    Format::Json => output::json(&names)?,
                    Format::Text => {
                        for name in names {
                            output::line(name)?;
                        }
                    }
                }
            }
            Command::Remove { name } => {
                client
                    .change_policy(PolicyChange::RemoveUser { name })
                    .await?;
            }
        }
        Ok(())
    }
    .await;
    client.close().await;
    done
}

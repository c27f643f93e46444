//! `hostctl plugin rollback`.

use hostd_protocol::RejectionCode;

use super::{activate, digest, find, patient, refusal, version_of};
use crate::args::Global;
use crate::exit::Exit;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hostctl plugin rollback votes              to the version that ran before this one
  hostctl plugin rollback votes --to 1.2.0   to any that is kept: `hostctl plugin show votes`

A version that cannot read the state as it is now is refused.")]
pub(crate) struct Rollback {
    /// The plugin's name
    name: String,
    /// The version, or the beginning of its digest; the one before when not given
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
}

pub(super) async fn run(global: &Global, rollback: Rollback) -> Result<(), Exit> {
    let client = patient(global).await?;
    let done = async {
        let plugin = find(&client, &rollback.name).await?;
        let target = if let Some(version) = &rollback.to {
            version_of(&plugin, version)?
        } else {
            let before = plugin.versions.iter().rfind(|kept| !kept.active);
            let before = before.ok_or_else(|| {
                refusal(
                    RejectionCode::NotFound,
                    format!("no other version of '{}' is kept", plugin.name),
                )
            })?;
            digest(&before.digest)?
        };
        activate::activate(global, &client, target, true, false).await
    }
    .await;
    client.close().await;
    done
}

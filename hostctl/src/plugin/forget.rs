//! `hostctl plugin forget`.

use hostd_protocol::PluginChange;

use super::{find, patient, version_of};
use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Forget {
    /// The plugin's name
    name: String,
    /// The version, or the beginning of its digest
    version: String,
}

pub(super) async fn run(global: &Global, forget: Forget) -> Result<(), Exit> {
    let client = patient(global).await?;
    let done = async {
        let plugin = find(&client, &forget.name).await?;
        let digest = version_of(&plugin, &forget.version)?;
        let plugin = plugin.name;
        client
            .change_plugins(PluginChange::Forget { plugin, digest })
            .await?;
        Ok::<_, Exit>(())
    }
    .await;
    client.close().await;
    done?;
    match global.output {
        Format::Json => output::json(&"OK")?,
        Format::Text => output::line("OK")?,
    }
    Ok(())
}

//! `hostctl plugin remove`.

use std::io::{self, Write as _};

use hostd_protocol::PluginChange;

use super::patient;
use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::output;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --purge the state is kept, and is there again when the plugin is installed again. Timers \
that fall due meanwhile are lost.")]
pub(crate) struct Remove {
    /// The plugin's name
    name: String,
    /// Its state and its kept versions too; they cannot be brought back
    #[arg(long)]
    purge: bool,
}

pub(super) async fn run(global: &Global, remove: Remove) -> Result<(), Exit> {
    let client = patient(global).await?;
    let known = client
        .plugins()
        .await
        .is_ok_and(|(plugins, _)| plugins.iter().any(|plugin| plugin.name == remove.name));
    let change = PluginChange::Remove {
        plugin: remove.name.clone(),
        purge: remove.purge,
    };
    let removed = client.change_plugins(change).await;
    client.close().await;
    removed?;
    if !known {
        // It succeeds all the same: a removal that is repeated must.
        let name = remove.name;
        writeln!(io::stderr(), "no plugin is named '{name}'; nothing to do")?;
    }
    match global.output {
        Format::Json => output::json(&"OK")?,
        Format::Text => output::line("OK")?,
    }
    Ok(())
}

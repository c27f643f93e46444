//! `hostctl plugin list`.

use hostd_protocol::PluginInfo;
use hostd_protocol::json::of_plugin;

use super::short;
use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::{connect, output};

pub(super) async fn run(global: &Global) -> Result<(), Exit> {
    let client = connect::one_shot(global).await?;
    let plugins = client.plugins().await;
    client.close().await;
    let (plugins, _) = plugins?;
    match global.output {
        Format::Json => {
            output::json(&plugins.iter().map(of_plugin).collect::<Vec<_>>())?;
        }
        Format::Text => output::table(
            &[
                "NAME",
                "VERSION",
                "DIGEST",
                ">STATE",
                ">KEYS",
                ">SIZE",
                ">KEPT",
                "CONDITION",
            ],
            plugins.iter().map(row).collect(),
        )?,
    }
    Ok(())
}

fn row(plugin: &PluginInfo) -> Vec<String> {
    let version = plugin
        .description
        .as_ref()
        .map_or("-", |description| &description.version);
    vec![
        plugin.name.clone(),
        version.to_owned(),
        plugin.digest.as_deref().map_or("-".into(), short),
        plugin.state_version.to_string(),
        plugin.keys.to_string(),
        output::size(plugin.data_bytes),
        plugin.versions.len().to_string(),
        condition(plugin),
    ]
}

/// In a few words.
pub(super) fn condition(plugin: &PluginInfo) -> String {
    if let Some(migration) = &plugin.migration {
        return format!(
            "migrating to {}, {} keys done",
            migration.version, migration.keys
        );
    }
    if plugin.digest.is_none() {
        return "removed, its state is kept".into();
    }
    match &plugin.failed {
        Some(failed) => format!("runs; the migration to {} failed", failed.version),
        None => "runs".into(),
    }
}

//! `hostctl plugin show`.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use hostd_protocol::PluginInfo;
use hostd_protocol::json::of_plugin;

use super::{find, list, short};
use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::{connect, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The plugin's name
    name: String,
}

pub(super) async fn run(global: &Global, show: Show) -> Result<(), Exit> {
    let client = connect::one_shot(global).await?;
    let plugin = find(&client, &show.name).await;
    client.close().await;
    let plugin = plugin?;
    match global.output {
        Format::Json => output::json(&of_plugin(&plugin))?,
        Format::Text => text(&plugin)?,
    }
    Ok(())
}

fn text(plugin: &PluginInfo) -> std::io::Result<()> {
    let mut out = output::stdout();
    let mut line = |name: &str, value: String| writeln!(out, "{name:<12}{value}");
    if let Some(description) = &plugin.description {
        line("plugin", format!("{} {}", plugin.name, description.version))?;
        line("summary", description.summary.clone())?;
        let names: Vec<&str> = description
            .commands
            .iter()
            .map(|command| command.name.as_str())
            .collect();
        line("commands", names.join(" "))?;
    } else {
        line("plugin", plugin.name.clone())?;
    }
    line("condition", list::condition(plugin))?;
    if let Some(migration) = &plugin.migration {
        let writes = if migration.writes_wait {
            "writes wait until it is done"
        } else {
            "writes go on"
        };
        line("", format!("since {}; {writes}", when(migration.since)))?;
    }
    if let Some(failed) = &plugin.failed {
        line(
            "",
            format!(
                "{} after {}: {}",
                when(failed.time),
                counted(failed.keys, "key"),
                failed.reason
            ),
        )?;
    }
    line(
        "state",
        format!(
            "version {}, {}, {}, {}",
            plugin.state_version,
            counted(plugin.keys, "key"),
            output::size(plugin.data_bytes),
            counted(plugin.timers, "timer")
        ),
    )?;
    for (name, value) in &plugin.limits {
        line("limit", format!("{name}={value}"))?;
    }
    drop(out);
    println!();
    output::table(
        &["", "VERSION", "DIGEST", ">STATE", "ACTIVATED", "BY"],
        plugin
            .versions
            .iter()
            .rev()
            .map(|kept| {
                vec![
                    if kept.active { "*" } else { "" }.to_owned(),
                    kept.version.clone(),
                    short(&kept.digest),
                    kept.state_version.to_string(),
                    when(kept.time),
                    kept.principal.clone(),
                ]
            })
            .collect(),
    )
}

fn when(time: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(time);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// `1 key`, `2 keys`.
fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

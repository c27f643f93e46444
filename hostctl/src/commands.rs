//! `hostctl commands`.

use std::io::{self, Write};

use hostd_protocol::json::of_command;
use hostd_protocol::{Access, CommandDescription, PluginDescription, Rejection, RejectionCode};
use serde_json::{Value, json};

use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::{connect, output};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hostctl commands
  hostctl commands set
  hostctl commands kv.set -o json")]
pub(crate) struct Arguments {
    /// Explain only this command; `plugin.command` where two plugins have it
    command: Option<String>,
}

type Found<'a> = (&'a PluginDescription, &'a CommandDescription);

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<(), Exit> {
    let client = connect::one_shot(global).await?;
    let plugins = client.commands().await;
    client.close().await;
    let plugins = plugins?;
    let found: Vec<Found<'_>> = plugins
        .iter()
        .flat_map(|plugin| plugin.commands.iter().map(move |command| (plugin, command)))
        .filter(|found| {
            arguments
                .command
                .as_ref()
                .is_none_or(|name| is_named(*found, name))
        })
        .collect();
    if let Some(name) = &arguments.command
        && found.is_empty()
    {
        let message = format!("no plugin has the command {name:?}; `hostctl commands` lists all");
        let rejection = Rejection::new(RejectionCode::UnknownCommand, message);
        return Err(Exit::Call(rejection.into()));
    }
    match (global.output, &arguments.command) {
        (Format::Json, _) => {
            output::json(&found.into_iter().map(to_json).collect::<Vec<_>>())?;
        }
        (Format::Text, None) => list(&plugins)?,
        (Format::Text, Some(_)) => explain(&found)?,
    }
    Ok(())
}

fn is_named((plugin, command): Found<'_>, name: &str) -> bool {
    name.eq_ignore_ascii_case(&command.name)
        || name.split_once('.').is_some_and(|(before, after)| {
            before == plugin.name && after.eq_ignore_ascii_case(&command.name)
        })
}

fn list(plugins: &[PluginDescription]) -> io::Result<()> {
    let mut out = output::stdout();
    for (position, plugin) in plugins.iter().enumerate() {
        if position > 0 {
            writeln!(out)?;
        }
        writeln!(
            out,
            "{} {}: {}",
            plugin.name, plugin.version, plugin.summary
        )?;
        list_commands(&plugin.commands, &mut out)?;
    }
    out.flush()
}

/// A line for each command: how to call it, whether it writes, what it does.
pub(crate) fn list_commands(
    commands: &[CommandDescription],
    out: &mut impl Write,
) -> io::Result<()> {
    let usages: Vec<_> = commands.iter().map(CommandDescription::usage).collect();
    // One long usage does not push everybody's summary off the screen.
    let width = usages
        .iter()
        .map(|usage| usage.chars().count())
        .filter(|width| *width <= 40)
        .max()
        .unwrap_or(0);
    for (usage, command) in usages.iter().zip(commands) {
        let access = access(command.access);
        writeln!(out, "  {usage:width$}  {access:5}  {}", command.summary)?;
    }
    Ok(())
}

fn explain(found: &[Found<'_>]) -> io::Result<()> {
    let mut out = output::stdout();
    for (position, (plugin, command)) in found.iter().enumerate() {
        if position > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", command.usage())?;
        let access = match command.access {
            Access::Read => "reads",
            Access::Write => "writes",
        };
        writeln!(out, "\n{}", command.summary)?;
        if !command.details.is_empty() {
            writeln!(out, "\n{}", command.details.trim_end())?;
        }
        writeln!(
            out,
            "\nPlugin {} {}; {access}.",
            plugin.name, plugin.version
        )?;
        let keys: Vec<&str> = command
            .arguments
            .iter()
            .filter(|argument| argument.is_key)
            .map(|argument| argument.name.as_str())
            .collect();
        match keys.as_slice() {
            [] => writeln!(
                out,
                "No argument is a key: access rules must cover all keys."
            )?,
            keys => writeln!(out, "Access rules go by: {}.", keys.join(", "))?,
        }
        if !command.examples.is_empty() {
            writeln!(out, "\nExamples:")?;
            for example in &command.examples {
                writeln!(out, "  {example}")?;
            }
        }
    }
    out.flush()
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
    }
}

fn to_json((plugin, command): Found<'_>) -> Value {
    let mut value = of_command(command);
    value["plugin"] = json!(plugin.name);
    value
}

//! What a check found, for people and for programs.

use std::io::{self, Write};
use std::path::Path;

use hostd_machine::{Engine, Fault, Plugin, PluginError};
use hostd_protocol::json::of_command;
use hostd_protocol::{Limits, PluginDescription};
use serde_json::{Value, json};

use super::advice::Problem;
use super::world;
use crate::args::Format;
use crate::commands;
use crate::exit::Exit;
use crate::output;

/// What was found in a file.
pub(crate) struct Report {
    problems: Vec<Problem>,
    plugin: Option<Facts>,
}

/// A plugin as the cluster will know it.
struct Facts {
    description: PluginDescription,
    digest: String,
    bytes: u64,
}

impl Report {
    /// Looks for everything that is wrong with a file.
    pub(crate) fn of(file: &[u8]) -> Result<Self, Exit> {
        let bytes_max = Limits::default().component_bytes_max;
        let mut report = Self {
            problems: Vec::new(),
            plugin: None,
        };
        let component = match Plugin::component_bytes(file) {
            Ok(component) => component,
            Err(problem) => {
                report.limit("the file", file, bytes_max);
                report.problems.push(problem.into());
                return Ok(report);
            }
        };
        report.limit("the component", &component, bytes_max);
        let unable = |fault: Fault| Exit::Io(io::Error::other(fault));
        let engine = Engine::new().map_err(unable)?;
        let found = engine.inspect(&component).map_err(unable)?;
        report.take(found.problems, &component);
        report.plugin = found.description.map(|description| Facts {
            description,
            digest: blake3::hash(&component).to_string(),
            bytes: component.len() as u64,
        });
        Ok(report)
    }

    /// What the plugin calls itself, where it can say so.
    pub(super) fn name(&self) -> Option<&str> {
        let plugin = self.plugin.as_ref()?;
        Some(&plugin.description.name)
    }

    fn limit(&mut self, what: &str, content: &[u8], bytes_max: u64) {
        let bytes = content.len() as u64;
        if bytes > bytes_max {
            self.problems
                .push(Problem::too_large(what, bytes, bytes_max));
        }
    }

    /// Takes the machine's list. What it says of types is for people who know wasmtime; where the
    /// difference can be told in the words of the world, it is.
    fn take(&mut self, problems: Vec<PluginError>, component: &[u8]) {
        let (mistyped, others): (Vec<_>, Vec<_>) = problems
            .into_iter()
            .partition(|problem| matches!(problem, PluginError::WrongTypes(_)));
        self.problems.extend(others.into_iter().map(Problem::from));
        if mistyped.is_empty() {
            return;
        }
        let differences = world::differences(component);
        if differences.is_empty() {
            self.problems
                .extend(mistyped.into_iter().map(Problem::from));
        } else {
            let differences = differences.into_iter().map(Problem::wrong_type);
            self.problems.extend(differences);
        }
    }

    /// Prints it.
    pub(crate) fn print(&self, format: Format, file: &Path) -> io::Result<()> {
        if format == Format::Json {
            return output::json(&self.to_json(file));
        }
        let mut out = output::stdout();
        match &self.plugin {
            Some(plugin) if self.problems.is_empty() => {
                writeln!(out, "{} is a plugin\n", file.display())?;
                plugin.print(&mut out)?;
            }
            _ => {
                writeln!(out, "{} is no plugin", file.display())?;
                // What has the same remedy stands together.
                for alike in self.problems.chunk_by(|a, b| a.advice == b.advice) {
                    writeln!(out)?;
                    for problem in alike {
                        writeln!(out, "{}: {}", problem.code, problem.message)?;
                    }
                    writeln!(out, "  to do: {}", alike[0].advice)?;
                }
            }
        }
        out.flush()
    }

    /// Ends the command: well for a plugin, with an error for anything else.
    pub(crate) fn verdict(&self, file: &Path) -> Result<(), Exit> {
        let file = file.display();
        match self.problems.len() {
            0 => Ok(()),
            1 => Err(Exit::invalid(format!("{file} is no plugin: 1 problem"))),
            count => Err(Exit::invalid(format!(
                "{file} is no plugin: {count} problems"
            ))),
        }
    }

    fn to_json(&self, file: &Path) -> Value {
        json!({
            "ok": self.problems.is_empty(),
            "file": file.to_string_lossy(),
            "problems": self.problems,
            "plugin": self.plugin.as_ref().map(Facts::to_json),
        })
    }
}

impl Facts {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let about = &self.description;
        writeln!(out, "name           {}", about.name)?;
        writeln!(out, "version        {}", about.version)?;
        writeln!(out, "summary        {}", about.summary)?;
        writeln!(out, "digest         {}", self.digest)?;
        writeln!(
            out,
            "size           {} ({} bytes)",
            output::size(self.bytes),
            self.bytes
        )?;
        write!(out, "state version  {}", about.state_version)?;
        if !about.reads_state_versions.is_empty() {
            let others: Vec<_> = about
                .reads_state_versions
                .iter()
                .map(ToString::to_string)
                .collect();
            write!(out, ", reads {} too", others.join(", "))?;
        }
        writeln!(out, "\ncommands       {}", about.commands.len())?;
        commands::list_commands(&about.commands, out)
    }

    fn to_json(&self) -> Value {
        let about = &self.description;
        json!({
            "name": about.name,
            "version": about.version,
            "summary": about.summary,
            "digest": self.digest,
            "bytes": self.bytes,
            "state_version": about.state_version,
            "reads_state_versions": about.reads_state_versions,
            "commands": about.commands.iter().map(of_command).collect::<Vec<_>>(),
        })
    }
}

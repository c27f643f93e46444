//! Signals to processes, by id.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// A signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Asks to stop in order.
    Term,
    /// The same, as from a terminal.
    Int,
    /// Has a node read its certificates again.
    Hup,
    /// Freezes the process.
    Stop,
    /// Lets a frozen process go on.
    Continue,
    /// Ends the process at once.
    Kill,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Signal::Term => "TERM",
            Signal::Int => "INT",
            Signal::Hup => "HUP",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
            Signal::Kill => "KILL",
        }
    }

    /// Sends it to one process.
    pub fn send(self, process: u32) -> Result<()> {
        // The shell's own `kill` is on every Unix machine, and needs no `unsafe` here.
        let status = Command::new("sh")
            .args([
                "-c",
                "kill -s \"$1\" \"$2\"",
                "sh",
                self.name(),
                &process.to_string(),
            ])
            .status()
            .context("sh does not start")?;
        if !status.success() {
            bail!("cannot send {} to process {process}", self.name());
        }
        Ok(())
    }
}

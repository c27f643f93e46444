//! `hostctl`, as a user would run it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// `hostctl` with its global flags.
#[derive(Clone, Debug)]
pub struct Hostctl {
    program: PathBuf,
    servers: Vec<String>,
    pki: PathBuf,
    timeout: Option<String>,
    /// Put in front, such as `ip netns exec NAME`.
    prefix: Vec<String>,
}

/// What one run of `hostctl` came to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output, without the last line break.
    pub stdout: String,
    /// Standard error, without the last line break.
    pub stderr: String,
}

impl Hostctl {
    /// Talks to `servers` with the `admin` certificate in `pki`.
    pub fn new(program: &Path, servers: Vec<String>, pki: &Path) -> Self {
        Self {
            program: program.to_owned(),
            servers,
            pki: pki.to_owned(),
            timeout: None,
            prefix: Vec::new(),
        }
    }

    /// How long one command may take, as `--timeout` has it: `10s`, `500ms`.
    pub fn timeout(mut self, timeout: &str) -> Self {
        self.timeout = Some(timeout.to_owned());
        self
    }

    /// Begins with another of the servers.
    pub fn rotated(mut self, by: usize) -> Self {
        let length = self.servers.len().max(1);
        self.servers.rotate_left(by % length);
        self
    }

    /// Runs it by way of another program.
    pub fn through(mut self, prefix: Vec<String>) -> Self {
        self.prefix = prefix;
        self
    }

    /// The command, with standard output and error captured.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut words = self
            .prefix
            .iter()
            .map(OsStr::new)
            .chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or(self.program.as_os_str()));
        command.args(words);
        for server in &self.servers {
            command.args(["-s", server]);
        }
        command.arg("--pki").arg(&self.pki);
        if let Some(timeout) = &self.timeout {
            command.args(["--timeout", timeout]);
        }
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // What the caller's shell says must not change what is tested.
        for variable in ["HOSTCTL_SERVER", "HOSTCTL_PKI", "HOSTCTL_IDENTITY"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs one command to its end, whatever that is.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Answer> {
        let mut command = self.command(arguments);
        let output = command
            .output()
            .with_context(|| format!("cannot run {command:?}"))?;
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .trim_end_matches('\n')
                .to_owned()
        };
        Ok(Answer {
            command: format!("{command:?}"),
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }

    /// Runs one command that must succeed, and gives what it printed.
    pub fn ok<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<String> {
        self.run(arguments)?.ok()
    }

    /// Calls a plugin's command, which must succeed.
    pub fn call(&self, arguments: &[&str]) -> Result<String> {
        self.ok(["call"].iter().chain(arguments))
    }

    /// Runs one command that must succeed, with `-o json`.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.ok(["-o", "json"].iter().chain(arguments))?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }
}

impl Answer {
    /// What it printed, when it succeeded.
    pub fn ok(self) -> Result<String> {
        if self.code != Some(0) {
            bail!(
                "{} ended with {:?}: {}",
                self.command,
                self.code,
                self.stderr
            );
        }
        Ok(self.stdout)
    }

    /// Checks that it failed with this exit code and `code: message` on standard error.
    pub fn refused(self, exit: i32, code: &str) -> Result<String> {
        if self.code != Some(exit) || !self.stderr.starts_with(&format!("{code}: ")) {
            bail!(
                "{} should end with {exit} and `{code}: ...`; it ended with {:?}\nstdout: {}\nstderr: {}",
                self.command,
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(self.stderr)
    }
}

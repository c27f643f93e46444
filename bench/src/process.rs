//! A server process that lives as long as its handle, and what `/proc` says about it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

/// A running server. Dropping it kills exactly this process and waits until it is gone.
///
/// The kill is SIGKILL: the data is thrown away with the directory, so nothing is gained by
/// asking the server to tidy up.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `DIR/NAME.log`.
    ///
    /// It gets a process group of its own, so that Ctrl-C reaches the bench alone, which then
    /// stops its servers in its own order.
    pub(crate) fn start(name: &str, command: &mut Command, dir: &Path) -> Result<Self> {
        let output = dir.join(format!("{name}.log"));
        let log = File::create(&output).with_context(|| format!("create {}", output.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            output,
        })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the process has printed so far.
    pub(crate) fn printed(&self) -> String {
        let bytes = fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Fails with the end of its output when the process has ended by itself.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        bail!("{} ended with {status}:{}", self.name, self.tail())
    }

    /// The end of what the process has printed, to be shown below an error.
    fn tail(&self) -> String {
        let printed = self.printed();
        let lines: Vec<&str> = printed.lines().collect();
        let tail = lines[lines.len().saturating_sub(10)..].join("\n  ");
        format!("\n  {tail}")
    }

    /// Waits until the process has printed a line that starts with `start`.
    pub(crate) async fn wait_for_line(&mut self, start: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !self.printed().lines().any(|line| line.starts_with(start)) {
            self.check_running()?;
            if Instant::now() > deadline {
                let (name, tail) = (&self.name, self.tail());
                bail!("{name} did not print `{start}` within {limit:?}:{tail}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .with_context(|| format!("kill {}", self.name))?;
        self.child.wait()?;
        Ok(())
    }

    /// Resident memory now, and the most there ever was.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        parse_memory(&status).with_context(|| format!("{path} lacks VmRSS or VmHWM"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it is gone already, and a destructor has nobody to tell.
        let _ = self.kill();
    }
}

/// Resident memory, file-backed pages included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// VmRSS.
    pub(crate) resident_kib: u64,
    /// VmHWM.
    pub(crate) peak_kib: u64,
}

fn parse_memory(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))?
            .trim_end_matches("kB")
            .trim()
            .parse()
            .ok()
    };
    Some(Memory {
        resident_kib: field("VmRSS:")?,
        peak_kib: field("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_status_file() {
        let status = "Name:\thostd\nVmHWM:\t    5678 kB\nVmRSS:\t    1234 kB\nThreads:\t9\n";
        let expected = Memory {
            resident_kib: 1234,
            peak_kib: 5678,
        };
        assert_eq!(parse_memory(status), Some(expected));
        assert_eq!(parse_memory("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn dropping_the_handle_ends_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let process =
            Process::start("sleeper", Command::new("sleep").arg("600"), dir.path()).unwrap();
        let path = format!("/proc/{}", process.pid());
        assert!(Path::new(&path).exists());
        drop(process);
        assert!(!Path::new(&path).exists());
    }

    #[tokio::test]
    async fn a_server_that_ends_early_is_reported_with_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo address in use; exit 2"]);
        let mut process = Process::start("server", &mut command, dir.path()).unwrap();
        let limit = Duration::from_mins(1);
        let error = process.wait_for_line("ready", limit).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 2") && text.contains("address in use"));
    }
}

//! One hostd process.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{Signal, minder, wait_for_value};

/// How to start a node: the flags of `hostd`.
#[derive(Clone, Debug)]
pub struct Launch {
    /// `--node-id`
    pub id: u64,
    /// `--listen`
    pub listen: SocketAddr,
    /// `--advertise`
    pub advertise: Option<String>,
    /// `--data`
    pub data: PathBuf,
    /// `--join`, repeated
    pub join: Vec<String>,
    /// `--bootstrap-expect`
    pub bootstrap_expect: Option<usize>,
    /// `--plugin`, repeated
    pub plugins: Vec<PathBuf>,
    /// Any further flags.
    pub flags: Vec<String>,
    /// Put in front, such as `ip netns exec NAME`.
    pub through: Vec<String>,
}

impl Launch {
    /// What others dial.
    pub fn address(&self) -> String {
        self.advertise
            .clone()
            .unwrap_or_else(|| self.listen.to_string())
    }

    /// The node's own directory, where its databases are.
    pub fn directory(&self) -> PathBuf {
        self.data.join(format!("node-{}", self.id))
    }

    /// The command line.
    pub fn command(&self, hostd: &Path) -> Command {
        let mut command = match self.through.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(hostd);
                command
            }
            None => Command::new(hostd),
        };
        command.args([
            "--node-id",
            &self.id.to_string(),
            "--listen",
            &self.listen.to_string(),
        ]);
        command.arg("--data").arg(&self.data);
        if let Some(advertise) = &self.advertise {
            command.args(["--advertise", advertise]);
        }
        for member in &self.join {
            command.args(["--join", member]);
        }
        if let Some(expect) = self.bootstrap_expect {
            command.args(["--bootstrap-expect", &expect.to_string()]);
        }
        for plugin in &self.plugins {
            command.arg("--plugin").arg(plugin);
        }
        command.args(&self.flags);
        for (name, _) in std::env::vars_os()
            .filter(|(name, _)| name.to_str().is_some_and(|name| name.starts_with("HOSTD_")))
        {
            command.env_remove(name);
        }
        command
    }
}

/// A node, running or not.
#[derive(Debug)]
pub struct Node {
    /// How it was started last.
    pub launch: Launch,
    hostd: PathBuf,
    output: PathBuf,
    log: PathBuf,
    /// Where in `log` the last start began.
    log_start: usize,
    process: Option<Child>,
}

impl Node {
    /// A node that does not run yet. Its output and its log go to files in `directory`.
    pub fn new(launch: Launch, hostd: &Path, directory: &Path) -> Self {
        let file = |kind: &str| directory.join(format!("node-{}.{kind}", launch.id));
        Self {
            hostd: hostd.to_owned(),
            output: file("out"),
            log: file("log"),
            log_start: 0,
            process: None,
            launch,
        }
    }

    /// Starts the process and returns at once.
    pub fn spawn(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("node {} is already running", self.launch.id);
        }
        self.log_start = std::fs::metadata(&self.log).map_or(0, |file| file.len() as usize);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let child = self
            .launch
            .command(&self.hostd)
            .stdin(Stdio::null())
            .stdout(File::create(&self.output)?)
            .stderr(log)
            // Out of reach of the terminal's Ctrl-C: whoever started it stops it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.hostd.display()))?;
        minder::mind(child.id());
        self.process = Some(child);
        Ok(())
    }

    /// Waits until it says that it is ready, and returns that line.
    pub fn wait_ready(&mut self, patience: Duration) -> Result<String> {
        let id = self.launch.id;
        let ready = wait_for_value(&format!("node {id} is ready"), patience, || {
            if let Some(line) = self.ready_line() {
                return Some(Ok(line));
            }
            self.exit_code().map(|code| {
                Err(anyhow::anyhow!(
                    "node {id} ended with {code:?}:\n{}",
                    self.log_since_start()
                ))
            })
        });
        ready.with_context(|| format!("the log of node {id}:\n{}", self.tail(30)))?
    }

    /// The line with which it says that it is ready.
    pub fn ready_line(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.output).unwrap_or_default();
        // Only whole lines: the file may be read while it is written.
        let whole = &text[..=text.rfind('\n')?];
        whole
            .lines()
            .find(|line| line.starts_with("ready "))
            .map(str::to_owned)
    }

    /// The process id, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The most memory that the process has had so far, in KiB.
    pub fn peak_memory_kib(&self) -> Result<u64> {
        let process = self.process.as_ref().context("the node does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        kib.context("its peak memory is not told")?
            .parse()
            .context("its peak memory")
    }

    /// Whether it was started and has not been seen to end.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// `Some` once the process has ended by itself; with the exit code unless a signal ended it.
    pub fn exit_code(&mut self) -> Option<Option<i32>> {
        let child = self.process.as_mut()?;
        let status = child.try_wait().ok().flatten()?;
        minder::release(child.id());
        self.process = None;
        Some(status.code())
    }

    /// Waits until the process has ended by itself, and returns its exit code.
    pub fn wait_exit(&mut self, patience: Duration) -> Result<Option<i32>> {
        let id = self.launch.id;
        wait_for_value(&format!("node {id} ends"), patience, || self.exit_code())
            .with_context(|| format!("the log of node {id}:\n{}", self.tail(30)))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.launch.id;
        signal.send(
            self.process_id()
                .with_context(|| format!("node {id} does not run"))?,
        )
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.process.take() {
            child.kill()?;
            child.wait()?;
            minder::release(child.id());
        }
        Ok(())
    }

    /// Asks it to stop, and waits for exit code 0.
    pub fn stop(&mut self, patience: Duration) -> Result<()> {
        self.signal(Signal::Term)?;
        self.wait_stopped(patience)
    }

    /// Waits for exit code 0.
    pub fn wait_stopped(&mut self, patience: Duration) -> Result<()> {
        let code = self.wait_exit(patience)?;
        if code != Some(0) {
            bail!(
                "node {} ended with {code:?}:\n{}",
                self.launch.id,
                self.log_since_start()
            );
        }
        Ok(())
    }

    /// Lets the process live on when the caller ends. Returns its id.
    pub fn detach(&mut self) -> Option<u32> {
        let process = self.process.take()?.id();
        minder::release(process);
        Some(process)
    }

    /// What it has logged since it was started last.
    pub fn log_since_start(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.log_start..).unwrap_or_default()).into_owned()
    }

    /// The file it logs to.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log, over all starts.
    pub fn tail(&self, lines: usize) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.kill();
    }
}

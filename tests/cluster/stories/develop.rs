//! `hostd dev`: a plugin's author sees each call, and a new version takes over when its file changes.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context as _, Result, bail, ensure};
use cluster_tests::{Artifacts, Hostctl, PATIENCE, Signal, free_address};

/// A terminal in which `hostd dev` runs.
struct Terminal {
    process: Child,
    lines: Receiver<String>,
}

impl Terminal {
    fn open(artifacts: &Artifacts, words: &[&str]) -> Result<Self> {
        let mut process = Command::new(&artifacts.hostd)
            .arg("dev")
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = process.stdout.take().context("no output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, lines })
    }

    /// The next line that contains this.
    fn wait_for(&self, what: &str) -> Result<String> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(what) => return Ok(line),
                Ok(_) => {}
                Err(_) => bail!("in vain: {what:?}"),
            }
        }
    }

    fn stop(mut self) -> Result<()> {
        Signal::Term.send(self.process.id())?;
        let status = self.process.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Puts a file in the place of another, as a build does.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let unfinished = to.with_extension("unfinished");
    std::fs::copy(from, &unfinished)?;
    Ok(std::fs::rename(unfinished, to)?)
}

#[test]
fn an_author_sees_each_call_and_a_changed_file_takes_over() -> Result<()> {
    let artifacts = Artifacts::locate()?;
    let directory = tempfile::tempdir()?;
    let plugin = directory.path().join("tally.wasm");
    replace(&artifacts.plugin("tally")?, &plugin)?;
    let address = free_address()?.to_string();
    let data = directory.path().join("data");
    let words = [
        "--plugin",
        &plugin.to_string_lossy(),
        "-a",
        &address,
        "--data",
        &data.to_string_lossy(),
    ];
    let terminal = Terminal::open(&artifacts, &words)?;
    terminal.wait_for("installed: tally 1.0.0")?;
    terminal.wait_for("ready on")?;
    let hostctl = Hostctl::new(&artifacts.hostctl, vec![address.clone()], &data.join("pki"));

    hostctl.call(&["count", "cats", "3"])?;
    let line = terminal.wait_for("count cats 3")?;
    ensure!(line.contains("=>") && line.contains("fuel"), "{line}");
    terminal.wait_for("cats")?;
    // Whatever the plugin keeps in memory is gone with each call.
    ensure!(hostctl.call(&["calls"])? == "1");
    ensure!(hostctl.call(&["calls"])? == "1");
    hostctl.call(&["total", "cats"])?;
    terminal.wait_for("a read")?;

    // What is no plugin leaves the one that runs.
    let garbage = directory.path().join("garbage");
    std::fs::write(&garbage, b"nothing that runs")?;
    replace(&garbage, &plugin)?;
    terminal.wait_for("does not build")?;
    ensure!(hostctl.call(&["version"])? == "1.0.0");
    replace(&artifacts.plugin("tally-keys")?, &plugin)?;
    terminal.wait_for("tally 2.0.0")?;
    cluster_tests::wait_for("the new version", PATIENCE, || {
        hostctl
            .call(&["version"])
            .is_ok_and(|version| version == "2.0.0")
    })?;
    ensure!(hostctl.call(&["total", "cats"])? == "3");
    terminal.stop()?;

    // The state stays, unless it is not wanted.
    let terminal = Terminal::open(&artifacts, &words)?;
    terminal.wait_for("ready on")?;
    ensure!(hostctl.call(&["total", "cats"])? == "3");
    terminal.stop()?;
    let fresh: Vec<&str> = words.iter().copied().chain(["--fresh"]).collect();
    let terminal = Terminal::open(&artifacts, &fresh)?;
    terminal.wait_for("ready on")?;
    ensure!(hostctl.call(&["total", "cats"])? != "3");
    terminal.stop()
}

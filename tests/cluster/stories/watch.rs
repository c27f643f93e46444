//! Watchers: every change once and in order, whatever happens to nodes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cluster_tests::{Cluster, PATIENCE, Signal};
use hostd_client::{
    Change, ChangeEvent, Changed, Client, Credentials, Revision, Start, Watch, WatchItem, Watcher,
};
use tokio::time::timeout;

use crate::snapshots::{ensure_installed, write_much};
use crate::support::{connect, runtime, story};

/// The most that 10 000 idle watchers may cost a node.
const IDLE_WATCHERS: usize = 10_000;
const IDLE_KIB_MAX: u64 = 150 << 10;

/// How long they are watched being idle, and what of a processor's time, in hundredths of a second, the
/// node may take meanwhile, with its own heartbeats and timers: a tenth.
const IDLE_FOR: Duration = Duration::from_secs(5);
const IDLE_TICKS_MAX: u64 = 50;

/// Writes `w` = 0, 1, 2... until it is stopped.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Result<u64>>,
}

impl Writer {
    fn start(client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicU64::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&written));
        let task = tokio::spawn(async move {
            let mut next = 0u64;
            while !stopped.load(Ordering::Relaxed) {
                client.call("set", ["w", &next.to_string()]).await?;
                next += 1;
                count.store(next, Ordering::Relaxed);
            }
            Ok(next)
        });
        Self {
            stop,
            written,
            task,
        }
    }

    async fn wait_for_more(&self, writes: u64) -> Result<()> {
        let target = self.written.load(Ordering::Relaxed) + writes;
        let reached = async {
            while self.written.load(Ordering::Relaxed) < target && !self.task.is_finished() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, reached).await.context("writes stopped")
    }

    /// How many there were.
    async fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// A client that knows one node, until it is told of the others.
async fn connect_at(cluster: &Cluster, id: u64) -> Result<Client> {
    let credentials = Credentials::from_dir_client(&cluster.pki(), "admin")?;
    let client = Client::builder().servers([cluster.address(id)?]);
    Ok(client.credentials(credentials).connect().await?)
}

fn value(change: &Change) -> Result<u64> {
    let ChangeEvent::Put { value, .. } = &change.event else {
        bail!("only puts were made, and this was told: {change:?}");
    };
    Ok(std::str::from_utf8(value)?.parse()?)
}

/// What a watcher is told next that is a change.
async fn next_change(watcher: &mut Watcher) -> Result<Changed> {
    loop {
        let item = timeout(PATIENCE, watcher.next())
            .await
            .context("nothing is told any more")??;
        if let WatchItem::Changed(changed) = item {
            return Ok(changed);
        }
    }
}

/// Reads changes until that of the write `last`, and checks that they are all, in order.
async fn follow(mut watcher: Watcher, first: u64, last: impl Future<Output = u64>) -> Result<()> {
    let mut expected = first;
    let mut revision = Revision::default();
    let mut last = std::pin::pin!(last);
    let mut end = None;
    loop {
        let changed = tokio::select! {
            changed = next_change(&mut watcher) => changed?,
            count = &mut last, if end.is_none() => {
                end = Some(count);
                if expected == count {
                    return Ok(());
                }
                continue;
            }
        };
        ensure!(
            changed.revision > revision,
            "{changed:?} came after {revision}"
        );
        revision = changed.revision;
        for change in &changed.changes {
            let value = value(change)?;
            ensure!(
                value == expected,
                "{value} was told where {expected} is next"
            );
            expected += 1;
        }
        if end == Some(expected) {
            return Ok(());
        }
    }
}

#[test]
fn every_change_is_told_once_over_kills_and_restarts() {
    story(3, |cluster| {
        runtime()?.block_on(async {
            let client = connect(cluster).await?;
            let (told, count) = tokio::sync::watch::channel(None);
            let mut watchers = tokio::task::JoinSet::new();
            for _ in 0..3 {
                let mut watcher = client.watch(Watch::keys("w").of("kv"));
                let began = watcher.next().await?;
                ensure!(matches!(began, WatchItem::Begin(_)), "{began:?}");
                let mut count = count.clone();
                watchers.spawn(follow(watcher, 0, async move {
                    let count = count.wait_for(Option::is_some).await;
                    count.ok().and_then(|count| *count).unwrap_or_default()
                }));
            }
            let writer = Writer::start(client.clone());
            writer.wait_for_more(200).await?;
            let leader = cluster.wait_leader()?;
            cluster.node(leader)?.kill()?;
            writer.wait_for_more(200).await?;
            cluster.restart(leader)?;
            // One after another, so that each watcher loses its node at some time.
            for id in cluster.ids() {
                writer.wait_for_more(100).await?;
                cluster.node(id)?.kill()?;
                cluster.restart(id)?;
                cluster.wait_voters(3)?;
            }
            // And all at once.
            for id in cluster.ids() {
                cluster.node(id)?.kill()?;
            }
            for id in cluster.ids() {
                cluster.node(id)?.spawn()?;
            }
            cluster.wait_voters(3)?;
            writer.wait_for_more(100).await?;
            let written = writer.stop().await?;
            told.send_replace(Some(written));
            while let Some(watched) = watchers.join_next().await {
                watched??;
            }
            // Another, which begins at the beginning, is told all of it on each node.
            for id in cluster.ids() {
                let one = connect_at(cluster, id).await?;
                let from = Start::From(Revision::start_of(0));
                let watcher = one.watch(Watch::keys("w").of("kv").starting(from));
                follow(watcher, 0, async { written }).await?;
            }
            Ok(())
        })
    });
}

#[test]
fn who_asks_for_what_is_gone_is_told_so_and_begins_with_the_present() {
    story(0, |cluster| {
        let mut launch = cluster.launch(1)?;
        launch.flags = vec!["--watch-history".into(), "64KiB".into()];
        cluster.start(launch)?;
        let hostctl = cluster.hostctl();
        for index in 0..40 {
            let value = "x".repeat(10_000);
            hostctl.call(&["set", &format!("key/{}", index % 4), &value])?;
        }
        hostctl.call(&["set", "key/last", "done"])?;
        let gone = hostctl
            .run(["watch", "--plugin", "kv", "key/", "--from", "1"])?
            .refused(8, "compacted")?;
        ensure!(gone.contains("first="), "{gone}");
        let url = format!("http://{}/v1/watch/kv?from=1", cluster.address(1)?);
        let status = std::process::Command::new("curl")
            .args(["--silent", "--output", "/dev/null", "--write-out"])
            .args(["%{http_code}", "--max-time", "60", &url])
            .output()?;
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        ensure!(status == "410", "{status}");

        let mut command = hostctl.command(["watch", "--plugin", "kv", "key/", "--present"]);
        let mut watching = command.spawn()?;
        let lines = BufReader::new(watching.stdout.take().context("its output")?).lines();
        let mut lines = lines.map(Result::unwrap_or_default);
        for key in ["key/0", "key/1", "key/2", "key/3", "key/last"] {
            let line = lines.next().context("it ended")?;
            ensure!(line.contains(&format!(" kv present {key} ")), "{line}");
        }
        hostctl.call(&["set", "other", "1"])?;
        hostctl.call(&["set", "key/late", "it's late"])?;
        hostctl.call(&["del", "key/last"])?;
        let line = lines.next().context("it ended")?;
        ensure!(line.ends_with(" kv put key/late \"it's late\""), "{line}");
        let line = lines.next().context("it ended")?;
        ensure!(line.ends_with(" kv delete key/last"), "{line}");
        let id = watching.id();
        Signal::Int.send(id)?;
        ensure!(watching.wait()?.code() == Some(0), "it was stopped");
        Ok(())
    });
}

#[test]
fn a_node_that_got_a_snapshot_sends_watchers_to_those_who_know_more() {
    story(3, |cluster| {
        let away = cluster.follower()?;
        cluster.node(away)?.kill()?;
        write_much(cluster)?;
        let applied = |cluster: &Cluster| -> Result<u64> {
            let rows = cluster.status()?;
            Ok(rows.iter().map(|row| row.applied).max().unwrap_or_default())
        };
        let before = applied(cluster)?;
        cluster.hostctl().call(&["set", "small", "1"])?;
        // A checkpoint, so that the node is given a state that has the write in it.
        cluster.make_checkpoint_due()?;
        cluster.restart(away)?;
        cluster.wait_voters(3)?;
        ensure_installed(cluster, away)?;
        runtime()?.block_on(async {
            let client = connect_at(cluster, away).await?;
            let start = Start::From(Revision::start_of(before + 1));
            let mut watcher = client.watch(Watch::keys("small").starting(start));
            let changed = next_change(&mut watcher).await?;
            ensure!(value(&changed.changes[0])? == 1);
            Ok(())
        })
    });
}

/// Hundredths of a second that a node has computed.
fn cpu_ticks(cluster: &mut Cluster, id: u64) -> Result<u64> {
    let process = cluster.node(id)?.process_id().context("it runs")?;
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // proc_pid_stat(5): utime and stime are fields 14 and 15, and the name, which is field 2, ends with
    // the last parenthesis.
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let (user, system) = (fields.get(11), fields.get(12));
    let ticks = |field: Option<&&str>| -> Result<u64> { Ok(field.context("no time")?.parse()?) };
    Ok(ticks(user)? + ticks(system)?)
}

fn resident_kib(cluster: &mut Cluster, id: u64) -> Result<u64> {
    let process = cluster.node(id)?.process_id().context("it runs")?;
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("its memory")?;
    let digits = line.trim().trim_end_matches(" kB");
    Ok(digits.parse()?)
}

#[test]
fn ten_thousand_idle_watchers_cost_little_memory_and_are_told_what_concerns_them() {
    story(1, |cluster| {
        runtime()?.block_on(async {
            let client = connect(cluster).await?;
            client.call("set", ["warm", "1"]).await?;
            let before = resident_kib(cluster, 1)?;
            let mut watchers = Vec::with_capacity(IDLE_WATCHERS);
            for number in 0..IDLE_WATCHERS {
                let watch = Watch::keys(format!("idle/{number}/")).of("kv");
                let mut watcher = client.watch(watch);
                watcher.next().await?;
                watchers.push(watcher);
            }
            for index in 0..2_000u32 {
                client.call("set", ["busy", &index.to_string()]).await?;
            }
            let after = resident_kib(cluster, 1)?;
            ensure!(
                after < before + IDLE_KIB_MAX,
                "{IDLE_WATCHERS} watchers took it from {before} to {after} KiB"
            );
            let busy = cpu_ticks(cluster, 1)?;
            tokio::time::sleep(IDLE_FOR).await;
            let idle = cpu_ticks(cluster, 1)? - busy;
            ensure!(
                idle <= IDLE_TICKS_MAX,
                "{IDLE_WATCHERS} idle watchers took {idle} ticks of CPU in {IDLE_FOR:?}"
            );
            for number in [0, IDLE_WATCHERS / 2, IDLE_WATCHERS - 1] {
                client
                    .call("set", [format!("idle/{number}/x"), number.to_string()])
                    .await?;
                let changed = next_change(&mut watchers[number]).await?;
                ensure!(value(&changed.changes[0])? == number as u64);
            }
            Ok(())
        })
    });
}

#[test]
fn a_watcher_that_takes_nothing_delays_no_one_and_misses_nothing() {
    story(1, |cluster| {
        runtime()?.block_on(async {
            let client = connect(cluster).await?;
            let mut slow = client.watch(Watch::keys("much/").of("kv"));
            let mut brisk = client.watch(Watch::keys("much/").of("kv"));
            slow.next().await?;
            brisk.next().await?;
            let padding = "x".repeat(100_000);
            const WRITES: u64 = 250;
            for index in 0..WRITES {
                let value = format!("{index} {padding}");
                client.call("set", ["much/key", &value]).await?;
                let changed = next_change(&mut brisk).await?;
                ensure!(changed.changes.len() == 1);
            }
            for index in 0..WRITES {
                let changed = next_change(&mut slow).await?;
                let ChangeEvent::Put { value, .. } = &changed.changes[0].event else {
                    bail!("{:?}", changed.revision);
                };
                let told = format!("{index} ");
                ensure!(value.starts_with(told.as_bytes()), "{index} was next");
            }
            Ok(())
        })
    });
}

#[test]
fn keys_that_expire_are_told_on_every_node() {
    story(3, |cluster| {
        runtime()?.block_on(async {
            let client = connect(cluster).await?;
            let mut watcher = client.watch(Watch::keys("short").of("kv"));
            watcher.next().await?;
            client.call("set", ["short", "1", "PX", "200"]).await?;
            let changed = next_change(&mut watcher).await?;
            ensure!(value(&changed.changes[0])? == 1);
            let changed = next_change(&mut watcher).await?;
            let expired = ChangeEvent::Delete {
                key: b"short"[..].into(),
                expired: true,
            };
            ensure!(changed.changes[0].event == expired, "{changed:?}");
            Ok(())
        })
    });
}

/// Server-sent events, as curl gets them.
struct Events {
    process: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Events {
    fn of(url: &str, last: Option<&str>) -> Result<Self> {
        let mut curl = std::process::Command::new("curl");
        curl.args([
            "--silent",
            "--no-buffer",
            "--fail",
            "--max-time",
            "120",
            url,
        ]);
        if let Some(last) = last {
            curl.args(["--header", &format!("Last-Event-ID: {last}")]);
        }
        let mut process = curl.stdout(std::process::Stdio::piped()).spawn()?;
        let output = process.stdout.take().context("its output")?;
        let lines = BufReader::new(output).lines();
        Ok(Self { process, lines })
    }

    /// The next line that begins so, without that.
    fn next(&mut self, start: &str) -> Result<String> {
        for line in self.lines.by_ref() {
            if let Some(rest) = line?.strip_prefix(start) {
                return Ok(rest.to_owned());
            }
        }
        bail!("the stream ended")
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn curl_watches_and_goes_on_behind_the_last_event() {
    story(1, |cluster| {
        let hostctl = cluster.hostctl();
        let url = format!("http://{}/v1/watch/kv?prefix=user:", cluster.address(1)?);
        let mut events = Events::of(&url, None)?;
        events.next(": watching")?;
        hostctl.call(&["set", "other", "1"])?;
        hostctl.call(&["mset", "user:1", "ann", "user:2", "bob"])?;
        ensure!(events.next("event: ")? == "changed");
        let id = events.next("id: ")?;
        let data: serde_json::Value = serde_json::from_str(&events.next("data: ")?)?;
        ensure!(data["revision"] == id.as_str(), "{data}");
        ensure!(data["changes"][0]["key"] == "user:1", "{data}");
        ensure!(data["changes"][1]["value"] == "bob", "{data}");
        drop(events);

        hostctl.call(&["del", "user:1"])?;
        let mut events = Events::of(&url, Some(&id))?;
        let data: serde_json::Value = serde_json::from_str(&events.next("data: ")?)?;
        ensure!(data["changes"][0]["type"] == "delete", "{data}");

        let mut present = Events::of(&format!("{url}&present=true"), None)?;
        let data: serde_json::Value = serde_json::from_str(&present.next("data: ")?)?;
        ensure!(data["keys"][0]["key"] == "user:2", "{data}");
        present.next("event: synced")?;
        // The node's stop ends them.
        cluster.stop()
    });
}

#[test]
fn a_watcher_is_let_in_by_a_rule_and_cut_when_it_is_revoked() {
    story(1, |cluster| {
        let hostctl = cluster.hostctl();
        hostctl.ok(["pki", "issue", "alice"])?;
        hostctl.ok(["policy", "allow", "alice", "read", "/app"])?;
        let as_alice = |prefix: &str| {
            let words = ["--identity", "alice", "watch", "--plugin", "kv", prefix];
            hostctl.command(words)
        };
        for refused in ["/app", "/apple", ""] {
            let mut command = as_alice(refused);
            let output = command.output()?;
            ensure!(output.status.code() == Some(5), "{refused:?}: {output:?}");
        }
        let mut watching = as_alice("/app/").spawn()?;
        let output = BufReader::new(watching.stdout.take().context("its output")?);
        let mut lines = output.lines();
        // Written until the watch has begun and tells of it.
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (hostctl, stop) = (cluster.hostctl(), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    hostctl.call(&["mset", "/apple", "1", "/app/x", "1"])?;
                }
                anyhow::Ok(())
            })
        };
        let told = lines.next().transpose()?;
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("it does not panic")?;
        let told = told.context("it is told nothing")?;
        ensure!(told.ends_with("kv put /app/x 1"), "{told}");
        hostctl.ok(["policy", "revoke", "alice", "read", "/app"])?;
        let ended = watching.wait_with_output()?;
        ensure!(ended.status.code() == Some(5), "{ended:?}");
        Ok(())
    });
}

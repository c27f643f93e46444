//! How long a replicated write takes, and where disk and network stand: three replicas over QUIC
//! with mutual TLS in this process, their logs synced to the disk of the given directory.
//!
//! `cargo run --release -p hostd-replica --example latency [DIRECTORY]`
#![allow(missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use hostd_protocol::Command;
use hostd_replica::{Formation, Replica};
use support::{config, directory_of, open, quic::wire, soon, until_voters};

fn main() {
    let root = std::env::args().nth(1).map(PathBuf::from);
    let temporary = tempfile::tempdir().expect("a directory");
    let root = root.unwrap_or_else(|| temporary.path().to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run(&root));
}

async fn run(root: &Path) {
    let mut replicas = Vec::new();
    let mut first_address = String::new();
    for id in 1..=3 {
        let wire = wire(&root.join("pki"), id);
        let directory = directory_of(root, id);
        let settings = config(id, &wire.address, &directory);
        let replica = open(settings, &directory, Arc::new(wire.transport.clone()))
            .await
            .expect("a replica opens");
        let formation = if id == 1 {
            first_address.clone_from(&wire.address);
            Formation::Alone
        } else {
            Formation::Join {
                through: vec![first_address.clone()],
                learner: false,
            }
        };
        replica.form(formation).await.expect("it forms");
        replicas.push(replica);
    }
    for replica in &replicas {
        until_voters(replica, 3).await;
    }
    for round in 0..2 {
        println!("round {round}");
        report("fsync of 4 KiB", &mut fsyncs(root, 500));
        let leader = &replicas[0];
        report(
            "write at the leader, 1 caller",
            &mut writes(leader, 1, 1000).await,
        );
        report(
            "write at a follower, 1 caller",
            &mut writes(&replicas[1], 1, 1000).await,
        );
        report(
            "read at the leader, 1 caller",
            &mut reads(leader, 1, 1000).await,
        );
        report(
            "read at a follower, 1 caller",
            &mut reads(&replicas[1], 1, 1000).await,
        );
        for callers in [4, 64, 256, 1024] {
            let name = format!("write at the leader, {callers} callers");
            throughput(
                &name,
                leader,
                writes(leader, callers, 200_000 / callers.max(20)),
            )
            .await;
        }
        let name = "read at the leader, 64 callers";
        throughput(name, leader, reads(leader, 64, 2000)).await;
    }
    idle().await;
    failover(replicas).await;
}

/// What the three cost while nobody asks anything.
async fn idle() {
    const PERIOD: Duration = Duration::from_secs(10);
    let before = processor_time();
    tokio::time::sleep(PERIOD).await;
    let used = processor_time().saturating_sub(before);
    let share = used.as_secs_f64() / PERIOD.as_secs_f64() * 100.0;
    println!("idle: {share:.2} % of a core for all three");
}

/// User and system time of this process.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("the process's times");
    let fields: Vec<&str> = stat.split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<u64>().expect("a number");
    Duration::from_millis((ticks(13) + ticks(14)) * 10)
}

/// From the sudden end of the leader to the next write.
async fn failover(mut replicas: Vec<Replica>) {
    let leader = replicas
        .iter()
        .position(|replica| replica.leadership().borrow().here)
        .expect("a leader");
    let leader = replicas.remove(leader);
    let start = Instant::now();
    drop(leader);
    while replicas[0].write(command(), soon()).await.is_err() {}
    println!("failover: {:?}", start.elapsed());
    for replica in &replicas {
        replica.shutdown().await;
    }
}

/// A command that costs the machine next to nothing.
fn command() -> Command {
    Command::Call {
        principal: "bench".into(),
        plugin: None,
        command: "none".into(),
        arguments: vec![vec![7; 64].into()],
        once: None,
    }
}

async fn writes(replica: &Replica, callers: usize, each: usize) -> Vec<Duration> {
    all(callers, each, replica, |replica| async move {
        let outcome = replica.write(command(), soon()).await.expect("a leader");
        outcome.expect_err("there is no such command");
    })
    .await
}

async fn reads(replica: &Replica, callers: usize, each: usize) -> Vec<Duration> {
    all(callers, each, replica, |replica| async move {
        replica.read_barrier(soon()).await.expect("a leader");
    })
    .await
}

async fn all<F>(
    callers: usize,
    each: usize,
    replica: &Replica,
    call: impl Fn(Replica) -> F + Copy + Send + 'static,
) -> Vec<Duration>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let replica = replica.clone();
        tasks.spawn(async move {
            let mut times = Vec::with_capacity(each);
            for _ in 0..each {
                let start = Instant::now();
                call(replica.clone()).await;
                times.push(start.elapsed());
            }
            times
        });
    }
    tasks.join_all().await.concat()
}

async fn throughput(name: &str, leader: &Replica, work: impl Future<Output = Vec<Duration>>) {
    let entries = leader.applied_index();
    let start = Instant::now();
    let mut times = work.await;
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    let entries = leader.applied_index() - entries;
    report(name, &mut times);
    println!("{:38} {rate:8.0} a second, {entries} entries", "");
}

fn fsyncs(root: &Path, count: u64) -> Vec<Duration> {
    let path = root.join("fsync");
    let file = File::create(&path).expect("a file");
    for page in 0..count {
        file.write_all_at(&[0; 4096], page * 4096).expect("a write");
    }
    file.sync_all().expect("a sync");
    (0..count)
        .map(|page| {
            let start = Instant::now();
            file.write_all_at(&[1; 4096], page * 4096).expect("a write");
            file.sync_data().expect("a sync");
            start.elapsed()
        })
        .collect()
}

fn report(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
    println!(
        "{name:38} p50 {:6} us   p90 {:6} us   p99 {:6} us",
        at(0.5),
        at(0.9),
        at(0.99)
    );
}

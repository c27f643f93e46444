//! `cargo xtask demo`: the shortest way to see what hostd does.

mod load;
mod narrate;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use cluster_tests::{Artifacts, Cluster, PATIENCE, free_address, is_free, wait_for};
use load::{Load, Taken};
use narrate::Narrator;

use crate::{build, plugins};

/// `cargo xtask demo`
#[derive(Default, clap::Args)]
pub(crate) struct Options {
    /// Leave the cluster running, with its data in ./demo-data
    #[arg(long)]
    keep: bool,
}

/// Nodes of the cluster.
const NODES: u64 = 3;
/// Tickets taken before the leader is killed, and again after there is a new one.
const TICKETS_PER_HALF: usize = 150;

const KEPT_DATA: &str = "demo-data";

/// Tells the whole story. Whatever happens, no process is left, unless `--keep` asks for it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let narrator = Narrator::new(7);
    narrator.step("Building hostd, hostctl and the plugins");
    build::binaries()?;
    plugins::build_examples()?;

    let artifacts = Artifacts::locate()?;
    let (directory, _temporary) = directory(options)?;
    let mut cluster = Cluster::in_directory(&directory, artifacts, &["ticket", "kv"])?;
    if let Err(error) = tell(&narrator, &mut cluster, options.keep) {
        eprintln!("\n{}", cluster.tails(20));
        return Err(error.context("the demo failed; the nodes' last log lines are above"));
    }
    narrator.say(&format!(
        "All of it took {:.1} s.",
        start.elapsed().as_secs_f64()
    ));
    if options.keep {
        leave_running(&mut cluster);
    } else {
        say_what_is_next();
    }
    Ok(())
}

/// Where the nodes live, and what removes it.
fn directory(options: &Options) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    if !options.keep {
        let temporary = tempfile::Builder::new().prefix("hostd-demo-").tempdir()?;
        return Ok((temporary.path().to_owned(), Some(temporary)));
    }
    let directory = std::env::current_dir()?.join(KEPT_DATA);
    if directory.exists() {
        bail!("./{KEPT_DATA} is there already: stop its nodes, then `rm -r {KEPT_DATA}`");
    }
    std::fs::create_dir(&directory)?;
    Ok((directory, None))
}

fn tell(narrator: &Narrator, cluster: &mut Cluster, keep: bool) -> Result<()> {
    narrator.step("Starting three nodes");
    start(narrator, cluster)?;

    narrator.step("Taking a ticket through each of them");
    for id in cluster.ids() {
        let address = cluster.address(id)?;
        let ticket = cluster.hostctl_at(id)?.call(&["ticket"])?;
        narrator.say(&format!(
            "hostctl -s {address} call ticket     prints {ticket}"
        ));
    }
    narrator.say("Any node takes any call; the leader orders them.");

    narrator.step("Killing the leader in the middle of a load");
    let (taken, killed) = load_with_a_kill(narrator, cluster)?;

    narrator.step("Counting the tickets");
    count(narrator, &taken)?;

    narrator.step(&format!("Starting node {killed} again"));
    bring_back(narrator, cluster, killed)?;

    if keep {
        narrator.step("Leaving the cluster running, as asked with --keep");
        return Ok(());
    }
    narrator.step("Stopping everything with SIGTERM");
    let begin = Instant::now();
    cluster.stop()?;
    let took = seconds(begin.elapsed());
    narrator.say(&format!("All three ended with exit code 0, after {took}."));
    Ok(())
}

fn start(narrator: &Narrator, cluster: &mut Cluster) -> Result<()> {
    for id in 1..=NODES {
        let mut launch = cluster.launch_joining(id)?;
        let usual = format!("127.0.0.1:{}", 11_000 + id).parse()?;
        launch.listen = if is_free(usual) {
            usual
        } else {
            free_address()?
        };
        // Through one member is enough: that is what a newcomer would type.
        launch.join.truncate(1);
        let join = launch
            .join
            .first()
            .map_or(String::new(), |member| format!(" -j {member}"));
        let words = format!("hostd -n {id} -a {}{join}", launch.listen);
        let begin = Instant::now();
        let ready = cluster.start(launch)?;
        narrator.say(&format!("{words} --plugin ticket.wasm --plugin kv.wasm"));
        narrator.say(&format!(
            "    {ready}   (after {})",
            seconds(begin.elapsed())
        ));
    }
    cluster.wait_voters(NODES as usize)?;
    let leader = cluster.wait_leader()?;
    narrator.say(&format!("All three vote, node {leader} leads."));
    Ok(())
}

/// Returns all tickets, and which node was killed.
fn load_with_a_kill(narrator: &Narrator, cluster: &mut Cluster) -> Result<(Taken, u64)> {
    let leader = cluster.wait_leader()?;
    let load = Load::start(&cluster.hostctl());
    narrator.say(&format!(
        "{} clients take tickets one after another, through all three nodes.",
        load::CLIENTS
    ));
    let bar = narrator.bar("tickets", 2 * TICKETS_PER_HALF);
    wait_for("the first half of the tickets", PATIENCE, || {
        bar.set_position(load.taken_count() as u64);
        load.taken_count() >= TICKETS_PER_HALF || load.has_failed()
    })?;
    let process = cluster
        .node(leader)?
        .process_id()
        .context("the leader does not run")?;
    let kill = Instant::now();
    cluster.node(leader)?.kill()?;
    let what = format!("kill -9 {process}     that was node {leader}, the leader");
    bar.suspend(|| narrator.say(&what));
    wait_for("the second half of the tickets", PATIENCE * 2, || {
        bar.set_position(load.taken_count() as u64);
        load.begun_and_taken_since(kill) >= TICKETS_PER_HALF || load.has_failed()
    })?;
    bar.finish_and_clear();
    let taken = load.stop();
    let first = taken
        .tickets
        .0
        .iter()
        .filter(|ticket| ticket.began > kill)
        .min_by_key(|ticket| ticket.ended);
    if let Some(first) = first {
        narrator.say(&format!(
            "{} after the kill a client had the next ticket, {}; node {} leads now.",
            seconds(first.ended - kill),
            first.number,
            cluster.wait_leader()?
        ));
    }
    Ok((taken, leader))
}

fn count(narrator: &Narrator, taken: &Taken) -> Result<()> {
    if !taken.failures.is_empty() {
        bail!(
            "calls failed, which clients should not see:\n{}",
            taken.failures.join("\n")
        );
    }
    let tickets = &taken.tickets;
    tickets.check()?;
    let last = tickets
        .0
        .iter()
        .map(|ticket| ticket.number)
        .max()
        .context("there are no tickets")?;
    // The load began after each node had given one ticket to a client of its own.
    let missing: Vec<i64> = tickets
        .missing()
        .into_iter()
        .filter(|&number| number > NODES as i64)
        .collect();
    if !missing.is_empty() {
        bail!("tickets that were given out and that no client got: {missing:?}");
    }
    narrator.say(&format!(
        "clients got {} tickets, {} to {last}",
        tickets.len(),
        NODES + 1
    ));
    narrator.say("none lost:           every number in between went to a client");
    narrator.say("none repeated:       no number went to two clients");
    narrator.say("none out of order:   a ticket asked for after another had arrived is larger");
    Ok(())
}

fn bring_back(narrator: &Narrator, cluster: &mut Cluster, killed: u64) -> Result<()> {
    let begin = Instant::now();
    cluster.restart(killed)?;
    narrator.say(&format!(
        "node {killed} is ready after {}",
        seconds(begin.elapsed())
    ));
    cluster.wait_voters(NODES as usize)?;
    let ticket = cluster.hostctl_at(killed)?.call(&["ticket"])?;
    narrator.say(&format!(
        "hostctl -s {} call ticket     prints {ticket}",
        cluster.address(killed)?
    ));
    narrator.say("20 MB of writes, so that a checkpoint is due now and not in half a minute");
    let (checkpoint, digest) = cluster.compare_digests()?;
    narrator.say(&format!(
        "The digest of the whole state at log index {checkpoint}:"
    ));
    for id in cluster.ids() {
        narrator.say(&format!("    node {id}   {digest}"));
    }
    narrator.say("The three are equal, byte for byte.");
    Ok(())
}

fn leave_running(cluster: &mut Cluster) {
    let addresses = cluster.addresses();
    let ids = cluster.ids();
    let processes = ids.iter().filter_map(|&id| cluster.node(id).ok()?.detach());
    let processes: Vec<String> = processes.map(|process| process.to_string()).collect();
    println!(
        "\nRunning on {}, data and logs in ./{KEPT_DATA}. Try:",
        addresses.join(", ")
    );
    println!(
        "  export HOSTCTL_PKI={KEPT_DATA}/data/pki HOSTCTL_SERVER={}",
        addresses[0]
    );
    println!("  target/release/hostctl status");
    println!("  target/release/hostctl call ticket");
    println!("  target/release/hostctl call set greeting hello");
    println!("  target/release/hostctl commands");
    println!("Stop it with:");
    println!("  kill {} && rm -r {KEPT_DATA}", processes.join(" "));
}

fn say_what_is_next() {
    println!("\nNext:");
    println!("  cargo xtask demo --keep      the same, and the cluster stays for you to try");
    println!("  cargo xtask test             every check that CI runs");
    println!(
        "  less README.md               a five-minute tour; plugins/ticket is the service above"
    );
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

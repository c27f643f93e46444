//! Clients that write without a pause, remember every answer, and afterwards compare.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cluster_tests::{Cluster, PATIENCE, Ticket, Tickets, wait_for};
use hostd_client::{Client, Reply};
use tokio::task::JoinSet;

use super::{connect, runtime};

/// How many write at the same time.
const CLIENTS: usize = 8;
/// Between two writes of one client, so that two loads fit on one machine.
const PAUSE: Duration = Duration::from_millis(2);

/// The same where it matters that there are many.
const CROWD: usize = 64;
const CROWD_PAUSE: Duration = Duration::from_millis(20);
/// The key that all clients increment.
const COUNTER: &str = "counter";

/// A running load: each client in turn takes a ticket, sets a key of its own and increments a
/// common counter.
pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Record>>>,
}

#[derive(Default)]
struct Shared {
    pause: Duration,
    stopping: AtomicBool,
    acknowledged: AtomicUsize,
    failed: AtomicBool,
}

/// Every answer that the clients got.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Tickets.
    pub(crate) tickets: Tickets,
    /// Keys whose SET was acknowledged, with the value.
    pub(crate) written: BTreeMap<String, String>,
    /// Acknowledged increments of the counter.
    pub(crate) increments: i64,
    /// The longest that anybody waited for a call.
    pub(crate) longest_call: Duration,
    /// Calls that ended in an error.
    pub(crate) errors: Vec<String>,
}

impl Load {
    /// Starts the clients and returns once they write.
    pub(crate) fn start(cluster: &Cluster) -> Result<Self> {
        Self::of(cluster, CLIENTS, PAUSE)
    }

    /// Starts many clients, each of which is a little slower.
    pub(crate) fn crowd(cluster: &Cluster) -> Result<Self> {
        Self::of(cluster, CROWD, CROWD_PAUSE)
    }

    fn of(cluster: &Cluster, clients: usize, pause: Duration) -> Result<Self> {
        let shared = Arc::new(Shared {
            pause,
            ..Shared::default()
        });
        let runtime = runtime()?;
        let client = runtime.block_on(async {
            let client = connect(cluster).await?;
            client.prepare().await?;
            anyhow::Ok(client)
        })?;
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || runtime.block_on(run(client, clients, shared))
        });
        let load = Self {
            shared,
            thread: Some(thread),
        };
        load.wait_for_more(clients)?;
        Ok(load)
    }

    /// Waits until this many more writes are acknowledged.
    pub(crate) fn wait_for_more(&self, more: usize) -> Result<Duration> {
        let goal = self.shared.acknowledged.load(Ordering::Relaxed) + more;
        wait_for(
            &format!("{more} more acknowledged writes"),
            2 * PATIENCE,
            || {
                self.shared.acknowledged.load(Ordering::Relaxed) >= goal
                    || self.shared.failed.load(Ordering::Relaxed)
            },
        )
    }

    /// Lets every client finish its call, and returns what they got.
    pub(crate) fn stop(mut self) -> Result<Record> {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the load was stopped already")?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }
}

async fn run(client: Client, clients: usize, shared: Arc<Shared>) -> Result<Record> {
    let mut writing = JoinSet::new();
    for number in 0..clients {
        writing.spawn(write(client.clone(), number, Arc::clone(&shared)));
    }
    let mut record = Record::default();
    while let Some(part) = writing.join_next().await {
        record.add(part?);
    }
    client.close().await;
    Ok(record)
}

/// One client, until the load stops or a call fails.
async fn write(client: Client, number: usize, shared: Arc<Shared>) -> Record {
    let mut record = Record::default();
    for round in 0.. {
        if shared.stopping.load(Ordering::Relaxed) {
            break;
        }
        if let Err(error) = write_round(&client, number, round, &shared, &mut record).await {
            record.errors.push(format!("{error:#}"));
            shared.failed.store(true, Ordering::Relaxed);
            break;
        }
    }
    record
}

async fn write_round(
    client: &Client,
    number: usize,
    round: usize,
    shared: &Shared,
    record: &mut Record,
) -> Result<()> {
    let mut began = Instant::now();
    let ticket = client.call("ticket", [""; 0]).await.context("ticket")?;
    record.tickets.0.push(Ticket {
        began,
        ended: Instant::now(),
        number: integer(&ticket)?,
    });
    acknowledged(began, shared, record).await;

    let (key, value) = (
        format!("load/{number}/{round:06}"),
        format!("value {number} {round}"),
    );
    began = Instant::now();
    client.call("set", [&key, &value]).await.context("set")?;
    record.written.insert(key, value);
    acknowledged(began, shared, record).await;

    began = Instant::now();
    client.call("incr", [COUNTER]).await.context("incr")?;
    record.increments += 1;
    acknowledged(began, shared, record).await;
    Ok(())
}

/// Counts a call that ended well, and rests.
async fn acknowledged(began: Instant, shared: &Shared, record: &mut Record) {
    record.longest_call = record.longest_call.max(began.elapsed());
    shared.acknowledged.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(shared.pause).await;
}

impl Record {
    fn add(&mut self, other: Self) {
        self.tickets.0.extend(other.tickets.0);
        self.written.extend(other.written);
        self.increments += other.increments;
        self.longest_call = self.longest_call.max(other.longest_call);
        self.errors.extend(other.errors);
    }

    /// The longest time without a ticket for anybody.
    pub(crate) fn longest_gap(&self) -> Duration {
        let mut ends: Vec<Instant> = self.tickets.0.iter().map(|ticket| ticket.ended).collect();
        ends.sort_unstable();
        ends.windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or_default()
    }

    /// Checks everything a user may rely on: no call failed; every ticket went to one client,
    /// rising in real time and without a gap; every acknowledged write is there; every increment
    /// counted once; and all members have the same state.
    ///
    /// Nobody else may have taken a ticket or incremented the counter.
    pub(crate) fn check(&self, cluster: &Cluster) -> Result<()> {
        ensure!(self.errors.is_empty(), "calls failed: {:#?}", self.errors);
        self.tickets.check()?;
        let missing = self.tickets.missing();
        ensure!(missing.is_empty(), "tickets that nobody got: {missing:?}");
        runtime()?.block_on(async {
            let client = connect(cluster).await?;
            let counter = client.call("get", [COUNTER]).await?;
            ensure!(
                integer(&counter)? == self.increments,
                "{} increments were acknowledged, the counter is {counter:?}",
                self.increments
            );
            self.check_written(&client).await?;
            client.close().await;
            anyhow::Ok(())
        })?;
        cluster.compare_digests()?;
        println!(
            "{} tickets, {} keys, {} increments; longest gap {} ms, longest call {} ms",
            self.tickets.len(),
            self.written.len(),
            self.increments,
            self.longest_gap().as_millis(),
            self.longest_call.as_millis()
        );
        Ok(())
    }

    async fn check_written(&self, client: &Client) -> Result<()> {
        let written: Vec<(&String, &String)> = self.written.iter().collect();
        for some in written.chunks(200) {
            let reply = client.call("mget", some.iter().map(|(key, _)| key)).await?;
            let Reply::Array(values) = reply else {
                bail!("mget answered {reply:?}")
            };
            ensure!(
                values.len() == some.len(),
                "mget answered {} values",
                values.len()
            );
            for ((key, expected), value) in some.iter().zip(values) {
                ensure!(
                    bytes(&value) == Some(expected.as_bytes()),
                    "{key} was acknowledged with {expected:?} and is {value:?}"
                );
            }
        }
        Ok(())
    }
}

fn bytes(reply: &Reply) -> Option<&[u8]> {
    match reply {
        Reply::Bytes(bytes) => Some(bytes),
        Reply::Text(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// A number, or the text of one.
fn integer(reply: &Reply) -> Result<i64> {
    match reply {
        Reply::Integer(number) => Ok(*number),
        other => {
            let text = bytes(other).with_context(|| format!("not a number: {other:?}"))?;
            Ok(std::str::from_utf8(text)?.parse()?)
        }
    }
}

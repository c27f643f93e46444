//! What one fault does to clients, alone, in a cluster that is otherwise well. Time is simulated, so
//! a call takes as long as it takes on every machine.

mod clocks;
mod full_disk;
mod slow_disks;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostd_client::{CallError, CallOptions, Reply};
use hostd_replica::CheckpointPolicy;

use crate::fixtures::Fixtures;
use crate::plan::Plan;
use crate::run;
use crate::trace::Counters;
use crate::world::World;

/// Nodes of each cluster.
const NODES: u64 = 3;
/// Clients that write and read all the time.
const CALLERS: u64 = 6;
/// Between two calls of one of them.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A call, as its client saw it.
#[derive(Clone, Debug)]
struct Seen {
    at_ms: u64,
    took_ms: u64,
    answer: Result<Reply, CallError>,
}

/// A cluster that has formed, with clients at work.
struct Scene {
    world: World,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// Tells a story in a thread that simulates. With `LOUD` in the environment everything that happens
/// is printed.
fn scene(seed: u64, story: impl FnOnce(&mut Scene) + Send + 'static) {
    let directory = tempfile::tempdir().unwrap();
    let fixtures = Fixtures::prepare(&plugins(), directory.path()).unwrap();
    let loud = std::env::var_os("LOUD").is_some();
    let told = run::simulating(seed, loud, move |trace| {
        let counters = Counters::default();
        let world = World::new(&quiet(seed), fixtures, trace.clone(), counters).unwrap();
        let mut scene = Scene {
            world,
            seen: Arc::default(),
        };
        let formed = scene.world.run_until(60_000, |world| world.all_ready());
        assert!(formed.unwrap(), "the cluster does not form");
        scene.world.invariants.formed();
        for number in 1..=CALLERS {
            scene.caller(number);
        }
        scene.pass(5_000);
        story(&mut scene);
    });
    if let Err(panic) = told {
        std::panic::resume_unwind(panic);
    }
}

/// A cluster of which nothing is left to chance.
fn quiet(seed: u64) -> Plan {
    Plan {
        seed,
        nodes: NODES,
        one_by_one: false,
        checkpoint: CheckpointPolicy {
            bytes: 256 << 10,
            interval: Duration::from_secs(4),
            tail_bytes: 64 << 10,
        },
        sync_ms: 2,
        length_ms: 0,
        events: Vec::new(),
    }
}

fn plugins() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    // It lies in target/release/deps.
    program.ancestors().nth(3).unwrap().join("plugins")
}

impl Scene {
    /// A client that writes and reads keys of its own until the end.
    fn caller(&self, number: u64) {
        let dialing = self.world.dialing().clone();
        let (time, seen) = (self.world.time.clone(), Arc::clone(&self.seen));
        self.world.clients.spawn(async move {
            let client = dialing.connect(number).await;
            let options = CallOptions {
                timeout: Some(PATIENCE),
                ..CallOptions::default()
            };
            let key = format!("key-{number}");
            for value in 0_u64.. {
                let value = value.to_string();
                let (command, arguments) = if number.is_multiple_of(2) {
                    ("kv.get", vec![key.as_str()])
                } else {
                    ("kv.set", vec![key.as_str(), &value])
                };
                let at_ms = time.now_ms();
                let answer = client.call_with(command, &arguments, &options).await;
                let took_ms = time.now_ms() - at_ms;
                seen.lock().unwrap().push(Seen {
                    at_ms,
                    took_ms,
                    answer,
                });
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// What a client of its own gets when it calls something once. Time passes meanwhile.
    fn call(&mut self, command: &'static str, arguments: &[&str]) -> Reply {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let dialing = self.world.dialing().clone();
        let answer = Arc::new(Mutex::new(None));
        let told = Arc::clone(&answer);
        self.world.clients.spawn(async move {
            let client = dialing.connect(CALLERS + 1).await;
            let reply = client.call(command, &arguments).await;
            client.close().await;
            *told.lock().unwrap() = Some(reply);
        });
        let within_ms = PATIENCE.as_millis() as u64;
        let answered = |_: &mut World| answer.lock().unwrap().is_some();
        assert!(self.world.run_until(within_ms, answered).unwrap());
        let reply = answer.lock().unwrap().take().unwrap();
        reply.unwrap_or_else(|error| panic!("{command}: {error:?}"))
    }

    /// Lets time pass. Whatever breaks a promise ends the test. Returns when it was.
    fn pass(&mut self, ms: u64) -> Range<u64> {
        let begun = self.world.now_ms();
        self.world.run_until(ms, |_| false).unwrap();
        begun..self.world.now_ms()
    }

    fn leader(&self) -> u64 {
        self.world.invariants.leader.expect("somebody leads").0
    }

    /// A node that does not lead.
    fn follower(&self) -> u64 {
        let leader = self.leader();
        (1..=NODES).find(|id| *id != leader).unwrap()
    }

    /// Calls that began in a time.
    fn during(&self, time: &Range<u64>) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        let within = seen.iter().filter(|seen| time.contains(&seen.at_ms));
        within.cloned().collect()
    }

    /// How long the slowest call that began in a time took. All must have been answered well.
    fn slowest_ms(&self, time: &Range<u64>) -> u64 {
        let seen = self.during(time);
        assert!(seen.len() > 100, "{} calls say little", seen.len());
        let bad = seen.iter().find(|seen| seen.answer.is_err());
        assert!(bad.is_none(), "{bad:?}");
        seen.iter().map(|seen| seen.took_ms).max().unwrap()
    }
}

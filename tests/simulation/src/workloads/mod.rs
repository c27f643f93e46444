//! What clients do meanwhile, one file for each kind of use, with the judgement of what they saw.

pub(crate) mod access;
mod counters;
mod expiry;
mod hostile;
mod registers;
mod tallies;
mod tickets;
mod tokens;
mod watches;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hostd_client::{CallError, CallOptions, Client, FailureCode, Reply};
use hostd_history::{Operation, OperationId, Recorder};

use crate::chance::Chance;
use crate::operations::policy;
use crate::operator::Dialing;
use crate::plan::Plan;
use crate::trace::Counters;
use crate::world::{CLIENTS, Violation, World};

/// How long a call may take before its outcome counts as unknown.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// How many runs in a hundred have watchers. The others stay as they were before there were any.
const WATCHERS_PERCENT: u32 = 30;

/// A future in a box.
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One kind of use.
trait Workload: Send + Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// One client does something, once.
    fn step(self: Arc<Self>, user: User) -> Boxed<User>;

    /// When all clients have ended: reads what is needed to judge.
    fn finish(self: Arc<Self>, user: User) -> Boxed<()>;

    /// Judges what was seen.
    fn judge(&self, world: &World) -> Result<(), String>;
}

/// A client with what it needs.
pub(crate) struct User {
    number: u64,
    client: Client,
    chance: Chance,
    /// How many things it has done.
    done: u64,
    counters: Counters,
}

/// How a call ended.
pub(crate) enum Answer {
    /// With a reply.
    Reply(Reply),
    /// The plugin or the machine refused, and nothing happened.
    Rejected(String),
    /// It certainly did not happen.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl Answer {
    /// Of a call without a reply, as the client's documentation says.
    fn of(error: &CallError) -> Self {
        match error {
            CallError::Rejected(rejection) => Self::Rejected(rejection.code.as_str().to_owned()),
            CallError::Failed(failure) => match failure.code {
                FailureCode::Timeout | FailureCode::NoQuorum | FailureCode::Fault => Self::Unknown,
                _ => Self::Refused,
            },
        }
    }
}

impl User {
    async fn call(&self, command: &str, arguments: &[&str], key: Option<String>) -> Answer {
        let options = CallOptions {
            key,
            timeout: Some(CALL_TIMEOUT),
            ..CallOptions::default()
        };
        let answer = self.client.call_with(command, arguments, &options).await;
        match answer {
            Ok(reply) => {
                self.counters.add("calls answered", 1);
                Answer::Reply(reply)
            }
            Err(error) => {
                let answer = Answer::of(&error);
                let counted = match &answer {
                    Answer::Reply(_) | Answer::Refused => "calls refused",
                    Answer::Rejected(_) => "calls rejected",
                    Answer::Unknown => "calls of unknown outcome",
                };
                self.counters.add(counted, 1);
                answer
            }
        }
    }

    /// Calls until there is a reply. For reads.
    async fn insist(&self, command: &str, arguments: &[&str]) -> Reply {
        loop {
            if let Answer::Reply(reply) = self.call(command, arguments, None).await {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// All clients of a run.
pub(crate) struct Load {
    workloads: Vec<Arc<dyn Workload>>,
    stop: Arc<AtomicBool>,
    completed: Arc<AtomicU64>,
    /// Clients and finishing touches that have not ended.
    running: Arc<Mutex<Vec<String>>>,
}

impl Load {
    /// Starts clients, each with a kind of use that the seed decides.
    pub(crate) fn start(plan: &Plan, world: &World) -> Self {
        let mut chance = Chance::new(plan.seed, "load");
        let all: Vec<Arc<dyn Workload>> = vec![
            Arc::new(tickets::Tickets::default()),
            Arc::new(registers::Registers::new(&mut chance)),
            Arc::new(counters::Counters::default()),
            Arc::new(tokens::Tokens::default()),
            Arc::new(expiry::Expiry::default()),
            Arc::new(hostile::Hostile::default()),
        ];
        let mut load = Self {
            workloads: all,
            stop: Arc::default(),
            completed: Arc::default(),
            running: Arc::default(),
        };
        let pause_ms = chance.within(15..=150);
        for number in 1..=CLIENTS {
            // Two for registers, where contention is the point; one for each other.
            let position = (number as usize - 1) % load.workloads.len();
            let workload = match number {
                7 | 8 => Arc::clone(&load.workloads[1]),
                _ => Arc::clone(&load.workloads[position]),
            };
            load.client(number, workload, pause_ms, world);
        }
        if plan
            .events
            .iter()
            .any(|event| event.what.starts_with("plugin-"))
        {
            let tallies: Arc<dyn Workload> = Arc::new(tallies::Tallies::new(world));
            load.workloads.push(Arc::clone(&tallies));
            load.client(CLIENTS + 1, Arc::clone(&tallies), pause_ms, world);
            load.client(CLIENTS + 2, tallies, pause_ms, world);
        }
        if plan.events.iter().any(|event| event.what == policy::NAME) {
            let access: Arc<dyn Workload> =
                Arc::new(access::Access::new(Arc::clone(&world.access)));
            load.workloads.push(Arc::clone(&access));
            let guest = world.dialing_as(&world.fixtures.guest);
            for number in access::GUESTS {
                load.client_by(&guest, number, Arc::clone(&access), pause_ms, world);
            }
        }
        if Chance::new(plan.seed, "watchers").percent(WATCHERS_PERCENT) {
            let watches: Arc<dyn Workload> = Arc::new(watches::Watches::default());
            load.workloads.push(Arc::clone(&watches));
            load.client(CLIENTS + 5, Arc::clone(&watches), pause_ms, world);
            load.client(CLIENTS + 6, watches, pause_ms, world);
        }
        load
    }

    fn client(&self, number: u64, workload: Arc<dyn Workload>, pause_ms: u64, world: &World) {
        self.client_by(world.dialing(), number, workload, pause_ms, world);
    }

    fn client_by(
        &self,
        dialing: &Dialing,
        number: u64,
        workload: Arc<dyn Workload>,
        pause_ms: u64,
        world: &World,
    ) {
        let name = format!("client {number} ({})", workload.name());
        lock(&self.running).push(name.clone());
        let (stop, completed) = (Arc::clone(&self.stop), Arc::clone(&self.completed));
        let running = Arc::clone(&self.running);
        let (dialing, counters) = (dialing.clone(), world.counters.clone());
        let seed = world.seed;
        world.clients.spawn(async move {
            let mut user = user(seed, number, &dialing, counters).await;
            while !stop.load(Ordering::Relaxed) {
                user = Arc::clone(&workload).step(user).await;
                user.done += 1;
                completed.fetch_add(1, Ordering::Relaxed);
                let pause = user.chance.below(2 * pause_ms);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            // The last one of its kind reads what is needed to judge.
            let last = {
                let mut running = lock(&running);
                running.retain(|other| *other != name);
                let kind = format!("({})", workload.name());
                let last = !running.iter().any(|other| other.ends_with(&kind));
                if last {
                    running.push(format!("the end of {}", workload.name()));
                }
                last
            };
            if last {
                Arc::clone(&workload).finish(user).await;
                let done = format!("the end of {}", workload.name());
                lock(&running).retain(|other| *other != done);
            }
        });
    }

    /// Things done.
    pub(crate) fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Clients do what they are at, and nothing more.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether all clients have ended.
    pub(crate) fn has_ended(&self) -> bool {
        lock(&self.running).is_empty()
    }

    /// Who has not ended.
    pub(crate) fn waiting(&self) -> String {
        lock(&self.running).join(", ")
    }

    /// Judges what clients saw.
    pub(crate) fn judge(&self, world: &World) -> Result<(), Violation> {
        for workload in &self.workloads {
            workload
                .judge(world)
                .map_err(|text| Violation::new(workload.name(), text))?;
        }
        Ok(())
    }
}

async fn user(seed: u64, number: u64, dialing: &Dialing, counters: Counters) -> User {
    User {
        number,
        client: dialing.connect(number).await,
        chance: Chance::new(seed, &format!("client {number}")),
        done: 0,
        counters,
    }
}

/// A recorder that several clients share.
type Shared<I, O> = Mutex<Recorder<I, O>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("nothing panics while it holds the lock")
}

/// What was recorded.
fn history<I: Clone, O: Clone>(recorder: &Shared<I, O>) -> Vec<Operation<I, O>> {
    lock(recorder).operations().cloned().collect()
}

/// An operation that ended, taken down. `read` makes sense of the reply; `None` when it makes none.
fn record<I, O>(
    recorder: &Shared<I, O>,
    number: OperationId,
    answer: Answer,
    read: impl FnOnce(Reply) -> Option<O>,
) -> Result<(), String> {
    let mut recorder = lock(recorder);
    match answer {
        Answer::Reply(reply) => {
            let shown = format!("{reply:?}");
            match read(reply) {
                Some(output) => recorder.complete(number, output),
                None => return Err(format!("an answer that makes no sense: {shown}")),
            }
        }
        Answer::Rejected(_) | Answer::Refused => recorder.refuse(number),
        Answer::Unknown => {}
    }
    Ok(())
}

//! What clients do, and what they record: one file per workload. Every client has a connection
//! and a session of its own, through the client library.

mod appends;
mod counters;
mod expiry;
mod registers;
mod tickets;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hostd_client::{
    CallError, CallOptions, Client, Credentials, Failure, FailureCode, Rejection, RejectionCode,
    Reply,
};
use hostd_history::register::{Action, Input, Output};
use tokio::task::JoinSet;

pub(crate) use appends::tokens;
pub(crate) use expiry::{Answer as ExpiryAnswer, Expiry};

use crate::meter::{Ending, Meter};
use crate::random::Random;

/// The workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tickets,
    Registers,
    Counters,
    Appends,
    Expiry,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Kind::Tickets,
        Kind::Registers,
        Kind::Counters,
        Kind::Appends,
        Kind::Expiry,
    ];

    /// For tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Tickets => "tickets",
            Kind::Registers => "registers",
            Kind::Counters => "counters",
            Kind::Appends => "appends",
            Kind::Expiry => "expiry",
        }
    }

    /// How many clients do it at the same time.
    fn clients(self) -> u32 {
        match self {
            Kind::Tickets | Kind::Appends | Kind::Expiry => 2,
            Kind::Counters => 3,
            Kind::Registers => 4,
        }
    }
}

/// One call as its client saw it.
#[derive(Clone, Debug)]
pub(crate) struct Call<O, R> {
    /// Whoever called. After a call whose outcome is unknown a client counts as another one.
    pub(crate) caller: u64,
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
    pub(crate) operation: O,
    pub(crate) outcome: Outcome<R>,
}

/// A call on a key of the kv plugin.
pub(crate) type KeyCall = Call<Input, Output>;

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<R> {
    Ok(R),
    /// It certainly had no effect.
    Refused,
    /// It may have had an effect, or may yet.
    Unknown,
}

/// Everything that clients saw.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) tickets: Mutex<Vec<Call<(), i64>>>,
    pub(crate) registers: Mutex<Vec<KeyCall>>,
    pub(crate) counters: Mutex<Vec<KeyCall>>,
    pub(crate) appends: Mutex<Vec<KeyCall>>,
    pub(crate) expiry: Mutex<Vec<Call<Expiry, ExpiryAnswer>>>,
}

fn add<T>(list: &Mutex<Vec<T>>, one: T) {
    list.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(one);
}

/// Takes a list out.
pub(crate) fn take<T>(list: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) meter: Meter,
    pub(crate) records: Records,
    stopping: AtomicBool,
    processes: AtomicU32,
    /// An answer that must never be given.
    violation: Mutex<Option<String>>,
}

impl Shared {
    /// The first answer that must never be given, if there was one.
    pub(crate) fn violation(&self) -> Option<String> {
        let violation = self.violation.lock();
        violation.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// How long a client's calls may take: some outlast most faults, so that exactly-once is put to
/// the test; some give up early and do not know what came of their calls.
const TIMEOUTS: [Duration; 3] = [
    Duration::from_millis(1_200),
    Duration::from_secs(3),
    Duration::from_secs(10),
];

/// The running clients. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Workloads {
    pub(crate) shared: Arc<Shared>,
    runtime: tokio::runtime::Runtime,
    clients: JoinSet<Result<()>>,
    addresses: Vec<String>,
    credentials: Credentials,
}

impl Workloads {
    /// Starts all clients.
    pub(crate) fn start(addresses: Vec<String>, pki: &Path, seed: u64) -> Result<Self> {
        let mut workloads = Self {
            shared: Arc::new(Shared {
                meter: Meter::start(),
                records: Records::default(),
                stopping: AtomicBool::new(false),
                processes: AtomicU32::new(0),
                violation: Mutex::default(),
            }),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?,
            clients: JoinSet::new(),
            addresses,
            credentials: Credentials::from_dir_client(pki, "admin")?,
        };
        let mut random = Random::new(seed);
        for kind in Kind::ALL {
            for client in 0..kind.clients() {
                let random = Random::new(random.number());
                let caller = workloads.caller(kind, random)?;
                let handle = workloads.runtime.handle();
                workloads.clients.spawn_on(caller.run(client), handle);
            }
        }
        Ok(workloads)
    }

    fn caller(&self, kind: Kind, mut random: Random) -> Result<Caller> {
        let timeout = *random.pick(&TIMEOUTS);
        let client = Client::builder()
            .servers(self.addresses.clone())
            .credentials(self.credentials.clone())
            .timeout(timeout);
        let client = self.runtime.block_on(client.connect());
        Ok(Caller {
            client: client.context("a client does not connect")?,
            process: self.shared.processes.fetch_add(1, Ordering::Relaxed).into(),
            shared: self.shared.clone(),
            kind,
            random,
        })
    }

    /// Fails when a client has failed or was given an impossible answer.
    pub(crate) fn look(&mut self) -> Result<()> {
        while let Some(done) = self.clients.try_join_next() {
            done.context("a client panicked")??;
        }
        match self.shared.violation() {
            Some(violation) => bail!("{violation}"),
            None => Ok(()),
        }
    }

    /// Has all clients finish their calls, then reads everything once more.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.shared.meter.stop();
        self.shared.stopping.store(true, Ordering::Relaxed);
        while let Some(done) = self.runtime.block_on(self.clients.join_next()) {
            done.context("a client panicked")??;
        }
        for kind in Kind::ALL {
            let mut caller = self.caller(kind, Random::new(0))?;
            self.runtime.block_on(async {
                match kind {
                    Kind::Tickets => tickets::finish(&mut caller).await,
                    Kind::Registers => caller.read_all(|records| &records.registers).await,
                    Kind::Counters => caller.read_all(|records| &records.counters).await,
                    Kind::Appends => caller.read_all(|records| &records.appends).await,
                    Kind::Expiry => expiry::finish(&mut caller).await,
                }
            })?;
        }
        self.look()
    }
}

impl Drop for Workloads {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }
}

/// One client.
#[derive(Debug)]
struct Caller {
    client: Client,
    shared: Arc<Shared>,
    kind: Kind,
    process: u64,
    random: Random,
}

impl Caller {
    async fn run(mut self, number: u32) -> Result<()> {
        while !self.shared.stopping() {
            match self.kind {
                Kind::Tickets => tickets::step(&mut self).await,
                Kind::Registers => registers::step(&mut self).await,
                Kind::Counters => counters::step(&mut self, number).await,
                Kind::Appends => appends::step(&mut self).await,
                Kind::Expiry => expiry::step(&mut self, number).await,
            }
            let pause = self.random.below(20);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.client.close().await;
        Ok(())
    }

    /// Makes a call and tells how it went. `read` says what the reply means; a reply that means
    /// nothing is a violation.
    async fn call<O, R>(
        &mut self,
        operation: O,
        words: &[&[u8]],
        options: &CallOptions,
        read: impl Fn(&Reply) -> Option<R>,
    ) -> Call<O, R> {
        let began = self.shared.meter.now();
        let (command, arguments) = words.split_first().expect("a call has a command");
        let command = std::str::from_utf8(command).expect("commands are text");
        let answer = self.client.call_with(command, arguments, options).await;
        let ended = self.shared.meter.now();
        let (outcome, ending) = match &answer {
            Ok(reply) => {
                if let Some(value) = read(reply) {
                    (Outcome::Ok(value), Ending::Ok)
                } else {
                    self.accuse(words, &answer);
                    (Outcome::Unknown, Ending::Unknown)
                }
            }
            Err(error) => match judge(error) {
                Some(true) => (Outcome::Refused, Ending::Refused),
                Some(false) => (Outcome::Unknown, Ending::Unknown),
                None => {
                    self.accuse(words, &answer);
                    (Outcome::Unknown, Ending::Unknown)
                }
            },
        };
        self.shared.meter.count(self.kind, ending);
        let call = Call {
            caller: self.process,
            began,
            ended,
            operation,
            outcome,
        };
        if ending == Ending::Unknown {
            self.process = self.shared.processes.fetch_add(1, Ordering::Relaxed).into();
        }
        call
    }

    /// Does something with a key.
    async fn act(&mut self, input: &Input, options: &CallOptions) -> KeyCall {
        let words = words(input);
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let read = |reply: &Reply| output(&input.action, reply);
        self.call(input.clone(), &words, options, read).await
    }

    /// Reads all keys of a list of calls once more.
    async fn read_all(&mut self, list: fn(&Records) -> &Mutex<Vec<KeyCall>>) -> Result<()> {
        let keys: BTreeSet<Vec<u8>> = {
            let calls = list(&self.shared.records).lock();
            let calls = calls.unwrap_or_else(PoisonError::into_inner);
            calls
                .iter()
                .map(|call| call.operation.key.clone())
                .collect()
        };
        for key in keys {
            let input = Input::new(key, Action::Get);
            let words = words(&input);
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let read = |reply: &Reply| output(&Action::Get, reply);
            read_at_last(self, list, input.clone(), &words, read).await?;
        }
        Ok(())
    }

    fn accuse(&self, words: &[&[u8]], answer: &Result<Reply, CallError>) {
        let words: Vec<_> = words
            .iter()
            .map(|word| String::from_utf8_lossy(word))
            .collect();
        let mut violation = self.shared.violation.lock();
        let violation = violation.as_mut();
        if let Ok(violation) = violation {
            let text = format!("`{}` was answered {answer:?}", words.join(" "));
            violation.get_or_insert(text);
        }
    }
}

/// The command of the kv plugin.
fn words(input: &Input) -> Vec<Vec<u8>> {
    let (name, arguments) = match &input.action {
        Action::Get => ("get", vec![]),
        Action::Set(value) => ("set", vec![value.clone()]),
        Action::SetIfAbsent(value) => ("setnx", vec![value.clone()]),
        Action::CompareAndSet { expected, new } => ("cas", vec![expected.clone(), new.clone()]),
        Action::Delete => ("del", vec![]),
        Action::Increment(by) => ("incrby", vec![by.to_string().into_bytes()]),
        Action::Append(tail) => ("append", vec![tail.clone()]),
    };
    let name = name.as_bytes().to_vec();
    [name, input.key.clone()]
        .into_iter()
        .chain(arguments)
        .collect()
}

/// What its reply says; `None` for one that it never gives.
fn output(action: &Action, reply: &Reply) -> Option<Output> {
    match action {
        Action::Get => Some(bytes(reply)?.map_or(Output::Nil, Output::Value)),
        Action::Set(_) => (*reply == Reply::Ok).then_some(Output::Done),
        _ => integer(reply).map(Output::Integer),
    }
}

/// Whether an error says that nothing took effect; `None` for one that must not come at all.
///
/// `session_expired` reaches a caller only after several sendings, and an earlier one may have
/// taken effect.
fn judge(error: &CallError) -> Option<bool> {
    match error {
        CallError::Failed(Failure { code, .. }) => match code {
            FailureCode::NoLeader | FailureCode::Overloaded | FailureCode::NoSpace => Some(true),
            FailureCode::NoQuorum | FailureCode::Timeout | FailureCode::Fault => Some(false),
            _ => None,
        },
        CallError::Rejected(Rejection { code, .. }) => match code {
            RejectionCode::SessionExpired | RejectionCode::ReplyForgotten => Some(false),
            RejectionCode::SessionFull | RejectionCode::NoSpace => Some(true),
            _ => None,
        },
    }
}

/// An integer, or the text of one.
fn integer(reply: &Reply) -> Option<i64> {
    match reply {
        Reply::Integer(number) => Some(*number),
        other => std::str::from_utf8(&bytes(other)??).ok()?.parse().ok(),
    }
}

/// A value, or that there is none.
#[expect(clippy::option_option, reason = "the outer one: it is no such reply")]
fn bytes(reply: &Reply) -> Option<Option<Vec<u8>>> {
    match reply {
        Reply::Nil => Some(None),
        Reply::Bytes(bytes) => Some(Some(bytes.clone())),
        Reply::Text(text) => Some(Some(text.clone().into_bytes())),
        _ => None,
    }
}

/// Repeats a read until it is answered: at the end, when everything is healed.
const FINAL_READS_MAX: u32 = 30;

async fn read_at_last<O, R>(
    caller: &mut Caller,
    list: impl Fn(&Records) -> &Mutex<Vec<Call<O, R>>>,
    operation: O,
    words: &[&[u8]],
    read: impl Fn(&Reply) -> Option<R>,
) -> Result<()>
where
    O: Clone,
{
    for _ in 0..FINAL_READS_MAX {
        let call = caller
            .call(operation.clone(), words, &CallOptions::default(), &read)
            .await;
        let done = matches!(call.outcome, Outcome::Ok(_));
        add(list(&caller.shared.records), call);
        if done {
            return Ok(());
        }
    }
    let words: Vec<_> = words
        .iter()
        .map(|word| String::from_utf8_lossy(word))
        .collect();
    bail!(
        "everything is healed, and `{}` is not answered",
        words.join(" ")
    )
}

//! `hostctl bench`: a closed loop of calls. Each connection keeps a number of calls unanswered and
//! sends the next when one is answered, so the latency is that of the offered concurrency.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hostd_protocol::CallError;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::args::{Format, Global, Read, time};
use crate::exit::Exit;
use crate::template::{Random, Template};
use crate::{connect, output};
use hostd_client::{CallOptions, Client};

/// Longest latency that is told apart from longer ones.
const LATENCY_US_MAX: u64 = 120_000_000;

/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Placeholders in arguments:
  {i}         the call's number, from 0
  {rand}      a random number; {rand:N} one below N
  {data:N}    N random letters and digits

Examples:
  hostctl bench ticket --clients 64
  hostctl bench set key:{rand:1000} {data:64} --clients 64 --in-flight 16 --duration 30s
  hostctl bench get key:{rand:1000} --read stale --count 100000 -o json

Each client has a connection of its own, and writes run in its session, as in a program that \
uses the library. Only calls that succeed count for throughput and latency; the others are \
counted by code.")]
pub(crate) struct Bench {
    /// The command's name
    command: String,

    /// Its arguments, with placeholders
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    arguments: Vec<OsString>,

    /// Connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,

    /// Calls that each connection has unanswered at any time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,

    /// How long to go on
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    duration: Duration,

    /// Stop after this many calls instead
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    count: Option<u64>,

    /// The plugin, where two have a command of this name
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,

    /// How fresh a read must be
    #[arg(long, value_enum, value_name = "HOW", default_value = "linearizable")]
    read: Read,
}

/// What all loops share.
struct Load {
    command: String,
    templates: Vec<Template>,
    options: CallOptions,
    /// Number of the next call.
    next: AtomicU64,
    /// Calls to make in all.
    count: u64,
    /// When to stop.
    until: Instant,
    done: AtomicU64,
}

/// What one connection measured.
struct Measured {
    latency_us: Histogram<u64>,
    errors: BTreeMap<String, u64>,
    first_error: Option<CallError>,
}

pub(crate) fn run(global: &Global, arguments: Bench) -> Result<(), Exit> {
    let report = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure(global, arguments))?;
    match global.output {
        Format::Json => output::json(&report)?,
        Format::Text => output::line(report.text().trim_end())?,
    }
    Ok(())
}

async fn measure(global: &Global, arguments: Bench) -> Result<Report, Exit> {
    let clients = connect_all(global, arguments.clients).await?;
    let begun = Instant::now();
    let load = Arc::new(Load {
        command: arguments.command.clone(),
        templates: arguments
            .arguments
            .iter()
            .map(|argument| Template::parse(&argument.clone().into_vec()))
            .collect(),
        options: CallOptions {
            plugin: arguments.plugin.clone(),
            consistency: arguments.read.into(),
            ..CallOptions::default()
        },
        next: AtomicU64::new(0),
        count: arguments.count.unwrap_or(u64::MAX),
        until: match arguments.count {
            // A count has no end in time.
            Some(_) => begun + Duration::from_hours(24 * 365),
            None => begun + arguments.duration,
        },
        done: AtomicU64::new(0),
    });

    let mut loops = JoinSet::new();
    let mut seed = random_seed()?;
    let mut measured = Vec::new();
    for client in &clients {
        let of_client = Arc::new(Mutex::new(Measured::new()));
        measured.push(of_client.clone());
        for _ in 0..arguments.in_flight {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            loops.spawn(work(
                client.clone(),
                load.clone(),
                of_client.clone(),
                Random::new(seed),
            ));
        }
    }
    show_progress(&load, &mut loops, begun, arguments.duration).await;
    let seconds = begun.elapsed().as_secs_f64();

    let mut all = Measured::new();
    for of_client in measured {
        all.add(&mut lock(&of_client));
    }
    let mut leaving = JoinSet::new();
    for client in clients {
        leaving.spawn(client.close());
    }
    leaving.join_all().await;
    match all.first_error {
        // Nothing to report about but the error.
        Some(error) if all.latency_us.is_empty() => Err(error.into()),
        _ => Ok(Report::new(&arguments, seconds, &all)),
    }
}

/// Connects every client, with its session open, so that none of this is measured.
async fn connect_all(global: &Global, count: u32) -> Result<Vec<Client>, Exit> {
    let mut connecting = JoinSet::new();
    for _ in 0..count {
        let builder = connect::builder(global)?;
        connecting.spawn(async move {
            let client = builder.connect().await?;
            client.prepare().await?;
            Ok::<_, CallError>(client)
        });
    }
    let mut clients = Vec::new();
    for connected in connecting.join_all().await {
        clients.push(connected?);
    }
    Ok(clients)
}

/// One of the calls that a connection has unanswered, over and over.
async fn work(client: Client, load: Arc<Load>, measured: Arc<Mutex<Measured>>, mut random: Random) {
    loop {
        let number = load.next.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        if number >= load.count || begun >= load.until {
            return;
        }
        let arguments = load
            .templates
            .iter()
            .map(|template| template.fill(number, &mut random));
        let answer = client
            .call_with(&load.command, arguments, &load.options)
            .await;
        let latency = begun.elapsed();
        let mut measured = lock(&measured);
        match answer {
            Ok(_) => measured.record(latency),
            Err(error) => {
                *measured.errors.entry(error.code().to_owned()).or_default() += 1;
                measured.first_error.get_or_insert(error);
            }
        }
        drop(measured);
        load.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for all loops, and shows on a terminal how far they are.
async fn show_progress(load: &Load, loops: &mut JoinSet<()>, begun: Instant, duration: Duration) {
    let all_done = async { while loops.join_next().await.is_some() {} };
    if !std::io::stderr().is_terminal() {
        return all_done.await;
    }
    let bar = ProgressBar::new(100);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}") {
        bar.set_style(style);
    }
    let ticks = async {
        let mut ticker = tokio::time::interval(TICK);
        loop {
            ticker.tick().await;
            let done = load.done.load(Ordering::Relaxed);
            let elapsed = begun.elapsed().as_secs_f64();
            let share = match load.count {
                u64::MAX => elapsed / duration.as_secs_f64(),
                count => done as f64 / count as f64,
            };
            bar.set_position((share * 100.0).min(100.0) as u64);
            bar.set_message(format!("{:.0} calls/s", done as f64 / elapsed.max(0.001)));
        }
    };
    tokio::select! {
        () = all_done => {}
        () = ticks => {}
    }
    bar.finish_and_clear();
}

impl Measured {
    fn new() -> Self {
        Self {
            latency_us: Histogram::new_with_max(LATENCY_US_MAX, 3)
                .expect("three digits up to two minutes are within the histogram's bounds"),
            errors: BTreeMap::new(),
            first_error: None,
        }
    }

    fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record(us.max(1));
    }

    fn add(&mut self, other: &mut Self) {
        self.latency_us
            .add(&other.latency_us)
            .expect("all histograms have the same bounds");
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        self.first_error = self.first_error.take().or(other.first_error.take());
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    command: String,
    clients: u32,
    in_flight: u32,
    seconds: f64,
    /// Calls that succeeded.
    calls: u64,
    calls_per_second: f64,
    latency_us: Latency,
    /// By code.
    errors: BTreeMap<String, u64>,
    /// One error's message, to begin with.
    first_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Latency {
    min: u64,
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    #[serde(rename = "p99.9")]
    p99_9: u64,
    max: u64,
}

impl Report {
    fn new(arguments: &Bench, seconds: f64, measured: &Measured) -> Self {
        let latency = &measured.latency_us;
        let calls = latency.len();
        let mut command = arguments.command.clone();
        for argument in &arguments.arguments {
            command.push(' ');
            command.push_str(&argument.to_string_lossy());
        }
        Self {
            command,
            clients: arguments.clients,
            in_flight: arguments.in_flight,
            seconds,
            calls,
            calls_per_second: calls as f64 / seconds,
            latency_us: Latency {
                min: latency.min(),
                mean: latency.mean(),
                p50: latency.value_at_quantile(0.5),
                p90: latency.value_at_quantile(0.9),
                p99: latency.value_at_quantile(0.99),
                p99_9: latency.value_at_quantile(0.999),
                max: latency.max(),
            },
            errors: measured.errors.clone(),
            first_error: measured
                .first_error
                .as_ref()
                .map(|error| format!("{}: {}", error.code(), error.message())),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let ms = |us: u64| us as f64 / 1_000.0;
        let latency = &self.latency_us;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}\n{} clients, {} in flight each, {:.2} s\n\n{:<12}{}\n{:<12}{:.0}",
            self.command,
            self.clients,
            self.in_flight,
            self.seconds,
            "calls",
            self.calls,
            "calls/s",
            self.calls_per_second,
        );
        for (name, us) in [
            ("p50", latency.p50),
            ("p90", latency.p90),
            ("p99", latency.p99),
            ("p99.9", latency.p99_9),
            ("max", latency.max),
        ] {
            let _ = writeln!(text, "{name:<12}{:.3} ms", ms(us));
        }
        if self.errors.is_empty() {
            text.push_str("errors      none\n");
        }
        for (code, count) in &self.errors {
            let _ = writeln!(text, "errors      {count} {code}");
        }
        if let Some(error) = &self.first_error {
            let _ = writeln!(text, "such as     {error}");
        }
        text
    }
}

fn random_seed() -> Result<u64, Exit> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| Exit::Io(std::io::Error::other(error)))?;
    Ok(u64::from_le_bytes(bytes))
}

fn lock(measured: &Mutex<Measured>) -> MutexGuard<'_, Measured> {
    measured
        .lock()
        .expect("nothing panics while it holds the lock")
}

//! One run: a cluster forms, things go wrong while clients work, everything is mended, and what
//! happened is judged.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::chance::Chance;
use crate::entropy;
use crate::fixtures::Fixtures;
use crate::plan::{self, Plan};
use crate::trace::{Counters, Listener, Trace};
use crate::workloads::Load;
use crate::world::{Violation, World};

/// A cluster must have formed within.
const FORM_MS: u64 = 60_000;
/// After everything is mended, all nodes must run within. The one operator may have a queue of other
/// things to do before a damaged node is replaced (seed 270).
const MEND_MS: u64 = 240_000;
/// Within which states that are wrong must be found, and their nodes be mended.
const SETTLE_MS: u64 = 60_000;
/// And clients must get answers, all of them, for as long as.
const AFTER_MS: u64 = 3_000;
/// Within which the rules must have risen where all nodes are upgraded.
const RAISE_MS: u64 = 30_000;
/// Within which their last requests must be answered.
const LAST_ANSWERS_MS: u64 = 60_000;
/// Within which all nodes must agree on a checkpoint at the end.
const AGREE_MS: u64 = 60_000;
/// Stack of the thread that simulates: the machine runs on it.
const STACK_BYTES: usize = 64 << 20;
/// Lines of the trace that a report shows.
const REPORT_LINES: usize = 400;

/// What a run is to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// The seed.
    pub(crate) seed: u64,
    /// Only these kinds of faults and operations; all when empty.
    pub(crate) only: Vec<String>,
    /// Only these events of the plan; all when `None`.
    pub(crate) events: Option<Vec<usize>>,
    /// Print the trace while it happens.
    pub(crate) loud: bool,
}

/// How a run went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The seed.
    pub(crate) seed: u64,
    /// What was broken, if anything was.
    pub(crate) violation: Option<String>,
    /// The check that found it.
    pub(crate) check: Option<String>,
    /// A hash of everything that happened.
    pub(crate) trace: String,
    /// Simulated time.
    pub(crate) simulated_ms: u64,
    /// How often things happened.
    pub(crate) counts: BTreeMap<String, u64>,
    /// The numbers of the plan's events that happened.
    pub(crate) events: Vec<usize>,
    /// The last lines of the trace, if something was broken.
    pub(crate) lines: Vec<String>,
}

/// Runs one seed.
pub(crate) fn run(options: Options, fixtures: Fixtures) -> Outcome {
    let (seed, loud) = (options.seed, options.loud);
    match simulating(seed, loud, move |trace| simulate(&options, fixtures, trace)) {
        Ok(outcome) => outcome,
        // Already printed. Nothing else of this process can be trusted.
        Err(_) => std::process::exit(101),
    }
}

/// Calls a function in a thread of its own, whose entropy follows from the seed and whose nodes are
/// heard by a trace.
pub(crate) fn simulating<T: Send + 'static>(
    seed: u64,
    loud: bool,
    function: impl FnOnce(&Trace) -> T + Send + 'static,
) -> std::thread::Result<T> {
    let thread = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || {
            entropy::decide(seed);
            let trace = Trace::new(loud);
            let listener = Listener::new(trace.clone(), tracing::Level::INFO);
            tracing::subscriber::with_default(listener, || function(&trace))
        })
        .expect("a thread");
    thread.join()
}

fn simulate(options: &Options, fixtures: Fixtures, trace: &Trace) -> Outcome {
    let mut plan = Plan::of(options.seed, &options.only);
    if let Some(kept) = &options.events {
        plan.events.retain(|event| kept.contains(&event.number));
    }
    let counters = Counters::default();
    let mut simulated_ms = 0;
    let judged = World::new(&plan, fixtures, trace.clone(), counters.clone())
        .map_err(|error| Violation::new("simulator", error))
        .and_then(|mut world| {
            let judged = story(&plan, &mut world);
            simulated_ms = world.now_ms();
            judged
        });
    let violation = judged.err();
    Outcome {
        seed: options.seed,
        check: violation.as_ref().map(|violation| violation.check.clone()),
        violation: violation.as_ref().map(ToString::to_string),
        trace: trace.hash(),
        simulated_ms,
        counts: counters
            .all()
            .into_iter()
            .map(|(what, times)| (what.to_owned(), times))
            .collect(),
        events: plan.events.iter().map(|event| event.number).collect(),
        lines: match violation {
            Some(_) => trace.last_lines(REPORT_LINES),
            None => Vec::new(),
        },
    }
}

fn story(plan: &Plan, world: &mut World) -> Result<(), Violation> {
    let formed = world.run_until(FORM_MS, |world| world.all_ready())?;
    if !formed {
        return Err(Violation::new("liveness", "the cluster does not form"));
    }
    world.trace.say("the cluster has formed");
    world.invariants.formed();
    let load = Load::start(plan, world);
    for event in &plan.events {
        let event = event.clone();
        world.later(event.at_ms, move |world| {
            let Some(fault) = plan::named(&event.what) else {
                return;
            };
            let stream = format!("event {} {}", event.number, event.what);
            let mut chance = Chance::new(world.seed, &stream);
            world.trace.say(&format!(
                "event {}: {} for {} ms",
                event.number, event.what, event.for_ms
            ));
            world.counters.add(fault.name(), 1);
            fault.begin(world, &mut chance, event.for_ms);
        });
    }
    world.run_until(plan.length_ms, |_| false)?;
    world.heal();
    if !world.run_until(MEND_MS, World::all_well)? {
        return Err(Violation::new(
            "liveness",
            format!(
                "not all nodes are well {MEND_MS} ms after everything was mended: {}",
                world.unwell()
            ),
        ));
    }
    world.trace.say("all nodes are well");
    if !world.run_until(SETTLE_MS, World::settled)? {
        return Err(Violation::new(
            "divergence",
            world.invariants.unsettled().map_or_else(
                || "a node does not come back".to_owned(),
                |id| format!("the state of node {id} is wrong, and it is not quarantined"),
            ),
        ));
    }
    let done = load.completed();
    world.run_until(AFTER_MS, |_| false)?;
    if load.completed() == done {
        return Err(Violation::new(
            "liveness",
            "no request is answered though everything is mended",
        ));
    }
    if !world.run_until(RAISE_MS, World::follows_newest_rules)? {
        return Err(Violation::new(
            "rules",
            "all nodes are upgraded, and the cluster still follows the old rules",
        ));
    }
    load.stop();
    if !world.run_until(LAST_ANSWERS_MS, |_| load.has_ended())? {
        return Err(Violation::new(
            "liveness",
            format!("clients still wait for answers: {}", load.waiting()),
        ));
    }
    if !world.run_until(AGREE_MS, World::agreed_on_last_checkpoint)? {
        return Err(Violation::new(
            "liveness",
            "the nodes do not reach a common checkpoint",
        ));
    }
    load.judge(world)
}

//! Random sequences of host calls from a guest, on three replicas and against a model.
//!
//! The plugin `tests/fixtures/scripted` takes its argument as steps. One replica applies the log as
//! it is; one writes its checkpoints late and restarts; one installs snapshots. All must have the
//! same outcomes, fuel, events and digests, and what [`model`] says.

mod model;

use std::sync::OnceLock;

use arbitrary::Unstructured;
use hostd_protocol::{Command, Limits, Outcome, RejectionCode, Reply};

use super::Target;
use crate::disk::Disk;
use crate::machines::Rig;
use crate::replicas::Replicas;
use model::{Expected, Model};

pub(super) const TARGET: Target = Target {
    name: "script",
    what: "any host calls give what a model says, the same on replicas that restart and catch up",
    run,
    seeds,
    bytes_max: 2048,
    inputs: 1_500,
};

const PLUGIN: &str = "scripted";

/// Small enough that a few steps meet them.
pub(crate) fn limits() -> Limits {
    Limits {
        fuel_per_command: 5_000_000,
        memory_bytes_max: 32 << 20,
        reply_bytes_max: 256 << 10,
        key_bytes_max: 512,
        value_bytes_max: 16 << 10,
        timers_per_wake: 4,
        ..Limits::default()
    }
}

fn rig() -> Rig {
    static MADE: OnceLock<Disk> = OnceLock::new();
    Rig::with_plugins(&MADE, limits, &["tests/fixtures/scripted"])
}

/// What happens next.
enum Action {
    Batch(Vec<Vec<u8>>),
    Wake,
    Read(Vec<u8>),
    Checkpoint,
    /// The first replica writes its checkpoint to disk only now.
    Flush,
    Restart,
    CatchUp,
}

fn action(choices: &mut Unstructured<'_>) -> arbitrary::Result<Action> {
    let script = |choices: &mut Unstructured<'_>| -> arbitrary::Result<Vec<u8>> {
        let length = usize::from(choices.arbitrary::<u8>()?).min(choices.len());
        Ok(choices.bytes(length)?.to_vec())
    };
    Ok(match choices.int_in_range(0..=15u8)? {
        0..=6 => Action::Batch(vec![script(choices)?]),
        7 => Action::Batch(
            (0..choices.int_in_range(2..=4u8)?)
                .map(|_| script(choices))
                .collect::<Result<_, _>>()?,
        ),
        8 | 9 => Action::Wake,
        10 | 11 => Action::Read(script(choices)?),
        12 => Action::Checkpoint,
        13 => Action::Flush,
        14 => Action::Restart,
        _ => Action::CatchUp,
    })
}

fn run(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let mut replicas = Replicas::new(rig);
    let mut model = Model::new(limits(), replicas.steady.machine.views().latest().time());
    while !choices.is_empty() && replicas.len() < 40 {
        let elapsed = choices.arbitrary::<u8>().unwrap_or_default();
        let time = model.time() + u64::from(elapsed);
        let Ok(action) = action(&mut choices) else {
            break;
        };
        match action {
            Action::Batch(scripts) => {
                let commands = scripts.iter().map(|script| call(script)).collect();
                let applied = replicas.batch(time, commands);
                let mut events = Vec::new();
                for (offset, (script, outcome)) in scripts.iter().zip(&applied.outcomes).enumerate()
                {
                    let expected = model.write(time + offset as u64, script, outcome, &mut events);
                    check(&expected, outcome, script);
                }
                let told: Vec<_> = applied
                    .events
                    .into_iter()
                    .map(|event| (event.topic, event.payload))
                    .collect();
                assert_eq!(told, events);
            }
            Action::Wake => {
                let applied = replicas.batch(time, vec![Command::Wake]);
                let fired = model.wake(time);
                if let Some(fired) = fired {
                    assert_eq!(applied.outcomes, [Ok(Reply::Integer(fired))]);
                } else {
                    // What the handlers did cannot be told from outside.
                    break;
                }
            }
            Action::Read(script) => {
                let outcome = replicas
                    .steady
                    .query(PLUGIN, "read", &[script.clone().into()]);
                if let Some(expected) = model.read(&script) {
                    check(&expected, &outcome, &script);
                }
            }
            Action::Checkpoint => {
                replicas.checkpoint(time);
                model.checkpoint(time);
            }
            Action::Flush => replicas.steady.flush(),
            Action::Restart => replicas.restart(),
            Action::CatchUp => replicas.catch_up(),
        }
        let timer = replicas.steady.machine.views().latest().next_timer();
        assert_eq!(timer, model.next_timer(), "the first timer");
        assert_eq!(
            replicas.steady.machine.views().latest().time(),
            model.time()
        );
    }
    replicas.compare();
}

fn call(script: &[u8]) -> Command {
    Command::Call {
        principal: "fuzz".into(),
        plugin: Some(PLUGIN.into()),
        command: "write".into(),
        arguments: vec![script.to_vec().into()],
        once: None,
    }
}

fn check(expected: &Expected, outcome: &Outcome, script: &[u8]) {
    let steps = || scripted::steps::Reader::new(script).collect::<Vec<_>>();
    match (expected, outcome) {
        (Expected::Given(given), Ok(Reply::Array(items))) => {
            assert_eq!(given.len(), items.len());
            for (number, (given, item)) in given.iter().zip(items).enumerate() {
                if let Some(given) = given {
                    let same = matches!(item, Reply::Bytes(bytes) if bytes == given);
                    assert!(
                        same,
                        "step {number} of {:?}: {item:?}, not {given:?}",
                        steps()
                    );
                }
            }
        }
        (Expected::Reply(reply), Ok(other)) => {
            let encode = hostd_protocol::codec::encode::<Reply>;
            assert_eq!(encode(reply), encode(other), "{reply:?} {other:?}");
        }
        (Expected::Rejected(code), Err(rejection)) => {
            assert_eq!(code, &rejection.code, "{:?}", steps());
        }
        // So much was asked for that some limit may have been met first.
        (Expected::Exhausted, Err(rejection)) => assert!(
            matches!(
                rejection.code,
                RejectionCode::FuelExhausted
                    | RejectionCode::MemoryExceeded
                    | RejectionCode::TooLarge
                    | RejectionCode::Trapped
            ),
            "{rejection:?} {:?}",
            steps()
        ),
        (expected, outcome) => panic!("{expected:?} and not {outcome:?} of {:?}", steps()),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    // Elapsed time, action, the script's length, the script.
    let write = |script: &[u8]| [&[5, 0, script.len() as u8], script].concat();
    let put = |key: u8, value: u8| vec![3, key, value];
    let actions: [Vec<u8>; 12] = [
        write(&[put(60, 40), put(120, 50), vec![0, 60]].concat()),
        write(&[13, 0, 0, 14, 2, 0, 17, 0, 0]),
        vec![1, 12],
        write(&[22, 3, 3, 60, 40, 9, 22, 1, 30, 9, 19, 20, 21, 200, 30]),
        vec![50, 8],
        vec![1, 10, 4, 13, 0, 0, 30],
        vec![1, 15],
        write(&[put(70, 60), vec![230]].concat()),
        write(&[put(70, 60), vec![224]].concat()),
        write(&[
            12, 5, 1, 60, 40, 0, 61, 1, 62, 60, 27, 3, b'a', b'b', b'c', 90, 238, 3, 6, 2, 2, 1, 4,
            1, b'x',
        ]),
        vec![1, 14],
        vec![1, 13],
    ];
    vec![
        actions.concat(),
        actions.iter().rev().flatten().copied().collect(),
        actions[..3].concat(),
    ]
}

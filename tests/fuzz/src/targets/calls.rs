//! Random calls of the plugins that come with hostd: they never trap, and replicas agree over
//! restarts and snapshots, with sessions and idempotency keys.

use std::sync::OnceLock;

use arbitrary::Unstructured;
use hostd_protocol::{
    Access, ArgumentKind, ArgumentType, Command, CommandDescription, Limits, Once, Outcome,
    RejectionCode,
};
use serde_bytes::ByteBuf;

use super::Target;
use crate::disk::Disk;
use crate::machines::Rig;
use crate::replicas::Replicas;

pub(super) const TARGET: Target = Target {
    name: "calls",
    what: "hostd's own plugins never trap, and replicas agree over restarts and snapshots",
    run,
    seeds,
    bytes_max: 1024,
    inputs: 400,
};

fn rig() -> Rig {
    static MADE: OnceLock<Disk> = OnceLock::new();
    Rig::with_plugins(&MADE, Limits::default, &["plugins/kv", "plugins/ticket"])
}

fn run(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let mut replicas = Replicas::new(rig);
    let descriptions = replicas.steady.machine.views().latest().descriptions();
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    for description in &descriptions {
        for command in &description.commands {
            match command.access {
                Access::Write => writes.push(command),
                Access::Read => reads.push(command),
            }
        }
    }
    let mut time = 1_735_689_600_000_000_000;
    while !choices.is_empty() && replicas.len() < 60 {
        match choices.int_in_range(0..=31u8).unwrap_or(0) {
            0..=19 => {
                let commands = (0..choices.int_in_range(1..=3u8).unwrap_or(1))
                    .filter_map(|_| some_call(&mut choices, &writes))
                    .collect();
                let applied = replicas.batch(time, commands);
                applied.outcomes.iter().for_each(is_sound);
            }
            20..=24 => {
                if let Ok(command) = choices.choose(&reads) {
                    let arguments = arguments(&mut choices, command);
                    let view = replicas.steady.machine.views().latest();
                    let outcome = view
                        .query(None, &command.name, &arguments, hostd_machine::Budget::Full)
                        .expect("a plugin never causes a fault");
                    is_sound(&outcome);
                }
            }
            25 => time += choices.arbitrary::<u64>().unwrap_or(0) >> 8,
            26 => time += u64::from(choices.arbitrary::<u16>().unwrap_or(0)) << 20,
            27 => drop(replicas.batch(time, vec![Command::Wake])),
            28 => replicas.checkpoint(time),
            29 => replicas.restart(),
            30 => replicas.steady.flush(),
            _ => replicas.catch_up(),
        }
        // A time that is no longer one would be the leader's fault, not a plugin's.
        time = time.min(u64::MAX / 2);
    }
    replicas.compare();
}

/// A plugin of hostd's own never traps, and its commands are cheap.
fn is_sound(outcome: &Outcome) {
    if let Err(rejection) = outcome {
        assert!(
            !matches!(
                rejection.code,
                RejectionCode::Trapped
                    | RejectionCode::FuelExhausted
                    | RejectionCode::MemoryExceeded
                    | RejectionCode::ReadOnly
            ),
            "{rejection:?}"
        );
    }
}

fn some_call(choices: &mut Unstructured<'_>, commands: &[&CommandDescription]) -> Option<Command> {
    let principal = (*choices.choose(&["alice", "bob"]).ok()?).to_owned();
    Some(match choices.int_in_range(0..=31u8).ok()? {
        0 => Command::OpenSession { principal },
        1 => Command::CloseSession {
            principal,
            session: choices.int_in_range(0..=3u64).ok()?,
        },
        kind => {
            let command = choices.choose(commands).ok()?;
            let once = match kind {
                2..=5 => Some(Once::Session {
                    session: choices.int_in_range(0..=3u64).ok()?,
                    sequence: choices.int_in_range(0..=6u64).ok()?,
                    acknowledged: choices.int_in_range(0..=6u64).ok()?,
                }),
                6 | 7 => Some(Once::Key((*choices.choose(&["a", "b", ""]).ok()?).into())),
                _ => None,
            };
            Command::Call {
                principal,
                plugin: None,
                command: command.name.clone(),
                arguments: arguments(choices, command),
                once,
            }
        }
    })
}

/// Arguments as the description has them, more or less.
pub(super) fn arguments(
    choices: &mut Unstructured<'_>,
    command: &CommandDescription,
) -> Vec<ByteBuf> {
    let mut arguments: Vec<ByteBuf> = Vec::new();
    for argument in &command.arguments {
        let often = match &argument.kind {
            ArgumentKind::Required => 1,
            ArgumentKind::Repeated => choices.int_in_range(1..=3u8).unwrap_or(1),
            _ => u8::from(choices.ratio(1u8, 4u8).unwrap_or(false)),
        };
        for _ in 0..often.min(100) {
            if let ArgumentKind::Keyword(word) | ArgumentKind::Flag(word) = &argument.kind {
                arguments.push(word.clone().into_bytes().into());
            }
            if !matches!(argument.kind, ArgumentKind::Flag(_)) {
                arguments.push(word(choices, argument.value).into());
            }
        }
        if arguments.len() > 200 {
            break;
        }
    }
    if choices.ratio(1u8, 16u8).unwrap_or(false) {
        arguments.push(word(choices, ArgumentType::Bytes).into());
    }
    arguments
}

fn word(choices: &mut Unstructured<'_>, kind: ArgumentType) -> Vec<u8> {
    // Now and then something of another type.
    let kind = match choices.int_in_range(0..=15u8).unwrap_or(1) {
        0 => ArgumentType::Bytes,
        _ => kind,
    };
    match kind {
        ArgumentType::Integer => match choices.int_in_range(0..=7u8).unwrap_or(0) {
            0 => i64::MAX.to_string(),
            1 => i64::MIN.to_string(),
            2 => choices.arbitrary::<i64>().unwrap_or(0).to_string(),
            _ => choices.arbitrary::<i8>().unwrap_or(0).to_string(),
        }
        .into_bytes(),
        ArgumentType::Double => choices
            .arbitrary::<f64>()
            .unwrap_or(0.0)
            .to_string()
            .into_bytes(),
        ArgumentType::Text | ArgumentType::Bytes => {
            match choices.int_in_range(0..=9u8).unwrap_or(0) {
                // Few keys, so that commands meet on them.
                0..=5 => vec![b'a' + choices.int_in_range(0..=3u8).unwrap_or(0)],
                6 => b"*".to_vec(),
                7 => choices
                    .arbitrary::<i16>()
                    .unwrap_or(0)
                    .to_string()
                    .into_bytes(),
                _ => {
                    let length = usize::from(choices.arbitrary::<u8>().unwrap_or(0) % 40);
                    choices
                        .bytes(length.min(choices.len()))
                        .unwrap_or_default()
                        .to_vec()
                }
            }
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    (1..12)
        .map(|seed| crate::mutate::Random::new(seed).bytes(400))
        .collect()
}

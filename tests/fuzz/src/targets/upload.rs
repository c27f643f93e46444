//! Plugins that nobody wrote: real components with changes, and random modules in the place of a
//! plugin's code. Each is refused, alike by every node, or is a plugin that every node runs alike.
//! Nothing takes longer than its size or its fuel is worth.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arbitrary::Unstructured;
use hostd_machine::{Engine, Plugin};
use hostd_protocol::{Access, Command, CommandDescription, Limits, PluginDescription};
use wasm_mutate::WasmMutate;

use super::Target;
use crate::components::{main_module, transplant};
use crate::disk::Disk;
use crate::machines::{Rig, Seen, component};
use crate::mutate::{self, Random};

pub(super) const TARGET: Target = Target {
    name: "upload",
    what: "any component is refused or runs, alike on every node, and never stalls one",
    run,
    seeds,
    bytes_max: 512,
    inputs: 100,
};

const PLUGINS: [&str; 4] = [
    "plugins/ticket",
    "tests/fixtures/scripted",
    "plugins/kv",
    "tests/fixtures/hostile",
];

/// Random modules from the build script: first those with the shape of a plugin's.
const SMITH: &[&[u8]] = include!(concat!(env!("OUT_DIR"), "/smith.rs"));

/// What looking at a component may take, however it is made, plus so much for each byte. Ten times
/// what it takes on a machine that does nothing else.
const LOOK_MAX: Duration = Duration::from_secs(8);
const LOOK_MAX_PER_BYTE: Duration = Duration::from_micros(40);

/// What a command with all its fuel may take.
const CALL_MAX: Duration = Duration::from_secs(8);

const FUEL: u64 = 3_000_000;

fn limits() -> Limits {
    Limits {
        fuel_per_command: FUEL,
        memory_bytes_max: 16 << 20,
        component_bytes_max: 1 << 20,
        ..Limits::default()
    }
}

fn rig() -> Rig {
    static MADE: OnceLock<Disk> = OnceLock::new();
    Rig::with_plugins(&MADE, limits, &[])
}

/// Another node's engine, which shares nothing with the first one's.
fn other_engine() -> Arc<Engine> {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    Arc::clone(ENGINE.get_or_init(|| Arc::new(Engine::new().expect("an engine"))))
}

fn run(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let Some(file) = make(&mut choices) else {
        return;
    };
    let start = Instant::now();
    let Ok(component) = Plugin::component_bytes(&file) else {
        // What is no component is none in the log either.
        assert!(install(&mut rig(), &file).is_none());
        return;
    };
    let mut one = rig();
    let described = install(&mut one, &component);
    let allowed = LOOK_MAX + LOOK_MAX_PER_BYTE * file.len() as u32;
    assert!(start.elapsed() < allowed, "it took {:?}", start.elapsed());

    let elsewhere = choices.ratio(1u8, 4u8).unwrap_or(false);
    let mut other = if elsewhere {
        let disk = rig().into_disk();
        Rig::with_engine(other_engine(), disk)
    } else {
        rig()
    };
    assert_eq!(install(&mut other, &component), described, "nodes disagree");
    let Some(description) = described else { return };
    call(&mut choices, &description, one, other);
}

/// Installs a component, and returns what it says about itself.
fn install(rig: &mut Rig, component: &[u8]) -> Option<PluginDescription> {
    let install = Command::Install {
        principal: "fuzz".into(),
        component: component.to_vec(),
    };
    let applied = rig.batch(2_000_000, vec![install]);
    let installed = rig.machine.views().latest().descriptions().pop();
    assert_eq!(applied.outcomes[0].is_ok(), installed.is_some());
    installed
}

/// Calls what the plugin says it has, on two machines, one of which restarts.
fn call(
    choices: &mut Unstructured<'_>,
    description: &PluginDescription,
    mut one: Rig,
    mut other: Rig,
) {
    let mut time = 3_000_000;
    for round in 0..4u8 {
        let commands: Vec<Command> = (0..choices.int_in_range(1..=3u8).unwrap_or(1))
            .filter_map(|_| some_command(choices, description))
            .chain([Command::Wake])
            .collect();
        let start = Instant::now();
        let count = commands.len() as u32;
        time += u64::from(choices.arbitrary::<u16>().unwrap_or(0)) * 1_000_000;
        let applied = one.batch(time, commands.clone());
        let allowed = CALL_MAX * (count + limits().timers_per_wake as u32);
        assert!(start.elapsed() < allowed, "it took {:?}", start.elapsed());
        // A wake is as many commands as timers fire.
        assert!(
            applied.fuel[..commands.len() - 1]
                .iter()
                .all(|fuel| *fuel <= FUEL)
        );
        assert_eq!(Seen::of(&other.batch(time, commands)), Seen::of(&applied));
        for command in &description.commands {
            if command.access == Access::Read && choices.ratio(1u8, 8u8).unwrap_or(false) {
                let arguments = arguments(choices, command);
                drop(one.query(&description.name, &command.name, &arguments));
            }
        }
        if round == 1 {
            assert_eq!(one.checkpoint(time), other.checkpoint(time));
            other = other.restart();
        }
    }
    assert_eq!(one.checkpoint(time), other.checkpoint(time));
}

fn some_command(
    choices: &mut Unstructured<'_>,
    description: &PluginDescription,
) -> Option<Command> {
    let command = choices.choose(&description.commands).ok()?;
    Some(Command::Call {
        principal: "fuzz".into(),
        plugin: Some(description.name.clone()),
        command: command.name.clone(),
        arguments: arguments(choices, command),
        once: None,
    })
}

fn arguments(
    choices: &mut Unstructured<'_>,
    command: &CommandDescription,
) -> Vec<serde_bytes::ByteBuf> {
    super::calls::arguments(choices, command)
}

/// The file that the choices stand for.
fn make(choices: &mut Unstructured<'_>) -> Option<Vec<u8>> {
    let kind = choices.int_in_range(0..=9u8).ok()?;
    let base = component(choices.choose(&PLUGINS).ok()?);
    Some(match kind {
        // Damage anywhere.
        0 | 1 => damaged(choices, base.to_vec(), 0),
        // Damage behind the part that all components share.
        2 => {
            let start = main_module(&base)?.1.start;
            damaged(choices, base.to_vec(), start)
        }
        // The code, still valid, and something else than it was.
        3..=6 => {
            let module = mutated(choices, base[main_module(&base)?.1].to_vec())?;
            if kind == 6 {
                module
            } else {
                transplant(&base, &module)
            }
        }
        // Random code.
        7 | 8 => {
            let shell = component("tests/fixtures/scripted");
            transplant(&shell, choices.choose(SMITH).ok()?)
        }
        _ => {
            let module = choices.choose(SMITH).ok()?.to_vec();
            damaged(choices, module, 0)
        }
    })
}

fn damaged(choices: &mut Unstructured<'_>, mut bytes: Vec<u8>, start: usize) -> Vec<u8> {
    let mut tail = bytes.split_off(start.min(bytes.len()));
    let changes = choices.int_in_range(0..=3u8).unwrap_or(0);
    for _ in 0..changes {
        let mut random = Random::new(choices.arbitrary::<u32>().unwrap_or(0).into());
        mutate::change(&mut random, &mut tail, &[]);
    }
    bytes.extend(tail);
    bytes
}

fn mutated(choices: &mut Unstructured<'_>, mut module: Vec<u8>) -> Option<Vec<u8>> {
    let rounds = choices.int_in_range(1..=6u8).ok()?;
    for _ in 0..rounds {
        let mut mutate = WasmMutate::default();
        mutate
            .seed(choices.arbitrary::<u32>().unwrap_or(0).into())
            // Its search for equal expressions takes seconds without it.
            .fuel(50)
            .preserve_semantics(choices.ratio(1u8, 4u8).unwrap_or(false));
        // It knows not every instruction, and says so with an error.
        let next = match mutate.run(&module) {
            Ok(mut mutations) => mutations.next(),
            Err(_) => None,
        };
        if let Some(Ok(next)) = next {
            module = next;
        }
    }
    Some(module)
}

fn seeds() -> Vec<Vec<u8>> {
    (0..10u8)
        .flat_map(|kind| (0..4u8).map(move |base| (kind, base)))
        .map(|(kind, base)| {
            let noise = Random::new(u64::from(kind) * 4 + u64::from(base)).bytes(60);
            [vec![kind, base], noise].concat()
        })
        .collect()
}

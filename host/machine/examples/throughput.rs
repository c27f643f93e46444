//! How fast the machine alone applies a command: `cargo run --release -p hostd-machine --example
//! throughput -- PLUGIN.wasm COMMAND [ARG]...`
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::Instant;

use hostd_machine::{Engine, Input, Machine, Plugin, Position};
use hostd_protocol::{Batch, Command, Entry, Limits};

const BATCH: usize = 64;
const ENTRIES: u64 = 2_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().expect("a plugin's file");
    let command = arguments.next().expect("a command");
    let arguments: Vec<_> = arguments
        .map(|argument| argument.into_bytes().into())
        .collect();
    let engine = Arc::new(Engine::new().expect("an engine"));
    let component = Plugin::component_bytes(&std::fs::read(file).expect("a readable file"))
        .expect("a component");
    let backend = redb::backends::InMemoryBackend::new();
    let mut machine = Machine::open(engine, backend).expect("an empty state opens");
    let found = Command::Found {
        cluster: "c".into(),
        engine: Engine::identity(),
        limits: Limits::default(),
    };
    let install = Command::Install {
        principal: "me".into(),
        component,
    };
    let call = Command::Call {
        principal: "me".into(),
        plugin: None,
        command,
        arguments,
        once: None,
    };
    let mut index = 0;
    let mut apply = |commands: Vec<Command>| {
        index += 1;
        let entry = Entry::Batch(Batch {
            time: index,
            seed: [7; 16],
            commands,
        });
        let applied = machine
            .apply(Position { term: 1, index }, Input::Entry(entry))
            .expect("no fault");
        machine.publish();
        applied
    };
    println!("{:?}", apply(vec![found, install]).outcomes);
    let first = apply(vec![call.clone()]);
    println!("{:?}, fuel {:?}", first.outcomes, first.fuel);
    let start = Instant::now();
    for _ in 0..ENTRIES {
        apply(vec![call.clone(); BATCH]);
    }
    let each = start.elapsed() / (ENTRIES as u32 * BATCH as u32);
    println!("{each:?} a command");
}

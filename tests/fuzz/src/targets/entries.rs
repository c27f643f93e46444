//! Log entries, as they come from peers and from this node's own log.

use hostd_protocol::entry::CheckpointDigest;
use hostd_protocol::{Batch, Command, EngineIdentity, Entry, Limits, Once, TokenChange};

use super::{Target, decoded_as, round_trip, seed};

pub(super) const TARGET: Target = Target {
    name: "entries",
    what: "log entries decode or fail, in memory that their bytes are worth",
    run,
    seeds,
    bytes_max: 4096,
    inputs: 100_000,
};

fn run(bytes: &[u8]) {
    let Some((choice, bytes)) = decoded_as(bytes) else {
        return;
    };
    let bytes = &*bytes;
    match choice % 3 {
        // A wake is one byte on the wire, and a command of the largest kind in memory.
        0 => round_trip::<Entry>(bytes, 3 * size_of::<Command>()),
        1 => round_trip::<Command>(bytes, 72),
        _ => round_trip::<Limits>(bytes, 1),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let call = |once| Command::Call {
        principal: "alice".into(),
        plugin: Some("kv".into()),
        command: "set".into(),
        arguments: vec![b"key".to_vec().into(), b"value".to_vec().into()],
        once,
    };
    let commands = vec![
        Command::Found {
            cluster: "c0ffee".into(),
            engine: EngineIdentity {
                wasmtime: "48".into(),
                target: "x".into(),
                rules: 1,
            },
            limits: Limits::default(),
        },
        Command::Install {
            principal: "alice".into(),
            component: b"\0asm".to_vec(),
        },
        call(None),
        call(Some(Once::Key("a-key".into()))),
        call(Some(Once::Session {
            session: 1,
            sequence: 2,
            acknowledged: 1,
        })),
        Command::OpenSession {
            principal: "alice".into(),
        },
        Command::CloseSession {
            principal: "alice".into(),
            session: 1,
        },
        Command::Token {
            principal: "admin".into(),
            change: TokenChange::Create {
                id: "0123456789".into(),
                digest: [7; 32],
                node: Some(4),
                ttl_ns: 3_600_000_000_000,
            },
        },
        Command::Token {
            principal: String::new(),
            change: TokenChange::Use {
                id: "0123456789".into(),
                digest: [7; 32],
                node: 4,
            },
        },
        Command::Wake,
    ];
    let mut seeds: Vec<_> = commands.iter().map(|command| seed(1, command)).collect();
    let batch = Batch {
        time: 1_700_000_000_000_000_000,
        seed: [9; 16],
        commands,
    };
    seeds.push(seed(0, &Entry::Batch(batch)));
    for previous in [
        None,
        Some(CheckpointDigest {
            index: 7,
            digest: [3; 32],
        }),
    ] {
        seeds.push(seed(0, &Entry::Checkpoint { time: 2, previous }));
    }
    seeds.push(seed(2, &Limits::default()));
    seeds
}

//! Damaged snapshots. What is refused changes nothing; what is taken is a state whose digest is
//! right, and a machine that goes on.

use std::sync::OnceLock;

use arbitrary::Unstructured;
use hostd_machine::{Fault, InstallError, Position};
use hostd_protocol::{Batch, Command, Entry, Limits, Once};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::Target;
use crate::disk::Disk;
use crate::machines::Rig;
use crate::mutate::{self, Random};

pub(super) const TARGET: Target = Target {
    name: "snapshot",
    what: "a damaged snapshot is refused and changes nothing, or is a whole state",
    run,
    seeds,
    bytes_max: 1024,
    inputs: 400,
};

/// The chunks as `host/machine/src/snapshot.rs` has them.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Chunk {
    Head { format: u32, position: Position },
    Rows(Vec<(ByteBuf, ByteBuf)>),
    End { rows: u64, digest: [u8; 32] },
}

/// A machine that has something of everything: sessions, keys, timers, data.
fn original() -> Rig {
    static MADE: OnceLock<Disk> = OnceLock::new();
    Rig::with_plugins(&MADE, Limits::default, &["tests/fixtures/scripted"])
}

fn whole() -> (Position, Vec<Vec<u8>>) {
    static MADE: OnceLock<(Position, Vec<Vec<u8>>)> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let mut rig = original();
        let call = |once| Command::Call {
            principal: "fuzz".into(),
            plugin: None,
            command: "write".into(),
            // Two keys and a timer.
            arguments: vec![vec![3, 60, 40, 3, 120, 50, 22, 1, 30, 9].into()],
            once,
        };
        let session = Once::Session {
            session: 1,
            sequence: 1,
            acknowledged: 0,
        };
        let open = Command::OpenSession {
            principal: "fuzz".into(),
        };
        let commands = vec![
            open,
            call(None),
            call(Some(session)),
            call(Some(Once::Key("key".into()))),
        ];
        let applied = rig.batch(2_000_000, commands);
        assert!(applied.outcomes.iter().all(Result::is_ok), "{applied:?}");
        rig.checkpoint(3_000_000);
        rig.snapshot().expect("a checkpoint")
    });
    made.clone()
}

fn run(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let Ok(kind) = choices.int_in_range(0..=7u8) else {
        return;
    };
    let (position, chunks) = whole();
    let chunks = match kind {
        // Chunks of any bytes, and whole ones with changed bytes.
        0 => any(&mut choices),
        1..=3 => changed(&mut choices, chunks),
        // With every checksum right, as a sender would send it whose state is wrong.
        _ => resealed(&mut choices, chunks),
    };
    let mut rig = original();
    let before = state(&rig);
    // Memory is not bounded here: a snapshot may be large; a chunk comes in a frame.
    match rig.install(position, chunks) {
        Ok(()) => goes_on(rig, position),
        Err(InstallError::Damaged(_) | InstallError::Read(_)) => {
            assert_eq!(state(&rig), before, "a refused snapshot changed the state");
            assert_eq!(state(&rig.restart()), before, "or what is on disk");
        }
        // This node cannot have it: it stops, and finds on its disk what it had.
        Err(InstallError::Fault(fault)) => {
            drop(fault.to_string());
            assert_eq!(
                state(&rig.restart()),
                before,
                "a fault changed what is on disk"
            );
        }
    }
}

fn state(rig: &Rig) -> (Option<Position>, [u8; 32]) {
    (rig.machine.position(), rig.machine.durable().digest)
}

/// The state is what was sent, and on disk. Where a sender made wrong rows with right checksums,
/// what reads them may stop the node, by a fault that says so.
fn goes_on(rig: Rig, position: Position) {
    assert_eq!(rig.machine.position(), Some(position));
    let digest = rig.machine.durable().digest;
    let mut rig = rig.restart();
    assert_eq!(rig.machine.durable().digest, digest);
    let wake = Entry::Batch(Batch {
        time: 4_000_000,
        seed: [7; 16],
        commands: vec![Command::Wake],
    });
    match rig.try_apply(wake) {
        Ok(_) => drop(rig.checkpoint(5_000_000)),
        Err(Fault::Corrupt(_)) => {}
        Err(other) => panic!("{other}"),
    }
}

fn any(choices: &mut Unstructured<'_>) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    while !choices.is_empty() {
        let length = usize::from(choices.arbitrary::<u8>().unwrap_or(0)).min(choices.len());
        chunks.push(choices.bytes(length).unwrap_or_default().to_vec());
    }
    chunks
}

fn changed(choices: &mut Unstructured<'_>, mut chunks: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let changes = choices.int_in_range(1..=4u8).unwrap_or(1);
    for _ in 0..changes {
        if chunks.is_empty() {
            break;
        }
        let chunk = choices.choose_index(chunks.len()).unwrap_or(0);
        match choices.int_in_range(0..=7u8).unwrap_or(0) {
            0 => drop(chunks.remove(chunk)),
            1 => chunks.push(chunks[chunk].clone()),
            2 => chunks.swap(chunk, 0),
            _ => {
                let mut random = Random::new(choices.arbitrary().unwrap_or(0));
                mutate::change(&mut random, &mut chunks[chunk], &[]);
            }
        }
    }
    chunks
}

/// Changes rows, then makes checksums and digest fit, as documented at `host/machine/src/store`.
fn resealed(choices: &mut Unstructured<'_>, chunks: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let decode = |chunk: &Vec<u8>| hostd_protocol::codec::decode(chunk).expect("its own form");
    let mut chunks: Vec<Chunk> = chunks.iter().map(decode).collect();
    let mut rows: Vec<(ByteBuf, ByteBuf)> = Vec::new();
    for chunk in &chunks {
        if let Chunk::Rows(some) = chunk {
            rows.extend(some.iter().cloned());
        }
    }
    let changes = choices.int_in_range(0..=3u8).unwrap_or(0);
    for _ in 0..changes {
        let row = choices.choose_index(rows.len()).unwrap_or(0);
        let Some((key, stored)) = rows.get_mut(row) else {
            break;
        };
        let mut random = Random::new(choices.arbitrary::<u32>().unwrap_or(0).into());
        match choices.int_in_range(0..=7u8).unwrap_or(0) {
            6 => {
                let twice = rows[row].clone();
                rows.push(twice);
            }
            0 => {
                mutate::change(&mut random, key, &[]);
                // A key is its table's number first.
                if key.is_empty() {
                    key.push(0);
                }
            }
            1 => drop(rows.remove(row)),
            2 => {
                let bytes = choices.bytes(choices.len().min(24)).unwrap_or_default();
                stored.truncate(16);
                stored.extend_from_slice(bytes);
            }
            _ => {
                let mut value = stored.split_off(16);
                mutate::change(&mut random, &mut value, &[]);
                stored.extend_from_slice(&value);
            }
        }
    }
    if choices.ratio(3u8, 4u8).unwrap_or(true) {
        rows.sort();
        rows.dedup_by(|a, b| a.0 == b.0);
    }
    let mut sum = [0u8; 32];
    for (key, stored) in &mut rows {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(key.len() as u32).to_le_bytes());
        hasher.update(key);
        hasher.update(&stored[..12]);
        hasher.update(&stored[16..]);
        let hash = hasher.finalize();
        stored[12..16].copy_from_slice(&hash.as_bytes()[..4]);
        add(&mut sum, hash.as_bytes());
    }
    let count = rows.len() as u64;
    chunks.retain(|chunk| matches!(chunk, Chunk::Head { .. }));
    chunks.push(Chunk::Rows(rows));
    chunks.push(Chunk::End {
        rows: count,
        digest: sum,
    });
    chunks.iter().map(hostd_protocol::codec::encode).collect()
}

/// Adds numbers of 256 bits, little-endian.
fn add(sum: &mut [u8; 32], number: &[u8; 32]) {
    let mut carry = 0u16;
    for (digit, other) in sum.iter_mut().zip(number) {
        carry += u16::from(*digit) + u16::from(*other);
        *digit = carry as u8;
        carry >>= 8;
    }
}

fn seeds() -> Vec<Vec<u8>> {
    vec![
        vec![0, 3, 0, 1, 1, 1, 2],
        vec![1, 1, 1, 5, 1, 0, 0, 0, 0, 0, 0, 0],
        vec![2, 2, 0, 3, 7, 0, 0, 0, 0, 0, 0, 0],
        vec![4, 0],
        vec![5, 1, 3, 1, 0, 0, 0, 4],
        vec![6, 2, 1, 2, 0, 0, 0, 5, 2, 9, 0, 0, 0, 1],
    ]
}

//! What nodes say to each other. A peer has a certificate, and may still be another version or
//! broken.

use hostd_machine::{FoundRow, Revision, RowsAnswer, RowsQuestion};
use hostd_protocol::{
    Command, EngineIdentity, EnrollRequest, Failure, FailureCode, MemberChange, Outcome, Reply,
};
use hostd_replica::network::{
    Answer, Ask, ControlAsk, ControlTell, Hello, Joiner, Meeting, Opening, Question, Rebuff,
    Refusal, SnapshotHead, SnapshotPart, SnapshotTell, Tell,
};
use hostd_replica::types::{LogEntry, Node, Payload, TypeConfig, log_id};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::{EntryPayload, Membership};

use super::{Target, decoded_as, round_trip, seed};

pub(super) const TARGET: Target = Target {
    name: "peers",
    what: "frames between nodes decode or fail, in memory that their bytes are worth",
    run,
    seeds,
    bytes_max: 16_384,
    inputs: 100_000,
};

/// A log entry, a member or a nested reply: some dozen bytes in memory for a few on the wire, in
/// collections that double.
const FACTOR: usize = 512;

type Asked<T> = Question<T>;

fn run(bytes: &[u8]) {
    let Some((choice, bytes)) = decoded_as(bytes) else {
        return;
    };
    let bytes = &*bytes;
    match choice % 10 {
        0 => round_trip::<Opening>(bytes, FACTOR),
        1 => round_trip::<Result<Hello, Rebuff>>(bytes, FACTOR),
        2 => round_trip::<Asked<ControlAsk>>(bytes, FACTOR),
        3 => round_trip::<Answer<ControlTell>>(bytes, FACTOR),
        4 => round_trip::<Asked<AppendEntriesRequest<TypeConfig>>>(bytes, FACTOR),
        5 => round_trip::<Answer<AppendEntriesResponse<TypeConfig>>>(bytes, FACTOR),
        6 => round_trip::<Asked<Ask>>(bytes, FACTOR),
        7 => round_trip::<Answer<Result<Tell, Refusal>>>(bytes, FACTOR),
        8 => round_trip::<SnapshotHead>(bytes, FACTOR),
        _ => {
            round_trip::<SnapshotPart>(bytes, FACTOR);
            round_trip::<SnapshotTell>(bytes, FACTOR);
        }
    }
}

fn node() -> Node {
    Node {
        address: "127.0.0.1:11001".into(),
        incarnation: 7,
        standing: hostd_replica::types::Standing::Voter,
    }
}

fn engine() -> EngineIdentity {
    EngineIdentity {
        wasmtime: "48.0.8".into(),
        target: "x86_64-unknown-linux-gnu".into(),
        rules: 5,
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let hello = Hello {
        protocol: hostd_replica::network::PROTOCOL_VERSION,
        software: "0.1.0".into(),
        node: 1,
        identity: node(),
        boot: 9,
        cluster: Some("c0ffee".into()),
        seated_at: Some(3),
        replaces: false,
    };
    let asks = [
        Ask::Write {
            command: Box::new(Command::Wake),
            within: std::time::Duration::from_secs(1),
        },
        Ask::ReadIndex,
        Ask::Change {
            change: MemberChange::Promote(2),
            within: std::time::Duration::MAX,
        },
        Ask::Join(Joiner {
            id: 2,
            node: node(),
            replaces: true,
            honours: vec![engine()],
        }),
        Ask::Status,
        Ask::Enroll(Box::new(EnrollRequest {
            id: "0123456789".into(),
            proof: [7; 32],
            node: 4,
            hosts: vec!["node-4.example".into()],
            request: vec![0x30, 0],
        })),
        Ask::Rows {
            checkpoint: 7,
            question: RowsQuestion::Sums {
                start: vec![7],
                ends: vec![vec![7, 1], vec![8]],
            },
            within: std::time::Duration::from_secs(1),
        },
        Ask::Writes {
            commands: vec![Command::Wake, Command::Work],
            within: std::time::Duration::from_secs(1),
        },
    ];
    let outcome: Outcome = Ok(Reply::Array(vec![Reply::Nil, Reply::Integer(3)]));
    let tells: [Result<Tell, Refusal>; 9] = [
        Ok(Tell::Status(Box::new(super::protocol::status()))),
        Ok(Tell::Outcome(outcome.clone())),
        Ok(Tell::ReadIndex(7)),
        Ok(Tell::Done),
        Ok(Tell::Damaged("row 07".into())),
        Ok(Tell::Rows(Box::new(RowsAnswer::Page {
            rows: vec![FoundRow {
                key: vec![7, 1],
                revision: Revision::default(),
                value: [3; 32],
            }],
            more: true,
        }))),
        Ok(Tell::Met(Meeting {
            id: 1,
            node: node(),
            initialized: true,
            joined: true,
            members: [(1, node())].into(),
            membership: Some(3),
            honours: vec![engine()],
        })),
        Err(Refusal::unknown(Failure::new(
            FailureCode::Timeout,
            "too late",
        ))),
        Ok(Tell::Outcomes(vec![
            Ok(outcome),
            Err(Refusal::untouched(Failure::new(
                FailureCode::NoLeader,
                "none",
            ))),
        ])),
    ];
    let membership = Membership::new_with_defaults(vec![[1, 2].into()], [1, 2, 3]);
    let entries: Vec<LogEntry> = [
        EntryPayload::Blank,
        EntryPayload::Normal(Payload::from_bytes(vec![1, 2, 3].into())),
        EntryPayload::Membership(membership),
    ]
    .into_iter()
    .zip(5..)
    .map(|(payload, index)| LogEntry {
        log_id: log_id(3, index),
        payload,
    })
    .collect();
    let append = AppendEntriesRequest::<TypeConfig> {
        vote: openraft::impls::Vote::new(3, 1),
        prev_log_id: Some(log_id(3, 4)),
        entries,
        leader_commit: Some(log_id(3, 4)),
    };
    let question = |body| Question {
        group: 0,
        id: 1,
        body,
    };
    let mut seeds = vec![
        seed(0, &Opening::Control(hello.clone())),
        seed(0, &Opening::Snapshot),
        seed(1, &Ok::<_, Rebuff>(hello)),
        seed(4, &question(append)),
        seed(9, &SnapshotPart::Chunk(vec![1, 2, 3])),
    ];
    for body in asks {
        let (group, id) = (0, 1);
        seeds.push(seed(6, &Question { group, id, body }));
    }
    for body in tells {
        seeds.push(seed(
            7,
            &Answer {
                id: 1,
                body: Ok(body),
            },
        ));
    }
    seeds
}

#[cfg(test)]
mod tests {
    use hostd_replica::network::PROTOCOL_VERSION;

    use super::*;

    /// Nodes of different hostds talk while they are upgraded one by one. Who changes these bytes gives
    /// the protocol another number, and the changelog a word that all nodes must be stopped.
    #[test]
    fn the_bytes_of_a_version_of_the_protocol_stay_as_they_are() {
        let mut hasher = blake3::Hasher::new();
        for seed in seeds() {
            hasher.update(&seed);
        }
        let digest = hasher.finalize().to_hex();
        assert_eq!((PROTOCOL_VERSION, &digest[..16]), (3, "1a9b5a9189e90f9b"));
    }
}

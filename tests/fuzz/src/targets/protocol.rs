//! What clients and nodes say to each other, decoded by both.

use hostd_protocol::entry::CheckpointDigest;
use hostd_protocol::{
    Access, Argument, ArgumentKind, ArgumentType, Call, CallError, Change, ChangeEvent, Changed,
    ClockInfo, CommandDescription, Consistency, EngineIdentity, Failure, FailureCode, Health,
    Member, MemberChange, NodeStatus, Once, PluginDescription, PluginStatus, Rejection,
    RejectionCode, Reply, Request, Response, Revision, Role, SnapshotRequest, Start, TokenChange,
    TokenRequest, Watch, WatchItem,
};

use super::{Target, decoded_as, round_trip, seed};

pub(super) const TARGET: Target = Target {
    name: "protocol",
    what: "requests and responses decode or fail, in memory that their bytes are worth",
    run,
    seeds,
    bytes_max: 65_536,
    inputs: 100_000,
};

/// A node's status is its largest type: an item of it takes that much, though it may be a dozen
/// bytes on the wire.
const RESPONSE_FACTOR: usize = 64;

type Answer = (u64, Result<Response, CallError>);

fn run(bytes: &[u8]) {
    let Some((choice, bytes)) = decoded_as(bytes) else {
        return;
    };
    let bytes = &*bytes;
    match choice % 5 {
        // An empty argument is one byte and, in a vector that doubles, up to three times 24.
        0 => round_trip::<(u64, Request)>(bytes, 72),
        1 => round_trip::<Answer>(bytes, RESPONSE_FACTOR),
        2 => round_trip::<Reply>(bytes, 96),
        3 => {
            round_trip::<PluginDescription>(bytes, RESPONSE_FACTOR);
            describe(bytes);
        }
        _ => round_trip::<CheckpointDigest>(bytes, 1),
    }
}

/// What every door does with a description that it got.
fn describe(bytes: &[u8]) {
    let Ok(description) = hostd_protocol::codec::decode::<PluginDescription>(bytes) else {
        return;
    };
    for command in &description.commands {
        let usage = command.usage();
        assert!(usage.starts_with(&command.name));
        let admitted = (0..20).filter(|count| command.check_arity(*count).is_ok());
        let least = command
            .arguments
            .iter()
            .filter(|argument| {
                matches!(
                    argument.kind,
                    ArgumentKind::Required | ArgumentKind::Repeated
                )
            })
            .count();
        assert!(admitted.clone().all(|count| count >= least), "{usage}");
        let only_required = command.arguments.len() == least;
        if only_required && least < 20 {
            assert!(admitted.clone().any(|count| count == least), "{usage}");
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let call = |once| Call {
        plugin: Some("kv".into()),
        command: "set".into(),
        arguments: vec![b"key".to_vec().into(), vec![7; 40].into()],
        consistency: Consistency::Linearizable,
        once,
        timeout_ms: 10_000,
    };
    let session = Once::Session {
        session: 3,
        sequence: 12,
        acknowledged: 9,
    };
    let add = MemberChange::Add {
        node: 2,
        address: "127.0.0.1:11002".into(),
        learner: true,
    };
    let revision = Revision {
        index: 700,
        position: 2,
    };
    let requests = [
        Request::Call(call(None)),
        Request::Call(call(Some(session))),
        Request::Call(call(Some(Once::Key("a-key".into())))),
        Request::OpenSession,
        Request::CloseSession { session: 3 },
        Request::Commands,
        Request::Status { all: true },
        Request::Member(add),
        Request::Member(MemberChange::Transfer(Some(2))),
        Request::Read(call(None)),
        Request::Token(TokenRequest::Change(TokenChange::Create {
            id: "0123456789".into(),
            digest: [7; 32],
            node: Some(4),
            ttl_ns: 3_600_000_000_000,
        })),
        Request::Snapshot(SnapshotRequest::Read {
            id: "3-17-1700000000000".into(),
            from: 0,
            to: 9,
        }),
        Request::Metrics,
        Request::Barrier { timeout_ms: 7 },
        Request::Raft,
        Request::Clock,
        Request::Watch(Watch::keys("user:").of("kv").starting(Start::Present)),
        Request::Watch(Watch::topics("news").starting(Start::From(revision))),
    ];
    let replies = [
        Reply::Nil,
        Reply::Integer(-7),
        Reply::Double(1.5),
        Reply::Bytes(vec![1, 2, 3]),
        Reply::Array(vec![
            Reply::Text("a".into()),
            Reply::Map(vec![(Reply::Ok, Reply::Array(vec![Reply::Nil]))]),
        ]),
    ];
    let responses = [
        Response::Reply(replies[4].clone()),
        Response::Session(7),
        Response::Done,
        Response::Commands(vec![description()]),
        Response::Status(vec![status()]),
        Response::Members(vec![Member {
            id: 1,
            address: "127.0.0.1:1".into(),
            voter: true,
            leader: false,
        }]),
        Response::Read {
            reply: replies[3].clone(),
            revision: 9,
        },
        Response::Writes,
        Response::Metrics("# EOF\n".into()),
        Response::Clock(ClockInfo {
            founded: Some(1),
            last: 2,
            wall: 3,
        }),
        Response::Watched(WatchItem::Begin(revision)),
        Response::Watched(WatchItem::Changed(Changed {
            revision,
            changes: vec![Change {
                plugin: "kv".into(),
                event: ChangeEvent::Put {
                    key: b"key"[..].into(),
                    value: vec![7; 40].into(),
                },
            }],
        })),
    ];
    let errors: [CallError; 2] = [
        Rejection::new(RejectionCode::Rejected("NOPE".into()), "as asked").into(),
        Failure {
            leader: Some((2, "127.0.0.1:2".into())),
            ..Failure::new(FailureCode::NoLeader, "none")
        }
        .into(),
    ];
    let answers = responses
        .into_iter()
        .map(Ok)
        .chain(errors.into_iter().map(Err));
    let mut seeds = Vec::new();
    seeds.extend((1u64..).zip(requests).map(|request| seed(0, &request)));
    seeds.extend((1u64..).zip(answers).map(|answer: Answer| seed(1, &answer)));
    seeds.extend(replies.iter().map(|reply| seed(2, reply)));
    seeds.push(seed(3, &description()));
    seeds
}

fn description() -> PluginDescription {
    let argument = |name: &str, kind| Argument {
        name: name.into(),
        kind,
        value: ArgumentType::Bytes,
        is_key: name == "key",
        secret: name == "secret",
    };
    PluginDescription {
        name: "kv".into(),
        version: "1".into(),
        summary: "keys".into(),
        state_version: 1,
        reads_state_versions: vec![0],
        migrates_state_versions: Vec::new(),
        migrates_by_key: false,
        commands: vec![CommandDescription {
            name: "mset".into(),
            access: Access::Write,
            arguments: vec![
                argument("key", ArgumentKind::Repeated),
                argument("value", ArgumentKind::Repeated),
                argument("seconds", ArgumentKind::Keyword("EX".into())),
                argument("new", ArgumentKind::Flag("NX".into())),
            ],
            summary: "sets".into(),
            details: String::new(),
            examples: vec!["mset a b".into()],
        }],
    }
}

pub(super) fn status() -> NodeStatus {
    NodeStatus {
        id: 1,
        address: "127.0.0.1:1".into(),
        version: "0.1.0".into(),
        role: Role::Leader,
        leader: true,
        term: 1,
        first_log: 1,
        last_log: 2,
        applied: 3,
        checkpoint: 4,
        digest: "00".into(),
        engine: None,
        honours: vec![EngineIdentity {
            wasmtime: "1.0.0".into(),
            target: "x86_64".into(),
            rules: 1,
        }],
        data_bytes: 5,
        health: Health::Ok,
        reachable: true,
        plugins: vec![PluginStatus {
            name: "kv".into(),
            version: "1".into(),
            digest: "00".into(),
        }],
    }
}

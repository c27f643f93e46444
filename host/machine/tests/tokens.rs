//! Join tokens, as the log has them: each is used once, by the replicated clock, whoever asks.

mod common;

use common::{Log, Rig, code};
use hostd_protocol::{Command, Outcome, PolicyChange, RejectionCode, Reply, TokenChange};

const SECOND_NS: u64 = 1_000_000_000;

fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.follow(&Log::founded(Vec::new()));
    rig
}

fn token(principal: &str, change: TokenChange) -> Command {
    Command::Token {
        principal: principal.into(),
        change,
    }
}

fn create(principal: &str, id: &str, node: Option<u64>) -> Command {
    let change = TokenChange::Create {
        id: id.into(),
        digest: [7; 32],
        node,
        ttl_ns: 60 * SECOND_NS,
    };
    token(principal, change)
}

fn use_up(id: &str, node: u64) -> Command {
    let change = TokenChange::Use {
        id: id.into(),
        digest: [7; 32],
        node,
    };
    token("", change)
}

fn refused(outcome: &Outcome) -> bool {
    matches!(outcome, Err(rejection) if matches!(rejection.code, RejectionCode::Rejected(_)))
}

#[test]
fn a_token_expires_by_the_replicated_clock() {
    let mut rig = rig();
    let begun = rig.machine.time();
    let at = |seconds: u64| begun + seconds * SECOND_NS;
    rig.command(at(1), create("admin", "a", None)).unwrap();
    rig.command(at(1), create("admin", "b", None)).unwrap();
    let view = || rig.machine.views().latest();
    assert_eq!(view().tokens().unwrap().len(), 2);
    assert!(view().check_token("a", [7; 32], 4).unwrap().is_ok());
    assert!(view().check_token("a", [8; 32], 4).unwrap().is_err());
    assert_eq!(rig.command(at(59), use_up("a", 4)), Ok(Reply::Ok));
    assert!(refused(&rig.command(at(59), use_up("a", 5))));
    assert!(refused(&rig.command(at(62), use_up("b", 5))));
    let view = rig.machine.views().latest();
    assert!(view.tokens().unwrap().is_empty());
    assert!(view.check_token("b", [7; 32], 5).unwrap().is_err());
}

#[test]
fn only_an_admin_makes_tokens_once_there_are_rules() {
    let mut rig = rig();
    let rules = vec!["alice read /".parse().unwrap()];
    let policy = Command::Policy {
        principal: "root".into(),
        change: PolicyChange::Allow(rules),
    };
    rig.command(10, policy).unwrap();
    let denied = rig.command(11, create("alice", "a", None));
    assert_eq!(*code(&denied), RejectionCode::PermissionDenied);
    rig.command(12, create("root", "a", Some(4))).unwrap();
    let revoke = TokenChange::Revoke { id: "a".into() };
    let denied = rig.command(13, token("alice", revoke.clone()));
    assert_eq!(*code(&denied), RejectionCode::PermissionDenied);
    // Whoever has the token need be nobody.
    assert_eq!(rig.command(14, use_up("a", 4)), Ok(Reply::Ok));
    let gone = rig.command(15, token("root", revoke));
    assert_eq!(*code(&gone), RejectionCode::NotFound);
}

#[test]
fn older_rules_know_no_tokens() {
    let older = std::sync::Arc::new(common::engine().up_to_rules(5));
    let mut rig = Rig::with_engine(older, common::Disk::default());
    let mut log = Log::founded(Vec::new());
    let hostd_protocol::Entry::Batch(batch) = &mut log.0[0] else {
        unreachable!()
    };
    let Command::Found { engine, .. } = &mut batch.commands[0] else {
        unreachable!()
    };
    engine.rules = 5;
    rig.follow(&log);
    let outcome = rig.command(10, create("root", "a", None));
    assert_eq!(*code(&outcome), RejectionCode::InvalidArgument);
    assert!(rig.machine.views().latest().tokens().unwrap().is_empty());
}

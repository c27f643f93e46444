//! Who may do what, as the log has it: whatever a door let through, the machine asks again.

mod common;

use common::{Log, Rig, call, code, hostile};
use hostd_protocol::{
    Command, Once, Outcome, PluginChange, PolicyChange, RejectionCode, Reply, Rule,
};

fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.follow(&Log::founded(vec![hostile()]));
    rig
}

/// A call by somebody.
fn by(principal: &str, line: &str) -> Command {
    let Command::Call {
        plugin,
        command,
        arguments,
        once,
        ..
    } = call(line)
    else {
        unreachable!()
    };
    Command::Call {
        principal: principal.into(),
        plugin,
        command,
        arguments,
        once,
    }
}

fn change(principal: &str, change: PolicyChange) -> Command {
    Command::Policy {
        principal: principal.into(),
        change,
    }
}

fn rules(lines: &[&str]) -> Vec<Rule> {
    lines.iter().map(|line| line.parse().unwrap()).collect()
}

fn allow(principal: &str, lines: &[&str]) -> Command {
    change(principal, PolicyChange::Allow(rules(lines)))
}

fn revoke(principal: &str, lines: &[&str]) -> Command {
    change(principal, PolicyChange::Revoke(rules(lines)))
}

fn denied(outcome: &Outcome) -> bool {
    matches!(outcome, Err(rejection) if rejection.code == RejectionCode::PermissionDenied)
}

#[test]
fn a_call_is_judged_by_the_rules_in_force_when_it_is_applied() {
    let mut rig = rig();
    assert!(rig.command(10, by("alice", "put /a 1")).is_ok());
    let added = rig.command(11, allow("root", &["alice call hostile.put /a"]));
    let text = |line: &str| Reply::Text(line.into());
    assert_eq!(
        added,
        Ok(Reply::Array(vec![
            text("alice call hostile.put /a"),
            text("root admin")
        ]))
    );
    assert!(rig.command(12, by("alice", "put /a/b 1")).is_ok());
    assert!(denied(&rig.command(13, by("alice", "put /ab 1"))));
    assert!(denied(&rig.command(14, by("bob", "put /a 1"))));
    assert!(rig.command(15, by("root", "put /ab 1")).is_ok());
    rig.command(16, revoke("root", &["alice call hostile.put /a"]))
        .unwrap();
    assert!(denied(&rig.command(17, by("alice", "put /a/b 2"))));
    // In one entry too, each command meets what the one before it left.
    let mut log = Log::default();
    log.batch(
        20,
        vec![
            by("alice", "put /a 3"),
            allow("root", &["alice write /a"]),
            by("alice", "put /a 4"),
        ],
    );
    let outcomes = rig.apply(&log.0[0]).outcomes;
    assert!(denied(&outcomes[0]) && outcomes[2].is_ok(), "{outcomes:?}");
}

#[test]
fn what_is_no_call_is_judged_too() {
    let mut rig = rig();
    rig.command(10, allow("root", &["alice write /"])).unwrap();
    let open = |who: &str| Command::OpenSession {
        principal: who.into(),
    };
    assert!(rig.command(11, open("alice")).is_ok());
    assert!(denied(&rig.command(12, open("bob"))));
    let remove = |who: &str| Command::Plugin {
        principal: who.into(),
        change: PluginChange::Remove {
            plugin: "hostile".into(),
            purge: false,
        },
    };
    assert!(denied(&rig.command(13, remove("alice"))));
    assert!(denied(&rig.command(14, allow("alice", &["alice admin"]))));
    assert!(rig.command(15, remove("root")).is_ok());
}

/// An identity whose rule comes later is not answered from what was refused before.
#[test]
fn a_refused_call_may_come_again_with_the_same_key() {
    let mut rig = rig();
    rig.command(10, allow("root", &["alice read /"])).unwrap();
    let Command::Call {
        principal,
        plugin,
        command,
        arguments,
        ..
    } = by("alice", "put /a 1")
    else {
        unreachable!()
    };
    let keyed = Command::Call {
        principal,
        plugin,
        command,
        arguments,
        once: Some(Once::Key("order 7".into())),
    };
    assert!(denied(&rig.command(11, keyed.clone())));
    rig.command(12, allow("root", &["alice write /"])).unwrap();
    assert!(rig.command(13, keyed).is_ok());
}

#[test]
fn rules_and_users_survive_restarts_and_travel_in_snapshots() {
    let mut rig = rig();
    rig.command(10, allow("root", &["alice read /a"])).unwrap();
    let secret = [7; 32];
    let user = PolicyChange::PutUser {
        name: "alice".into(),
        secret,
    };
    rig.command(11, change("root", user)).unwrap();
    rig.checkpoint(12);
    let known = |rig: &Rig| {
        let view = rig.machine.views().latest();
        let user = hostd_machine::policy::user_of(view.policy(), &secret);
        (view.policy().lines().count(), user.map(str::to_owned))
    };
    let copy = rig.clone_by_snapshot();
    assert_eq!(known(&copy), (2, Some("alice".into())));
    let mut rig = rig.restart();
    assert_eq!(known(&rig), (2, Some("alice".into())));
    assert!(denied(&rig.command(20, by("bob", "put /a 1"))));
}

#[test]
fn what_came_over_the_wire_need_not_be_a_rule() {
    let mut rig = rig();
    let bad = Rule {
        identity: "two words".into(),
        grant: hostd_protocol::Grant::Admin,
    };
    let outcome = rig.command(10, change("root", PolicyChange::Allow(vec![bad])));
    assert_eq!(*code(&outcome), RejectionCode::InvalidArgument);
    assert!(rig.machine.views().latest().policy().rules.is_empty());
}

/// A cluster with a node that knows no rules for access must not get any.
#[test]
fn older_rules_know_no_policy() {
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
    let outcome = rig.command(10, allow("root", &["alice read /"]));
    assert_eq!(*code(&outcome), RejectionCode::InvalidArgument);
    assert!(rig.machine.views().latest().policy().rules.is_empty());
}

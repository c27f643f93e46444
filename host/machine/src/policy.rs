//! Who may do what. One pure function decides, for whoever asks: a door before it proposes, and the
//! machine when it applies, whose word counts.
//!
//! It must not know doors, certificates or clocks: an identity is a name here.

use std::fmt::Write as _;
use std::sync::Arc;

use hostd_planted::{self as planted, Bug};
use hostd_protocol::policy::{RULES_MAX, USERS_MAX};
use hostd_protocol::{
    Access, CommandDescription, EVERYBODY, Grant, NodeId, Outcome, Policy, PolicyChange, ROOT,
    Rejection, RejectionCode, Reply, Rule,
};
use serde_bytes::ByteBuf;

use crate::apply::Moment;
use crate::catalogue::Target;
use crate::machine::Machine;
use crate::system::System;
use crate::wasm::RULES_POLICY;

/// In place of a plugin's name, for all of them.
pub const EVERY_PLUGIN: &str = "*";

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Take part at all: see the members and the commands, keep a session.
    Enter,
    /// See how the nodes and the plugins are.
    Observe,
    /// Everything else that is no call.
    Administer,
    /// Be a node.
    Join(NodeId),
    /// Call a command.
    Call {
        /// The plugin.
        plugin: &'a str,
        /// The command.
        command: &'a CommandDescription,
        /// The keys that the arguments name. A command that names none is taken for one that works on
        /// all of them.
        keys: &'a [&'a [u8]],
    },
    /// Hear of every change of the keys that begin with these bytes.
    Watch {
        /// The plugin.
        plugin: &'a str,
        /// What the keys begin with.
        prefix: &'a [u8],
    },
}

/// Whether the policy lets an identity do something; where not, one line for a person.
pub fn decide(policy: &Policy, identity: &str, action: Action<'_>) -> Result<(), String> {
    if policy.rules.is_empty() {
        return Ok(());
    }
    let grants = || {
        [identity, EVERYBODY]
            .into_iter()
            .filter_map(|name| policy.rules.get(name))
            .flatten()
    };
    if grants().any(|grant| *grant == Grant::Admin) {
        return Ok(());
    }
    let refuse = |what: &str, rule: &str| {
        Err(format!(
            "'{identity}' may not {what}; an admin can allow it: hostctl policy allow {identity} {rule}"
        ))
    };
    match action {
        Action::Enter if grants().next().is_some() => Ok(()),
        Action::Enter => Err(format!(
            "no rule of this cluster names '{identity}'; an admin can add one: hostctl policy allow --help"
        )),
        Action::Observe if grants().any(|grant| *grant == Grant::Observe) => Ok(()),
        Action::Observe => refuse("see how the cluster is", "observe"),
        Action::Administer => refuse("do this", "admin"),
        Action::Join(node) => {
            let asked = policy
                .rules
                .values()
                .any(|grants| grants.contains(&Grant::Peer));
            if !asked || grants().any(|grant| *grant == Grant::Peer) {
                return Ok(());
            }
            Err(format!(
                "no rule lets node {node} be a node of this cluster; an admin can allow it: \
                 hostctl policy allow {identity} peer"
            ))
        }
        Action::Call {
            plugin,
            command,
            keys,
        } => {
            let everything = [ROOT.as_bytes()];
            let keys = if keys.is_empty() { &everything } else { keys };
            let Some(key) = keys
                .iter()
                .find(|key| !grants().any(|grant| lets_call(grant, plugin, command, key)))
            else {
                return Ok(());
            };
            let name = format!("{plugin}.{}", command.name);
            let path = quoted(narrowest(key, |path| covers(path, key)));
            let what = format!("call {name} on {}", shown(key));
            refuse(&what, &format!("call {name} {path}"))
        }
        Action::Watch { plugin, prefix } => {
            if grants().any(|grant| lets_watch(grant, plugin, prefix)) {
                return Ok(());
            }
            let what = match plugin {
                EVERY_PLUGIN => "watch every plugin".to_owned(),
                plugin => format!("watch {plugin}"),
            };
            let what = match prefix {
                [] => what,
                prefix => format!("{what} below {}", shown(prefix)),
            };
            let path = quoted(narrowest(prefix, |path| covers_all(path, prefix)));
            // What begins with /app is also /apple, for which no rule about /app speaks.
            let narrower = match typed(prefix) {
                Some(path) if !prefix.ends_with(b"/") => {
                    let path = quoted(path);
                    format!("; or watch {path}/, for which 'read {path}' is enough")
                }
                _ => String::new(),
            };
            refuse(&what, &format!("read {path}{narrower}"))
        }
    }
}

/// Bytes of a client's key that a refusal shows. It is kept in sessions and written to logs, so it must
/// be short however long the key is.
const SHOWN_BYTES_MAX: usize = 128;

/// A key for people.
fn shown(key: &[u8]) -> String {
    let mut end = key.len().min(SHOWN_BYTES_MAX);
    let cut = end < key.len();
    // Not within a character, which has four bytes at most.
    for _ in 0..3 {
        if cut && key[end] & 0xc0 == 0x80 {
            end -= 1;
        }
    }
    let mut text: String = String::from_utf8_lossy(&key[..end])
        .chars()
        .map(|of| {
            if of.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                of
            }
        })
        .collect();
    if cut {
        let _ = write!(text, "… ({} bytes)", key.len());
    }
    text
}

/// The longest path of those that lead to a key that does; everything, where no other can be typed.
fn narrowest(key: &[u8], does: impl Fn(&str) -> bool) -> &str {
    let slashes = (0..key.len().min(SHOWN_BYTES_MAX)).filter(|at| key[*at] == b'/');
    let ends = [key.len()].into_iter().chain(slashes.rev());
    ends.filter_map(|end| typed(&key[..end]))
        .find(|path| does(path))
        .unwrap_or(ROOT)
}

/// The bytes as a rule's path that is not everything, if somebody can type it.
fn typed(path: &[u8]) -> Option<&str> {
    if path.len() > SHOWN_BYTES_MAX {
        return None;
    }
    let path = std::str::from_utf8(path).ok()?.trim_end_matches('/');
    let odd = |of: char| of.is_control() || of == '\'';
    let plain = !path.is_empty() && path.trim() == path && !path.starts_with('-');
    (plain && !path.contains(odd)).then_some(path)
}

/// A path for a shell.
fn quoted(path: &str) -> String {
    let bare = |of: char| of.is_alphanumeric() || "/.:_-@%+=,".contains(of);
    if path.chars().all(bare) {
        path.to_owned()
    } else {
        format!("'{path}'")
    }
}

/// Whether a path is a key, or one of the parts before its slashes: `/foo` covers `/foo` and
/// `/foo/bar`, and not `/foobar`.
fn covers(path: &str, key: &[u8]) -> bool {
    if planted::active(Bug::PrefixRules) {
        return key.starts_with(path.as_bytes());
    }
    path == ROOT
        || key
            .strip_prefix(path.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Whether every key that begins with these bytes lies at or below the path.
fn covers_all(path: &str, prefix: &[u8]) -> bool {
    path == ROOT
        || prefix
            .strip_prefix(path.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&b'/'))
}

fn lets_call(grant: &Grant, plugin: &str, command: &CommandDescription, key: &[u8]) -> bool {
    match grant {
        Grant::Read(path) => command.access == Access::Read && covers(path, key),
        Grant::Write(path) => covers(path, key),
        Grant::Call {
            plugin: of,
            command: name,
            path,
        } => of == plugin && (name == "*" || *name == command.name) && covers(path, key),
        Grant::Admin | Grant::Observe | Grant::Peer => false,
    }
}

fn lets_watch(grant: &Grant, plugin: &str, prefix: &[u8]) -> bool {
    match grant {
        Grant::Read(path) | Grant::Write(path) => covers_all(path, prefix),
        Grant::Call {
            plugin: of,
            command,
            path,
        } => of == plugin && command == "*" && covers_all(path, prefix),
        Grant::Admin | Grant::Observe | Grant::Peer => false,
    }
}

/// Whose secret has this digest.
pub fn user_of<'a>(policy: &'a Policy, digest: &[u8; 32]) -> Option<&'a str> {
    policy
        .users
        .iter()
        .find(|(_, known)| *known == digest)
        .map(|(name, _)| name.as_str())
}

/// As [`decide`], in the words of an outcome.
pub(crate) fn judge(policy: &Policy, identity: &str, action: Action<'_>) -> Result<(), Rejection> {
    decide(policy, identity, action)
        .map_err(|reason| Rejection::new(RejectionCode::PermissionDenied, reason))
}

/// Whether a command may be called with these arguments.
pub(crate) fn judge_call(
    policy: &Policy,
    identity: &str,
    target: &Target,
    arguments: &[ByteBuf],
) -> Result<(), Rejection> {
    if policy.rules.is_empty() {
        return Ok(());
    }
    let command = target.description();
    let action = Action::Call {
        plugin: &target.installed.name,
        command,
        keys: &command.keys(arguments),
    };
    judge(policy, identity, action)
}

impl Machine {
    pub(crate) fn change_policy(
        &mut self,
        moment: &Moment<'_>,
        principal: &str,
        change: PolicyChange,
    ) -> Outcome {
        if self.rules() < RULES_POLICY {
            return Err(Rejection::new(
                RejectionCode::InvalidArgument,
                "the rules in force know no policy",
            ));
        }
        judge(&self.policy, principal, Action::Administer)?;
        let mut policy = Policy::clone(&self.policy);
        let changed = change_of(&mut policy, principal, change)?;
        if policy != *self.policy {
            let layers = self.layers.as_mut().expect("no command is running");
            System::set_policy(&policy, layers, moment.revision);
            self.policy = Arc::new(policy);
        }
        let lines = changed.iter().map(|line| Reply::Text(line.to_string()));
        Ok(Reply::Array(lines.collect()))
    }
}

/// Changes a policy, and says which rules came or went.
fn change_of(
    policy: &mut Policy,
    principal: &str,
    change: PolicyChange,
) -> Result<Vec<Rule>, Rejection> {
    let refuse = |code: &str, message: String| {
        Err(Rejection::new(
            RejectionCode::Rejected(code.to_owned()),
            message,
        ))
    };
    match change {
        PolicyChange::Allow(rules) => {
            let first = policy.rules.is_empty();
            let mut added = Vec::new();
            for rule in rules {
                check(&rule)?;
                add(policy, rule, &mut added);
            }
            let admin = |policy: &Policy| decide(policy, principal, Action::Administer).is_ok();
            if first && !principal.is_empty() && !policy.rules.is_empty() && !admin(policy) {
                // Who makes the first rule must not find the door shut behind them.
                let rule = Rule {
                    identity: principal.to_owned(),
                    grant: Grant::Admin,
                };
                check(&rule)?;
                add(policy, rule, &mut added);
            }
            if policy.lines().count() > RULES_MAX {
                return refuse(
                    "too_many",
                    format!("a cluster has {RULES_MAX} rules at most"),
                );
            }
            Ok(added)
        }
        PolicyChange::Revoke(rules) => {
            let mut removed = Vec::new();
            for rule in rules {
                let Some(grants) = policy.rules.get_mut(&rule.identity) else {
                    continue;
                };
                if grants.remove(&rule.grant) {
                    if grants.is_empty() {
                        policy.rules.remove(&rule.identity);
                    }
                    removed.push(rule);
                }
            }
            if removed.is_empty() {
                return Err(Rejection::new(
                    RejectionCode::NotFound,
                    "no such rule; hostctl policy show lists them",
                ));
            }
            if decide(policy, principal, Action::Administer).is_err() {
                let message = format!(
                    "this would take the right to change the policy from '{principal}', who asks for it; \
                     let another admin do it"
                );
                return refuse("lockout", message);
            }
            Ok(removed)
        }
        PolicyChange::PutUser { name, secret } => {
            check(&Rule {
                identity: name.clone(),
                grant: Grant::Observe,
            })?;
            if user_of(policy, &secret).is_some_and(|other| other != name) {
                return refuse("taken", "another user has this secret".into());
            }
            policy.users.insert(name, secret);
            if policy.users.len() > USERS_MAX {
                return refuse(
                    "too_many",
                    format!("a cluster has {USERS_MAX} users at most"),
                );
            }
            Ok(Vec::new())
        }
        PolicyChange::RemoveUser { name } => match policy.users.remove(&name) {
            Some(_) => Ok(Vec::new()),
            None => Err(Rejection::new(
                RejectionCode::NotFound,
                format!("no user is called '{name}'; hostctl user list shows them"),
            )),
        },
    }
}

fn add(policy: &mut Policy, rule: Rule, added: &mut Vec<Rule>) {
    let grants = policy.rules.entry(rule.identity.clone()).or_default();
    if grants.insert(rule.grant.clone()) {
        added.push(rule);
    }
}

/// A rule must be one that can be written: what comes over the wire need not.
fn check(rule: &Rule) -> Result<(), Rejection> {
    match rule.to_string().parse::<Rule>() {
        Ok(read) if read == *rule => Ok(()),
        Ok(_) => Err(Rejection::new(
            RejectionCode::InvalidArgument,
            "the rule is not written as it would be shown",
        )),
        Err(error) => Err(Rejection::new(
            RejectionCode::InvalidArgument,
            error.to_string(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(lines: &[&str]) -> Policy {
        let mut policy = Policy::default();
        for line in lines {
            add(&mut policy, line.parse().unwrap(), &mut Vec::new());
        }
        policy
    }

    fn command(name: &str, access: Access) -> CommandDescription {
        CommandDescription {
            name: name.into(),
            access,
            arguments: Vec::new(),
            summary: String::new(),
            details: String::new(),
            examples: Vec::new(),
        }
    }

    fn call_of<'a>(command: &'a CommandDescription, keys: &'a [&'a [u8]]) -> Action<'a> {
        Action::Call {
            plugin: "kv",
            command,
            keys,
        }
    }

    fn call(policy: &Policy, who: &str, name: &str, access: Access, keys: &[&str]) -> bool {
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
        let action = Action::Call {
            plugin: "kv",
            command: &command(name, access),
            keys: &keys,
        };
        decide(policy, who, action).is_ok()
    }

    #[test]
    fn without_rules_everybody_may_do_everything_and_with_one_nobody_else() {
        let none = policy(&[]);
        assert!(decide(&none, "mallory", Action::Administer).is_ok());
        let one = policy(&["alice read /"]);
        assert!(decide(&one, "mallory", Action::Enter).is_err());
        assert!(decide(&one, "mallory", Action::Observe).is_err());
        assert!(decide(&one, "alice", Action::Enter).is_ok());
        assert!(decide(&one, "alice", Action::Observe).is_err());
        assert!(decide(&one, "alice", Action::Administer).is_err());
    }

    #[test]
    fn a_path_covers_its_own_components_only() {
        use Access::{Read, Write};
        let rules = policy(&["alice read /foo", "alice write /foo/own", "bob write /"]);
        let may = |who, access, keys: &[&str]| call(&rules, who, "x", access, keys);
        assert!(may("alice", Read, &["/foo"]));
        assert!(may("alice", Read, &["/foo/bar", "/foo/own"]));
        assert!(!may("alice", Read, &["/foobar"]));
        assert!(!may("alice", Read, &["/foo/bar", "/foobar"]));
        assert!(!may("alice", Read, &["foo"]));
        assert!(!may("alice", Write, &["/foo/bar"]));
        assert!(may("alice", Write, &["/foo/own/x"]));
        // Without a key it may touch all of them.
        assert!(!may("alice", Read, &[]));
        assert!(may("bob", Write, &[]));
        assert!(may("bob", Write, &["anything"]));
    }

    #[test]
    fn a_call_rule_is_for_that_command() {
        use Access::{Read, Write};
        let rules = policy(&[
            "alice call kv.incr /n",
            "bob call kv.* /n",
            "eve call log.* /",
        ]);
        assert!(call(&rules, "alice", "incr", Write, &["/n/1"]));
        assert!(!call(&rules, "alice", "set", Write, &["/n/1"]));
        assert!(!call(&rules, "alice", "incr", Write, &["/m"]));
        assert!(call(&rules, "bob", "get", Read, &["/n"]));
        assert!(!call(&rules, "eve", "get", Read, &["/n"]));
    }

    #[test]
    fn a_watch_needs_all_that_it_could_see() {
        let rules = policy(&[
            "alice read /foo",
            "bob call kv.* /foo",
            "eve call kv.get /foo",
        ]);
        let may = |who, prefix: &str| {
            let action = Action::Watch {
                plugin: "kv",
                prefix: prefix.as_bytes(),
            };
            decide(&rules, who, action).is_ok()
        };
        assert!(may("alice", "/foo/"));
        assert!(may("alice", "/foo/b"));
        assert!(!may("alice", "/foo"), "it would see /foobar");
        assert!(!may("alice", ""));
        assert!(may("bob", "/foo/"));
        assert!(!may("eve", "/foo/"));
    }

    /// The command that a refusal names, as a rule.
    fn advice(told: &str) -> String {
        let (_, rule) = told.split_once("hostctl policy allow ").expect("advice");
        let rule = rule.split("; or ").next().unwrap_or(rule);
        rule.replace('\'', "")
    }

    #[test]
    fn what_a_refusal_advises_is_enough() {
        let other = "somebody read /else";
        let watch = |plugin: &'static str, prefix: &'static [u8]| Action::Watch { plugin, prefix };
        let get = command("get", Access::Read);
        let cases: [(Action<'_>, &str); 12] = [
            (watch("kv", b""), "read /"),
            (watch("kv", b"/public"), "read /"),
            (watch("kv", b"/public/"), "read /public"),
            (watch("kv", b"/public/a"), "read /public"),
            (watch("kv", b"/a b/"), "read /a b"),
            (watch("kv", b"/\xff/"), "read /"),
            (watch("kv", b"orders.created"), "read /"),
            (watch("kv", b"orders/created"), "read orders"),
            (watch(EVERY_PLUGIN, b""), "read /"),
            (watch(EVERY_PLUGIN, b"/public/"), "read /public"),
            (call_of(&get, &[b"/a/\xff\xfe"]), "call kv.get /a"),
            (call_of(&get, &[]), "call kv.get /"),
        ];
        for (action, expected) in cases {
            let told = decide(&policy(&[other]), "alice", action).unwrap_err();
            let advised = advice(&told);
            assert_eq!(advised, format!("alice {expected}"), "{told}");
            let followed = policy(&[other, &advised]);
            assert_eq!(decide(&followed, "alice", action), Ok(()), "{told}");
        }
        // And where it says what else could be watched.
        let told = decide(&policy(&[other]), "alice", watch("kv", b"/public")).unwrap_err();
        assert!(
            told.ends_with("or watch /public/, for which 'read /public' is enough"),
            "{told}"
        );
        let narrower = policy(&[other, "alice read /public"]);
        assert_eq!(decide(&narrower, "alice", watch("kv", b"/public/")), Ok(()));
    }

    #[test]
    fn a_refusal_is_short_however_long_the_key_is() {
        let get = command("get", Access::Read);
        let rules = policy(&["somebody read /else"]);
        let key = [b"/app/".as_slice(), &vec![b'x'; 1 << 20]].concat();
        for action in [
            call_of(&get, &[&key]),
            Action::Watch {
                plugin: "kv",
                prefix: &key,
            },
        ] {
            let told = decide(&rules, "alice", action).unwrap_err();
            assert!(told.len() < 400, "{} bytes", told.len());
            assert!(told.contains("xxx… (1048581 bytes)"), "{told}");
            let followed = policy(&["somebody read /else", &advice(&told)]);
            assert_eq!(decide(&followed, "alice", action), Ok(()), "{told}");
        }
        for key in [
            "\u{e9}".repeat(1_000).into_bytes(),
            vec![0xff; 1_000],
            b"a\r\nb\x1b".to_vec(),
        ] {
            let shown = shown(&key);
            assert!(shown.len() < 420, "{shown}");
            assert!(!shown.contains(char::is_control), "{shown}");
        }
        assert!(!shown("\u{e9}x".repeat(1_000).as_bytes()).contains('\u{fffd}'));
    }

    #[test]
    fn nodes_are_asked_once_a_rule_is_about_them() {
        let join = |lines: &[&str], node| {
            let name = format!("node-{node}");
            decide(&policy(lines), &name, Action::Join(node)).is_ok()
        };
        assert!(join(&["alice read /"], 4));
        assert!(join(&["node-4 peer"], 4));
        assert!(!join(&["node-4 peer"], 5));
        assert!(join(&["* peer"], 5));
    }

    #[test]
    fn nobody_locks_themselves_out() {
        let mut rules = policy(&[]);
        let allow = |line: &str| PolicyChange::Allow(vec![line.parse().unwrap()]);
        let revoke = |line: &str| PolicyChange::Revoke(vec![line.parse().unwrap()]);
        let added = change_of(&mut rules, "root", allow("alice read /")).unwrap();
        let added: Vec<String> = added.iter().map(Rule::to_string).collect();
        assert_eq!(added, ["alice read /", "root admin"]);
        let mut changed = rules.clone();
        let refused = change_of(&mut changed, "root", revoke("root admin")).unwrap_err();
        assert_eq!(refused.code, RejectionCode::Rejected("lockout".into()));
        change_of(&mut rules, "root", allow("boss admin")).unwrap();
        change_of(&mut rules, "boss", revoke("root admin")).unwrap();
        assert!(decide(&rules, "root", Action::Administer).is_err());
        let missing = change_of(&mut rules, "boss", revoke("root admin")).unwrap_err();
        assert_eq!(missing.code, RejectionCode::NotFound);
    }

    #[test]
    fn a_rule_that_could_not_be_written_is_refused() {
        let rule = Rule {
            identity: "a b".into(),
            grant: Grant::Admin,
        };
        assert!(check(&rule).is_err());
        let rule = Rule {
            identity: "a".into(),
            grant: Grant::Read("/foo/".into()),
        };
        assert!(check(&rule).is_err());
    }
}

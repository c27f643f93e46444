//! Who a client is, and what of it may be asked before the log has the last word.

use std::sync::Arc;

use hostd_gateway::Require;
use hostd_machine::policy::{Action, decide, user_of};
use hostd_protocol::{Failure, FailureCode, Policy, Request, Subject, Watch};

use crate::config::{Config, DEFAULT_IDENTITY, Secret};

/// How RESP and HTTP clients prove who they are.
#[derive(Clone, Debug)]
pub(crate) struct Doorkeeper {
    auth: Option<Secret>,
    require: Require,
    /// Nobody outside of this machine can connect.
    local: bool,
}

impl Doorkeeper {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            auth: config.auth.clone(),
            require: config.require,
            local: config.listen.ip().is_loopback(),
        }
    }

    /// Why nobody is served over TCP who has no certificate.
    pub(crate) fn closed(&self, policy: &Policy) -> Option<String> {
        let asks =
            self.auth.is_some() || self.require == Require::Certificate || !policy.rules.is_empty();
        (!self.local && !asks).then(|| {
            "others can reach this node, and it asks nothing of RESP and HTTP clients, so it serves none \
             of them: set --auth, --require certificate, or rules with hostctl policy allow"
                .to_owned()
        })
    }

    /// Who somebody is that proves nothing.
    pub(crate) fn unproved(&self, policy: &Policy) -> Option<Arc<str>> {
        let served = self.auth.is_none()
            && if policy.rules.is_empty() {
                self.local
            } else {
                decide(policy, DEFAULT_IDENTITY, Action::Enter).is_ok()
            };
        served.then(|| DEFAULT_IDENTITY.into())
    }

    /// Whose secret this is.
    pub(crate) fn prove(
        &self,
        policy: &Policy,
        name: Option<&str>,
        secret: &str,
    ) -> Option<Arc<str>> {
        let password = name.is_none_or(|name| name == DEFAULT_IDENTITY)
            && self.auth.as_ref().is_some_and(|auth| auth.is(secret));
        if password {
            return Some(DEFAULT_IDENTITY.into());
        }
        // Secrets are random and long: how far two digests agree tells nobody anything.
        let user = user_of(policy, blake3::hash(secret.as_bytes()).as_bytes());
        user.filter(|user| name.is_none_or(|name| name == *user))
            .map(Into::into)
    }
}

/// Whether the policy lets a request through that is no call; calls are judged with their arguments.
pub(crate) fn permit(policy: &Policy, identity: &str, request: &Request) -> Result<(), Failure> {
    permit_action(policy, identity, action(request))
}

/// Whether it is for administrators, so that it must be judged by the newest rules there are. What only
/// observes is also answered by a node that can ask nobody what those are.
pub(crate) fn is_administration(request: &Request) -> bool {
    matches!(action(request), Action::Administer)
}

fn action(request: &Request) -> Action<'static> {
    match request {
        Request::Call(_)
        | Request::Read(_)
        | Request::OpenSession
        | Request::CloseSession { .. }
        | Request::Commands
        | Request::Members
        | Request::Barrier { .. }
        | Request::Clock
        | Request::Watch(_) => Action::Enter,
        Request::Status { .. } | Request::Plugins | Request::Metrics | Request::Raft => {
            Action::Observe
        }
        Request::Member(_)
        | Request::Plugin { .. }
        | Request::Log { .. }
        | Request::DryRun { .. }
        | Request::Verify { .. }
        | Request::Policy
        | Request::ChangePolicy { .. }
        | Request::Snapshot(_)
        | Request::Token(_) => Action::Administer,
    }
}

/// Whether the policy lets somebody see everybody's calls, which is what its administrators may.
pub(crate) fn permit_monitor(policy: &Policy, identity: &str) -> Result<(), Failure> {
    permit_action(policy, identity, Action::Administer)
}

fn permit_action(policy: &Policy, identity: &str, action: Action<'_>) -> Result<(), Failure> {
    decide(policy, identity, action)
        .map_err(|reason| Failure::new(FailureCode::PermissionDenied, reason))
}

/// Whether the policy lets somebody watch this. Without a plugin, all of them are meant.
pub(crate) fn permit_watch(policy: &Policy, identity: &str, watch: &Watch) -> Result<(), Failure> {
    let action = Action::Watch {
        plugin: watch
            .plugin
            .as_deref()
            .unwrap_or(hostd_machine::policy::EVERY_PLUGIN),
        prefix: match &watch.subject {
            Subject::Keys(prefix) => prefix,
            Subject::Topics(prefix) => prefix.as_bytes(),
        },
    };
    decide(policy, identity, action)
        .map_err(|reason| Failure::new(FailureCode::PermissionDenied, reason))
}

#[cfg(test)]
mod tests {
    use hostd_protocol::Grant;

    use super::*;

    fn access(listen: &str, auth: Option<&str>, require: Require) -> Doorkeeper {
        let mut config = Config::new("/nowhere");
        config.listen = listen.parse().unwrap();
        config.auth = auth.map(|auth| auth.to_owned().into());
        config.require = require;
        Doorkeeper::new(&config)
    }

    fn ruled(identity: &str) -> Policy {
        let mut policy = Policy::default();
        let grants = [Grant::Read("/".into())].into();
        policy.rules.insert(identity.to_owned(), grants);
        policy
    }

    const HERE: &str = "127.0.0.1:1";
    const OUTSIDE: &str = "192.0.2.1:1";

    #[test]
    fn what_others_can_reach_is_closed_unless_it_asks_for_something() {
        let none = Policy::default();
        let closed = |listen, auth, require, policy: &Policy| {
            access(listen, auth, require).closed(policy).is_some()
        };
        assert!(!closed(HERE, None, Require::Nothing, &none));
        assert!(closed(OUTSIDE, None, Require::Nothing, &none));
        assert!(closed(OUTSIDE, None, Require::Tls, &none));
        assert!(!closed(OUTSIDE, Some("p"), Require::Nothing, &none));
        assert!(!closed(OUTSIDE, None, Require::Certificate, &none));
        assert!(!closed(OUTSIDE, None, Require::Nothing, &ruled("alice")));
    }

    #[test]
    fn who_proves_nothing_is_default_where_that_may_do_something() {
        let none = Policy::default();
        let unproved = |auth, policy: &Policy| {
            access(HERE, auth, Require::Nothing)
                .unproved(policy)
                .is_some()
        };
        assert!(unproved(None, &none));
        assert!(!unproved(Some("p"), &none));
        assert!(!unproved(None, &ruled("alice")));
        assert!(unproved(None, &ruled("default")));
        assert!(unproved(None, &ruled("*")));
    }

    #[test]
    fn a_secret_is_its_owners_alone() {
        let mut policy = Policy::default();
        let digest = *blake3::hash(b"long and random").as_bytes();
        policy.users.insert("alice".into(), digest);
        let access = access(HERE, Some("password"), Require::Nothing);
        let prove = |name, secret| access.prove(&policy, name, secret);
        assert_eq!(prove(None, "password").as_deref(), Some("default"));
        assert_eq!(
            prove(Some("default"), "password").as_deref(),
            Some("default")
        );
        assert_eq!(prove(Some("alice"), "password"), None);
        assert_eq!(
            prove(Some("alice"), "long and random").as_deref(),
            Some("alice")
        );
        assert_eq!(prove(None, "long and random").as_deref(), Some("alice"));
        assert_eq!(prove(Some("bob"), "long and random"), None);
        assert_eq!(prove(None, ""), None);
    }
}

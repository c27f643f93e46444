//! Counts by a plugin that is replaced and migrated meanwhile: no increment is lost or done twice, by
//! whichever version, and a quota is never exceeded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use hostd_client::{PluginChange, Reply};
use hostd_history::{exactly_once::counter, tickets};

use super::{Answer, Boxed, Shared, User, Workload, history, lock, record};
use crate::operations::plugins;
use crate::world::World;

/// What is counted. Keys lie between these on both sides, so that a migration has passed one and not
/// the other.
const NAMES: [&str; 2] = ["apples", "zebras"];

pub(super) struct Tallies {
    component: Option<Arc<[u8]>>,
    done: [Shared<i64, i64>; NAMES.len()],
    last: Mutex<BTreeMap<&'static str, i64>>,
    /// Keys, and how many there may be, when the client looked last.
    quota: Mutex<Option<(u64, u64)>>,
    /// Why calls were rejected, for whoever looks for a cause.
    rejections: Mutex<BTreeSet<String>>,
    nonsense: Mutex<Option<String>>,
}

impl Tallies {
    pub(super) fn new(world: &World) -> Self {
        Self {
            component: plugins::component(world, 1, 0),
            done: Default::default(),
            last: Mutex::default(),
            quota: Mutex::default(),
            rejections: Mutex::default(),
            nonsense: Mutex::default(),
        }
    }

    fn complain(&self, text: String) {
        lock(&self.nonsense).get_or_insert(text);
    }

    /// Installs the plugin, and gives it more keys than one step of a migration deals with.
    async fn install(&self, user: &User) {
        let Some(component) = &self.component else {
            return;
        };
        loop {
            let Ok(digest) = user.client.upload(component, |_| {}).await else {
                continue;
            };
            let activate = PluginChange::Activate {
                digest,
                replace: false,
            };
            match user.client.change_plugins(activate).await {
                Ok(_) => break,
                // Somebody has replaced what an attempt of unknown outcome installed.
                Err(error) if error.code() == "rejected" => break,
                Err(_) => {}
            }
        }
        for first in [0, 700, 1_400] {
            user.insist("tally.fill", &["m", &first.to_string(), "700"])
                .await;
        }
    }

    /// While nobody changes which version runs, that one answers.
    async fn look_at_version(&self, user: &User) {
        let active = async || {
            let (plugins, _) = user.client.plugins().await.ok()?;
            let plugin = plugins
                .into_iter()
                .find(|plugin| plugin.name == plugins::NAME)?;
            let version = plugin.versions.into_iter().find(|kept| kept.active)?;
            Some((version.version, version.index))
        };
        let before = active().await;
        let Answer::Reply(Reply::Text(answered)) = user.call("tally.stamp", &[], None).await else {
            return;
        };
        if let (Some((version, index)), Some(after)) = (before, active().await)
            && (&version, &index) == (&after.0, &after.1)
            && version != answered
        {
            self.complain(format!("{version} runs, and {answered} answers"));
        }
    }

    /// What takes more than its quota takes no more. (A quota that is set twice may have been taken
    /// back in between, so from below it, this client cannot tell.)
    async fn look_at_quota(&self, user: &User) {
        let Ok((plugins, _)) = user.client.plugins().await else {
            return;
        };
        let Some(plugin) = plugins
            .into_iter()
            .find(|plugin| plugin.name == plugins::NAME)
        else {
            return;
        };
        let limit = plugin.limits.iter().find(|(name, _)| name == "keys_max");
        let now = limit.map(|(_, limit)| (plugin.keys, *limit));
        let mut before = lock(&self.quota);
        if let (Some((old, old_limit)), Some((new, limit))) = (*before, now)
            && old_limit == limit
            && old > limit
            && new > old
        {
            self.complain(format!(
                "with {limit} keys allowed, their number rose from {old} to {new}"
            ));
        }
        *before = now;
    }
}

fn integer(reply: Reply) -> Option<i64> {
    match reply {
        Reply::Integer(value) => Some(value),
        _ => None,
    }
}

impl Workload for Tallies {
    fn name(&self) -> &'static str {
        "tallies"
    }

    fn step(self: Arc<Self>, mut user: User) -> Boxed<User> {
        Box::pin(async move {
            if user.done == 0 {
                self.install(&user).await;
                return user;
            }
            if user.chance.percent(15) {
                // Keys that nothing else depends on.
                let first = format!("{}", user.done * 10);
                user.call("tally.fill", &["q", &first, "10"], None).await;
                self.look_at_quota(&user).await;
                return user;
            }
            if user.chance.percent(20) {
                self.look_at_version(&user).await;
                return user;
            }
            let which = user.chance.below(NAMES.len() as u64) as usize;
            let key = user
                .chance
                .percent(50)
                .then(|| format!("tally-{}-{}", user.number, user.done));
            let number = lock(&self.done[which]).invoke(user.number, 1);
            let answer = user.call("tally.count", &[NAMES[which], "1"], key).await;
            if let Answer::Rejected(code) = &answer {
                lock(&self.rejections).insert(code.clone());
            }
            if let Err(text) = record(&self.done[which], number, answer, integer) {
                self.complain(text);
            }
            user
        })
    }

    fn finish(self: Arc<Self>, user: User) -> Boxed<()> {
        Box::pin(async move {
            for name in NAMES {
                let total = loop {
                    match user.call("tally.total", &[name], None).await {
                        Answer::Reply(reply) => break integer(reply).unwrap_or(0),
                        // The load ended before anything was installed.
                        Answer::Rejected(code) if code == "unknown_command" => break 0,
                        _ => {}
                    }
                };
                lock(&self.last).insert(name, total);
            }
        })
    }

    fn judge(&self, _world: &World) -> Result<(), String> {
        lock(&self.nonsense).clone().map_or(Ok(()), Err)?;
        for (name, done) in NAMES.iter().zip(&self.done) {
            let last = *lock(&self.last).get(name).ok_or("a total was not read")?;
            let counts = history(done);
            let told = |violation: String| {
                let rejections = lock(&self.rejections);
                format!("{name}: {violation}; calls were rejected with {rejections:?}")
            };
            counter::check(0, &counts, last).map_err(|violation| told(violation.to_string()))?;
            tickets::check(&counts).map_err(|violation| told(violation.to_string()))?;
        }
        Ok(())
    }
}

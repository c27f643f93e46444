//! What becomes of plugins: installed, replaced, rolled back, removed; and the limits they have.

use std::sync::Arc;

use hostd_planted::{self as planted, Bug};
use hostd_protocol::{Activated, Limits, Outcome, PluginChange, Rejection, RejectionCode, Reply};

use crate::Fault;
use crate::apply::Moment;
use crate::catalogue::{Catalogue, Kept, Record, component};
use crate::machine::Machine;
use crate::plugin::{CompileError, Plugin};
use crate::store::{Table, Writes};
use crate::system::Dropping;
use crate::wasm::Engine;

impl Machine {
    pub(crate) fn change_plugins(
        &mut self,
        moment: &Moment<'_>,
        principal: String,
        change: PluginChange,
    ) -> Result<Outcome, Fault> {
        match change {
            PluginChange::Upload {
                digest,
                total,
                offset,
                bytes,
            } => self.upload(moment, digest, total, offset, &bytes),
            PluginChange::Activate { digest, replace } => {
                self.activate(moment, principal, &digest, replace)
            }
            PluginChange::Remove { plugin, purge } => self.remove(moment, &plugin, purge),
            PluginChange::Forget { plugin, digest } => self.forget(moment, &plugin, &digest),
            PluginChange::Limit { plugin, values } => self.limit(moment, plugin, values),
            PluginChange::Discard { digest } => self.discard(moment, &digest),
        }
    }

    /// Makes a component that came in one piece a part of the cluster.
    pub(crate) fn install_at_once(
        &mut self,
        moment: &Moment<'_>,
        principal: String,
        bytes: &[u8],
    ) -> Result<Outcome, Fault> {
        if bytes.len() as u64 > self.limits.component_bytes_max {
            let message = format!(
                "the component is larger than {} bytes",
                self.limits.component_bytes_max
            );
            return refuse(RejectionCode::TooLarge, message);
        }
        let plugin = match self.compiled(bytes)? {
            Ok(plugin) => plugin,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let digest = plugin.digest();
        let known = component(self.layers(), &digest)?.is_some();
        let outcome = self.activate_plugin(moment, principal, plugin, false)?;
        if outcome.is_ok() && !known {
            let layers = self.layers.as_mut().expect("no command is running");
            layers.set(
                Table::Component.key(&[&digest]),
                Some(bytes.into()),
                moment.revision,
            );
        }
        if outcome.is_ok() {
            // It may have been uploaded as well, and must not go with that.
            self.end_upload(moment, &digest, false)?;
        }
        Ok(outcome)
    }

    fn activate(
        &mut self,
        moment: &Moment<'_>,
        principal: String,
        digest: &[u8; 32],
        replace: bool,
    ) -> Result<Outcome, Fault> {
        let Some(bytes) = component(self.layers(), digest)? else {
            return refuse(
                RejectionCode::NotFound,
                "no component with this digest is kept or was uploaded; upload it again".into(),
            );
        };
        let plugin = match self.compiled(&bytes)? {
            Ok(plugin) => plugin,
            Err(rejection) => {
                self.end_upload(moment, digest, true)?;
                return Ok(Err(rejection));
            }
        };
        let outcome = self.activate_plugin(moment, principal, plugin, replace)?;
        if outcome.is_ok() {
            self.end_upload(moment, digest, false)?;
        }
        Ok(outcome)
    }

    fn compiled(&self, bytes: &[u8]) -> Result<Result<Arc<Plugin>, Rejection>, Fault> {
        match self.engine.compile(bytes) {
            Ok(plugin) => Ok(Ok(plugin)),
            Err(CompileError::Fault(fault)) => Err(fault),
            Err(CompileError::Plugin(error)) => {
                tracing::warn!(%error, "a plugin was refused");
                Ok(Err(Rejection::new(
                    RejectionCode::InvalidArgument,
                    error.kind(),
                )))
            }
        }
    }

    /// The one place where it is decided which code runs.
    pub(crate) fn activate_plugin(
        &mut self,
        moment: &Moment<'_>,
        principal: String,
        plugin: Arc<Plugin>,
        replace: bool,
    ) -> Result<Outcome, Fault> {
        let description = plugin.description();
        let name = description.name.clone();
        let Some(record) = self.catalogue.record(&name).cloned() else {
            if self.catalogue.records().count() as u64 >= self.limits.plugins_max {
                let message = format!(
                    "the cluster has {} plugins, as many as it may",
                    self.limits.plugins_max
                );
                return refuse(RejectionCode::TooLarge, message);
            }
            let id = self.next_number();
            let record = Record {
                id,
                space: id,
                state_version: description.state_version,
                active: None,
                kept: Vec::new(),
                limits: Vec::new(),
                failed: None,
            };
            self.run_version(moment, record, Arc::clone(&plugin), principal)?;
            return Ok(Ok(self.told("installed", &plugin)));
        };
        let digest = plugin.digest();
        if let Some(moving) = self.migrations.get(&record.id) {
            if moving.row.to == digest {
                return Ok(Ok(self.told("migrating", &plugin)));
            }
            let message = format!(
                "'{name}' is being migrated to version {}; wait for its end",
                moving.plugin.description().version
            );
            return refuse(RejectionCode::Rejected("migrating".into()), message);
        }
        if record.active == Some(digest) {
            return Ok(Ok(self.told("unchanged", &plugin)));
        }
        if record.active.is_some() && !replace {
            let message = format!(
                "the cluster has another version of '{name}'; to replace it: hostctl plugin upgrade FILE"
            );
            return refuse(RejectionCode::Rejected("already_installed".into()), message);
        }
        let present = record.state_version;
        let usage = self.system.running.usage.get(&record.space);
        let reads = description.state_version == present
            || description.reads_state_versions.contains(&present)
            || usage.is_none_or(|usage| usage.keys == 0);
        if reads {
            let what = if record.active.is_none() {
                "installed"
            } else if record.keeps(&digest) {
                "rolled back"
            } else {
                "upgraded"
            };
            self.run_version(moment, record, Arc::clone(&plugin), principal)?;
            return Ok(Ok(self.told(what, &plugin)));
        }
        if !description.migrates_state_versions.contains(&present) || record.active.is_none() {
            let message = format!(
                "the state of '{name}' has version {present}, which {} {} can neither read nor migrate from",
                name, description.version
            );
            return refuse(RejectionCode::Rejected("state_version".into()), message);
        }
        self.begin_migration(moment, record.id, Arc::clone(&plugin), principal);
        Ok(Ok(self.told("migrating", &plugin)))
    }

    /// From now on this version runs, on the state that the record names.
    pub(crate) fn run_version(
        &mut self,
        moment: &Moment<'_>,
        mut record: Record,
        plugin: Arc<Plugin>,
        principal: String,
    ) -> Result<(), Fault> {
        let description = plugin.description();
        let digest = plugin.digest();
        let returns = record.keeps(&digest);
        record.state_version = description.state_version;
        record.active = Some(digest);
        record.failed = None;
        record.kept.retain(|kept| kept.digest != digest);
        record.kept.push(Kept {
            digest,
            version: description.version.clone(),
            state_version: description.state_version,
            index: moment.revision.index,
            time: moment.now,
            principal,
        });
        while record.kept.len() as u64 > self.limits.versions_max {
            let oldest = record.kept.remove(0);
            self.end_upload(moment, &oldest.digest, true)?;
        }
        if !planted::active(Bug::KeepInstance) && !late_here() {
            self.instances.remove(&record.space);
        }
        let present = self.catalogue.get(&description.name);
        if let Some(present) = present.filter(|_| returns && planted::active(Bug::HalfRollback)) {
            let present = Arc::clone(&present.plugin);
            self.put_record(moment, record, present);
            return Ok(());
        }
        self.put_record(moment, record, plugin);
        Ok(())
    }

    /// Makes this what is known of a plugin that runs.
    pub(crate) fn put_record(&mut self, moment: &Moment<'_>, record: Record, plugin: Arc<Plugin>) {
        let layers = self.layers.as_mut().expect("no command is running");
        let (key, row) = record.row(&plugin.description().name);
        layers.set(key, row, moment.revision);
        let mut catalogue = Catalogue::clone(&self.catalogue);
        catalogue.put(record, plugin, &self.limits);
        self.catalogue = Arc::new(catalogue);
    }

    /// Removes a component that no version of this plugin is.
    pub(crate) fn drop_unkept(
        &mut self,
        moment: &Moment<'_>,
        record: &Record,
        digest: &[u8; 32],
    ) -> Result<(), Fault> {
        if record.keeps(digest) {
            return Ok(());
        }
        self.end_upload(moment, digest, true)
    }

    fn remove(&mut self, moment: &Moment<'_>, name: &str, purge: bool) -> Result<Outcome, Fault> {
        let Some(known) = self.catalogue.record(name).cloned() else {
            return Ok(Ok(Reply::Ok));
        };
        self.fail_migration(moment, known.id, "the plugin was removed".into())?;
        let mut catalogue = Catalogue::clone(&self.catalogue);
        let Some(mut record) = catalogue.take(name) else {
            return Ok(Ok(Reply::Ok));
        };
        self.instances.remove(&record.space);
        record.active = None;
        record.failed = None;
        let mut writes = Writes::new();
        let (key, row) = record.row(name);
        if purge {
            for kept in &record.kept {
                writes.insert(Table::Component.key(&[&kept.digest]), None);
            }
            self.system
                .running
                .dropping
                .push(Dropping::new(record.space));
            writes.insert(key, None);
        } else {
            writes.insert(key, row);
            catalogue.keep_removed(name.to_owned(), record);
        }
        let layers = self.layers.as_mut().expect("no command is running");
        layers.merge(writes, moment.revision)?;
        self.catalogue = Arc::new(catalogue);
        Ok(Ok(Reply::Ok))
    }

    fn forget(
        &mut self,
        moment: &Moment<'_>,
        name: &str,
        digest: &[u8; 32],
    ) -> Result<Outcome, Fault> {
        let Some(record) = self.catalogue.record(name).cloned() else {
            let message = format!("no plugin is named '{name}'");
            return refuse(RejectionCode::NotFound, message);
        };
        if !record.keeps(digest) {
            return Ok(Ok(Reply::Ok));
        }
        let moving = self.migrations.get(&record.id);
        if record.active == Some(*digest) || moving.is_some_and(|moving| moving.row.to == *digest) {
            let message = format!("this version of '{name}' runs, or is migrated to");
            return refuse(RejectionCode::Rejected("in_use".into()), message);
        }
        let mut record = record;
        record.kept.retain(|kept| kept.digest != *digest);
        self.end_upload(moment, digest, true)?;
        self.change_record(moment, name, record);
        Ok(Ok(Reply::Ok))
    }

    /// Makes this what is known of a plugin, whether it runs or not.
    fn change_record(&mut self, moment: &Moment<'_>, name: &str, record: Record) {
        if let Some(installed) = self.catalogue.get(name).cloned() {
            return self.put_record(moment, record, Arc::clone(&installed.plugin));
        }
        let layers = self.layers.as_mut().expect("no command is running");
        let (key, row) = record.row(name);
        layers.set(key, row, moment.revision);
        let mut catalogue = Catalogue::clone(&self.catalogue);
        catalogue.keep_removed(name.to_owned(), record);
        self.catalogue = Arc::new(catalogue);
    }

    fn limit(
        &mut self,
        moment: &Moment<'_>,
        plugin: Option<String>,
        values: Vec<(String, Option<u64>)>,
    ) -> Result<Outcome, Fault> {
        let invalid = |message| refuse(RejectionCode::InvalidArgument, message);
        let defaults = Limits::default();
        let Some(name) = plugin else {
            let mut limits = Limits::clone(&self.limits);
            for (name, value) in values {
                let value = value.or_else(|| defaults.get(&name)).unwrap_or_default();
                if let Err(message) = limits.set(&name, value) {
                    return invalid(message);
                }
            }
            // The bounds of limits are what every node can do, so that none is stopped by this.
            Engine::honour_limits(&limits)?;
            let layers = self.layers.as_mut().expect("no command is running");
            self.system
                .set_limits(limits.clone(), layers, moment.revision);
            self.catalogue = Arc::new(self.catalogue.with_limits(&limits));
            self.limits = Arc::new(limits);
            self.instances.clear();
            return Ok(Ok(Reply::Ok));
        };
        let Some(mut record) = self.catalogue.record(&name).cloned() else {
            let message = format!("no plugin is named '{name}'");
            return refuse(RejectionCode::NotFound, message);
        };
        for (limit, value) in values {
            let Some(info) = Limits::info(&limit) else {
                return invalid(format!(
                    "no limit is named '{limit}'; see `hostctl plugin limits`"
                ));
            };
            if !info.per_plugin {
                return invalid(format!("{limit} is the cluster's, not a plugin's"));
            }
            record.limits.retain(|(known, _)| *known != limit);
            if let Some(value) = value {
                if let Err(message) = defaults.clone().set(&limit, value) {
                    return invalid(message);
                }
                record.limits.push((limit, value));
            }
        }
        record.limits.sort_unstable();
        self.instances.remove(&record.space);
        self.change_record(moment, &name, record);
        Ok(Ok(Reply::Ok))
    }

    /// What became of an activation, for people and programs.
    fn told(&self, what: &str, plugin: &Plugin) -> Reply {
        let description = plugin.description();
        Activated {
            result: what.to_owned(),
            plugin: description.name.clone(),
            version: description.version.clone(),
            shared: self.catalogue.shared_names(plugin),
        }
        .into()
    }
}

/// Whether a planted bug lets the version before go on: on the first of three nodes that activate.
fn late_here() -> bool {
    use std::sync::atomic::{AtomicU64, Ordering};
    static ACTIVATED: AtomicU64 = AtomicU64::new(0);
    planted::active(Bug::ActivateLate)
        && ACTIVATED.fetch_add(1, Ordering::Relaxed).is_multiple_of(3)
}

#[expect(clippy::unnecessary_wraps, reason = "it is how a change ends")]
fn refuse(code: RejectionCode, message: String) -> Result<Outcome, Fault> {
    Ok(Err(Rejection::new(code, message)))
}

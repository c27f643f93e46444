//! Making a plugin's state anew for a version that cannot read it: in bounded steps, each part of a
//! log entry, into a key space of its own. Until it is whole, the older version runs on the old one.

use std::collections::BTreeMap;
use std::sync::Arc;

use hostd_planted::{self as planted, Bug};
use hostd_protocol::{Access, FailedMigration, Outcome, Rejection, Reply, TimeNs, hex};
use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::apply::{Code, Moment, Ran};
use crate::catalogue::{Installed, compile};
use crate::machine::Machine;
use crate::plugin::Plugin;
use crate::store::{Key, Layers, Span, Table, Writes, data_key, prefix_end, space_prefix};
use crate::system::{Dropping, decode, encode};
use crate::usage;
use crate::wasm::{Engine, Finished, GuestPair, Instance, Task};

/// Rows of one step, and their bytes: what a step takes must not be felt by others. Part of the
/// rules.
const STEP_ROWS: usize = 1_000;
const STEP_BYTES: usize = 1 << 20;

/// Rows of a state that nobody has any more which are removed in one step. Part of the rules.
const DROP_ROWS: usize = 2_000;

/// A migration's row in the state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Migration {
    /// Digest of the component that is migrated to.
    pub(crate) to: [u8; 32],
    /// The new key space.
    pub(crate) space: u32,
    pub(crate) phase: Phase,
    /// The last key of the old key space that is dealt with.
    pub(crate) passed: Option<Vec<u8>>,
    /// Where the next step of [`Phase::Steps`] goes on.
    cursor: Vec<u8>,
    /// Keys dealt with.
    pub(crate) keys: u64,
    pub(crate) since: TimeNs,
    principal: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// The new version translates key by key. What the older one writes is translated with it.
    Keys,
    /// The state is copied as it is. What the older version writes is copied with it.
    Copy,
    /// The new version changes the copy. The older one does not write.
    Steps,
}

/// A migration with the code that it goes to.
#[derive(Clone)]
pub(crate) struct Moving {
    pub(crate) row: Migration,
    pub(crate) plugin: Arc<Plugin>,
}

/// Migrations by plugin.
pub(crate) type Migrations = BTreeMap<u32, Moving>;

/// Loads what the state has.
pub(crate) fn load(engine: &Engine, layers: &Layers) -> Result<Migrations, Fault> {
    let none = Writes::new();
    let (start, end) = Table::Migration.bounds();
    let mut migrations = Migrations::new();
    for item in layers.scan(&none, Span::new(&start, &end))? {
        let (key, row) = item?;
        let id = key[1..]
            .first_chunk()
            .ok_or_else(|| Fault::Corrupt("migration row".into()))?;
        let mut row: Migration = decode(&row.value)?;
        if planted::active(Bug::MigrateTwice) {
            (row.passed, row.cursor, row.keys) = (None, Vec::new(), 0);
        }
        let plugin = compile(engine, layers, &row.to)?;
        migrations.insert(u32::from_be_bytes(*id), Moving { row, plugin });
    }
    Ok(migrations)
}

fn row_key(plugin: u32) -> Key {
    Table::Migration.key(&[&plugin.to_be_bytes()])
}

/// A key and its value. What a plugin calls a key, or a row's key.
type Pair = (Key, Arc<[u8]>);

/// Why a migration cannot go on, the same on every replica.
enum Halt {
    Failed(String),
    Fault(Fault),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Machine {
    /// Whether calls that write to this plugin wait for a migration.
    pub(crate) fn writes_wait(&self, plugin: u32) -> bool {
        self.migrations
            .get(&plugin)
            .is_some_and(|moving| moving.row.phase == Phase::Steps)
    }

    /// Begins to migrate a plugin's state to the layout of `plugin`.
    pub(crate) fn begin_migration(
        &mut self,
        moment: &Moment<'_>,
        id: u32,
        plugin: Arc<Plugin>,
        principal: String,
    ) {
        let space = self.next_number();
        let phase = if plugin.description().migrates_by_key {
            Phase::Keys
        } else {
            Phase::Copy
        };
        let row = Migration {
            to: plugin.digest(),
            space,
            phase,
            passed: None,
            cursor: Vec::new(),
            keys: 0,
            since: moment.now,
            principal,
        };
        self.put_migration(moment, id, Moving { row, plugin });
    }

    fn put_migration(&mut self, moment: &Moment<'_>, id: u32, moving: Moving) {
        let layers = self.layers.as_mut().expect("no command is running");
        layers.set(
            row_key(id),
            Some(encode(&moving.row).into()),
            moment.revision,
        );
        Arc::make_mut(&mut self.migrations).insert(id, moving);
    }

    fn take_migration(&mut self, moment: &Moment<'_>, id: u32) -> Result<Option<Moving>, Fault> {
        let Some(moving) = Arc::make_mut(&mut self.migrations).remove(&id) else {
            return Ok(None);
        };
        self.instances.remove(&moving.row.space);
        let layers = self.layers.as_mut().expect("no command is running");
        layers.merge(Writes::from([(row_key(id), None)]), moment.revision)?;
        Ok(Some(moving))
    }

    /// Does a bounded piece of all that is to be done.
    pub(crate) fn work(&mut self, moment: &Moment<'_>) -> Result<Outcome, Fault> {
        let ids: Vec<u32> = self.migrations.keys().copied().collect();
        for id in ids {
            // What a step writes is in memory until the next checkpoint.
            if self.overlay_bytes() <= self.limits.overlay_bytes_max / 2 {
                self.migrate_some(moment, id)?;
            }
        }
        if self.overlay_bytes() <= self.limits.overlay_bytes_max / 2 {
            self.drop_some(moment)?;
        }
        Ok(Ok(Reply::Ok))
    }

    fn migrate_some(&mut self, moment: &Moment<'_>, id: u32) -> Result<(), Fault> {
        let (Some(moving), Some(installed)) = (
            self.migrations.get(&id).cloned(),
            self.catalogue.by_id(id).cloned(),
        ) else {
            return Err(Fault::Corrupt("a migration of no plugin".into()));
        };
        let stepped = match moving.row.phase {
            Phase::Keys | Phase::Copy => self.pass_keys(moment, &installed, moving),
            Phase::Steps => self.step(moment, &installed, moving),
        };
        match stepped {
            Ok(()) => Ok(()),
            Err(Halt::Fault(fault)) => Err(fault),
            Err(Halt::Failed(reason)) => self.fail_migration(moment, id, reason),
        }
    }

    /// Translates, or copies, the next keys of the old key space.
    fn pass_keys(
        &mut self,
        moment: &Moment<'_>,
        installed: &Installed,
        mut moving: Moving,
    ) -> Result<(), Halt> {
        let rows = self.rows_after(installed.record.space, moving.row.passed.as_deref())?;
        let mut writes = Writes::new();
        let mut fuel = 0;
        let mut passed = 0;
        for (key, value) in &rows {
            match moving.row.phase {
                Phase::Keys => {
                    for (key, value) in
                        self.translated(moment, installed, &moving, key, value, &mut fuel)?
                    {
                        writes.insert(key, Some(value));
                    }
                }
                _ => {
                    writes.insert(new_key(moving.row.space, key), Some(Arc::clone(value)));
                }
            }
            passed += 1;
            if fuel >= installed.limits.fuel_per_command {
                break;
            }
        }
        let end = passed == rows.len() && rows.len() < STEP_ROWS && bytes(&rows) < STEP_BYTES;
        if let Some((key, _)) = passed.checked_sub(1).and_then(|last| rows.get(last)) {
            moving.row.passed = Some(key.to_vec());
            moving.row.keys += passed as u64;
        }
        self.write_new(moment, installed, writes)?;
        if !end {
            self.put_migration(moment, installed.id, moving);
        } else if moving.row.phase == Phase::Keys {
            self.finish_migration(moment, installed)?;
        } else {
            moving.row.phase = Phase::Steps;
            self.put_migration(moment, installed.id, moving);
        }
        Ok(())
    }

    /// One step of the new version on the copy.
    fn step(
        &mut self,
        moment: &Moment<'_>,
        installed: &Installed,
        mut moving: Moving,
    ) -> Result<(), Halt> {
        let (from, cursor) = (installed.record.state_version, moving.row.cursor.clone());
        let mut next = None;
        let finished = self.migrating(
            moment,
            installed,
            &moving,
            Access::Write,
            |instance, task| instance.migrate(task, from, cursor, &mut next),
        )?;
        finished.outcome.map_err(refused)?;
        self.write_new(moment, installed, finished.writes)?;
        match next {
            Some(cursor) => {
                moving.row.cursor = cursor;
                self.put_migration(moment, installed.id, moving);
            }
            None => self.finish_migration(moment, installed)?,
        }
        Ok(())
    }

    /// Has the new version's code do its part, on the new key space.
    fn migrating(
        &mut self,
        moment: &Moment<'_>,
        installed: &Installed,
        moving: &Moving,
        access: Access,
        call: impl FnOnce(&mut Instance, Task) -> Finished,
    ) -> Result<Ran, Halt> {
        let code = Code {
            space: moving.row.space,
            plugin: &moving.plugin,
            migrating: true,
        };
        self.guest(moment, 0, installed, code, access, call)?
            .map_err(refused)
    }

    /// Pairs of the old key space behind `passed`, as many as one step deals with.
    fn rows_after(&self, space: u32, passed: Option<&[u8]>) -> Result<Vec<Pair>, Fault> {
        let prefix = space_prefix(space);
        let mut start = prefix.to_vec();
        if let Some(passed) = passed {
            start.extend_from_slice(passed);
            // The first key behind it.
            start.push(0);
        }
        let end = prefix_end(&prefix);
        let none = Writes::new();
        let mut rows = Vec::new();
        let mut size = 0;
        for item in self.layers().scan(&none, Span::new(&start, &end))? {
            let (key, row) = item?;
            size += key.len() + row.value.len();
            rows.push((key[prefix.len()..].into(), row.value));
            if rows.len() == STEP_ROWS || size >= STEP_BYTES {
                break;
            }
        }
        Ok(rows)
    }

    /// What a pair of the old layout is in the new one.
    fn translated(
        &mut self,
        moment: &Moment<'_>,
        installed: &Installed,
        moving: &Moving,
        key: &Arc<[u8]>,
        value: &Arc<[u8]>,
        fuel: &mut u64,
    ) -> Result<Vec<Pair>, Halt> {
        let mut pairs: Vec<GuestPair> = Vec::new();
        let before = self.system.running.fuel;
        let from = installed.record.state_version;
        let pair = (Arc::clone(key), Arc::clone(value));
        let finished =
            self.migrating(moment, installed, moving, Access::Read, |instance, task| {
                instance.migrate_key(task, from, pair, &mut pairs)
            })?;
        *fuel += self.system.running.fuel - before;
        finished.outcome.map_err(|rejection| {
            Halt::Failed(format!("{rejection} (at the key {})", key.escape_ascii()))
        })?;
        let limits = &installed.limits;
        let large = pairs.iter().any(|(key, value)| {
            key.len() as u64 > limits.key_bytes_max || value.len() as u64 > limits.value_bytes_max
        });
        if large {
            return Err(Halt::Failed(format!(
                "a key or value is over the limit (at the key {})",
                key.escape_ascii()
            )));
        }
        let space = moving.row.space;
        Ok(pairs
            .into_iter()
            .map(|(key, value)| (new_key(space, &key), value.into()))
            .collect())
    }

    /// Puts what the new version has made into the new key space, within the plugin's quota.
    fn write_new(
        &mut self,
        moment: &Moment<'_>,
        installed: &Installed,
        writes: Writes,
    ) -> Result<(), Halt> {
        let usage = usage::after(&self.system.running.usage, self.layers(), &writes)?;
        let before = &self.system.running.usage;
        if let Some(reason) = usage::over_quota(before, &usage, &installed.limits) {
            return Err(Halt::Failed(format!("no_space: {reason}")));
        }
        self.system.running.usage.extend(usage);
        let layers = self.layers.as_mut().expect("no command is running");
        layers.merge(writes, moment.revision)?;
        Ok(())
    }

    /// What a command of the older version, which has just written this, means for the part of
    /// the state that is already made anew.
    ///
    /// Why the migration cannot go on, if so: the command stands all the same.
    pub(crate) fn mirrored(
        &mut self,
        moment: &Moment<'_>,
        installed: &Installed,
        writes: &Writes,
    ) -> Result<Result<Writes, String>, Fault> {
        let mut mirrored = Writes::new();
        let Some(moving) = self.migrations.get(&installed.id).cloned() else {
            return Ok(Ok(mirrored));
        };
        let Some(passed) = &moving.row.passed else {
            return Ok(Ok(mirrored));
        };
        if planted::active(Bug::ForgetMirror) {
            return Ok(Ok(mirrored));
        }
        let prefix = space_prefix(installed.record.space);
        let mut fuel = 0;
        let start: Key = prefix.as_slice().into();
        let end: Key = [prefix.as_slice(), passed, &[0]].concat().into();
        for (key, write) in writes.range(start..end) {
            let own: Arc<[u8]> = key[prefix.len()..].into();
            if moving.row.phase == Phase::Copy {
                mirrored.insert(new_key(moving.row.space, &own), write.clone());
                continue;
            }
            let old = self.layers().get_with(&Writes::new(), key)?;
            for (value, gone) in [(old, true), (write.clone(), false)] {
                let Some(value) = value else { continue };
                match self.translated(moment, installed, &moving, &own, &value, &mut fuel) {
                    Ok(pairs) => mirrored.extend(
                        pairs
                            .into_iter()
                            .map(|(key, value)| (key, (!gone).then_some(value))),
                    ),
                    Err(Halt::Failed(reason)) => return Ok(Err(reason)),
                    Err(Halt::Fault(fault)) => return Err(fault),
                }
            }
            if fuel > installed.limits.fuel_per_command {
                let reason = "a command wrote more than can be translated with it";
                return Ok(Err(format!("fuel_exhausted: {reason}")));
            }
        }
        Ok(Ok(mirrored))
    }

    /// The state is made anew: the new version takes over.
    fn finish_migration(
        &mut self,
        moment: &Moment<'_>,
        installed: &Installed,
    ) -> Result<(), Fault> {
        let Some(moving) = self.take_migration(moment, installed.id)? else {
            return Ok(());
        };
        let mut record = installed.record.clone();
        self.system
            .running
            .dropping
            .push(Dropping::new(record.space));
        record.space = moving.row.space;
        self.run_version(moment, record, moving.plugin, moving.row.principal)
    }

    /// The new key space goes, and the older version stays.
    pub(crate) fn fail_migration(
        &mut self,
        moment: &Moment<'_>,
        id: u32,
        reason: String,
    ) -> Result<(), Fault> {
        let Some(moving) = self.take_migration(moment, id)? else {
            return Ok(());
        };
        let Some(installed) = self.catalogue.by_id(id).cloned() else {
            return Ok(());
        };
        let version = moving.plugin.description().version.clone();
        tracing::warn!(
            plugin = &*installed.name,
            version,
            reason,
            "a migration failed"
        );
        self.system
            .running
            .dropping
            .push(Dropping::new(moving.row.space));
        let mut record = installed.record.clone();
        record.failed = Some(FailedMigration {
            to: hex(&moving.row.to),
            version,
            reason,
            keys: moving.row.keys,
            time: moment.now,
        });
        self.drop_unkept(moment, &record, &moving.row.to)?;
        self.put_record(moment, record, Arc::clone(&installed.plugin));
        Ok(())
    }

    /// Removes rows of a state that nobody has any more.
    fn drop_some(&mut self, moment: &Moment<'_>) -> Result<(), Fault> {
        let Some(Dropping { space, passed }) = self.system.running.dropping.first().cloned() else {
            return Ok(());
        };
        let prefix = space_prefix(space);
        let start = [&prefix, passed.as_slice()].concat();
        let end = prefix_end(&prefix);
        let span = Span {
            keys_only: true,
            ..Span::new(&start, &end)
        };
        let none = Writes::new();
        let mut writes = Writes::new();
        for item in self.layers().scan(&none, span)?.take(DROP_ROWS) {
            writes.insert(item?.0, None);
        }
        if writes.is_empty() {
            self.system.running.dropping.remove(0);
            // Timers are counted under a plugin's first key space, whatever became of that.
            if let Some(usage) = self.system.running.usage.get_mut(&space) {
                (usage.keys, usage.bytes) = (0, 0);
            }
            self.system
                .running
                .usage
                .retain(|_, usage| *usage != usage::Usage::default());
            return Ok(());
        }
        if let Some((last, _)) = writes.last_key_value() {
            self.system.running.dropping[0].passed = last[prefix.len()..].to_vec();
        }
        let layers = self.layers.as_mut().expect("no command is running");
        layers.merge(writes, moment.revision)
    }
}

fn refused(rejection: Rejection) -> Halt {
    Halt::Failed(rejection.to_string())
}

fn new_key(space: u32, key: &[u8]) -> Key {
    let mut buffer = Vec::with_capacity(5 + key.len());
    data_key(&mut buffer, space, key);
    buffer.into()
}

fn bytes(rows: &[Pair]) -> usize {
    rows.iter()
        .map(|(key, value)| key.len() + 5 + value.len())
        .sum()
}

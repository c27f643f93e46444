//! Cluster-wide values that are state but belong to no plugin.

use std::sync::Arc;

use hostd_protocol::{EngineIdentity, Limits, Policy, TimeNs};
use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::store::{Layers, Revision, Table, Writes};
use crate::usage::Usages;

/// What the cluster's first command fixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Founding {
    pub(crate) cluster: String,
    pub(crate) engine: EngineIdentity,
    pub(crate) limits: Limits,
    /// Time of the founding command: the cluster's birth.
    pub(crate) time: TimeNs,
}

/// Running values. Kept as one row that each checkpoint writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Time of the last command.
    pub(crate) time: TimeNs,
    /// Rises with `time`, but by a bounded step at each command: the clock by which retries are
    /// remembered and forgotten.
    pub(crate) steady: TimeNs,
    /// Fuel used by all commands since the founding. It is state so that the digest also compares
    /// fuel, which is the first thing to differ when two engines differ.
    pub(crate) fuel: u64,
    /// Number of the next plugin, or key space.
    pub(crate) next_plugin: u32,
    /// Number of the next session.
    pub(crate) next_session: u64,
    /// What the plugins take.
    pub(crate) usage: Usages,
    /// Key spaces that nobody has any more, whose rows are still to be removed.
    pub(crate) dropping: Vec<Dropping>,
}

/// A key space whose rows are being removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dropping {
    pub(crate) space: u32,
    /// Rows up to this key are removed; looking from the start would step over all of them.
    pub(crate) passed: Vec<u8>,
}

impl Dropping {
    pub(crate) fn new(space: u32) -> Self {
        Self {
            space,
            passed: Vec::new(),
        }
    }
}

/// The machine's own values.
pub(crate) struct System {
    pub(crate) founding: Option<Arc<Founding>>,
    pub(crate) running: Running,
    pub(crate) membership: Option<Vec<u8>>,
    /// The limits in force: the founding's until they are changed.
    limits: Option<Limits>,
    /// The engine in force: the founding's until it is changed.
    engine: Option<Arc<EngineIdentity>>,
}

const ENGINE: &[u8] = b"engine";
const LIMITS: &[u8] = b"limits";
pub(crate) const FOUNDING: &[u8] = b"founding";
const POLICY: &[u8] = b"policy";
const RUNNING: &[u8] = b"running";
pub(crate) const MEMBERSHIP: &[u8] = b"membership";

impl System {
    pub(crate) fn load(layers: &Layers) -> Result<Self, Fault> {
        let none = Writes::new();
        let row = |name: &[u8]| layers.get_with(&none, &Table::System.key(&[name]));
        let founding: Option<Arc<Founding>> = row(FOUNDING)?
            .map(|bytes| decode(&bytes))
            .transpose()?
            .map(Arc::new);
        let changed: Option<EngineIdentity> =
            row(ENGINE)?.map(|bytes| decode(&bytes)).transpose()?;
        let founded = founding.as_ref().map(|founding| founding.engine.clone());
        Ok(Self {
            engine: changed.or(founded).map(Arc::new),
            founding,
            running: row(RUNNING)?
                .map(|bytes| decode(&bytes))
                .transpose()?
                .unwrap_or_default(),
            membership: row(MEMBERSHIP)?.map(|bytes| bytes.to_vec()),
            limits: row(LIMITS)?.map(|bytes| decode(&bytes)).transpose()?,
        })
    }

    pub(crate) fn found(&mut self, founding: Founding, layers: &mut Layers, revision: Revision) {
        self.engine = Some(Arc::new(founding.engine.clone()));
        self.rename(founding, layers, revision);
    }

    /// Puts another founding in the place of the one that is there. The engine in force stays.
    pub(crate) fn rename(&mut self, founding: Founding, layers: &mut Layers, revision: Revision) {
        layers.set(
            Table::System.key(&[FOUNDING]),
            Some(encode(&founding).into()),
            revision,
        );
        self.founding = Some(Arc::new(founding));
    }

    pub(crate) fn set_membership(&mut self, bytes: &[u8], layers: &mut Layers, revision: Revision) {
        layers.set(
            Table::System.key(&[MEMBERSHIP]),
            Some(bytes.into()),
            revision,
        );
        self.membership = Some(bytes.to_vec());
    }

    /// Puts the running values into the state. Called when a checkpoint freezes it.
    pub(crate) fn save(&self, layers: &mut Layers, revision: Revision) {
        layers.set(
            Table::System.key(&[RUNNING]),
            Some(encode(&self.running).into()),
            revision,
        );
    }

    pub(crate) fn set_limits(&mut self, limits: Limits, layers: &mut Layers, revision: Revision) {
        layers.set(
            Table::System.key(&[LIMITS]),
            Some(encode(&limits).into()),
            revision,
        );
        self.limits = Some(limits);
    }

    pub(crate) fn set_engine(
        &mut self,
        engine: EngineIdentity,
        layers: &mut Layers,
        revision: Revision,
    ) {
        layers.set(
            Table::System.key(&[ENGINE]),
            Some(encode(&engine).into()),
            revision,
        );
        self.engine = Some(Arc::new(engine));
    }

    pub(crate) fn set_policy(policy: &Policy, layers: &mut Layers, revision: Revision) {
        let row = Some(encode(policy).into());
        layers.set(Table::System.key(&[POLICY]), row, revision);
    }

    /// The policy that the rows have.
    pub(crate) fn policy(layers: &Layers) -> Result<Policy, Fault> {
        let row = layers.get_with(&Writes::new(), &Table::System.key(&[POLICY]))?;
        row.map_or_else(|| Ok(Policy::default()), |bytes| decode(&bytes))
    }

    /// The engine in force; `None` before the founding.
    pub(crate) fn engine(&self) -> Option<&Arc<EngineIdentity>> {
        self.engine.as_ref()
    }

    /// The limits in force; the defaults before the founding.
    pub(crate) fn limits(&self) -> Limits {
        let founding = self.founding.as_ref();
        self.limits
            .clone()
            .or_else(|| founding.map(|founding| founding.limits.clone()))
            .unwrap_or_default()
    }
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("state rows have a postcard encoding")
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Fault> {
    postcard::from_bytes(bytes).map_err(|error| Fault::Corrupt(format!("state row: {error}")))
}

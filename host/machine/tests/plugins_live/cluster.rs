//! A machine with its log, and the versions of the tally.

use std::sync::OnceLock;

use hostd_protocol::{
    Command, Limits, Outcome, PluginChange, PluginInfo, Reply, UPLOAD_CHUNK_BYTES,
};

use crate::common::{Log, Rig, call, component, integer};

pub(crate) fn built(path: &'static str, slot: &'static OnceLock<Vec<u8>>) -> Vec<u8> {
    slot.get_or_init(|| component(path)).clone()
}

pub(crate) fn tally() -> Vec<u8> {
    static TALLY: OnceLock<Vec<u8>> = OnceLock::new();
    built("tests/fixtures/tally", &TALLY)
}

/// The same code under another version.
pub(crate) fn tally_again(version: &str) -> Vec<u8> {
    let (mut bytes, own) = (tally(), b"1.0.0");
    assert_eq!(version.len(), own.len());
    for at in 0..bytes.len() - own.len() {
        if bytes[at..].starts_with(own) {
            bytes[at..at + own.len()].copy_from_slice(version.as_bytes());
        }
    }
    bytes
}

pub(crate) fn tally_keys() -> Vec<u8> {
    static TALLY: OnceLock<Vec<u8>> = OnceLock::new();
    built("tests/fixtures/tally-keys", &TALLY)
}

pub(crate) fn tally_steps() -> Vec<u8> {
    static TALLY: OnceLock<Vec<u8>> = OnceLock::new();
    built("tests/fixtures/tally-steps", &TALLY)
}

pub(crate) fn digest(component: &[u8]) -> [u8; 32] {
    *blake3::hash(component).as_bytes()
}

pub(crate) fn change(change: PluginChange) -> Command {
    Command::Plugin {
        principal: "admin".into(),
        change,
    }
}

/// The commands that upload a component.
pub(crate) fn upload(component: &[u8]) -> Vec<Command> {
    let pieces = component.chunks(UPLOAD_CHUNK_BYTES).enumerate();
    pieces
        .map(|(number, piece)| {
            change(PluginChange::Upload {
                digest: digest(component),
                total: component.len() as u64,
                offset: (number * UPLOAD_CHUNK_BYTES) as u64,
                bytes: piece.to_vec(),
            })
        })
        .collect()
}

pub(crate) fn activate(component: &[u8]) -> Command {
    change(PluginChange::Activate {
        digest: digest(component),
        replace: true,
    })
}

/// What an activation says that it did.
pub(crate) fn result(outcome: &Outcome) -> String {
    let Ok(Reply::Map(pairs)) = outcome else {
        panic!("an activation failed: {outcome:?}");
    };
    match &pairs[0].1 {
        Reply::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// A machine that keeps its log, so that others can follow it.
pub(crate) struct Cluster {
    pub(crate) rig: Rig,
    pub(crate) log: Log,
    pub(crate) time: u64,
}

impl Cluster {
    pub(crate) fn new(components: Vec<Vec<u8>>) -> Self {
        Self::with_limits(components, Limits::default())
    }

    pub(crate) fn with_limits(components: Vec<Vec<u8>>, limits: Limits) -> Self {
        let log = Log::with_limits(components, limits);
        let mut rig = Rig::new();
        rig.follow(&log);
        Self {
            rig,
            log,
            time: 2_000_000,
        }
    }

    pub(crate) fn batch(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        self.time += 1_000_000;
        self.log.batch(self.time, commands);
        let mut seen = self.rig.follow(&self.log);
        seen.remove(0).0
    }

    pub(crate) fn one(&mut self, command: Command) -> Outcome {
        self.batch(vec![command]).remove(0)
    }

    pub(crate) fn call(&mut self, line: &str) -> Outcome {
        self.one(call(line))
    }

    pub(crate) fn checkpoint(&mut self) {
        self.time += 1_000_000;
        self.log.checkpoint(self.time);
        self.rig.follow(&self.log);
    }

    /// Uploads and activates.
    pub(crate) fn upgrade(&mut self, component: &[u8]) -> Outcome {
        for outcome in self.batch(upload(component)) {
            integer(&outcome);
        }
        self.one(activate(component))
    }

    /// Works until there is nothing left to do; how many steps that took.
    pub(crate) fn work(&mut self) -> usize {
        let mut steps = 0;
        while self.rig.machine.views().latest().has_work() {
            self.one(Command::Work).unwrap();
            steps += 1;
            assert!(steps < 1_000, "the work has no end");
        }
        steps
    }

    pub(crate) fn total(&self, name: &str) -> Outcome {
        self.rig.query(&format!("total {name}"))
    }

    pub(crate) fn info(&self) -> PluginInfo {
        let plugins = self.rig.machine.views().latest().plugins();
        let tally = plugins.into_iter().find(|plugin| plugin.name == "tally");
        tally.expect("the plugin is known")
    }

    pub(crate) fn version(&self) -> Outcome {
        self.rig.query("version")
    }

    /// A node that starts with the log alone, one that restarted at its last checkpoint, and one
    /// that was given a snapshot come to the same state with the same outcomes.
    pub(crate) fn others_agree(&mut self) {
        self.checkpoint();
        let expected = self.rig.digest();
        let mut fresh = Rig::new();
        fresh.follow(&self.log);
        assert_eq!(fresh.digest(), expected, "replayed");
        for cut in (1..self.log.0.len()).step_by(3) {
            let mut node = Rig::new();
            let part = Log(self.log.0[..cut].to_vec());
            node.follow(&part);
            let mut node = node.restart();
            node.follow(&self.log);
            assert_eq!(node.digest(), expected, "restarted after {cut}");
        }
        let mut node = self.rig.clone_by_snapshot();
        self.call("count snapshot 1").unwrap();
        node.follow(&self.log);
        self.checkpoint();
        node.follow(&self.log);
        assert_eq!(node.digest(), self.rig.digest(), "from a snapshot");
    }
}

//! Three replicas of one log: one applies it as it comes; one dies and goes on from its last
//! checkpoint on disk; one is away, and catches up with a snapshot. All must agree.

use hostd_machine::Applied;
use hostd_protocol::{Batch, Command, Entry};

use crate::machines::{Rig, Seen};

/// The replicas, and the log for those that are behind.
#[derive(Debug)]
pub struct Replicas {
    /// The one that applies the log as it comes.
    pub steady: Rig,
    /// `None` only while it is down.
    restarting: Option<Rig>,
    absent: Rig,
    log: Log,
}

/// Entries with what they came to.
#[derive(Debug)]
struct Log {
    first_index: u64,
    entries: Vec<(Entry, Seen)>,
}

impl Log {
    fn end(&self) -> u64 {
        self.first_index + self.entries.len() as u64
    }

    /// Applies what a replica lacks.
    fn follow(&self, rig: &mut Rig, who: &str) {
        while rig.next_index() < self.end() {
            let place = (rig.next_index() - self.first_index) as usize;
            let (entry, seen) = &self.entries[place];
            let applied = rig.apply(entry.clone());
            assert_eq!(&Seen::of(&applied), seen, "{who} differs in entry {place}");
        }
    }
}

impl Replicas {
    /// Three that `make` makes alike.
    pub fn new(make: impl Fn() -> Rig) -> Self {
        let steady = make();
        let log = Log {
            first_index: steady.next_index(),
            entries: Vec::new(),
        };
        Self {
            steady,
            restarting: Some(make()),
            absent: make(),
            log,
        }
    }

    /// Entries so far.
    pub fn len(&self) -> usize {
        self.log.entries.len()
    }

    /// Whether there is no entry yet.
    pub fn is_empty(&self) -> bool {
        self.log.entries.is_empty()
    }

    /// Applies commands together.
    pub fn batch(&mut self, time: u64, commands: Vec<Command>) -> Applied {
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&(self.len() as u64).to_le_bytes());
        self.apply(Entry::Batch(Batch {
            time,
            seed,
            commands,
        }))
    }

    /// Makes a checkpoint. It is written to disk at the next one, or at [`Rig::flush`].
    pub fn checkpoint(&mut self, time: u64) {
        self.apply(Entry::Checkpoint {
            time,
            previous: None,
        });
    }

    fn apply(&mut self, entry: Entry) -> Applied {
        let applied = self.steady.apply(entry.clone());
        self.log.entries.push((entry, Seen::of(&applied)));
        let restarting = self.restarting.as_mut().expect("it is up");
        self.log.follow(restarting, "the replica that restarts");
        applied
    }

    /// One replica dies, and goes on from its last checkpoint on disk.
    pub fn restart(&mut self) {
        let mut rig = self.restarting.take().expect("it is up").restart();
        self.log.follow(&mut rig, "the replica that restarts");
        self.restarting = Some(rig);
    }

    /// One replica that was away takes a snapshot, then the rest of the log.
    pub fn catch_up(&mut self) {
        self.steady.flush();
        let (position, chunks) = self.steady.snapshot().expect("there is a checkpoint");
        if Some(position) > self.absent.machine.position() {
            let installed = self.absent.install(position, chunks);
            installed.expect("a whole snapshot installs");
        }
        self.log
            .follow(&mut self.absent, "the replica that was away");
    }

    /// Makes a last checkpoint on all, and compares their states.
    pub fn compare(mut self) {
        self.catch_up();
        self.checkpoint(0);
        self.log
            .follow(&mut self.absent, "the replica that was away");
        let restarting = self.restarting.as_mut().expect("it is up");
        let [steady, restarted, absent] =
            [&mut self.steady, restarting, &mut self.absent].map(|rig| {
                rig.flush();
                let view = rig.machine.views().latest();
                (rig.machine.durable().digest, view.time(), view.next_timer())
            });
        assert_eq!(steady, restarted, "the replica that restarts differs");
        assert_eq!(steady, absent, "the replica that was away differs");
    }
}

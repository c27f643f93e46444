//! Bugs that a simulation switches on, to see that its checks find them, and a fault that only the
//! inside of a machine can have: a row that is not what was computed.
//!
//! Without the feature `planted`, which only the simulation sets, [`active`] is `false` at compile
//! time and nothing of a bug is in the program.

#![forbid(unsafe_code)]

/// A promise that is broken on purpose. Each is one `if` in the code that keeps the promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// The log reports a write as durable before it is committed.
    AckBeforeFsync,
    /// The log's commits are not synced.
    SkipSync,
    /// The mark of a commit is written before the commit.
    MarkFirst,
    /// A vote is not written to disk.
    ForgetVote,
    /// The leader answers reads without asking a majority.
    SkipReadIndex,
    /// A follower answers reads without asking the leader.
    FollowerReads,
    /// A read does not wait until the node has applied what it must see.
    ReadBeforeApply,
    /// The replies of commands that shared an entry are mixed up.
    SwapReplies,
    /// The log is purged up to the last applied entry instead of the last durable checkpoint.
    PurgeTooFar,
    /// After a restart the last entry of the checkpoint is applied again.
    ApplyTwice,
    /// Guest memory outlives a checkpoint.
    KeepGuestMemory,
    /// The leader's clock is taken as it is, even when it reads earlier than before.
    TimeFalls,
    /// A command that traps keeps its writes.
    KeepTrappedWrites,
    /// A checkpoint's position is committed before its data.
    SplitCheckpoint,
    /// A checkpoint leaves removed keys on disk.
    FlushSkipsDeletes,
    /// A snapshot lacks sessions and idempotency keys.
    ForgetSessions,
    /// A snapshot lacks timers.
    ForgetTimers,
    /// A random number that is each node's own reaches the state.
    OwnRandom,
    /// Queries see a time that has not come.
    QueriesAhead,
    /// The client numbers two writes alike.
    ReuseSequence,
    /// The client sends a write again without what recognises it.
    RetryWithoutNumber,
    /// A write whose outcome is unknown is acknowledged.
    AckUnknown,
    /// An attempt whose outcome is open is forgotten when the next one certainly did nothing.
    ForgetOpen,
    /// What is written while a state is migrated is missing in the new one.
    ForgetMirror,
    /// A plugin's quota is not looked at.
    IgnoreQuota,
    /// After an activation the instance of the version before goes on.
    KeepInstance,
    /// A migration that is resumed begins its last step again.
    MigrateTwice,
    /// A rollback changes which state is used, and not which code.
    HalfRollback,
    /// A member that lost its data keeps its vote when it comes back.
    KeepOldVote,
    /// The digest of the state leaves out sessions.
    DigestSkipsSessions,
    /// A node whose state is wrong is not told so.
    IgnoreDivergence,
    /// A version that is tried takes over an entry too late.
    TryLate,
    /// On one node an activated version runs from the next checkpoint on only.
    ActivateLate,
    /// A node follows the newest rules that it knows instead of the cluster's.
    OwnRules,
    /// The cluster goes over to newer rules though not every member can follow them.
    RulesUnasked,
    /// Who compares the nodes blames those that are right.
    BlameTheRight,
    /// Whether a call is allowed is asked before it is proposed, and not when it is applied.
    PolicyAtTheDoor,
    /// A rule for a path covers every key that begins with it.
    PrefixRules,
    /// A cluster that is restored begins with another clock.
    RestoreForgetsTime,
    /// After a restart watchers are not told the changes before the last checkpoint.
    WatchSkipsAfterRestart,
    /// A watcher that comes back is told the last command's changes again.
    WatchRepeats,
    /// A node that installed a snapshot goes on telling its watchers as if it had applied everything.
    WatchSkipsSnapshot,
}

impl Bug {
    /// Every bug with its name on the command line.
    pub const ALL: [(Bug, &'static str); 42] = [
        (Bug::AckBeforeFsync, "ack-before-fsync"),
        (Bug::SkipSync, "skip-sync"),
        (Bug::MarkFirst, "mark-first"),
        (Bug::ForgetVote, "forget-vote"),
        (Bug::SkipReadIndex, "skip-read-index"),
        (Bug::FollowerReads, "follower-reads"),
        (Bug::ReadBeforeApply, "read-before-apply"),
        (Bug::SwapReplies, "swap-replies"),
        (Bug::PurgeTooFar, "purge-too-far"),
        (Bug::ApplyTwice, "apply-twice"),
        (Bug::KeepGuestMemory, "keep-guest-memory"),
        (Bug::TimeFalls, "time-falls"),
        (Bug::KeepTrappedWrites, "keep-trapped-writes"),
        (Bug::SplitCheckpoint, "split-checkpoint"),
        (Bug::FlushSkipsDeletes, "flush-skips-deletes"),
        (Bug::ForgetSessions, "forget-sessions"),
        (Bug::ForgetTimers, "forget-timers"),
        (Bug::OwnRandom, "own-random"),
        (Bug::QueriesAhead, "queries-ahead"),
        (Bug::ReuseSequence, "reuse-sequence"),
        (Bug::RetryWithoutNumber, "retry-without-number"),
        (Bug::AckUnknown, "ack-unknown"),
        (Bug::ForgetOpen, "forget-open"),
        (Bug::ForgetMirror, "forget-mirror"),
        (Bug::IgnoreQuota, "ignore-quota"),
        (Bug::KeepInstance, "keep-instance"),
        (Bug::MigrateTwice, "migrate-twice"),
        (Bug::HalfRollback, "half-rollback"),
        (Bug::KeepOldVote, "keep-old-vote"),
        (Bug::DigestSkipsSessions, "digest-skips-sessions"),
        (Bug::IgnoreDivergence, "ignore-divergence"),
        (Bug::TryLate, "try-late"),
        (Bug::ActivateLate, "activate-late"),
        (Bug::OwnRules, "own-rules"),
        (Bug::RulesUnasked, "rules-unasked"),
        (Bug::BlameTheRight, "blame-the-right"),
        (Bug::RestoreForgetsTime, "restore-forgets-time"),
        (Bug::PolicyAtTheDoor, "policy-at-the-door"),
        (Bug::PrefixRules, "prefix-rules"),
        (Bug::WatchSkipsAfterRestart, "watch-skips-after-restart"),
        (Bug::WatchRepeats, "watch-repeats"),
        (Bug::WatchSkipsSnapshot, "watch-skips-snapshot"),
    ];

    /// The bug of a name.
    pub fn named(name: &str) -> Option<Bug> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(bug, _)| *bug)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(bug, _)| *bug == self);
        found.map_or("", |(_, name)| name)
    }
}

#[cfg(feature = "planted")]
mod switched {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    const NONE: u8 = u8::MAX;

    static ACTIVE: AtomicU8 = AtomicU8::new(NONE);

    /// Switches one bug on, for the whole process.
    pub fn plant(bug: Bug) {
        ACTIVE.store(bug as u8, Ordering::Relaxed);
    }

    /// Whether a bug is on.
    pub fn active(bug: Bug) -> bool {
        ACTIVE.load(Ordering::Relaxed) == bug as u8
    }

    thread_local! {
        static FAULT: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// From now on, in this thread, the next checkpoint that is written gets one wrong row;
    /// `choice` decides which. With `None` it gets none. Returns what was so before.
    pub fn arm(choice: Option<u64>) -> Option<u64> {
        FAULT.replace(choice)
    }

    /// Which of so many rows is to be written wrongly, once for each time that was asked for.
    pub fn wrong_row(rows: impl FnOnce() -> usize) -> Option<usize> {
        let choice = FAULT.get()?;
        let row = choice.checked_rem(rows() as u64)?;
        FAULT.set(None);
        Some(row as usize)
    }
}

#[cfg(feature = "planted")]
pub use switched::{active, arm, plant, wrong_row};

/// Has a row written wrongly: not in this build.
#[cfg(not(feature = "planted"))]
pub const fn arm(_choice: Option<u64>) -> Option<u64> {
    None
}

/// Which row is to be written wrongly: none.
#[cfg(not(feature = "planted"))]
#[inline]
pub fn wrong_row(_rows: impl FnOnce() -> usize) -> Option<usize> {
    None
}

/// Whether a bug is on: never.
#[cfg(not(feature = "planted"))]
#[inline]
pub const fn active(_bug: Bug) -> bool {
    false
}

//! Bugs that a simulation switches on, to see that its checks find them.
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
    /// A read answers from local state without asking a majority.
    SkipReadIndex,
    /// A follower does not wait until it has applied what a read must see.
    ReadBeforeApply,
    /// After a restart the first entries are applied to a state that has them already.
    ApplyTwice,
    /// A vote is not written to disk.
    ForgetVote,
    /// Guest memory outlives a checkpoint.
    KeepGuestMemory,
    /// The client numbers two writes alike.
    ReuseSequence,
    /// A snapshot lacks the sessions.
    ForgetSessions,
    /// A snapshot lacks the timers.
    ForgetTimers,
    /// The log is purged up to the last applied entry instead of the last durable checkpoint.
    PurgeTooFar,
    /// A command that traps keeps its writes.
    KeepTrappedWrites,
    /// The leader's clock is taken as it is, even when it reads earlier than before.
    TimeFalls,
    /// A joining learner is made a voter at once, with an empty log.
    PromoteEarly,
    /// A truncated entry stays in the log.
    SkipTruncate,
    /// A retry of a command that was rejected runs again.
    ForgetRejections,
    /// A deadline is kept by the node's own clock instead of replicated time.
    ExpireByOwnClock,
    /// A random number that is each node's own reaches the state.
    OwnRandom,
    /// A checkpoint's flush leaves out removed keys.
    FlushSkipsDeletes,
    /// A write whose outcome is unknown is proposed again without a number.
    RetryUnknown,
    /// A write is acknowledged when it is proposed, not when it is applied.
    AckBeforeApply,
    /// A snapshot is installed although the state is newer.
    InstallOlder,
    /// Damaged rows of the log are not noticed.
    TrustDamagedRows,
}

impl Bug {
    /// Every bug with its name on the command line.
    pub const ALL: [(Bug, &'static str); 22] = [
        (Bug::AckBeforeFsync, "ack-before-fsync"),
        (Bug::SkipReadIndex, "skip-read-index"),
        (Bug::ReadBeforeApply, "read-before-apply"),
        (Bug::ApplyTwice, "apply-twice"),
        (Bug::ForgetVote, "forget-vote"),
        (Bug::KeepGuestMemory, "keep-guest-memory"),
        (Bug::ReuseSequence, "reuse-sequence"),
        (Bug::ForgetSessions, "forget-sessions"),
        (Bug::ForgetTimers, "forget-timers"),
        (Bug::PurgeTooFar, "purge-too-far"),
        (Bug::KeepTrappedWrites, "keep-trapped-writes"),
        (Bug::TimeFalls, "time-falls"),
        (Bug::PromoteEarly, "promote-early"),
        (Bug::SkipTruncate, "skip-truncate"),
        (Bug::ForgetRejections, "forget-rejections"),
        (Bug::ExpireByOwnClock, "expire-by-own-clock"),
        (Bug::OwnRandom, "own-random"),
        (Bug::FlushSkipsDeletes, "flush-skips-deletes"),
        (Bug::RetryUnknown, "retry-unknown"),
        (Bug::AckBeforeApply, "ack-before-apply"),
        (Bug::InstallOlder, "install-older"),
        (Bug::TrustDamagedRows, "trust-damaged-rows"),
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
}

#[cfg(feature = "planted")]
pub use switched::{active, plant};

/// Whether a bug is on: never.
#[cfg(not(feature = "planted"))]
#[inline]
pub const fn active(_bug: Bug) -> bool {
    false
}

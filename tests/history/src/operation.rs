//! One operation of one client.

use std::fmt::{self, Debug, Display, Formatter};

/// A position in the one order of all events of a history. No two events share one.
pub type Stamp = u64;

/// What one client asked, and what it learned.
///
/// An operation takes effect at one moment between its invocation and its return. One without an
/// outcome may take effect at any time after its invocation, or never. One that certainly had no
/// effect, because it was refused, does not belong in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// Who asked. Only for reading: a client may have several operations under way.
    pub client: u64,
    /// Tells operations of one history apart.
    pub id: u64,
    /// When the client asked.
    pub invoked: Stamp,
    /// What it asked.
    pub input: I,
    /// What it learned; `None` when it does not know whether anything happened.
    pub outcome: Option<Outcome<O>>,
}

/// The known end of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<O> {
    /// When the client learned it; later than the invocation.
    pub returned: Stamp,
    /// What it learned.
    pub output: O,
}

impl<I, O> Operation<I, O> {
    /// When the operation returned; `None` when its outcome is unknown.
    pub fn returned(&self) -> Option<Stamp> {
        self.outcome.as_ref().map(|outcome| outcome.returned)
    }

    /// What the operation answered; `None` when its outcome is unknown.
    pub fn output(&self) -> Option<&O> {
        self.outcome.as_ref().map(|outcome| &outcome.output)
    }

    /// Whether this operation was over before the other one began.
    pub fn precedes<J, P>(&self, other: &Operation<J, P>) -> bool {
        self.returned()
            .is_some_and(|returned| returned < other.invoked)
    }
}

/// One line: `[invoked..returned] client #id input -> output`.
impl<I: Debug, O: Debug> Display for Operation<I, O> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Operation {
            client,
            id,
            invoked,
            input,
            outcome,
        } = self;
        match outcome {
            Some(Outcome { returned, output }) => write!(
                f,
                "[{invoked:>5}..{returned:>5}] client {client} #{id} {input:?} -> {output:?}"
            ),
            None => write!(
                f,
                "[{invoked:>5}..    ?] client {client} #{id} {input:?} -> unknown"
            ),
        }
    }
}

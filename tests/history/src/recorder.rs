//! Writes histories down.

use std::collections::BTreeMap;

use crate::operation::{Operation, Outcome, Stamp};

/// Names an operation of a [`Recorder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationId(u64);

/// Stamps operations as they are invoked and as they return.
///
/// The order in which its methods are called is the order of the events. Clients on several
/// threads share one behind a mutex: they invoke before they send and complete after they
/// received, so the recorded interval is never shorter than the true one.
#[derive(Clone, Debug)]
pub struct Recorder<I, O> {
    next_stamp: Stamp,
    operations: BTreeMap<u64, Operation<I, O>>,
}

impl<I, O> Recorder<I, O> {
    /// An empty history.
    pub fn new() -> Self {
        Recorder {
            next_stamp: 0,
            operations: BTreeMap::new(),
        }
    }

    /// A client asks. Until told otherwise the outcome is unknown.
    pub fn invoke(&mut self, client: u64, input: I) -> OperationId {
        let invoked = self.stamp();
        // The stamp is unique, so it serves as the operation's number too.
        let id = invoked;
        let operation = Operation {
            client,
            id,
            invoked,
            input,
            outcome: None,
        };
        self.operations.insert(id, operation);
        OperationId(id)
    }

    /// The operation returned.
    ///
    /// # Panics
    /// When it was refused or has returned before.
    pub fn complete(&mut self, id: OperationId, output: O) {
        let returned = self.stamp();
        let operation = self
            .operations
            .get_mut(&id.0)
            .expect("an operation that was refused does not return");
        assert!(
            operation.outcome.is_none(),
            "operation #{} returned twice",
            id.0
        );
        operation.outcome = Some(Outcome { returned, output });
    }

    /// The operation certainly had no effect and never will: it leaves the history.
    ///
    /// Not for a timeout or a lost connection; such an operation is left as it is.
    ///
    /// # Panics
    /// When it was refused before or has returned.
    pub fn refuse(&mut self, id: OperationId) {
        let operation = self
            .operations
            .remove(&id.0)
            .expect("an operation is refused once");
        assert!(
            operation.outcome.is_none(),
            "operation #{} returned and was refused",
            id.0
        );
    }

    /// The position of an event that is no operation, for notes beside the history.
    pub fn stamp(&mut self) -> Stamp {
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        stamp
    }

    /// The operations so far, in the order of invocation.
    pub fn operations(&self) -> impl Iterator<Item = &Operation<I, O>> {
        self.operations.values()
    }

    /// The history, in the order of invocation.
    pub fn into_history(self) -> Vec<Operation<I, O>> {
        self.operations.into_values().collect()
    }
}

impl<I, O> Default for Recorder<I, O> {
    fn default() -> Self {
        Recorder::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_holds_what_returned_and_what_is_unknown() {
        let mut recorder = Recorder::new();
        let first = recorder.invoke(1, "a");
        let second = recorder.invoke(2, "b");
        let third = recorder.invoke(3, "c");
        recorder.complete(second, true);
        recorder.refuse(first);
        let fourth = recorder.invoke(1, "d");
        recorder.complete(fourth, false);
        let _ = third;
        assert_eq!(recorder.operations().count(), 3);

        let lines: Vec<String> = recorder
            .into_history()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                r#"[    1..    3] client 2 #1 "b" -> true"#,
                r#"[    2..    ?] client 3 #2 "c" -> unknown"#,
                r#"[    4..    5] client 1 #4 "d" -> false"#,
            ]
        );
    }

    #[test]
    fn only_a_return_before_an_invocation_orders_operations() {
        let mut recorder = Recorder::new();
        let first = recorder.invoke(1, ());
        let overlapping = recorder.invoke(2, ());
        recorder.complete(first, ());
        let later = recorder.invoke(3, ());
        recorder.complete(overlapping, ());
        let _ = later;
        let history = recorder.into_history();
        assert!(history[0].precedes(&history[2]));
        assert!(!history[0].precedes(&history[1]));
        assert!(!history[1].precedes(&history[2]));
        assert!(!history[2].precedes(&history[0]));
    }

    #[test]
    #[should_panic(expected = "returned twice")]
    fn an_operation_returns_once() {
        let mut recorder = Recorder::new();
        let id = recorder.invoke(1, ());
        recorder.complete(id, ());
        recorder.complete(id, ());
    }
}

//! Operations, and how they are recorded.

/// One operation of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// Who did it. A client may do several at the same time.
    pub client: u64,
    /// Position of the invocation among all events of the history.
    pub invoked: u64,
    /// Position of the return, and what came back; `None` when the outcome is unknown: it may have
    /// taken effect at any time after the invocation, or may yet, or never will.
    pub returned: Option<(u64, O)>,
    /// What was asked.
    pub input: I,
}

/// Records a history. Operations that certainly did not happen are left out.
#[derive(Clone, Debug)]
pub struct Recorder<I, O> {
    operations: Vec<Option<Operation<I, O>>>,
    events: u64,
    refused: u64,
}

impl<I, O> Default for Recorder<I, O> {
    fn default() -> Self {
        Self {
            operations: Vec::new(),
            events: 0,
            refused: 0,
        }
    }
}

impl<I: Clone, O: Clone> Recorder<I, O> {
    /// A client asks. Returns the operation's number in this recorder.
    pub fn invoke(&mut self, client: u64, input: I) -> usize {
        self.events += 1;
        self.operations.push(Some(Operation {
            client,
            invoked: self.events,
            returned: None,
            input,
        }));
        self.operations.len() - 1
    }

    /// It was answered.
    pub fn complete(&mut self, number: usize, output: O) {
        self.events += 1;
        let events = self.events;
        if let Some(Some(operation)) = self.operations.get_mut(number) {
            operation.returned = Some((events, output));
        }
    }

    /// It certainly did not happen.
    pub fn refuse(&mut self, number: usize) {
        self.refused += 1;
        if let Some(operation) = self.operations.get_mut(number) {
            *operation = None;
        }
    }

    /// How many were answered, are unknown, and certainly did not happen.
    pub fn counts(&self) -> (u64, u64, u64) {
        let answered = |operation: &&Operation<I, O>| operation.returned.is_some();
        let all = self.operations.iter().flatten();
        let (answered, all) = (
            all.clone().filter(answered).count() as u64,
            all.count() as u64,
        );
        (answered, all - answered, self.refused)
    }

    /// Everything that happened or may have, by invocation.
    pub fn history(&self) -> Vec<Operation<I, O>> {
        self.operations.iter().flatten().cloned().collect()
    }
}

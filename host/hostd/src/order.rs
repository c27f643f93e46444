//! Calls of one connection that write, in the order in which they were sent.

use hostd_gateway::{Caller, Service as _};
use hostd_protocol::{
    Access, Call, CallError, Command, FailureCode, Outcome, RejectionCode, Reply, Request, Response,
};
use tokio::time::{Duration, Instant, sleep};

use crate::audit::{self, Called};
use crate::service::{
    MIGRATION_LOOK, Service, TIMEOUT_MAX, failure, may_call, resolve, still_migrating,
};

impl Service {
    /// Calls commands so that those that write are logged in this order. What does not write, or is
    /// not known, has its turn between them.
    pub(crate) async fn call_all(
        &self,
        caller: &Caller,
        calls: Vec<Call>,
    ) -> Vec<Result<Reply, CallError>> {
        let mut answers = Vec::with_capacity(calls.len());
        let mut run = Vec::new();
        for call in calls {
            if self.is_plain_write(&caller.identity, &call) {
                run.push(call);
                continue;
            }
            let writes = std::mem::take(&mut run);
            answers.extend(self.write_all(caller, writes).await);
            answers.push(match self.handle(caller, Request::Call(call)).await {
                Ok(Response::Reply(reply)) => Ok(reply),
                Ok(_) => Err(failure(
                    FailureCode::Fault,
                    "the node gave an answer to another question",
                )),
                Err(error) => Err(error),
            });
        }
        answers.extend(self.write_all(caller, run).await);
        answers
    }

    /// Whether nothing stands between the call and the log.
    fn is_plain_write(&self, principal: &str, call: &Call) -> bool {
        let view = self.views.latest();
        self.is_open()
            && may_call(&view, principal, call).is_ok()
            && matches!(resolve(&view, call), Ok(Access::Write))
    }

    async fn write_all(&self, caller: &Caller, calls: Vec<Call>) -> Vec<Result<Reply, CallError>> {
        let view = self.views.latest();
        let counted: Vec<_> = calls
            .iter()
            .map(|call| self.calls.of(&view, call))
            .collect();
        drop(view);
        let called: Vec<_> = calls.iter().map(Called::of).collect();
        let begun = Instant::now();
        let answers = self.write_each(caller, calls).await;
        let took = begun.elapsed();
        for (counted, answer) in counted.iter().zip(&answers) {
            counted.ended(took, answer.as_ref());
        }
        for (called, answer) in called.iter().zip(&answers) {
            // The log's own verdict, where the rules have changed on the way.
            if let Err(error) = answer
                && audit::is_refusal(error)
            {
                let what = called.name(&self.views.latest());
                self.audit.note(caller, &what, Err(error));
            }
        }
        answers
    }

    async fn write_each(&self, caller: &Caller, calls: Vec<Call>) -> Vec<Result<Reply, CallError>> {
        let Some(longest) = calls.iter().map(|call| call.timeout_ms).max() else {
            return Vec::new();
        };
        let within = Duration::from_millis(longest.into()).min(TIMEOUT_MAX);
        let deadline = Instant::now() + within;
        let commands: Vec<_> = calls
            .into_iter()
            .map(|call| command(caller, call))
            .collect();
        let mut answers: Vec<Option<Result<Reply, CallError>>> = vec![None; commands.len()];
        let mut open: Vec<usize> = (0..commands.len()).collect();
        loop {
            let attempt = open.iter().map(|at| commands[*at].clone()).collect();
            let ended = self.replica.write_in_order(attempt, deadline).await;
            let again = migrating(&ended);
            let late = Instant::now() + MIGRATION_LOOK >= deadline;
            let mut left = Vec::new();
            for ((at, ended), again) in open.into_iter().zip(ended).zip(again) {
                answers[at] = match ended {
                    Ok(Err(_)) if again && !late => {
                        left.push(at);
                        None
                    }
                    Ok(Err(rejection)) if rejection.code == RejectionCode::Migrating => {
                        Some(Err(still_migrating(rejection).into()))
                    }
                    Ok(outcome) => Some(outcome.map_err(CallError::from)),
                    Err(failure) => Some(Err(failure.into())),
                };
            }
            if left.is_empty() {
                return answers.into_iter().flatten().collect();
            }
            open = left;
            sleep(MIGRATION_LOOK).await;
        }
    }
}

fn command(caller: &Caller, call: Call) -> Command {
    Command::Call {
        principal: caller.identity.to_string(),
        plugin: call.plugin,
        command: call.command,
        arguments: call.arguments,
        once: call.once,
    }
}

/// Which of them can be tried again: they wait for a migration, and so does everything behind them.
fn migrating(ended: &[Result<Outcome, hostd_protocol::Failure>]) -> Vec<bool> {
    let waits = |ended: &Result<Outcome, _>| matches!(ended, Ok(Err(rejection)) if rejection.code == RejectionCode::Migrating);
    let passed = ended.iter().rposition(|ended| !waits(ended));
    let first = passed.map_or(0, |passed| passed + 1);
    (0..ended.len()).map(|at| at >= first).collect()
}

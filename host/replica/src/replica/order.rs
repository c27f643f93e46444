//! Several writes of one caller, logged in the order in which they were sent: what a pipeline
//! promises.
//!
//! They travel together and are queued together. What is tried again, because certainly nothing of
//! it was started, is everything from some command to the last: never one that another has overtaken.

use hostd_protocol::{Command, Failure, FailureCode, Outcome};
use tokio::time::{Instant, timeout};

use super::{
    Replica,
    calls::{ATTEMPT_MIN, ATTEMPT_PAUSE, Route, misunderstood, remaining},
};
use crate::{
    network::{Ask, Refusal, Tell},
    room,
};

type Settled = Result<Outcome, Refusal>;

impl Replica {
    /// Runs commands through the log, in this order, and returns what each came to. As with
    /// [`Replica::write`], any node will do. A command may fail and a later one succeed.
    pub async fn write_in_order(
        &self,
        mut commands: Vec<Command>,
        deadline: Instant,
    ) -> Vec<Result<Outcome, Failure>> {
        let patience = deadline.min(Instant::now() + self.inner.config.unavailable_after);
        let in_time = || Instant::now() + ATTEMPT_MIN < patience;
        let mut ended = Vec::with_capacity(commands.len());
        while let Some(last) = commands.pop() {
            // One that is alone needs no order, and every node knows how to pass it on.
            if commands.is_empty() && ended.is_empty() {
                return vec![self.write(last, deadline).await];
            }
            commands.push(last);
            let settled = self.attempt_in_order(commands.clone(), deadline).await;
            let again = if in_time() { open_end(&settled) } else { 0 };
            let done = settled.len() - again;
            let failed = |refusal: Refusal| self.with_leader(refusal.failure);
            let settled = settled.into_iter().take(done);
            ended.extend(settled.map(|settled| settled.map_err(failed)));
            commands.drain(..done);
            if again > 0 {
                let mut leadership = self.leadership();
                leadership.mark_unchanged();
                // A new leader ends the pause.
                drop(timeout(ATTEMPT_PAUSE, leadership.changed()).await);
            }
        }
        ended
    }

    async fn attempt_in_order(&self, commands: Vec<Command>, deadline: Instant) -> Vec<Settled> {
        let count = commands.len();
        let alike = |refusal: Refusal| vec![Err(refusal); count];
        match self.route() {
            Route::Here => self.write_in_order_here(commands, deadline).await,
            Route::To(leader) => {
                let ask = Ask::Writes {
                    commands,
                    within: remaining(deadline),
                };
                match self.ask_leader(leader, ask, deadline).await {
                    Ok(Tell::Outcomes(outcomes)) if outcomes.len() == count => outcomes,
                    Ok(_) => alike(misunderstood()),
                    Err(refusal) => alike(refusal),
                }
            }
            Route::Nowhere(failure) => alike(Refusal::untouched(failure)),
        }
    }

    pub(super) async fn write_in_order_here(
        &self,
        commands: Vec<Command>,
        deadline: Instant,
    ) -> Vec<Settled> {
        if self.inner.shortage.is_on() {
            return vec![Err(Refusal::untouched(room::no_space(self))); commands.len()];
        }
        let proposed = self.inner.proposer.propose_in_order(commands);
        let mut settled = Vec::with_capacity(proposed.len());
        for proposed in proposed {
            settled.push(match proposed {
                Ok(proposed) => self.settle(proposed, deadline).await,
                Err(refusal) => Err(refusal),
            });
        }
        settled
    }
}

/// How many at the end can be tried again: no leader took them, and nothing behind them was started.
fn open_end(settled: &[Settled]) -> usize {
    let open = |settled: &&Settled| {
        matches!(settled, Err(Refusal { failure, untouched: true })
            if matches!(failure.code, FailureCode::NoLeader | FailureCode::NoQuorum))
    };
    settled.iter().rev().take_while(open).count()
}

#[cfg(test)]
mod tests {
    use hostd_protocol::Reply;

    use super::*;

    #[test]
    fn only_what_nothing_has_overtaken_is_tried_again() {
        let failure = || Failure::new(FailureCode::NoLeader, "");
        let untouched = || Err(Refusal::untouched(failure()));
        let unknown = || Err(Refusal::unknown(failure()));
        let done = || Ok(Ok(Reply::Ok));
        assert_eq!(open_end(&[done(), untouched(), untouched()]), 2);
        assert_eq!(open_end(&[untouched(), done(), untouched()]), 1);
        assert_eq!(open_end(&[untouched(), untouched(), done()]), 0);
        assert_eq!(open_end(&[untouched(), unknown()]), 0);
        let overloaded = Failure::new(FailureCode::Overloaded, "");
        assert_eq!(
            open_end(&[untouched(), Err(Refusal::untouched(overloaded))]),
            0
        );
    }
}

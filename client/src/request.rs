//! One request, from its first sending to its answer or deadline.
//!
//! A request that has no answer after the cluster's patience is sent to another node as well:
//! this is how a dead node is overcome long before its connection times out. It is safe because a
//! write carries what lets the cluster recognise it, and because reads may be asked twice.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hostd_protocol::{Call, CallError, Failure, FailureCode, Request, Response, SnapshotRequest};
use hostd_quic::Ended;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::cluster::{Cluster, NoRoute, Route};
use crate::failure;
use crate::link::{Answer, Pending};
use crate::node::Node;

/// Longest patience with a node.
const PATIENCE_LAST: Duration = Duration::from_mins(1);

/// First pause after a node said that it cannot answer now; doubled up to the last one.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LAST: Duration = Duration::from_millis(100);

/// When every node that is known is asked, how often to look whether another has become known.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What may be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Sending it twice has the effect of sending it once.
    pub(crate) repeatable: bool,
    /// It may change something, so not knowing its outcome is worth telling.
    pub(crate) writes: bool,
    /// Any node will do: take turns.
    pub(crate) rotate: bool,
}

impl Plan {
    /// A read.
    pub(crate) const READ: Self = Self {
        repeatable: true,
        writes: false,
        rotate: false,
    };
    /// A read that takes so long that a second node must not begin it as well.
    pub(crate) const ONCE: Self = Self {
        repeatable: false,
        writes: false,
        rotate: false,
    };
    /// A write that the cluster recognises when it is repeated.
    pub(crate) const WRITE: Self = Self {
        repeatable: true,
        writes: true,
        rotate: false,
    };
    /// A change that is sent once.
    pub(crate) const CHANGE: Self = Self {
        repeatable: false,
        writes: true,
        rotate: false,
    };
}

/// How a request ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answer: Result<Response, CallError>,
    /// How often it was sent.
    pub(crate) sends: u32,
}

/// Sends a request until it is answered for good, or `deadline` has passed.
pub(crate) async fn send(
    cluster: &Arc<Cluster>,
    request: &mut Request,
    plan: Plan,
    deadline: Instant,
) -> Outcome {
    let begun = Instant::now();
    let mut attempts = Attempts {
        cluster,
        plan,
        begun,
        deadline,
        pending: Vec::new(),
        sends: 0,
        next: begun,
        patience: cluster.patience(),
        pause: PAUSE_FIRST,
        passed_over: None,
        last_error: None,
        uncertain: false,
    };
    let rotated = if plan.rotate { cluster.rotate() } else { None };
    if let Some(route) = rotated.or_else(|| cluster.primary()) {
        set_timeout(request, deadline);
        // The common case, without the machinery for several attempts.
        if let Ok(mut pending) = route.link.send(request) {
            attempts.sends = 1;
            let patience = (begun + attempts.patience).min(deadline);
            if let Ok(answer) = timeout_at(patience, &mut pending).await {
                if let Some(answer) = attempts.judge(&route.node, answer) {
                    return Outcome { answer, sends: 1 };
                }
            } else {
                attempts.grow_impatient(&route);
                attempts.pending.push((route.node, pending));
            }
        } else {
            cluster.unsettle(&route.node);
        }
    }
    let answer = attempts.run(request).await;
    Outcome {
        answer,
        sends: attempts.sends,
    }
}

/// The attempts at one request.
struct Attempts<'a> {
    cluster: &'a Arc<Cluster>,
    plan: Plan,
    begun: Instant,
    deadline: Instant,
    /// Nodes that are asked and have not answered.
    pending: Vec<(Arc<Node>, Pending)>,
    sends: u32,
    /// When to ask a further node.
    next: Instant,
    /// How long a node may take before another is asked as well; grows, so that a cluster that is
    /// slow for everybody is not asked more and more.
    patience: Duration,
    pause: Duration,
    /// The node that could not answer: asked again only when there is no other.
    passed_over: Option<Arc<Node>>,
    last_error: Option<CallError>,
    /// Some attempt may have taken effect though it was not answered so.
    uncertain: bool,
}

impl Attempts<'_> {
    async fn run(&mut self, request: &mut Request) -> Result<Response, CallError> {
        loop {
            let may_ask = self.pending.is_empty() || self.plan.repeatable;
            let asked: Vec<_> = self.pending.iter().map(|(node, _)| node.clone()).collect();
            let (cluster, next) = (self.cluster, self.next);
            let passed_over = self.passed_over.clone();
            tokio::select! {
                biased;
                (node, answer) = first(&mut self.pending), if !asked.is_empty() => {
                    if let Some(answer) = self.judge(&node, answer) {
                        return answer;
                    }
                }
                () = sleep_until(self.deadline) => return Err(self.expired()),
                route = async {
                    sleep_until(next).await;
                    cluster.route(&asked, passed_over.as_ref()).await
                }, if may_ask => self.ask(request, route)?,
            }
        }
    }

    /// Sends the request once more.
    fn ask(
        &mut self,
        request: &mut Request,
        route: Result<Route, NoRoute>,
    ) -> Result<(), CallError> {
        match route {
            Ok(route) => {
                set_timeout(request, self.deadline);
                if hostd_planted::active(hostd_planted::Bug::RetryWithoutNumber)
                    && self.sends > 0
                    && let Request::Call(call) = request
                {
                    call.once = None;
                }
                match route.link.send(request) {
                    Ok(pending) => {
                        self.sends += 1;
                        self.pending.push((route.node, pending));
                        self.wait(self.patience);
                        self.patience = (self.patience * 2).min(PATIENCE_LAST);
                    }
                    Err(_) => self.cluster.unsettle(&route.node),
                }
                Ok(())
            }
            Err(NoRoute::AllAsked) => {
                // There may be members that this client has not heard of.
                self.cluster.unsettled.notify_one();
                self.wait(LOOK_AGAIN);
                Ok(())
            }
            Err(NoRoute::Unreachable(failed)) => {
                // Where another may yet be up, it may be of another mind.
                let refused: Option<Vec<_>> = failed
                    .iter()
                    .map(|(address, why)| match why {
                        Ended::Credentials(why) => Some(failure::credentials(address, why)),
                        _ => None,
                    })
                    .collect();
                match refused.and_then(|refused| refused.into_iter().next()) {
                    Some(refused) if self.pending.is_empty() => Err(refused),
                    _ => {
                        self.pause();
                        Ok(())
                    }
                }
            }
        }
    }

    /// Whether an answer is the last word; `None` to go on.
    fn judge(&mut self, node: &Arc<Node>, answer: Answer) -> Option<Result<Response, CallError>> {
        match answer {
            Ok(Ok(response)) => Some(Ok(response)),
            Ok(Err(error)) => self.judge_error(node, error),
            Err(Ended::Credentials(why)) if !self.is_open() => {
                Some(Err(failure::credentials(node.address(), &why)))
            }
            Err(ended) => {
                self.cluster.unsettle(node);
                self.uncertain = true;
                if !self.plan.repeatable {
                    return Some(Err(failure::lost(node.address(), ended.message())));
                }
                self.next = Instant::now();
                None
            }
        }
    }

    fn judge_error(
        &mut self,
        node: &Arc<Node>,
        error: CallError,
    ) -> Option<Result<Response, CallError>> {
        let CallError::Failed(Failure { code, leader, .. }) = &error else {
            return Some(Err(error));
        };
        let never_began = never_began(*code);
        if !error.is_retryable() || !(self.plan.repeatable || never_began) {
            if !self.is_open() {
                return Some(Err(error));
            }
            // What this node says for good does not settle what another was asked before.
            if self.pending.is_empty() {
                return Some(Err(self.timed_out(self.begun.elapsed(), true)));
            }
            return None;
        }
        self.uncertain |= !never_began;
        if let Some((id, address)) = leader {
            self.cluster.learn_leader(*id, address);
        }
        if *code == FailureCode::Overloaded {
            // Another node would only pass it on to the same leader.
            self.passed_over = None;
        } else {
            self.passed_over = Some(node.clone());
            self.cluster.unsettle(node);
        }
        // An error that leaves the outcome open is not covered up by a later one that does not.
        if !never_began || self.last_error.as_ref().is_none_or(is_certain) {
            self.last_error = Some(error);
        }
        self.pause();
        None
    }

    /// The first node took too long: others are asked from now on.
    fn grow_impatient(&mut self, route: &Route) {
        if self.cluster.is_silent(&route.link) {
            self.cluster.unsettle(&route.node);
        }
        self.next = Instant::now();
        self.patience = (self.patience * 2).min(PATIENCE_LAST);
    }

    /// Whether something that was sent may have taken effect, or may yet.
    fn is_open(&self) -> bool {
        self.plan.writes && (self.uncertain || !self.pending.is_empty())
    }

    fn wait(&mut self, pause: Duration) {
        self.next = Instant::now() + pause;
    }

    fn pause(&mut self) {
        self.wait(self.pause);
        self.pause = (self.pause * 2).min(PAUSE_LAST);
    }

    /// The error when the deadline has passed.
    fn expired(&mut self) -> CallError {
        let after = self.deadline - self.begun;
        if self.sends == 0 {
            return failure::unreachable(&self.cluster.addresses(), after);
        }
        match self.last_error.take() {
            // The cluster's own words say more, unless they deny what may have happened.
            Some(error) if !(self.is_open() && is_certain(&error)) => error,
            _ => self.timed_out(after, self.plan.writes),
        }
    }

    /// Nobody recognises a change that comes again, so that is not what to do about it.
    fn timed_out(&self, after: Duration, of_write: bool) -> CallError {
        if of_write && !self.plan.repeatable {
            failure::timeout_of_change(after)
        } else {
            failure::timeout(after, of_write)
        }
    }
}

/// Whether a node that fails so has started nothing.
fn never_began(code: FailureCode) -> bool {
    matches!(
        code,
        FailureCode::NoLeader | FailureCode::Overloaded | FailureCode::NoSpace
    )
}

/// Whether an error says that nothing took effect.
fn is_certain(error: &CallError) -> bool {
    match error {
        CallError::Rejected(_) => true,
        CallError::Failed(failure) => never_began(failure.code),
    }
}

/// The first of several answers, and whose it is. Takes it out of the list.
async fn first(pending: &mut Vec<(Arc<Node>, Pending)>) -> (Arc<Node>, Answer) {
    poll_fn(|context| {
        for position in 0..pending.len() {
            if let Poll::Ready(answer) = Pin::new(&mut pending[position].1).poll(context) {
                let (node, _) = pending.swap_remove(position);
                return Poll::Ready((node, answer));
            }
        }
        Poll::Pending
    })
    .await
}

/// Tells the node how long it has: a little less than the caller waits, so that its own account
/// of what is wrong arrives in time.
fn set_timeout(request: &mut Request, deadline: Instant) {
    let (Request::Call(Call { timeout_ms, .. })
    | Request::Plugin { timeout_ms, .. }
    | Request::Verify { timeout_ms }
    | Request::ChangePolicy { timeout_ms, .. }
    | Request::Snapshot(SnapshotRequest::Now { timeout_ms })) = request
    else {
        return;
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let left = left.saturating_sub((left / 10).min(Duration::from_millis(100)));
    *timeout_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
}

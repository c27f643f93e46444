//! What peers ask of this node.

use std::time::Duration;

use hostd_protocol::{Failure, FailureCode, NodeId, Outcome, codec};
use tokio::time::Instant;

use super::Replica;
use crate::{
    membership,
    network::{Ask, Meeting, Refusal, Tell},
};

/// Replies that are passed on together. Half a frame: their size is what they take in memory, about.
const OUTCOMES_BYTES_MAX: usize = codec::FRAME_BYTES_MAX / 2;

/// The longest that a peer may ask this node to try.
const ASKED_MAX: Duration = Duration::from_mins(10);

impl Replica {
    /// Takes over a connection that a peer has made. `node` is the number in its certificate.
    pub fn accept_peer(&self, node: NodeId, connection: quinn::Connection) {
        self.inner.asks.accept(node, connection);
    }

    /// Answers another replica.
    pub(crate) async fn serve(&self, ask: Ask) -> Result<Tell, Refusal> {
        match ask {
            Ask::Meet => Ok(Tell::Met(self.meeting())),
            Ask::Status => Ok(Tell::Status(Box::new(self.own_status()))),
            Ask::Prepare { digest, within } => {
                self.prepare_here(digest, until(within)).await?;
                Ok(Tell::Done)
            }
            Ask::Rows {
                checkpoint,
                question,
                within,
            } => self.rows_here(checkpoint, question, until(within)).await,
            Ask::Enroll(request) => self.enroll_here(*request).await,
            // What follows is the leader's; passing it on again could go round in circles.
            leaders if !self.is_leader() => {
                drop(leaders);
                Err(Refusal::untouched(self.with_leader(Failure::new(
                    FailureCode::NoLeader,
                    "this node is not the leader",
                ))))
            }
            Ask::Write { command, within } => self
                .write_here(*command, until(within))
                .await
                .map(Tell::Outcome),
            Ask::Writes { commands, within } => {
                let outcomes = self.write_in_order_here(commands, until(within)).await;
                Ok(Tell::Outcomes(fitting(outcomes)))
            }
            Ask::ReadIndex => {
                let deadline = Instant::now() + self.inner.config.timing.election_max * 2;
                self.read_index_once(deadline).await.map(Tell::ReadIndex)
            }
            Ask::Change { change, within } => {
                membership::change(self, change, until(within)).await?;
                Ok(Tell::Done)
            }
            Ask::Join(joiner) => {
                membership::take_in(self, joiner).await?;
                Ok(Tell::Done)
            }
            Ask::Checkpoint => self.checkpoint_here().await.map(Tell::Checkpoint),
        }
    }

    fn meeting(&self) -> Meeting {
        let applied = self.applied_membership();
        let nodes = applied.membership().nodes();
        Meeting {
            id: self.id(),
            node: self.inner.node.clone(),
            initialized: self.is_initialized(),
            joined: self.has_joined(),
            members: nodes.map(|(id, node)| (*id, node.clone())).collect(),
            membership: applied.log_id().as_ref().map(openraft::LogId::index),
            honours: self.honours(),
        }
    }
}

/// Replies that fit into one frame. Those beyond are left out, and whoever asked for them is told; the
/// frame would take everybody's answers with it.
fn fitting(mut outcomes: Vec<Result<Outcome, Refusal>>) -> Vec<Result<Outcome, Refusal>> {
    let mut bytes = 0;
    for outcome in &mut outcomes {
        if let Ok(Ok(reply)) = outcome {
            bytes += reply.size_bytes();
            if bytes > OUTCOMES_BYTES_MAX {
                *outcome = Err(Refusal::unknown(Failure::new(
                    FailureCode::TooLarge,
                    "the write was done, and the replies of its pipeline are too large to be passed on; \
                     send fewer at once, or to the leader",
                )));
            }
        }
    }
    outcomes
}

/// The deadline that a peer asks for, in bounds: a moment too far away is none.
fn until(within: Duration) -> Instant {
    Instant::now() + within.min(ASKED_MAX)
}

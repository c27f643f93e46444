//! A new node's request travels to a node that can answer it. What the request means, this crate does not
//! know.

use std::sync::Arc;

use hostd_protocol::{EnrollRequest, Enrolled, Failure, FailureCode};
use tokio::time::Instant;

use crate::network::{Ask, BoxFuture, Destination, Refusal, Tell};
use crate::replica::{Replica, remaining};

/// Answers requests of new nodes that other nodes pass on. `unsupported` from one that cannot. It is
/// given the replica, because it must not keep it alive.
pub type Enroller =
    Arc<dyn Fn(Replica, EnrollRequest) -> BoxFuture<Result<Enrolled, Failure>> + Send + Sync>;

impl Replica {
    /// Answers what other nodes pass on with this function, from now on. The first one counts.
    pub fn answer_enrollments(&self, enroller: Enroller) {
        // A second one would be the same node's.
        let _ = self.inner().enroller.set(enroller);
    }

    /// Has another node answer, the first that can.
    pub async fn enroll_elsewhere(
        &self,
        request: EnrollRequest,
        deadline: Instant,
    ) -> Result<Enrolled, Failure> {
        let mut unreached = Vec::new();
        for (id, node) in self.nodes() {
            if id == self.id() {
                continue;
            }
            let ask = Ask::Enroll(Box::new(request.clone()));
            let destination = Destination::Member(id, node);
            match self.ask(destination, ask, remaining(deadline)).await {
                Ok(Tell::Enrolled(enrolled)) => return Ok(*enrolled),
                Ok(_) => {}
                Err(refusal) if refusal.failure.code == FailureCode::Unsupported => {}
                // What was not begun, another may do; what was, is used up.
                Err(refusal) if refusal.untouched && is_passing(&refusal.failure) => {
                    unreached.push(format!("node {id}: {}", refusal.failure.message));
                }
                Err(refusal) => return Err(refusal.failure),
            }
        }
        if unreached.is_empty() {
            return Err(Failure::new(
                FailureCode::Unsupported,
                "no node of the cluster has the authority's key: run `hostctl pki issue --node N` where \
                 ca-key.pem is, and copy ca.pem and the new pair to the new node",
            ));
        }
        Err(Failure::new(
            FailureCode::Overloaded,
            format!(
                "none of the nodes that can be reached has the authority's key; {}",
                unreached.join("; ")
            ),
        ))
    }

    pub(crate) async fn enroll_here(&self, request: EnrollRequest) -> Result<Tell, Refusal> {
        let Some(enroller) = self.inner().enroller.get() else {
            return Err(Refusal::untouched(Failure::new(
                FailureCode::Unsupported,
                "this node takes nobody in",
            )));
        };
        match enroller(self.clone(), request).await {
            Ok(enrolled) => Ok(Tell::Enrolled(Box::new(enrolled))),
            Err(failure) => Err(Refusal::unknown(failure)),
        }
    }
}

fn is_passing(failure: &Failure) -> bool {
    matches!(
        failure.code,
        FailureCode::NoLeader
            | FailureCode::NoQuorum
            | FailureCode::Timeout
            | FailureCode::Overloaded
            | FailureCode::Fault
    )
}

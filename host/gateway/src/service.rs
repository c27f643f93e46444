//! What the gateway calls.

use std::future::Future;
use std::sync::Arc;

use hostd_protocol::{CallError, NodeId, Request, Response};

/// Answers clients' requests.
///
/// The returned future is polled on the connection's own task, together with all others of that
/// stream: it must not block, and long computations belong on another thread. It is dropped when
/// the client is gone.
pub trait Service: Clone + Send + Sync + 'static {
    /// Answers one request of `principal`, the common name of the client's certificate.
    fn handle(
        &self,
        principal: &Arc<str>,
        request: Request,
    ) -> impl Future<Output = Result<Response, CallError>> + Send;
}

/// Takes over the connection of a peer, whose certificate proves its node number. It must not
/// block; it spawns what it needs.
pub type PeerHandler = Arc<dyn Fn(NodeId, quinn::Connection) + Send + Sync>;

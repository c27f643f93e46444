//! What the gateway calls.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::Stream;
use hostd_protocol::{
    Access, Call, CallError, CommandDescription, EnrollRequest, Enrolled, Failure, FailureCode,
    NodeId, Reply, Request, Response, Watch, WatchItem,
};

use crate::answer;

/// Who asks, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The common name of the client's certificate, or what it proved otherwise.
    pub identity: Arc<str>,
    /// The other end of the connection.
    pub from: SocketAddr,
}

/// One thing that must be well for a node to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// A word.
    pub name: &'static str,
    /// What is wrong, for people; `None` when it is well.
    pub problem: Option<String>,
}

/// Who answers a call that this node is told not to pass on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// The leader, at this address: a client may keep that in mind.
    Moved(String),
    /// The leader, at this address, for now.
    Try(String),
    /// Nobody: there is no leader.
    Nowhere,
}

/// Answers clients' requests, whichever door they came in by.
///
/// The returned futures are polled on the connection's own task, together with all others of that
/// connection: they must not block, and long computations belong on another thread. They are dropped
/// when the client is gone.
pub trait Service: Clone + Send + Sync + 'static {
    /// A watch that goes on: what its watcher is told, until the first error.
    type Watching: Stream<Item = Result<WatchItem, CallError>> + Send + Unpin + 'static;

    /// Answers one request.
    fn handle(
        &self,
        caller: &Caller,
        request: Request,
    ) -> impl Future<Output = Result<Response, CallError>> + Send;

    /// Why RESP and HTTP are not to be served at all, as where anybody could connect who need not prove
    /// anything. Asked for each connection that brings no certificate.
    fn closed(&self) -> Option<String> {
        None
    }

    /// The host name, without a port, under which this node is known to others, if it has one.
    fn host_name(&self) -> Option<&str> {
        None
    }

    /// What must be well for this node to serve, each with what is wrong with it. Asked by whoever
    /// can connect.
    fn checks(&self) -> Vec<Check> {
        Vec::new()
    }

    /// Answers calls of one connection, in their order. Those that write are logged in that order, and
    /// nothing is logged twice.
    fn call_in_order(
        &self,
        caller: &Caller,
        calls: Vec<Call>,
    ) -> impl Future<Output = Vec<Result<Reply, CallError>>> + Send {
        async move {
            let mut answers = Vec::with_capacity(calls.len());
            for call in calls {
                let answered = self.handle(caller, Request::Call(call)).await;
                answers.push(answered.and_then(answer::reply));
            }
            answers
        }
    }

    /// Looks at what is said of the command with this name, or `plugin.command`, and the plugin that has
    /// it. `None` when no plugin has it, as this node knows, or several.
    fn describe<T>(
        &self,
        _command: &str,
        look: impl FnOnce(Option<(&str, &CommandDescription)>) -> T,
    ) -> T {
        look(None)
    }

    /// Whether somebody may see the calls of all others.
    fn may_monitor(&self, _caller: &Caller) -> Result<(), CallError> {
        Ok(())
    }

    /// The same of somebody who does so already. Asked for each call that is shown.
    fn may_still_monitor(&self, _caller: &Caller) -> bool {
        true
    }

    /// Where a call of this kind is to be made instead, for clients that can be sent elsewhere.
    fn elsewhere(&self, _access: Access) -> Option<Elsewhere> {
        None
    }

    /// Gives a new node its certificate, if its token counts. Asked by whoever can connect.
    fn enroll(
        &self,
        _from: SocketAddr,
        _request: EnrollRequest,
    ) -> impl Future<Output = Result<Enrolled, Failure>> + Send {
        async {
            Err(Failure::new(
                FailureCode::Unsupported,
                "nobody is taken in here",
            ))
        }
    }

    /// Begins a watch. Dropping what is returned ends it.
    fn watch(
        &self,
        caller: &Caller,
        watch: Watch,
    ) -> impl Future<Output = Result<Self::Watching, CallError>> + Send;

    /// Who a client is that has proved nothing; `None` when it must prove something first. Asked over
    /// TCP only: QUIC always has a certificate.
    fn unproved(&self) -> Option<Arc<str>>;

    /// Whose secret this is: a password, with the name it is said to belong to, or a token, which needs
    /// none. `None` when it is nobody's; that is noted, with where it came from.
    fn prove(&self, from: SocketAddr, name: Option<&str>, secret: &str) -> Option<Arc<str>>;
}

/// Takes over the connection of a peer, whose certificate proves its node number. It must not
/// block; it spawns what it needs.
pub type PeerHandler = Arc<dyn Fn(NodeId, quinn::Connection) + Send + Sync>;

//! The snapshots of one node: unlike everything else that is asked, no other node could answer.

use std::time::Duration;

use hostd_protocol::{CallError, Request, Response, SnapshotInfo, SnapshotRequest};
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::Client;
use crate::cluster::{NoRoute, Route};
use crate::failure;

/// A node, and the snapshots that it keeps.
#[derive(Debug)]
pub struct Snapshots {
    route: Route,
    timeout: Duration,
}

impl Client {
    /// The snapshots of the first node that answers.
    pub async fn snapshots(&self) -> Result<Snapshots, CallError> {
        let (cluster, within) = self.cluster_and_timeout();
        let deadline = Instant::now() + within;
        loop {
            match timeout_at(deadline, cluster.route(&[], None)).await {
                Ok(Ok(route)) => {
                    return Ok(Snapshots {
                        route,
                        timeout: within,
                    });
                }
                Ok(Err(NoRoute::Unreachable(failed))) => {
                    for (address, why) in failed {
                        if let hostd_quic::Ended::Credentials(why) = why {
                            return Err(failure::credentials(&address, &why));
                        }
                    }
                }
                Ok(Err(NoRoute::AllAsked)) => {}
                Err(_) => return Err(failure::unreachable(&cluster.addresses(), within)),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Snapshots {
    /// Where the node is.
    pub fn address(&self) -> &str {
        self.route.node.address()
    }

    /// Takes one of everything that is acknowledged now. All of the state is read and written for it:
    /// `patience`.
    pub async fn take(&self, patience: Duration) -> Result<SnapshotInfo, CallError> {
        let timeout_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
        let asked = SnapshotRequest::Now { timeout_ms };
        match self.ask(asked, patience).await? {
            Response::Snapshots(mut taken) => taken.pop().ok_or_else(failure::unexpected),
            _ => Err(failure::unexpected()),
        }
    }

    /// Those that are kept, oldest first.
    pub async fn list(&self) -> Result<Vec<SnapshotInfo>, CallError> {
        match self.ask(SnapshotRequest::List, self.timeout).await? {
            Response::Snapshots(kept) => Ok(kept),
            _ => Err(failure::unexpected()),
        }
    }

    /// A part of one's file: what one answer has room for at most, and nothing behind its end.
    pub async fn read(&self, id: &str, from: u64, to: u64) -> Result<Vec<u8>, CallError> {
        let id = id.to_owned();
        let asked = SnapshotRequest::Read { id, from, to };
        match self.ask(asked, self.timeout).await? {
            Response::SnapshotPiece(piece) => Ok(piece.into_vec()),
            _ => Err(failure::unexpected()),
        }
    }

    async fn ask(&self, asked: SnapshotRequest, within: Duration) -> Result<Response, CallError> {
        let lost = |why: &str| failure::lost(self.address(), why);
        let sent = self.route.link.send(&Request::Snapshot(asked));
        let pending = sent.map_err(|ended| lost(ended.message()))?;
        match timeout(within, pending).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(ended)) => Err(lost(ended.message())),
            Err(_) => Err(failure::timeout(within, false)),
        }
    }
}

//! What clients ask about snapshots.

use std::time::Duration;

use hostd_protocol::{CallError, Response, SnapshotRequest};
use hostd_replica::Replica;
use serde_bytes::ByteBuf;
use tokio::time::Instant;

/// The longest that a snapshot may take: all of a state is read and written.
const TAKE_MAX: Duration = Duration::from_mins(10);

pub(crate) async fn answer(
    replica: &Replica,
    request: SnapshotRequest,
) -> Result<Response, CallError> {
    match request {
        SnapshotRequest::Now { timeout_ms } => {
            let timeout = Duration::from_millis(u64::from(timeout_ms)).min(TAKE_MAX);
            let taken = replica.take_snapshot(Instant::now() + timeout).await?;
            Ok(Response::Snapshots(vec![taken]))
        }
        SnapshotRequest::List => Ok(Response::Snapshots(replica.kept_snapshots()?)),
        SnapshotRequest::Read { id, from, to } => {
            let piece = replica.read_snapshot(&id, from..to)?;
            Ok(Response::SnapshotPiece(ByteBuf::from(piece)))
        }
    }
}

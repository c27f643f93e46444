//! The Redis protocol.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use crate::Service;
use crate::gateway::Shared;
use crate::tcp::{Guest, Io};

/// Serves a connection of which `begun` has been read already, until it ends.
pub(crate) async fn serve<S: Service>(
    _begun: BytesMut,
    mut stream: impl Io,
    guest: Guest,
    _shared: &Arc<Shared<S>>,
) {
    tracing::debug!(?guest, "the Redis protocol is not built yet");
    let _ = stream.write_all(b"-ERR unsupported\r\n").await;
}

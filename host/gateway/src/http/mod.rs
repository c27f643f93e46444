//! HTTP/1.1 and HTTP/2.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use crate::Service;
use crate::gateway::Shared;
use crate::tcp::{Guest, Io};

/// Serves a connection until it ends.
pub(crate) async fn serve<S: Service>(mut stream: impl Io, guest: Guest, _shared: &Arc<Shared<S>>) {
    tracing::debug!(?guest, "HTTP is not built yet");
    let _ = stream
        .write_all(
            b"HTTP/1.1 501 Not Implemented\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
}

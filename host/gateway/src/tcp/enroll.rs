//! A new node asks for its certificate: one question, one answer, over TLS with an ALPN of its own. The
//! only thing that is served to whoever has no certificate and no password.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hostd_protocol::codec::{decode, encode};
use hostd_protocol::enroll::ENROLL_BYTES_MAX;
use hostd_protocol::{EnrollRequest, Failure, FailureCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing::debug;

use super::Io;
use crate::Service;
use crate::gateway::Shared;

/// Answers, and hangs up.
pub(super) async fn serve<S: Service>(
    mut stream: impl Io,
    from: SocketAddr,
    shared: &Arc<Shared<S>>,
) {
    let asked = timeout(shared.limits.handshake_timeout, read(&mut stream)).await;
    let answer = match asked {
        Ok(Ok(request)) => shared.service.enroll(from, request).await,
        Ok(Err(error)) => Err(Failure::new(
            FailureCode::InvalidArgument,
            error.to_string(),
        )),
        Err(_) => return debug!(%from, "connection closed: it asked for nothing"),
    };
    let frame = encode(&answer);
    let told = timeout(shared.limits.stall_timeout, write(&mut stream, &frame));
    if let Ok(Err(error)) = told.await {
        debug!(%from, %error, "a new node did not hear its answer");
    }
}

async fn read(stream: &mut impl Io) -> io::Result<EnrollRequest> {
    let length = stream.read_u32_le().await? as usize;
    if length > ENROLL_BYTES_MAX {
        return Err(io::Error::other("the request is too long"));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await?;
    decode(&frame).map_err(io::Error::other)
}

async fn write(stream: &mut impl Io, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_le_bytes()).await?;
    stream.write_all(frame).await?;
    stream.shutdown().await
}

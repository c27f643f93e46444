//! A UDP socket of the simulated network, as QUIC wants it.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::{Inbox, Net};
use crate::process::Process;

/// A socket of one process.
pub(crate) struct Socket {
    net: Net,
    address: SocketAddr,
    inbox: Arc<Mutex<Inbox>>,
    process: Process,
}

impl Socket {
    pub(super) fn new(
        net: Net,
        address: SocketAddr,
        inbox: Arc<Mutex<Inbox>>,
        process: Process,
    ) -> Self {
        Self {
            net,
            address,
            inbox,
            process,
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Socket({})", self.address)
    }
}

/// There is always room to send.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        for segment in transmit.contents.chunks(size.max(1)) {
            if self.process.effect() {
                self.net.send(self.address, transmit.destination, segment);
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inbox = self
            .inbox
            .lock()
            .expect("nothing panics while it holds the lock");
        let mut received = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let Some((from, bytes)) = inbox.datagrams.pop_front() else {
                break;
            };
            let length = bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&bytes[..length]);
            *meta = RecvMeta {
                addr: from,
                len: length,
                stride: length,
                ecn: None,
                dst_ip: Some(self.address.ip()),
            };
            received += 1;
        }
        if received > 0 {
            return Poll::Ready(Ok(received));
        }
        inbox.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

//! A UDP proxy in front of a node: what others dial instead of the node itself, so that packets
//! can be dropped without asking the operating system.
//!
//! A node sends from the socket it listens on, so a packet's source tells which node it is from;
//! with a proxy in front of every node, any link of the cluster can be cut.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use crate::free_address;

/// How long a thread waits for a packet before it looks whether it should end.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Larger than any UDP packet.
const PACKET_BYTES_MAX: usize = 1 << 16;

/// A proxy in front of one node. Dropping it stops it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    front: UdpSocket,
    target: SocketAddr,
    /// The only sources whose packets pass; `None` for all.
    admitted: Mutex<Option<HashSet<SocketAddr>>>,
    stopping: AtomicBool,
}

impl Proxy {
    /// Starts a proxy on a free port, in front of the node that listens, or will, on `target`.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let address = free_address()?;
        let front = UdpSocket::bind(address)?;
        front.set_read_timeout(Some(LOOK_INTERVAL))?;
        let shared = Arc::new(Shared {
            front,
            target,
            admitted: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.forward()
        });
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// What others dial.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drops every packet from and to anybody but these sources, silently.
    pub fn admit_only(&self, sources: impl IntoIterator<Item = SocketAddr>) {
        *self.shared.admitted() = Some(sources.into_iter().collect());
    }

    /// Lets every packet pass.
    pub fn admit_all(&self) {
        *self.shared.admitted() = None;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends within the look interval, also when it panicked.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn admitted(&self) -> MutexGuard<'_, Option<HashSet<SocketAddr>>> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admits(&self, source: SocketAddr) -> bool {
        self.admitted()
            .as_ref()
            .is_none_or(|sources| sources.contains(&source))
    }

    /// Sources to the node. Each source has a socket of its own at the back, so that the node
    /// sees them apart and answers find their way.
    fn forward(self: Arc<Self>) {
        let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
        let mut packet = vec![0; PACKET_BYTES_MAX];
        while !self.stopping.load(Ordering::Relaxed) {
            let Ok((length, source)) = self.front.recv_from(&mut packet) else {
                continue;
            };
            if !self.admits(source) {
                continue;
            }
            let back = match backs.get(&source) {
                Some(back) => back,
                None => match self.open_back(source) {
                    Ok(back) => backs.entry(source).or_insert(back),
                    Err(_) => continue,
                },
            };
            // A lost packet is nothing special to QUIC.
            let _ = back.send(&packet[..length]);
        }
    }

    fn open_back(self: &Arc<Self>, source: SocketAddr) -> std::io::Result<Arc<UdpSocket>> {
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        back.connect(self.target)?;
        back.set_read_timeout(Some(LOOK_INTERVAL))?;
        let back = Arc::new(back);
        let (shared, reader) = (Arc::clone(self), Arc::clone(&back));
        std::thread::spawn(move || shared.answer(source, &reader));
        Ok(back)
    }

    /// The node's answers to one source.
    fn answer(&self, source: SocketAddr, back: &UdpSocket) {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        while !self.stopping.load(Ordering::Relaxed) {
            match back.recv(&mut packet) {
                Ok(_) if !self.admits(source) => {}
                Ok(length) => {
                    let _ = self.front.send_to(&packet[..length], source);
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                // The node is down: its machine says that nobody listens. It may come back.
                Err(_) => std::thread::sleep(LOOK_INTERVAL),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        socket
    }

    /// Whether a packet from `client` comes back from an echo at `node`.
    fn echoes(client: &UdpSocket, proxy: &Proxy, node: &UdpSocket) -> bool {
        let mut packet = [0; 16];
        client.send_to(b"ping", proxy.address()).unwrap();
        let Ok((length, from)) = node.recv_from(&mut packet) else {
            return false;
        };
        node.send_to(&packet[..length], from).unwrap();
        client.recv(&mut packet).is_ok()
    }

    #[test]
    fn one_source_is_cut_off_and_healed_while_another_goes_on() {
        let (node, one, other) = (socket(), socket(), socket());
        let proxy = Proxy::start(node.local_addr().unwrap()).unwrap();
        assert!(echoes(&one, &proxy, &node));
        proxy.admit_only([other.local_addr().unwrap()]);
        assert!(!echoes(&one, &proxy, &node));
        assert!(echoes(&other, &proxy, &node));
        proxy.admit_all();
        assert!(echoes(&one, &proxy, &node));
    }
}

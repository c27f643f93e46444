//! Free ports. A node uses the same number for UDP and TCP.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below the range from which the kernel takes ports for clients, so that no client's socket
/// takes a port between this look and the node's start.
const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

/// Whether both the UDP and the TCP port are free.
pub fn is_free(address: SocketAddr) -> bool {
    UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
}

/// A loopback address that was free just now and that this process has not been given before.
pub fn free_address() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that look at the same time begin at different places.
    let start = (std::process::id().wrapping_mul(127) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = (u32::from(start) + u32::from(step)) % u32::from(COUNT);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset as u16));
        if is_free(address) {
            return Ok(address);
        }
    }
    bail!("no free port from {FIRST} to {}", FIRST + COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_a_taken_one_never() {
        let first = free_address().unwrap();
        let second = free_address().unwrap();
        assert_ne!(first, second);
        let _taken = UdpSocket::bind(first).unwrap();
        assert!(!is_free(first));
    }
}

//! Addresses on loopback that nobody uses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context, Result};

/// Finds `count` ports of 127.0.0.1 that are free for TCP and UDP alike.
///
/// All are held until all are found, so that they differ. Between here and the server's start
/// another process could take one; the server's start then fails and says so.
pub(crate) fn free(count: usize) -> Result<Vec<SocketAddr>> {
    let mut held = Vec::new();
    let mut addresses = Vec::new();
    while addresses.len() < count {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        let address = tcp.local_addr()?;
        let udp = UdpSocket::bind(address);
        if udp.is_ok() {
            addresses.push(address);
        }
        held.push((tcp, udp));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_differ_and_are_free() {
        let addresses = free(6).unwrap();
        let mut unique = addresses.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 6);
        for address in addresses {
            UdpSocket::bind(address).unwrap();
        }
    }
}

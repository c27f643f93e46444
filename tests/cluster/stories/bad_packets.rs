//! Garbage at a node's port.

use std::net::UdpSocket;

use anyhow::{Result, ensure};

use crate::support::{Load, story};

/// Bytes without a meaning, the same in every run.
fn garbage(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

fn throw(address: &str) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for round in 0..2_000u64 {
        let mut packet = garbage(round + 1, (round as usize * 7) % 1_400);
        if round % 2 == 0 && !packet.is_empty() {
            // Looks like the long header of QUIC version 1 (RFC 9000, section 17.2).
            packet[0] |= 0xc0;
            for (byte, version) in packet.iter_mut().skip(1).zip([0, 0, 0, 1]) {
                *byte = version;
            }
        }
        // Full buffers are as good as delivery.
        let _ = socket.send_to(&packet, address);
    }
    Ok(())
}

#[test]
fn garbage_at_the_quic_port_disturbs_nobody() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        for address in cluster.addresses() {
            throw(&address)?;
        }
        load.wait_for_more(200)?;
        let record = load.stop()?;
        for id in cluster.ids() {
            ensure!(cluster.node(id)?.exit_code().is_none(), "node {id} ended");
        }
        cluster.wait_voters(3)?;
        record.check(cluster)
    });
}

//! Clients that mean harm: the node stays small, and others are served throughout.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Result, ensure};
use cluster_tests::Cluster;

use crate::support::http::{call, dial, get, parse};
use crate::support::http2::{self, END_HEADERS, END_STREAM, HEADERS, Http2, RESET, frame};
use crate::support::story;

/// By how much a node's memory may grow, whatever is thrown at it: requests of 64 MiB are held at
/// most by what these stories send, and twice while they are put together.
const GROWTH_KIB_MAX: u64 = 200 << 10;

/// Attacks the only node, and sees that it stays small and serves others.
fn attacked(attack: impl FnOnce(&str) -> Result<()>) {
    story(1, |cluster| {
        let address = cluster.address(1)?;
        bystander(&address)?;
        let before = cluster.node(1)?.peak_memory_kib()?;
        attack(&address)?;
        bystander(&address)?;
        stayed_small(cluster, before)
    });
}

fn bystander(address: &str) -> Result<()> {
    for _ in 0..20 {
        ensure!(call(address, "kv/incr", r#"["bystander"]"#)?.status == 200);
        ensure!(get(address, "/v1/call/kv/get?arg=bystander")?.status == 200);
    }
    Ok(())
}

fn stayed_small(cluster: &mut Cluster, before: u64) -> Result<()> {
    let after = cluster.node(1)?.peak_memory_kib()?;
    ensure!(
        after < before + GROWTH_KIB_MAX,
        "the node grew from {before} KiB to {after} KiB"
    );
    Ok(())
}

/// Sends as much as is taken, and returns what comes back until the other end hangs up.
fn pour(mut stream: TcpStream, begun: &[u8], more: &[u8], times: usize) -> Vec<u8> {
    // Whoever is refused may find the connection closed at any moment.
    let _ = stream.write_all(begun);
    for _ in 0..times {
        if stream.write_all(more).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn header_floods_are_cut_off() {
    attacked(|address| {
        let one = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n");
        // Many fields, one long field, a long path, and fields without an end.
        let field = b"X-Field: value\r\n";
        let answer = pour(dial(address)?, one.as_bytes(), &field.repeat(200), 1);
        ensure!(answer.is_empty() || parse(&answer)?.status == 431);
        let long = [
            b"X-Long: ".to_vec(),
            vec![b'x'; 1 << 20],
            b"\r\n\r\n".to_vec(),
        ]
        .concat();
        let answer = pour(dial(address)?, one.as_bytes(), &long, 1);
        ensure!(answer.is_empty() || parse(&answer)?.status == 431);
        let answer = pour(dial(address)?, b"GET /", &vec![b'x'; 64 << 10], 16);
        ensure!(answer.is_empty() || [414, 431].contains(&parse(&answer)?.status));
        pour(dial(address)?, one.as_bytes(), &field.repeat(4_096), 1_000);
        Ok(())
    });
}

#[test]
fn whoever_never_ends_a_header_is_hung_up_on() {
    attacked(|address| {
        let mut slow = Vec::new();
        for _ in 0..300 {
            let mut stream = dial(address)?;
            write!(stream, "GET /livez HTTP/1.1\r\nHost: {address}\r\nX-Slow: ")?;
            slow.push(stream);
        }
        bystander(address)?;
        for mut stream in slow {
            let mut answer = Vec::new();
            // It ends, with an answer or without.
            let ended = stream.read_to_end(&mut answer);
            ensure!(
                ended.is_ok()
                    || ended.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock),
                "a connection is still open"
            );
        }
        Ok(())
    });
}

#[test]
fn huge_bodies_are_refused() {
    attacked(|address| {
        let head = |length: &str| {
            format!(
                "POST /v1/call/kv/set?arg=k HTTP/1.1\r\nHost: {address}\r\n\
                 Content-Type: application/octet-stream\r\n{length}\r\n\r\n"
            )
        };
        let said = head("Content-Length: 1099511627776");
        let answer = pour(dial(address)?, said.as_bytes(), b"x", 1);
        ensure!(
            parse(&answer)?.status == 413,
            "{}",
            String::from_utf8_lossy(&answer)
        );
        // Without a length, as much as there is.
        let chunk = [
            b"100000\r\n".to_vec(),
            vec![b'x'; 1 << 20],
            b"\r\n".to_vec(),
        ]
        .concat();
        let chunked = head("Transfer-Encoding: chunked");
        let answer = pour(dial(address)?, chunked.as_bytes(), &chunk, 1_000);
        ensure!(answer.is_empty() || parse(&answer)?.status == 413);
        // Many that stop halfway.
        let mut halfway = Vec::new();
        let half = head("Content-Length: 1048576");
        for _ in 0..64 {
            let mut stream = dial(address)?;
            stream.write_all(half.as_bytes())?;
            stream.write_all(&vec![b'x'; 512 << 10])?;
            halfway.push(stream);
        }
        bystander(address)
    });
}

#[test]
fn rapid_resets_are_cut_off() {
    attacked(|address| {
        let mut client = Http2::open(address, b"")?;
        let block = http2::get("/v1/status", address);
        let mut sent = 0u32;
        // CVE-2023-44487: a request costs the sender nothing once it is reset.
        for number in 0..20_000u32 {
            let stream = number * 2 + 1;
            let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
            bytes.extend(frame(RESET, 0, stream, &8u32.to_be_bytes()));
            if client.stream.write_all(&bytes).is_err() {
                break;
            }
            sent += 1;
        }
        let mut rest = Vec::new();
        // A goodbye, then the end; or the end at once.
        let ended = client.stream.read_to_end(&mut rest);
        ensure!(
            ended.is_ok()
                || ended.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock),
            "the connection is still open after {sent} resets"
        );
        Ok(())
    });
}

#[test]
fn readers_that_take_nothing_are_bounded() {
    attacked(|address| {
        let value = "x".repeat(512 << 10);
        ensure!(call(address, "kv/set", &format!("[\"large\", \"{value}\"]"))?.status == 200);
        let mut stalled = Vec::new();
        for _ in 0..8 {
            // Over HTTP/2 with no window at all: SETTINGS_INITIAL_WINDOW_SIZE is 0.
            let mut client = Http2::open(address, &[0, 4, 0, 0, 0, 0])?;
            for number in 0..64u32 {
                client.ask(number * 2 + 1, "/v1/call/kv/get?arg=large")?;
            }
            stalled.push(client.stream);
            // Over HTTP/1.1 with a pipeline of which nothing is read.
            let mut stream = dial(address)?;
            let one = format!("GET /v1/call/kv/get?arg=large HTTP/1.1\r\nHost: {address}\r\n\r\n");
            stream.write_all(one.repeat(100).as_bytes())?;
            stalled.push(stream);
        }
        bystander(address)
    });
}

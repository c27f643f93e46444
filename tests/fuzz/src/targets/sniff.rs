//! Which protocol a connection speaks. The file is compiled in here: the gateway shows nothing of its
//! doors.

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "sniff",
    what: "a protocol is told once enough has come, what comes later changes nothing, and no line is \
           waited for without end",
    run,
    seeds,
    bytes_max: 512,
    inputs: 200_000,
};

use self::protocols::{Spoken, sniff};

#[path = "../../../../host/gateway/src/tcp/sniff.rs"]
#[allow(unreachable_pub)]
mod protocols;

const LINE_BYTES_MAX: usize = 64;

fn run(bytes: &[u8]) {
    let told = (0..=bytes.len()).find_map(|length| {
        let spoken = sniff(&bytes[..length], LINE_BYTES_MAX)?;
        Some((length, spoken))
    });
    let Some((length, spoken)) = told else {
        assert!(
            bytes.len() <= LINE_BYTES_MAX,
            "nothing is told of a long line"
        );
        return;
    };
    assert!(length <= LINE_BYTES_MAX + 1, "it took {length} bytes");
    assert_eq!(spoken == Spoken::Tls, bytes[0] == 0x16);
    // A command of the Redis protocol is never taken for anything else.
    if bytes[0] == b'*' {
        assert_eq!(spoken, Spoken::Resp);
    }
    if spoken == Spoken::Http && length <= LINE_BYTES_MAX {
        let line = &bytes[..length];
        assert!(line.ends_with(b"\n"), "HTTP before the end of its line");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let lines = [
        "GET / HTTP/1.1\r\n",
        "GET key\r\n",
        "PING\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "*1\r\n$4\r\nPING\r\n",
        "\u{16}\u{3}\u{1}",
        "POST /v1/call/kv/set HTTP/1.0\n",
    ];
    let mut seeds: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    seeds.push(format!("GET /{}", "x".repeat(100)).into_bytes());
    seeds
}

//! Many protocols on one port.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use anyhow::ensure;

use crate::support::http::{call, dial, get};
use crate::support::http2::Http2;
use crate::support::{Load, story};

#[test]
fn one_port_speaks_http_1_http_2_resp_and_quic() {
    story(1, |cluster| {
        let address = cluster.address(1)?;
        ensure!(call(&address, "ticket/ticket", "[]")?.text() == "1");
        let mut http2 = Http2::open(&address, b"")?;
        http2.ask(1, "/v1/call/kv/get?arg=x")?;
        http2.ask(3, "/livez")?;
        ensure!(http2.answer(3)? == b"ok\n" || http2.answer(1)? == b"null");
        let mut resp = dial(&address)?;
        resp.write_all(b"PING\r\n")?;
        let mut line = String::new();
        BufReader::new(resp).read_line(&mut line)?;
        ensure!(line == "+PONG\r\n", "{line}");
        ensure!(cluster.hostctl().ok(["call", "ticket"])?.trim() == "2");
        Ok(())
    });
}

#[test]
fn a_silent_socket_delays_nobody() {
    story(1, |cluster| {
        let address = cluster.address(1)?;
        let mut silent: Vec<TcpStream> = Vec::new();
        for number in 0..200 {
            let mut stream = dial(&address)?;
            // Some say nothing at all, others stop where it is not told yet what they speak.
            let begun: &[u8] = match number % 4 {
                0 => b"",
                1 => b"GET",
                2 => b"POST /v1/call/kv/set HTTP/1.1\r\nHost: ",
                _ => b"\x16\x03\x01\x02\x00",
            };
            stream.write_all(begun)?;
            silent.push(stream);
        }
        let load = Load::start(cluster)?;
        for _ in 0..50 {
            ensure!(get(&address, "/readyz")?.status == 200);
            ensure!(call(&address, "kv/incr", r#"["n"]"#)?.status == 200);
        }
        load.wait_for_more(200)?;
        load.stop()?.check(cluster)
    });
}

//! HTTP/2 by hand (RFC 9113): what a polite client would never send can be sent with it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Result, bail, ensure};

use super::http::dial;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A frame as it is sent.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The header block of a GET, with the static table alone (RFC 7541, appendix A).
pub(crate) fn get(path: &str, host: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, host.len() as u8]);
    block.extend(host.as_bytes());
    block
}

/// A connection.
pub(crate) struct Http2 {
    pub(crate) stream: TcpStream,
    pub(crate) host: String,
}

impl Http2 {
    /// Begins to speak, with these settings.
    pub(crate) fn open(address: &str, settings: &[u8]) -> Result<Self> {
        let mut stream = dial(address)?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        stream.write_all(&frame(SETTINGS, 0, 0, settings))?;
        Ok(Self {
            stream,
            host: address.to_owned(),
        })
    }

    /// Asks for a path on a new stream.
    pub(crate) fn ask(&mut self, stream: u32, path: &str) -> Result<()> {
        let block = get(path, &self.host);
        let headers = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
        Ok(self.stream.write_all(&headers)?)
    }

    /// The next frame.
    pub(crate) fn next(&mut self) -> Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload)?;
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff,
            payload,
        };
        if frame.kind == SETTINGS && frame.flags & ACK == 0 {
            self.stream.write_all(&self::frame(SETTINGS, ACK, 0, b""))?;
        }
        Ok(frame)
    }

    /// Reads the answer of one stream, which must be 200, and returns its body.
    pub(crate) fn answer(&mut self, stream: u32) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let frame = self.next()?;
            match frame.kind {
                HEADERS if frame.stream == stream => {
                    ensure!(frame.payload[0] == 0x88, "the status is another");
                }
                DATA if frame.stream == stream => body.extend(frame.payload),
                GOAWAY => bail!("the connection was given up: {:?}", frame.payload),
                _ => {}
            }
            if frame.stream == stream && frame.flags & END_STREAM != 0 {
                return Ok(body);
            }
        }
    }
}

//! Golden exchanges: what is sent, and every byte that is answered.
//!
//! A script in `scripts/` is told line by line: `send "PING\r\n"` sends bytes as they are; `ask set k v`
//! sends a command as clients do; both show what comes back. A prefix as in `other: ask get k` is a
//! further connection. `closed` says whether the node has ended the connection. Each script has a node
//! of its own. `UPDATE_GOLDENFILES=1` writes down what is answered now.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cluster_tests::Cluster;
use goldenscript::{Argument, Command, Context, Runner};

/// How long nothing may come before an answer counts as complete. One that takes longer shows up as
/// missing, so it is asked behind a command whose answer is known: see [`Exchange::answers`].
const PATIENCE: Duration = Duration::from_secs(20);

/// Sent behind every command, to know where its answers end.
const MARK: &str = "end-of-the-answers";

struct Exchange {
    cluster: Cluster,
    connections: BTreeMap<String, TcpStream>,
}

impl Exchange {
    fn connection(&mut self, name: &str) -> Result<&mut TcpStream, Box<dyn Error>> {
        if !self.connections.contains_key(name) {
            let stream = TcpStream::connect(self.cluster.address(1)?)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_millis(100)))?;
            self.connections.insert(name.to_owned(), stream);
        }
        Ok(self.connections.get_mut(name).ok_or("it was put there")?)
    }

    /// Everything that comes until the mark does, or the connection ends.
    fn answers(&mut self, name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
        let stream = self.connection(name)?;
        let mark = format!("${}\r\n{MARK}\r\n", MARK.len());
        // The node may have ended the connection.
        let _ = stream.write_all(format!("ECHO {MARK}\r\n").as_bytes());
        let begun = Instant::now();
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        while begun.elapsed() < PATIENCE {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => bytes.extend(&piece[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
            if bytes.ends_with(mark.as_bytes()) {
                bytes.truncate(bytes.len() - mark.len());
                break;
            }
            // Before it has proved who it is, a client's marks are refused.
            let refused = b"-NOAUTH Authentication required.\r\n";
            if bytes.ends_with(refused) && bytes.len() > refused.len() {
                bytes.truncate(bytes.len() - refused.len());
                break;
            }
        }
        Ok(bytes)
    }
}

impl Runner for Exchange {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        let name = context.prefix.clone().unwrap_or_default();
        let words: Vec<Vec<u8>> = command
            .args
            .iter()
            .map(|argument| match argument {
                Argument::Positional(value) => bytes(value),
                other => bytes(&other.to_string()),
            })
            .collect();
        let sent = match command.name.as_str() {
            "send" => words.concat(),
            "ask" => encoded(&words),
            "closed" => {
                let stream = self.connection(&name)?;
                let begun = Instant::now();
                while begun.elapsed() < PATIENCE {
                    match stream.read(&mut [0; 1]) {
                        Err(error)
                            if matches!(
                                error.kind(),
                                ErrorKind::WouldBlock | ErrorKind::TimedOut
                            ) => {}
                        Ok(1..) => return Ok("no, there is more".into()),
                        _ => return Ok("yes".into()),
                    }
                }
                return Ok("no".into());
            }
            other => return Err(format!("there is no `{other}`").into()),
        };
        self.connection(&name)?.write_all(&sent)?;
        let mut shown = String::new();
        for line in self.answers(&name)?.split_inclusive(|byte| *byte == b'\n') {
            writeln!(shown, "{}", line.escape_ascii())?;
        }
        Ok(shown)
    }
}

/// A script's characters up to `\xff` stand for the bytes of that number.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|char| char as u8).collect()
}

/// A command as clients send it.
fn encoded(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

fn exchange(script: &str) {
    let cluster = Cluster::of(1, &["ticket", "kv"]).expect("a node starts");
    let mut exchange = Exchange {
        cluster,
        connections: BTreeMap::new(),
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts")
        .join(script);
    goldenscript::run(&mut exchange, &path).expect("the script runs");
}

#[test]
fn pipelines() {
    exchange("pipelines");
}

#[test]
fn replies() {
    exchange("replies");
}

#[test]
fn errors() {
    exchange("errors");
}

#[test]
fn connection() {
    exchange("connection");
}

#[test]
fn subscriptions() {
    exchange("subscriptions");
}

#[test]
fn malformed() {
    exchange("malformed");
}

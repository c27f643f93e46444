//! A client of the Redis protocol that sends bytes as they are given, and shows answers as text.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cluster_tests::Cluster;

/// How long an answer may take: longer than any outage that a story makes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// A connection.
pub(crate) struct Resp {
    stream: BufReader<TcpStream>,
}

impl Resp {
    /// Connects to a node.
    pub(crate) fn to(cluster: &Cluster, id: u64) -> Result<Self> {
        Self::connect(&cluster.address(id)?)
    }

    pub(crate) fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes.as_ref())?)
    }

    /// A command's answer.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<String> {
        self.send(command(words))?;
        self.answer()
    }

    /// The next answer. Simple strings, errors and numbers as they come, bulk strings in quotes,
    /// arrays in brackets, maps in braces, nil as `nil`.
    pub(crate) fn answer(&mut self) -> Result<String> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).context("an empty line")?;
        Ok(match kind {
            "+" | "-" | ":" | "," => line.clone(),
            "_" => "nil".into(),
            "$" if rest == "-1" => "nil".into(),
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>()? + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                format!("\"{}\"", bytes.escape_ascii())
            }
            "*" | "~" | ">" => format!("[{}]", self.answers(rest.parse()?)?.join(" ")),
            "%" => {
                let all = self.answers(2 * rest.parse::<usize>()?)?;
                let mut text = String::new();
                for pair in all.chunks(2) {
                    write!(text, "{}={} ", pair[0], pair[1])?;
                }
                format!("{{{}}}", text.trim_end())
            }
            _ => bail!("no answer begins like this: {line}"),
        })
    }

    /// So many answers.
    pub(crate) fn answers(&mut self, count: usize) -> Result<Vec<String>> {
        (0..count).map(|_| self.answer()).collect()
    }

    /// Whether the node has ended the connection: nothing more comes.
    pub(crate) fn is_ended(&mut self) -> Result<bool> {
        match self.stream.fill_buf() {
            Ok(bytes) => Ok(bytes.is_empty()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The next line as it comes.
    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            bail!("the connection has ended");
        }
        let line = String::from_utf8(line)?;
        Ok(line.trim_end().to_owned())
    }
}

/// A command as clients send it.
pub(crate) fn command<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

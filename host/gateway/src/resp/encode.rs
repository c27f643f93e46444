//! From answers to bytes, in RESP2 or RESP3 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).
//!
//! Written straight into the connection's buffer: the crate `redis-protocol` would first want a tree of
//! frames that owns every byte again. The tests read what comes out with it.

use std::io::Write as _;

use hostd_protocol::Reply;

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Version {
    /// RESP2, until a client says HELLO 3.
    #[default]
    Two,
    /// RESP3.
    Three,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Simple(&'static str),
    /// One line, with its code in front.
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    /// What is told unasked, or confirms that something will be.
    Push(Vec<Value>),
    /// Several answers to one command.
    Several(Vec<Value>),
}

impl Value {
    pub(crate) const OK: Self = Self::Simple("OK");

    /// An error with the code `ERR`.
    pub(crate) fn error(message: impl AsRef<str>) -> Self {
        Self::Error(format!("ERR {}", message.as_ref()))
    }

    /// Pairs in the order of their keys.
    pub(crate) fn sorted<K: Into<Self> + Ord, V: Into<Self>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let mut pairs: Vec<(K, V)> = pairs.into_iter().collect();
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        let pairs = pairs.into_iter();
        Self::Map(
            pairs
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Bulk(text.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Bulk(text.into_bytes())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(items)
    }
}

/// Adds an answer to `output`.
pub(crate) fn encode(value: &Value, version: Version, output: &mut Vec<u8>) {
    match value {
        Value::Simple(text) => line(output, b'+', text),
        Value::Error(text) => error(output, text),
        Value::Integer(number) => integer(output, b':', *number),
        Value::Bulk(bytes) => bulk(output, bytes),
        Value::Nil => nil(output, version),
        Value::Array(items) => {
            count(output, b'*', items.len());
            for item in items {
                encode(item, version, output);
            }
        }
        Value::Set(items) => {
            let kind = if version == Version::Three {
                b'~'
            } else {
                b'*'
            };
            count(output, kind, items.len());
            for item in items {
                encode(item, version, output);
            }
        }
        Value::Push(items) => {
            push(output, version, items.len());
            for item in items {
                encode(item, version, output);
            }
        }
        Value::Several(answers) => {
            for answer in answers {
                encode(answer, version, output);
            }
        }
        Value::Map(pairs) => {
            map(output, version, pairs.len());
            for (key, value) in pairs {
                encode(key, version, output);
                encode(value, version, output);
            }
        }
    }
}

/// Adds a message of a subscription to `output`.
pub(crate) fn encode_message(parts: &[&[u8]], version: Version, output: &mut Vec<u8>) {
    push(output, version, parts.len());
    for part in parts {
        bulk(output, part);
    }
}

/// Adds what a plugin's command answered to `output`.
pub(crate) fn encode_reply(reply: &Reply, version: Version, output: &mut Vec<u8>) {
    match reply {
        Reply::Nil => nil(output, version),
        Reply::Ok => output.extend_from_slice(b"+OK\r\n"),
        Reply::Integer(number) => integer(output, b':', *number),
        Reply::Double(number) => double(output, version, *number),
        Reply::Text(text) => bulk(output, text.as_bytes()),
        Reply::Bytes(bytes) => bulk(output, bytes),
        Reply::Array(items) => {
            count(output, b'*', items.len());
            for item in items {
                encode_reply(item, version, output);
            }
        }
        Reply::Map(pairs) => {
            map(output, version, pairs.len());
            for (key, value) in pairs {
                encode_reply(key, version, output);
                encode_reply(value, version, output);
            }
        }
    }
}

fn line(output: &mut Vec<u8>, kind: u8, text: &str) {
    output.push(kind);
    output.extend_from_slice(text.as_bytes());
    output.extend_from_slice(b"\r\n");
}

/// An error is one line, whatever is in its text.
fn error(output: &mut Vec<u8>, text: &str) {
    output.push(b'-');
    output.extend(text.bytes().map(|byte| match byte {
        b'\r' | b'\n' => b' ',
        byte => byte,
    }));
    output.extend_from_slice(b"\r\n");
}

fn integer(output: &mut Vec<u8>, kind: u8, number: i64) {
    output.push(kind);
    // Writing to memory does not fail.
    let _ = write!(output, "{number}");
    output.extend_from_slice(b"\r\n");
}

fn count(output: &mut Vec<u8>, kind: u8, count: usize) {
    integer(output, kind, count as i64);
}

fn map(output: &mut Vec<u8>, version: Version, pairs: usize) {
    match version {
        Version::Two => count(output, b'*', 2 * pairs),
        Version::Three => count(output, b'%', pairs),
    }
}

/// RESP2 has arrays for it.
fn push(output: &mut Vec<u8>, version: Version, items: usize) {
    let kind = match version {
        Version::Two => b'*',
        Version::Three => b'>',
    };
    count(output, kind, items);
}

fn bulk(output: &mut Vec<u8>, bytes: &[u8]) {
    count(output, b'$', bytes.len());
    output.extend_from_slice(bytes);
    output.extend_from_slice(b"\r\n");
}

fn nil(output: &mut Vec<u8>, version: Version) {
    output.extend_from_slice(match version {
        Version::Two => b"$-1\r\n",
        Version::Three => b"_\r\n",
    });
}

fn double(output: &mut Vec<u8>, version: Version, number: f64) {
    let text = if number.is_nan() {
        "nan".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "inf" } else { "-inf" }.to_owned()
    } else {
        number.to_string()
    };
    match version {
        Version::Two => bulk(output, text.as_bytes()),
        Version::Three => line(output, b',', &text),
    }
}

#[cfg(test)]
mod tests {
    use redis_protocol::resp2::decode::decode as decode2;
    use redis_protocol::resp2::types::OwnedFrame as Frame2;
    use redis_protocol::resp3::decode::complete::decode as decode3;
    use redis_protocol::resp3::types::OwnedFrame as Frame3;

    use super::*;

    /// One of everything, in one array.
    fn everything(version: Version) -> Vec<u8> {
        let values = [
            Value::OK,
            Value::error("two\r\nlines"),
            Value::Set(vec![Value::from("x")]),
            Value::sorted([("b", 1i64), ("a", 2)]),
            Value::Nil,
        ];
        let reply = Reply::Map(vec![
            (Reply::Text("a".into()), Reply::Double(1.5)),
            (
                Reply::Integer(-1),
                Reply::Array(vec![Reply::Nil, Reply::Ok]),
            ),
        ]);
        let mut output = b"*6\r\n".to_vec();
        for value in &values {
            encode(value, version, &mut output);
        }
        encode_reply(&reply, version, &mut output);
        output
    }

    #[test]
    fn another_decoder_of_resp2_reads_it() {
        let bytes = everything(Version::Two);
        let (frame, length) = decode2(&bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        let text = |text: &str| Frame2::BulkString(text.as_bytes().to_vec());
        let expected = Frame2::Array(vec![
            Frame2::SimpleString(b"OK".to_vec()),
            Frame2::Error("ERR two  lines".into()),
            Frame2::Array(vec![text("x")]),
            Frame2::Array(vec![
                text("a"),
                Frame2::Integer(2),
                text("b"),
                Frame2::Integer(1),
            ]),
            Frame2::Null,
            Frame2::Array(vec![
                text("a"),
                text("1.5"),
                Frame2::Integer(-1),
                Frame2::Array(vec![Frame2::Null, Frame2::SimpleString(b"OK".to_vec())]),
            ]),
        ]);
        assert_eq!(frame, expected);
    }

    #[test]
    fn another_decoder_of_resp3_reads_it() {
        let bytes = everything(Version::Three);
        let (frame, length) = decode3(&bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        let Frame3::Array { data, .. } = frame else {
            panic!("{frame:?}");
        };
        assert!(matches!(&data[2], Frame3::Set { data, .. } if data.len() == 1));
        assert!(matches!(&data[3], Frame3::Map { data, .. } if data.len() == 2));
        assert!(matches!(&data[4], Frame3::Null));
        let Frame3::Map { data, .. } = &data[5] else {
            panic!("{data:?}");
        };
        let doubles = data
            .values()
            .filter(|value| matches!(value, Frame3::Double { .. }));
        assert_eq!((data.len(), doubles.count()), (2, 1));
    }

    #[test]
    fn numbers_that_are_none_have_their_names() {
        let double = |number| {
            let mut output = Vec::new();
            encode_reply(&Reply::Double(number), Version::Three, &mut output);
            String::from_utf8(output).unwrap()
        };
        assert_eq!(double(f64::INFINITY), ",inf\r\n");
        assert_eq!(double(f64::NEG_INFINITY), ",-inf\r\n");
        assert_eq!(double(f64::NAN), ",nan\r\n");
    }
}

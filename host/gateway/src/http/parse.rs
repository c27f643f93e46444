//! What clients write into paths, queries and bodies: percent-encoding, and arguments in JSON.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hostd_protocol::{ARGUMENTS_MAX, Consistency};
use percent_encoding::percent_decode_str;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_bytes::ByteBuf;

/// What cannot be understood, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

/// How long a call may take that does not say.
const TIMEOUT_MS: u32 = 10_000;

fn malformed(reason: impl Into<String>) -> Malformed {
    Malformed(reason.into())
}

/// What the query of a call says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallQuery {
    /// Those of `arg`, in order.
    pub(super) arguments: Vec<ByteBuf>,
    /// From `read`.
    pub(super) consistency: Consistency,
    /// From `timeout_ms`.
    pub(super) timeout_ms: u32,
}

impl CallQuery {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Malformed> {
        let mut parsed = Self {
            arguments: Vec::new(),
            consistency: Consistency::Linearizable,
            timeout_ms: TIMEOUT_MS,
        };
        for (name, value) in pairs(query) {
            match (name.as_slice(), value.as_slice()) {
                (b"arg", _) if parsed.arguments.len() == ARGUMENTS_MAX => {
                    return Err(malformed("there are too many arguments"));
                }
                (b"arg", _) => parsed.arguments.push(value.into()),
                (b"read", b"stale") => parsed.consistency = Consistency::Stale,
                (b"read", b"linearizable") => parsed.consistency = Consistency::Linearizable,
                (b"timeout_ms", digits) => {
                    let digits = str::from_utf8(digits).ok();
                    parsed.timeout_ms = digits
                        .and_then(|digits| digits.parse().ok())
                        .ok_or_else(|| malformed("timeout_ms is a number of milliseconds"))?;
                }
                (b"read", _) => {
                    return Err(malformed("read is stale or linearizable"));
                }
                (other, _) => {
                    return Err(malformed(format!(
                        "'{}' is no parameter of a call; there are arg, read and timeout_ms",
                        other.escape_ascii()
                    )));
                }
            }
        }
        Ok(parsed)
    }
}

/// Names and values of a query (URL Standard, section 5.1), as bytes: a value need not be text.
pub(super) fn pairs(query: Option<&str>) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let pairs = query.unwrap_or_default().split('&');
    pairs.filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form_decoded(name), form_decoded(value))
    })
}

fn form_decoded(text: &str) -> Vec<u8> {
    percent_decode_str(&text.replace('+', " ")).collect()
}

/// Bytes that stand percent-encoded in a path. `%` without two digits stands for itself.
pub(super) fn path_decoded(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// A name that stands percent-encoded in a path.
pub(super) fn name(text: &str) -> Result<String, Malformed> {
    String::from_utf8(path_decoded(text)).map_err(|_| malformed("names are UTF-8"))
}

/// Arguments from a JSON array: strings, numbers and booleans stand for their text, and
/// `{"base64": …}` for any bytes.
pub(super) fn arguments(json: &[u8]) -> Result<Vec<ByteBuf>, Malformed> {
    serde_json::from_slice::<Arguments>(json)
        .map(|arguments| arguments.0)
        .map_err(|error| malformed(format!("the body is no JSON array of arguments: {error}")))
}

struct Arguments(Vec<ByteBuf>);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ArgumentsVisitor)
    }
}

struct ArgumentsVisitor;

impl<'de> Visitor<'de> for ArgumentsVisitor {
    type Value = Arguments;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an array of at most {ARGUMENTS_MAX} arguments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Arguments, A::Error> {
        let mut arguments = Vec::new();
        while let Some(Argument(argument)) = items.next_element()? {
            if arguments.len() == ARGUMENTS_MAX {
                return Err(A::Error::invalid_length(arguments.len() + 1, &self));
            }
            arguments.push(argument);
        }
        Ok(Arguments(arguments))
    }
}

struct Argument(ByteBuf);

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ArgumentVisitor)
    }
}

struct ArgumentVisitor;

impl Argument {
    fn of(text: impl Into<String>) -> Self {
        Self(ByteBuf::from(text.into().into_bytes()))
    }
}

impl<'de> Visitor<'de> for ArgumentVisitor {
    type Value = Argument;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string, a number, a boolean or {\"base64\": \"…\"}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Argument, E> {
        Ok(Argument::of(text))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Argument, E> {
        Ok(Argument::of(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Argument, E> {
        Ok(Argument::of(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Argument, E> {
        Ok(Argument::of(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Argument, E> {
        // What was written may have had more digits than the value keeps.
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        if value.abs() > EXACT_MAX {
            return Err(E::custom(
                "a number that large loses digits; write it as a string",
            ));
        }
        Ok(Argument::of(format!("{value:?}")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Argument, A::Error> {
        let encoded = match map.next_entry::<String, String>()? {
            Some((key, encoded)) if key == "base64" => encoded,
            _ => return Err(A::Error::custom("an object has the one key \"base64\"")),
        };
        if map.next_key::<String>()?.is_some() {
            return Err(A::Error::custom("an object has the one key \"base64\""));
        }
        let bytes = STANDARD.decode(encoded).map_err(A::Error::custom)?;
        Ok(Argument(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(arguments: &[ByteBuf]) -> Vec<&[u8]> {
        arguments.iter().map(|argument| &argument[..]).collect()
    }

    #[test]
    fn arguments_stand_for_their_text() {
        let json =
            r#"["a", 1, -2, 1.5, 18446744073709551615, true, false, {"base64": "/wA="}, ""]"#;
        let parsed = arguments(json.as_bytes()).unwrap();
        let expected: [&[u8]; 9] = [
            b"a",
            b"1",
            b"-2",
            b"1.5",
            b"18446744073709551615",
            b"true",
            b"false",
            b"\xff\0",
            b"",
        ];
        assert_eq!(bytes(&parsed), expected);
        assert_eq!(arguments(b" [] ").unwrap(), Vec::<ByteBuf>::new());
    }

    #[test]
    fn whatever_else_is_refused_with_what_is_expected() {
        for json in [
            "",
            "{}",
            "\"a\"",
            "[null]",
            "[[1]]",
            "[{}]",
            r#"[{"base65": "AA=="}]"#,
            r#"[{"base64": "A"}]"#,
            r#"[{"base64": "AA==", "more": "x"}]"#,
            r#"[{"base64": 1}]"#,
            "[18446744073709551616]",
            "[1e300]",
            "[1] 2",
            "[\"\\ud800\"]",
        ] {
            assert!(arguments(json.as_bytes()).is_err(), "{json}");
        }
        let deep = "[".repeat(100_000);
        assert!(arguments(deep.as_bytes()).is_err());
        let many = format!("[{}1]", "1,".repeat(ARGUMENTS_MAX));
        assert!(arguments(many.as_bytes()).is_err());
    }

    #[test]
    fn a_query_has_arguments_and_how_to_read() {
        let parse = |query| CallQuery::parse(Some(query));
        let parsed = parse("arg=a+b&arg=%ff%00&arg=&read=stale&timeout_ms=5").unwrap();
        let expected: [&[u8]; 3] = [b"a b", b"\xff\0", b""];
        assert_eq!(bytes(&parsed.arguments), expected);
        assert_eq!(parsed.consistency, Consistency::Stale);
        assert_eq!(parsed.timeout_ms, 5);
        assert_eq!(CallQuery::parse(None).unwrap().timeout_ms, TIMEOUT_MS);
        for query in [
            "read=fresh",
            "timeout_ms=-1",
            "timeout_ms=x",
            "args=1",
            "=",
            "%ff",
        ] {
            assert!(parse(query).is_err(), "{query}");
        }
    }

    #[test]
    fn paths_hold_any_bytes() {
        assert_eq!(path_decoded("a%2Fb+c"), b"a/b+c");
        assert_eq!(path_decoded("..%2f..%2Fx"), b"../../x");
        assert_eq!(path_decoded("%"), b"%");
        assert_eq!(path_decoded("%zz%4"), b"%zz%4");
        assert_eq!(path_decoded("%ff"), b"\xff");
        assert!(name("%ff").is_err());
    }
}

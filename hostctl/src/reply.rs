//! Replies of plugins as text and as JSON.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hostd_protocol::Reply;
use serde_json::{Map, Value, json};

use crate::args::Format;
use crate::output;

/// Prints a reply in the form that was asked for.
pub(crate) fn print(reply: &Reply, format: Format) -> io::Result<()> {
    match format {
        Format::Json => output::json(&to_json(reply)),
        Format::Text => {
            let mut out = output::stdout();
            write_text(reply, &mut out)?;
            out.flush()
        }
    }
}

/// Writes a reply for people: the bare value, an array one item a line, nothing for nil.
fn write_text(reply: &Reply, out: &mut impl Write) -> io::Result<()> {
    match reply {
        Reply::Nil => Ok(()),
        other => write_lines(other, 0, out),
    }
}

fn write_lines(reply: &Reply, indent: usize, out: &mut impl Write) -> io::Result<()> {
    match reply {
        Reply::Array(items) => items
            .iter()
            .try_for_each(|item| write_lines(item, indent, out)),
        Reply::Map(pairs) => pairs.iter().try_for_each(|(key, value)| {
            write!(out, "{:indent$}", "")?;
            write_scalar(key, out)?;
            out.write_all(b":")?;
            if matches!(value, Reply::Array(_) | Reply::Map(_)) {
                out.write_all(b"\n")?;
                write_lines(value, indent + 2, out)
            } else {
                out.write_all(b" ")?;
                write_scalar(value, out)?;
                out.write_all(b"\n")
            }
        }),
        // Inside an array an absent item keeps its line, so that positions can be counted.
        scalar => {
            write!(out, "{:indent$}", "")?;
            write_scalar(scalar, out)?;
            out.write_all(b"\n")
        }
    }
}

fn write_scalar(reply: &Reply, out: &mut impl Write) -> io::Result<()> {
    match reply {
        Reply::Nil => Ok(()),
        Reply::Ok => out.write_all(b"OK"),
        Reply::Integer(value) => write!(out, "{value}"),
        Reply::Double(value) => write!(out, "{value}"),
        Reply::Text(text) => out.write_all(text.as_bytes()),
        Reply::Bytes(bytes) => out.write_all(bytes),
        // As a key, or where one line must do.
        nested @ (Reply::Array(_) | Reply::Map(_)) => write!(out, "{}", to_json(nested)),
    }
}

/// A reply as JSON. Bytes that are UTF-8 become a string, others `{"base64": …}`; a map becomes an
/// object where its keys are distinct texts, otherwise an array of pairs; numbers that JSON lacks
/// become strings.
pub(crate) fn to_json(reply: &Reply) -> Value {
    match reply {
        Reply::Nil => Value::Null,
        Reply::Ok => json!("OK"),
        Reply::Integer(value) => json!(value),
        Reply::Double(value) if value.is_finite() => json!(value),
        Reply::Double(value) => json!(value.to_string()),
        Reply::Text(text) => json!(text),
        Reply::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
        },
        Reply::Array(items) => Value::Array(items.iter().map(to_json).collect()),
        Reply::Map(pairs) => object(pairs).unwrap_or_else(|| {
            let pair = |(key, value): &(Reply, Reply)| json!([to_json(key), to_json(value)]);
            Value::Array(pairs.iter().map(pair).collect())
        }),
    }
}

fn object(pairs: &[(Reply, Reply)]) -> Option<Value> {
    let mut object = Map::new();
    for (key, value) in pairs {
        let key = match key {
            Reply::Text(text) => text.clone(),
            Reply::Bytes(bytes) => String::from_utf8(bytes.clone()).ok()?,
            _ => return None,
        };
        if object.insert(key, to_json(value)).is_some() {
            return None;
        }
    }
    Some(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: &Reply) -> String {
        let mut out = Vec::new();
        write_text(reply, &mut out).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn scalars_are_bare() {
        assert_eq!(text(&Reply::Nil), "");
        assert_eq!(text(&Reply::Ok), "OK\n");
        assert_eq!(text(&Reply::Integer(-5)), "-5\n");
        assert_eq!(text(&Reply::Double(1.5)), "1.5\n");
        assert_eq!(text(&Reply::Text("two words".into())), "two words\n");
        assert_eq!(text(&Reply::Bytes(b"raw".to_vec())), "raw\n");
        assert_eq!(text(&Reply::Bytes(vec![])), "\n");
    }

    #[test]
    fn an_array_is_one_item_a_line_and_absent_items_keep_theirs() {
        let reply = Reply::Array(vec![
            Reply::Integer(1),
            Reply::Nil,
            Reply::Array(vec![Reply::Text("a".into()), Reply::Text("b".into())]),
        ]);
        assert_eq!(text(&reply), "1\n\na\nb\n");
        assert_eq!(to_json(&reply).to_string(), r#"[1,null,["a","b"]]"#);
        assert_eq!(text(&Reply::Array(vec![])), "");
    }

    #[test]
    fn maps_are_lines_of_keys_and_values() {
        let reply = Reply::Map(vec![
            (Reply::Text("length".into()), Reply::Integer(2)),
            (
                Reply::Bytes(b"items".to_vec()),
                Reply::Array(vec![Reply::Text("x".into()), Reply::Text("y".into())]),
            ),
        ]);
        assert_eq!(text(&reply), "length: 2\nitems:\n  x\n  y\n");
        assert_eq!(
            to_json(&reply).to_string(),
            r#"{"items":["x","y"],"length":2}"#
        );
    }

    #[test]
    fn json_keeps_what_it_cannot_say_directly() {
        let bytes = to_json(&Reply::Bytes(vec![0xff, 0]));
        assert_eq!(bytes.to_string(), r#"{"base64":"/wA="}"#);
        assert_eq!(to_json(&Reply::Double(f64::NAN)), json!("NaN"));
        assert_eq!(to_json(&Reply::Double(f64::INFINITY)), json!("inf"));
        let twice = Reply::Map(vec![
            (Reply::Text("k".into()), Reply::Integer(1)),
            (Reply::Text("k".into()), Reply::Integer(2)),
        ]);
        assert_eq!(to_json(&twice).to_string(), r#"[["k",1],["k",2]]"#);
        let numbers = Reply::Map(vec![(Reply::Integer(1), Reply::Nil)]);
        assert_eq!(to_json(&numbers).to_string(), "[[1,null]]");
    }
}

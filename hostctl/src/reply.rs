//! Replies of plugins as text; as JSON they are `hostd_protocol::json`'s.

use std::io::{self, Write};

use hostd_protocol::Reply;
use hostd_protocol::json;

use crate::args::Format;
use crate::output;

/// Prints a reply in the form that was asked for.
pub(crate) fn print(reply: &Reply, format: Format) -> io::Result<()> {
    match format {
        Format::Json => output::json(&json::of_reply(reply)),
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
        nested @ (Reply::Array(_) | Reply::Map(_)) => write!(out, "{}", json::of_reply(nested)),
    }
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
    }
}

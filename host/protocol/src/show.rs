//! What is in messages as text for people: outcomes in the manner of `redis-cli`, bytes, digests.

use std::fmt::Write as _;

use crate::{Outcome, RejectionCode, Reply};

/// What a person would read of an outcome. Distinguishes all that programs do: text in single
/// quotes is text, in double quotes bytes.
pub fn show(outcome: &Outcome) -> String {
    match outcome {
        Ok(reply) => show_reply(reply, ""),
        Err(rejection) => {
            let code = match &rejection.code {
                RejectionCode::Rejected(code) => code,
                code => code.as_str(),
            };
            format!("(error) {code} {}", rejection.message)
        }
    }
}

/// Lines after the first are indented by `margin`.
fn show_reply(reply: &Reply, margin: &str) -> String {
    match reply {
        Reply::Nil => "(nil)".into(),
        Reply::Ok => "OK".into(),
        Reply::Integer(number) => format!("(integer) {number}"),
        Reply::Double(number) => format!("(double) {number:?}"),
        Reply::Text(text) => format!("'{}'", text.escape_debug()),
        Reply::Bytes(bytes) => format!("\"{}\"", bytes.escape_ascii()),
        Reply::Array(items) if items.is_empty() => "(empty array)".into(),
        Reply::Array(items) => {
            let items = items.iter().enumerate().map(|(index, item)| {
                let label = format!("{}) ", index + 1);
                let inner = format!("{margin}{:width$}", "", width = label.len());
                format!("{label}{}", show_reply(item, &inner))
            });
            items.collect::<Vec<_>>().join(&format!("\n{margin}"))
        }
        Reply::Map(pairs) if pairs.is_empty() => "(empty map)".into(),
        Reply::Map(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| {
                let inner = format!("{margin}   ");
                format!(
                    "{} => {}",
                    show_reply(key, margin),
                    show_reply(value, &inner)
                )
            });
            pairs.collect::<Vec<_>>().join(&format!("\n{margin}"))
        }
    }
}

/// Bytes as one would type them: bare where they are a word, in quotes where they are text, escaped
/// otherwise.
pub fn show_bytes(bytes: &[u8]) -> String {
    let control = |c: char| c.is_control() && !c.is_whitespace();
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == '"') => {
            if text.contains(control) {
                bytes.escape_ascii().to_string()
            } else {
                format!("{text:?}")
            }
        }
        Ok(text) if !text.contains(control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use crate::Rejection;

    use super::*;

    #[test]
    fn every_kind_of_reply_looks_different() {
        let reply = Reply::Array(vec![
            Reply::Nil,
            Reply::Ok,
            Reply::Integer(-1),
            Reply::Double(0.5),
            Reply::Text("it's".into()),
            Reply::Bytes(b"a\"\0".to_vec()),
            Reply::Array(vec![
                Reply::Array(vec![]),
                Reply::Array(vec![Reply::Ok, Reply::Ok]),
            ]),
            Reply::Map(vec![(Reply::Text("k".into()), Reply::Integer(1))]),
        ]);
        let expected = r#"1) (nil)
2) OK
3) (integer) -1
4) (double) 0.5
5) 'it\'s'
6) "a\"\x00"
7) 1) (empty array)
   2) 1) OK
      2) OK
8) 'k' => (integer) 1"#;
        assert_eq!(show(&Ok(reply)), expected);
    }

    #[test]
    fn errors_begin_with_the_plugins_code() {
        let own = Rejection::new(RejectionCode::Rejected("ERR".into()), "syntax error");
        assert_eq!(show(&Err(own)), "(error) ERR syntax error");
        let hosts = Rejection::new(RejectionCode::WrongArity, "too few");
        assert_eq!(show(&Err(hosts)), "(error) wrong_arity too few");
    }

    #[test]
    fn bytes_are_shown_so_that_one_can_tell_them_apart() {
        for (word, text) in [
            ("home", "home"),
            ("", r#""""#),
            ("two words", r#""two words""#),
            ("say \"x\"", r#""say \"x\"""#),
            ("gr\u{fc}n", "gr\u{fc}n"),
        ] {
            assert_eq!(show_bytes(word.as_bytes()), text);
        }
        assert_eq!(show_bytes(b"\x00\xff"), r"\x00\xff");
        assert_eq!(hex(&[0, 0xab, 0x10]), "00ab10");
    }
}

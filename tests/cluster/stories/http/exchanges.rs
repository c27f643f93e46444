//! Requests and answers word for word, in `scripts/`. With `UPDATE_GOLDENFILES=1` the answers in the
//! files are replaced by what comes now, for review.
//!
//! A line is a method, a path, and what else is sent: `json=` or `bytes=` with `type=` for a body, and
//! any header by its name. `If-None-Match=last` sends the last tag that was told. Of an answer, its
//! status, the headers that mean something, and the body are shown.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use goldenscript::{Command, Context, Runner};

use crate::support::http::{Answer, ask};
use crate::support::story;

/// Headers that are shown.
const SHOWN: [&str; 6] = [
    "content-type",
    "allow",
    "retry-after",
    "www-authenticate",
    "location",
    "content-security-policy",
];

struct Curl {
    address: String,
    tag: String,
}

impl Curl {
    fn shown(&mut self, method: &str, answer: &Answer) -> Result<String, Box<dyn Error>> {
        let mut text = format!("{}\n", answer.status);
        for name in SHOWN {
            if let Some(value) = answer.header(name) {
                writeln!(text, "{name}: {value}")?;
            }
        }
        if let Some(tag) = answer.header("etag") {
            tag.clone_into(&mut self.tag);
            writeln!(text, "etag")?;
        }
        if answer.header("hostd-revision").is_some() {
            writeln!(text, "hostd-revision")?;
        }
        let html = answer
            .header("content-type")
            .is_some_and(|kind| kind.contains("html"));
        if method != "HEAD" && !html && !answer.body.is_empty() {
            writeln!(text, "{}", answer.text().trim_end())?;
        }
        Ok(text)
    }
}

impl Runner for Curl {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut arguments = command.consume_args();
        let path = arguments.next_pos().ok_or("which path?")?;
        let mut headers = Vec::new();
        let mut body = Vec::new();
        while let Some((name, value)) = arguments.next_key() {
            match name {
                "json" => {
                    headers.push(("Content-Type", "application/json"));
                    body = value.as_bytes().to_vec();
                }
                // A character is a byte.
                "bytes" => body = value.chars().map(|byte| byte as u8).collect(),
                "type" => headers.push(("Content-Type", value)),
                "If-None-Match" if value == "last" => headers.push((name, &self.tag)),
                _ => headers.push((name, value)),
            }
        }
        arguments.reject_next()?;
        let answer = ask(&self.address, &command.name, path, &headers, &body)?;
        self.shown(&command.name, &answer)
    }
}

fn script(name: &str) {
    story(1, |cluster| {
        let mut curl = Curl {
            address: cluster.address(1)?,
            tag: String::new(),
        };
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("stories/http/scripts");
        goldenscript::run(&mut curl, scripts.join(format!("{name}.script")))?;
        Ok(())
    });
}

#[test]
fn calls_are_answered_word_for_word() {
    script("calls");
}

#[test]
fn keys_are_answered_word_for_word() {
    script("keys");
}

#[test]
fn what_is_not_there_is_answered_word_for_word() {
    script("routes");
}

#[test]
fn who_may_not_ask_is_answered_word_for_word() {
    script("strangers");
}

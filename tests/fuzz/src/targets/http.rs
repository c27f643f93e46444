//! Arguments as HTTP clients write them: queries, paths and JSON. The file is compiled in here: the
//! gateway shows none of it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_bytes::ByteBuf;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "http",
    what: "what HTTP clients write is refused, or stands for arguments that can be written again",
    run,
    seeds,
    bytes_max: 4_096,
    inputs: 100_000,
};

#[path = "../../../../host/gateway/src/http/parse.rs"]
#[allow(dead_code, unreachable_pub)]
mod parse;

use self::parse::{CallQuery, arguments, path_decoded};

fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind % 3 {
        0 => query(rest),
        1 => path(rest),
        _ => json(rest),
    }
}

fn query(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Ok(parsed) = CallQuery::parse(Some(text)) {
        let pairs: Vec<_> = parsed
            .arguments
            .iter()
            .map(|value| format!("arg={}", percent(value)))
            .collect();
        let again =
            CallQuery::parse(Some(&pairs.join("&"))).expect("arguments can be written again");
        assert_eq!(again.arguments, parsed.arguments);
    }
}

fn path(bytes: &[u8]) {
    assert_eq!(path_decoded(&percent(bytes)), bytes);
    if let Ok(text) = str::from_utf8(bytes) {
        assert!(path_decoded(text).len() <= text.len());
    }
}

fn json(bytes: &[u8]) {
    if let Ok(parsed) = arguments(bytes) {
        let items = parsed
            .iter()
            .map(|value| format!("{{\"base64\":\"{}\"}}", STANDARD.encode(value)));
        let text = format!("[{}]", items.collect::<Vec<_>>().join(","));
        let again: Vec<ByteBuf> =
            arguments(text.as_bytes()).expect("arguments can be written again");
        assert_eq!(again, parsed);
    }
}

fn percent(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02X}").expect("a string takes everything");
        text
    })
}

fn seeds() -> Vec<Vec<u8>> {
    let seed = |kind: u8, text: &str| [&[kind], text.as_bytes()].concat();
    vec![
        seed(0, "arg=a+b&arg=%ff%00&read=stale&timeout_ms=500"),
        seed(1, "a%2Fb/../c.d%"),
        seed(2, r#"["a", 1, -2.5, true, {"base64": "/wA="}]"#),
    ]
}

//! A call's arguments, from bytes to a command's parameters, by the SDK in this process.

use arbitrary::Unstructured;
use hostd_sdk::bindings::Guest as _;
use hostd_sdk::bindings::hostd::plugin::types::Token;
use hostd_sdk::prelude::*;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "arguments",
    what: "arguments are parameters or a rejection, whatever they are",
    run,
    seeds,
    bytes_max: 1024,
    inputs: 200_000,
};

struct Shapes;

/// A command for each shape of parameter. Each replies with what it got.
#[plugin(name = "shapes")]
impl Shapes {
    /// One of each type.
    #[read]
    fn types(
        integer: i64,
        natural: u64,
        small: u32,
        double: f64,
        text: String,
        bytes: Vec<u8>,
    ) -> (i64, u64, u32, (f64, String, Vec<u8>)) {
        (integer, natural, small, (double, text, bytes))
    }

    /// What may be missing.
    #[read]
    fn optional(
        first: i64,
        second: Option<u32>,
        third: Option<String>,
        #[keyword("LIMIT")] limit: Option<u16>,
        #[flag("REVERSE")] reverse: bool,
    ) -> (i64, Option<u32>, Option<String>, (Option<u32>, bool)) {
        (first, second, third, (limit.map(u32::from), reverse))
    }

    /// What comes several times.
    #[read]
    fn repeated(first: Key, numbers: Vec<i32>) -> (Key, Vec<i32>) {
        (first, numbers)
    }

    /// What comes several times in turn.
    #[read]
    fn pairs(#[names("key", "value")] pairs: Vec<(Key, Vec<u8>)>) -> Vec<(Key, Vec<u8>)> {
        pairs
    }
}

const COMMANDS: [&str; 5] = ["types", "optional", "repeated", "pairs", "none"];

fn run(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let Ok(command) = choices.choose(&COMMANDS) else {
        return;
    };
    let mut arguments: Vec<Vec<u8>> = Vec::new();
    while !choices.is_empty() && arguments.len() < 40 {
        let length = usize::from(choices.int_in_range(0..=24u8).unwrap_or(0)).min(choices.len());
        arguments.push(choices.bytes(length).unwrap_or_default().to_vec());
    }
    let count = arguments.len();
    let given = arguments.clone();
    let result = crate::memory::bounded(bytes, 256, || Shapes::query((*command).into(), arguments));
    let Ok(reply) = result else { return };
    // What was taken is what was given.
    match *command {
        "types" => {
            assert_eq!(count, 6);
            let text = |number: usize| std::str::from_utf8(&given[number]).expect("it is text");
            assert!(matches!(&reply[1], Token::Integer(number) if number.to_string() == text(0)));
            assert!(matches!(&reply[2], Token::Integer(number) if number.to_string() == text(1)));
            assert!(matches!(&reply[3], Token::Integer(number) if number.to_string() == text(2)));
            assert!(matches!(&reply[5], Token::Double(number) if !number.is_nan()));
            assert!(matches!(&reply[6], Token::Text(word) if word == text(4)));
            assert!(matches!(&reply[7], Token::Bytes(word) if *word == given[5]));
        }
        "pairs" => {
            assert!(count > 0 && count.is_multiple_of(2));
            let bytes: Vec<&Vec<u8>> = reply
                .iter()
                .filter_map(|token| match token {
                    Token::Bytes(bytes) => Some(bytes),
                    _ => None,
                })
                .collect();
            assert_eq!(bytes, given.iter().collect::<Vec<_>>());
        }
        "repeated" => assert_eq!(reply.len(), 3 + count - 1),
        "optional" => assert!((1..=6).contains(&count)),
        other => panic!("there is no command {other}"),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let call = |command: u8, words: &[&str]| {
        let mut bytes = vec![command];
        for word in words {
            bytes.push(word.len() as u8);
            bytes.extend_from_slice(word.as_bytes());
        }
        bytes
    };
    vec![
        call(0, &["-7", "7", "0", "1.5e3", "text", "\u{0}"]),
        call(
            0,
            &[
                "-9223372036854775808",
                "9223372036854775807",
                "4294967295",
                "inf",
                "",
                "",
            ],
        ),
        call(1, &["1", "2", "three", "LIMIT", "65535", "REVERSE"]),
        call(1, &["1", "reverse"]),
        call(2, &["key", "1", "-2", "3"]),
        call(3, &["key", "value", "other", ""]),
    ]
}

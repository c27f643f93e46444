//! The patterns of `KEYS` and `SCAN`. The file is compiled in here: a plugin shows nothing but its
//! commands.

use arbitrary::Unstructured;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "glob",
    what: "a pattern matches what its definition says, in time that its length is worth",
    run,
    seeds,
    bytes_max: 512,
    inputs: 200_000,
};

use self::patterns::{literal_prefix, matches};

#[path = "../../../../plugins/kv/src/glob.rs"]
#[allow(unreachable_pub)]
mod patterns;

fn run(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let length = choices.int_in_range(0..=255u8).unwrap_or(0);
    let rest = choices.take_rest();
    let (pattern, text) = rest.split_at(rest.len().min(length.into()));
    let matched = matches(pattern, text);
    assert_eq!(
        matched,
        defined(pattern, text),
        "{:?} {:?}",
        pattern.escape_ascii().to_string(),
        text.escape_ascii().to_string()
    );
    if matched {
        assert!(text.starts_with(literal_prefix(pattern)));
    }
}

/// One step of a pattern.
enum Step {
    Star,
    /// Any of these bytes.
    One(Box<[bool; 256]>),
}

/// By the definition: which prefixes of the text do the pattern's first steps match?
fn defined(pattern: &[u8], text: &[u8]) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for step in parse(pattern) {
        let mut next = vec![false; text.len() + 1];
        let mut any = false;
        for end in 0..=text.len() {
            any |= reached[end];
            next[end] = match &step {
                Step::Star => any,
                Step::One(bytes) => {
                    end > 0 && reached[end - 1] && bytes[usize::from(text[end - 1])]
                }
            };
        }
        reached = next;
    }
    reached[text.len()]
}

fn parse(pattern: &[u8]) -> Vec<Step> {
    let only = |byte: u8| {
        let mut bytes = Box::new([false; 256]);
        bytes[usize::from(byte)] = true;
        Step::One(bytes)
    };
    let mut steps = Vec::new();
    let mut at = 0;
    while at < pattern.len() {
        match pattern[at] {
            b'*' => steps.push(Step::Star),
            b'?' => steps.push(Step::One(Box::new([true; 256]))),
            b'\\' if at + 1 < pattern.len() => {
                at += 1;
                steps.push(only(pattern[at]));
            }
            b'[' => {
                let mut bytes = Box::new([false; 256]);
                at += 1;
                let negated = pattern.get(at) == Some(&b'^');
                at += usize::from(negated);
                while let Some(&low) = pattern.get(at).filter(|byte| **byte != b']') {
                    let (low, high, length) = match (low, pattern.get(at + 1), pattern.get(at + 2))
                    {
                        (b'\\', Some(&one), _) => (one, one, 2),
                        (low, Some(b'-'), Some(&high)) => (low.min(high), low.max(high), 3),
                        (one, ..) => (one, one, 1),
                    };
                    bytes[usize::from(low)..=usize::from(high)].fill(true);
                    at += length;
                }
                if negated {
                    bytes.iter_mut().for_each(|found| *found = !*found);
                }
                steps.push(Step::One(bytes));
            }
            byte => steps.push(only(byte)),
        }
        at += 1;
    }
    steps
}

fn seeds() -> Vec<Vec<u8>> {
    [
        ("", ""),
        ("a*b*c", "aXbXc"),
        ("h[^a-c]llo?", "hellox"),
        ("[a\\]]\\*", "]*"),
        ("[abc", "b"),
        ("user:*:[0-9]", "user:alice:7"),
        ("a*a*a*a*b", "aaaaaaaaaaaaaaaa"),
    ]
    .iter()
    .map(|(pattern, text)| [&[pattern.len() as u8], pattern.as_bytes(), text.as_bytes()].concat())
    .collect()
}

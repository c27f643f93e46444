//! Redis's patterns: `*`, `?`, `[abc]`, `[^a-c]`, and `\` before a byte that stands for itself.
//!
//! The plugin kv matches keys the same way with a copy of its own: plugins and the host share no code.

/// Whether a text matches a pattern.
///
/// Takes time in proportion to the product of the two lengths at worst: after a mismatch only
/// the last `*` is tried again, since an earlier one could give it nothing it does not have.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut rest = pattern;
    let mut text = text;
    // The pattern behind the last star, and the text where that was tried.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', behind @ ..] = rest {
            rest = behind;
            retry = Some((behind, text));
            continue;
        }
        let step = match (rest, text) {
            ([], []) => return true,
            ([_, ..], [byte, behind @ ..]) => match_one(rest, *byte).map(|rest| (rest, behind)),
            _ => None,
        };
        if let Some(next) = step {
            (rest, text) = next;
        } else {
            // Give the last star one byte more.
            let Some((behind_star, [_, tried @ ..])) = retry else {
                return false;
            };
            retry = Some((behind_star, tried));
            (rest, text) = (behind_star, tried);
        }
    }
}

/// The bytes that every match begins with.
pub(crate) fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    let end = pattern.iter().position(special).unwrap_or(pattern.len());
    &pattern[..end]
}

/// Matches one byte against the front of a pattern that is no star, and returns the rest of it.
fn match_one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', class @ ..] => match_class(class, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte).then_some(rest),
        [] => None,
    }
}

/// Matches one byte against a class, whose opening bracket is gone. One that is not closed ends
/// with the pattern.
fn match_class(class: &[u8], byte: u8) -> Option<&[u8]> {
    let (negated, mut class) = match class {
        [b'^', rest @ ..] => (true, rest),
        class => (false, class),
    };
    let mut found = false;
    loop {
        let (low, high);
        (low, high, class) = match class {
            [] | [b']', ..] => break,
            [b'\\', one, rest @ ..] => (*one, *one, rest),
            [low, b'-', high, rest @ ..] => (*low.min(high), *low.max(high), rest),
            [one, rest @ ..] => (*one, *one, rest),
        };
        found |= (low..=high).contains(&byte);
    }
    let rest = class.split_first().map_or(class, |(_, rest)| rest);
    (found != negated).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        for text in matching {
            assert!(
                matches(pattern.as_bytes(), text.as_bytes()),
                "{pattern} {text}"
            );
        }
        for text in others {
            assert!(
                !matches(pattern.as_bytes(), text.as_bytes()),
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn literals_and_wildcards() {
        check("", &[""], &["a"]);
        check("abc", &["abc"], &["", "ab", "abcd", "abd"]);
        check("a?c", &["abc", "a?c"], &["ac", "abbc"]);
        check("*", &["", "a", "abc"], &[]);
        check("a*", &["a", "abc"], &["", "ba"]);
        check("*c", &["c", "abc", "cc"], &["", "cb"]);
        check("a*b*c", &["abc", "aXbXc", "abbcc"], &["ac", "acb", "ab"]);
        check("**a", &["a", "ba"], &["", "ab"]);
        check("foo*", &["foo", "foobar"], &["fo"]);
    }

    #[test]
    fn classes() {
        check("h[ae]llo", &["hello", "hallo"], &["hillo", "hllo"]);
        check("h[^e]llo", &["hallo"], &["hello"]);
        check("[a-c]x", &["ax", "bx", "cx"], &["dx", "-x"]);
        check("[c-a]", &["b"], &["d"]);
        check("[a\\]]", &["a", "]"], &["\\"]);
        check("[abc", &["a"], &["d", "[abc"]);
        check("[]a", &[], &["]a", "a"]);
    }

    #[test]
    fn escapes() {
        check("a\\*", &["a*"], &["ab", "a"]);
        check("\\[a]", &["[a]"], &["a"]);
        check("a\\", &["a\\"], &["a"]);
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "a*".repeat(50) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(5000).as_bytes()));
    }

    #[test]
    fn the_literal_prefix_ends_at_the_first_special_byte() {
        for (pattern, prefix) in [("", ""), ("abc", "abc"), ("user:*", "user:"), ("a\\*", "a")] {
            assert_eq!(literal_prefix(pattern.as_bytes()), prefix.as_bytes());
        }
    }
}

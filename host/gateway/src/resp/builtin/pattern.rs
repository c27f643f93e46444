//! Patterns of names: `*` stands for anything, `?` for one character.

/// Whether a name is as the pattern has it. Takes no longer than both are long together, times each
/// other.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where the last star stands, and what of the name it is to take next.
    let mut star = None;
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(one) if *one == b'?' || *one == name[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((place, taken)) = star else {
                    return false;
                };
                star = Some((place, taken + 1));
                at = place + 1;
                from = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names() {
        let holds = |pattern: &str, name: &str| matches(pattern.as_bytes(), name.as_bytes());
        assert!(holds("*", "") && holds("term", "term") && holds("last_*", "last_log_term"));
        assert!(
            holds("*index", "applied_index") && holds("t?rm", "term") && holds("*a*b*", "xaybz")
        );
        assert!(!holds("term", "terms") && !holds("?", "") && !holds("*x", "term"));
    }
}

//! Lists only grow: of two reads one is the begin of the other; a read has every token whose
//! append was acknowledged before it began, once, and none that nobody may have appended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::workload::{Append, Call, ListAnswer, Outcome};

pub(super) fn check(calls: &[Call<Append, ListAnswer>]) -> Result<()> {
    let mut reads = Vec::new();
    let mut tokens: BTreeMap<&str, &Call<Append, ListAnswer>> = BTreeMap::new();
    for call in calls {
        match (&call.operation.token, &call.outcome) {
            (Some(token), _) => {
                tokens.insert(token, call);
            }
            (None, Outcome::Ok(ListAnswer::Tokens(list))) => reads.push((call, list)),
            _ => {}
        }
    }
    reads.sort_by_key(|(_, list)| list.len());
    for pair in reads.windows(2) {
        ensure!(
            pair[1].1.starts_with(pair[0].1),
            "two reads disagree about the order: {:?} and {:?}",
            pair[0].0,
            pair[1].0
        );
    }
    let (last, list) = reads.last().context("nobody has read it")?;
    let mut positions = BTreeMap::new();
    let mut bytes = 0;
    for (position, token) in list.iter().enumerate() {
        bytes += token.len() as u64 + 1;
        let call = tokens.get(token.as_str());
        let call = call.with_context(|| format!("nobody appended {token}"))?;
        ensure!(
            call.outcome != Outcome::Refused,
            "it was refused and is there: {call:?}"
        );
        if let Outcome::Ok(ListAnswer::Length(length)) = call.outcome {
            ensure!(length == bytes, "it is at {bytes}: {call:?}");
        }
        let other = positions.insert(token.as_str(), position);
        ensure!(other.is_none(), "{token} is there twice, in {last:?}");
    }
    for (read, list) in &reads {
        let there: BTreeSet<&str> = list.iter().map(String::as_str).collect();
        for (token, append) in &tokens {
            let acknowledged = matches!(append.outcome, Outcome::Ok(_));
            ensure!(
                !acknowledged || append.ended >= read.began || there.contains(token),
                "{append:?} is missing in a read from {:?} to {:?}",
                read.began,
                read.ended
            );
            ensure!(
                !there.contains(token) || append.began <= read.ended,
                "{token} was read before it was appended"
            );
        }
    }
    in_order(&tokens, &positions)
}

/// Of two appends, one after the other, the later is behind.
fn in_order(
    tokens: &BTreeMap<&str, &Call<Append, ListAnswer>>,
    positions: &BTreeMap<&str, usize>,
) -> Result<()> {
    let mut appended: Vec<(usize, &Call<Append, ListAnswer>)> = tokens
        .iter()
        .filter(|(_, call)| matches!(call.outcome, Outcome::Ok(_)))
        .filter_map(|(token, call)| Some((*positions.get(token)?, *call)))
        .collect();
    appended.sort_by_key(|(position, _)| *position);
    let mut earliest: Option<(Duration, &Call<Append, ListAnswer>)> = None;
    for (_, call) in appended.into_iter().rev() {
        if let Some((ended, later)) = earliest {
            ensure!(call.began <= ended, "{call:?} is before {later:?}");
        }
        if earliest.is_none_or(|(ended, _)| call.ended < ended) {
            earliest = Some((call.ended, call));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::calls;

    fn append(token: &str) -> Append {
        Append {
            key: "k".into(),
            token: (!token.is_empty()).then(|| token.into()),
        }
    }

    fn length(length: u64) -> Outcome<ListAnswer> {
        Outcome::Ok(ListAnswer::Length(length))
    }

    fn tokens(tokens: &[&str]) -> Outcome<ListAnswer> {
        let tokens = tokens.iter().map(|&token| token.to_owned());
        Outcome::Ok(ListAnswer::Tokens(tokens.collect()))
    }

    #[test]
    fn what_must_not_be_in_a_list_is_found() {
        let read = |list: &[&str]| {
            calls(&[
                (0, 1, append("a"), length(2)),
                (2, 3, append("b"), Outcome::Unknown),
                (2, 3, append("c"), Outcome::Refused),
                (4, 5, append(""), tokens(list)),
            ])
        };
        check(&read(&["a"])).unwrap();
        check(&read(&["a", "b"])).unwrap();
        for bad in [
            &["b"][..],
            &[],
            &["b", "a"],
            &["a", "b", "b"],
            &["a", "c"],
            &["a", "d"],
        ] {
            assert!(check(&read(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reads_that_disagree_are_found() {
        let list = [
            (0, 9, append("a"), Outcome::Unknown),
            (0, 9, append("b"), Outcome::Unknown),
            (1, 2, append(""), tokens(&["a"])),
            (3, 4, append(""), tokens(&["b", "a"])),
        ];
        assert!(check(&calls(&list)).is_err());
    }
}

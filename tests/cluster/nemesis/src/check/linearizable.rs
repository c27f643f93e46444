//! Whether the calls on one object could have happened one after another, each at some moment
//! between its begin and its end (Herlihy and Wing, "Linearizability", 1990).
//!
//! The search is the one of Wing and Gong with Lowe's memory of what has been tried ("Testing for
//! linearizability", 2017).

use std::collections::HashSet;
use std::hash::Hash;
use std::time::Duration;

use crate::workload::{Call, Outcome};

/// What is known of one call's moment.
struct Span {
    began: Duration,
    /// `None` for a call that may take effect at any later time, or never.
    ended: Option<Duration>,
}

/// Finds an order, or tells how many calls fit at most and which did not follow.
///
/// `step` gives the state after a call, or `None` when its answer does not fit. An answer of
/// `None` fits always: nobody knows it.
pub(super) fn check<O, R, S: Clone + Eq + Hash>(
    calls: &[Call<O, R>],
    initial: S,
    step: impl Fn(&S, &O, Option<&R>) -> Option<S>,
) -> Result<(), String>
where
    O: std::fmt::Debug,
    R: std::fmt::Debug,
{
    let mut calls: Vec<&Call<O, R>> = calls
        .iter()
        .filter(|call| !matches!(call.outcome, Outcome::Refused))
        .collect();
    calls.sort_by_key(|call| call.began);
    let spans: Vec<Span> = calls
        .iter()
        .map(|call| Span {
            began: call.began,
            ended: matches!(call.outcome, Outcome::Ok(_)).then_some(call.ended),
        })
        .collect();
    let must = spans.iter().filter(|span| span.ended.is_some()).count();
    // Depth first. Each level: what is done, the state, and where to try next.
    let mut done = vec![false; calls.len()];
    let mut states = vec![initial];
    let mut path: Vec<usize> = Vec::new();
    let mut tried: HashSet<(Vec<bool>, S)> = HashSet::new();
    let (mut best, mut stuck) = (0, Vec::new());
    let mut from = 0;
    loop {
        let fitted = path
            .iter()
            .filter(|&&call| spans[call].ended.is_some())
            .count();
        if fitted == must {
            return Ok(());
        }
        let state = states.last().expect("the initial one stays");
        // The next call took its moment before any open one ended.
        let limit = spans.iter().zip(&done).filter(|(_, done)| !**done);
        let limit = limit.filter_map(|(span, _)| span.ended).min();
        let open =
            |call: &usize| !done[*call] && limit.is_none_or(|limit| spans[*call].began <= limit);
        let found = (from..calls.len()).filter(open).find_map(|call| {
            let answer = match &calls[call].outcome {
                Outcome::Ok(answer) => Some(answer),
                _ => None,
            };
            step(state, &calls[call].operation, answer).map(|next| (call, next))
        });
        if fitted > best || stuck.is_empty() {
            best = fitted;
            stuck = (0..calls.len()).filter(open).collect();
        }
        if let Some((call, next)) = found {
            done[call] = true;
            if tried.insert((done.clone(), next.clone())) {
                path.push(call);
                states.push(next);
                from = 0;
            } else {
                done[call] = false;
                from = call + 1;
            }
        } else if let Some(call) = path.pop() {
            states.pop();
            done[call] = false;
            from = call + 1;
        } else {
            let stuck: Vec<String> = stuck
                .iter()
                .map(|&call| format!("{:?}", calls[call]))
                .collect();
            return Err(format!(
                "not linearizable: no order of more than {best} of {must} answered calls; none of these fits next:\n  {}",
                stuck.join("\n  ")
            ));
        }
    }
}

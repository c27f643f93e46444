//! What is kept of commands that ran, for how long, and what goes first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hostd_protocol::{Limits, Once, Outcome, RejectionCode, TimeNs};

use super::{Holder, OnceKey, Ran, Sessions};

impl Sessions {
    /// Keeps the outcome of an admitted command.
    pub(crate) fn record(
        &mut self,
        once: &Once,
        principal: &str,
        outcome: &Outcome,
        now: TimeNs,
        limits: &Limits,
    ) {
        let mut ran = Ran {
            time: now,
            outcome: Some(outcome.clone()),
            saved: false,
        };
        match once {
            Once::Session {
                session, sequence, ..
            } => {
                let place = (*session, *sequence);
                self.keep(Holder::Session(place), &ran);
                if let Some(session) = self.open.get_mut(session) {
                    session.ran.insert(*sequence, ran);
                    self.dirty_ran.insert(place);
                }
            }
            Once::Key(key) => {
                let key = Arc::new(OnceKey {
                    principal: principal.to_owned(),
                    key: key.clone(),
                });
                self.keep(Holder::Key(Arc::clone(&key)), &ran);
                self.keys_by_age.push_back((now, Arc::clone(&key)));
                *self.keys_of.entry(principal.to_owned()).or_default() += 1;
                // Of a key that is used again, the checkpoint may have the use before.
                ran.saved = !self.dirty_keys.insert(Arc::clone(&key));
                self.keys.insert(key, ran);
            }
        }
        self.forget_oldest(limits);
    }

    pub(super) fn keep(&mut self, holder: Holder, ran: &Ran) {
        if let Some(outcome) = &ran.outcome {
            let bytes = outcome_bytes(outcome);
            self.kept.insert(ran.time, (holder, bytes));
            self.kept_bytes += bytes;
        }
    }

    pub(super) fn release(&mut self, ran: &Ran) {
        if let Some((_, bytes)) = self.kept.remove(&ran.time) {
            self.kept_bytes -= bytes;
        }
    }

    /// Drops the oldest outcomes over the limit. That their commands ran stays known.
    fn forget_oldest(&mut self, limits: &Limits) {
        while self.kept_bytes as u64 > limits.session_reply_bytes_max {
            let Some((_, (holder, bytes))) = self.kept.pop_first() else {
                break;
            };
            self.kept_bytes -= bytes;
            match holder {
                Holder::Session(place) => {
                    let (number, sequence) = place;
                    let session = self.open.get_mut(&number);
                    if let Some(ran) = session.and_then(|held| held.ran.get_mut(&sequence)) {
                        ran.outcome = None;
                        self.dirty_ran.insert(place);
                    }
                }
                Holder::Key(key) => {
                    if let Some(ran) = self.keys.get_mut(&key) {
                        ran.outcome = None;
                        self.dirty_keys.insert(key);
                    }
                }
            }
        }
    }

    /// When all places are taken, frees a sixteenth of them, the least recently used first: one
    /// sort pays for many openings.
    pub(super) fn make_room(&mut self, limits: &Limits) {
        let count = self.open.len();
        if (count as u64) < limits.sessions_max {
            return;
        }
        let mut by_use: Vec<(TimeNs, u64)> = self
            .open
            .iter()
            .map(|(number, session)| (session.last_used, *number))
            .collect();
        by_use.sort_unstable();
        for (_, number) in by_use.into_iter().take(count / 16 + 1) {
            self.remove_session(number);
        }
    }

    /// Drops what is too old.
    pub(crate) fn sweep(&mut self, now: TimeNs, limits: &Limits) {
        let idle: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, session)| {
                now.saturating_sub(session.last_used) > limits.session_idle_ns_max
            })
            .map(|(number, _)| *number)
            .collect();
        for number in idle {
            self.remove_session(number);
        }
        self.expire_keys(now, limits);
    }

    pub(super) fn expire_keys(&mut self, now: TimeNs, limits: &Limits) {
        while let Some((time, _)) = self.keys_by_age.front()
            && now.saturating_sub(*time) > limits.key_age_ns_max
            && let Some((_, key)) = self.keys_by_age.pop_front()
        {
            self.remove_key(&key);
        }
    }

    fn remove_key(&mut self, key: &Arc<OnceKey>) {
        let Some(ran) = self.keys.remove(key) else {
            return;
        };
        self.release(&ran);
        mark_removed(&mut self.dirty_keys, Arc::clone(key), &ran);
        if let Some(own) = self.keys_of.get_mut(&key.principal) {
            *own -= 1;
            if *own == 0 {
                self.keys_of.remove(&key.principal);
            }
        }
    }

    pub(super) fn remove_session(&mut self, number: u64) {
        if let Some(session) = self.open.remove(&number) {
            self.forget(number, session.ran);
            self.dirty.insert(number);
        }
    }

    /// Lets go of commands that a session does not list any more.
    pub(super) fn forget(&mut self, number: u64, commands: BTreeMap<u64, Ran>) {
        for (sequence, ran) in commands {
            self.release(&ran);
            mark_removed(&mut self.dirty_ran, (number, sequence), &ran);
        }
    }
}

/// Notes that something is gone. What no checkpoint ever had leaves no trace, so that a client that
/// acknowledges what it gets costs a checkpoint next to nothing.
fn mark_removed<T: Ord>(dirty: &mut BTreeSet<T>, place: T, ran: &Ran) {
    if ran.saved {
        dirty.insert(place);
    } else {
        dirty.remove(&place);
    }
}

fn outcome_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Ok(reply) => reply.size_bytes(),
        Err(rejection) => {
            let own_code = match &rejection.code {
                RejectionCode::Rejected(code) => code.len(),
                _ => 0,
            };
            32 + own_code + rejection.message.len()
        }
    }
}

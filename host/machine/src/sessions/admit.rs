//! Whether a command runs, or ran before.

use hostd_protocol::{Limits, ONCE_KEY_BYTES_MAX, Once, Rejection, RejectionCode, TimeNs};

use super::{Admission, OnceKey, Place, Ran, Sessions};

impl Sessions {
    /// Decides whether a command runs.
    pub(crate) fn admit(
        &mut self,
        once: &Once,
        principal: &str,
        now: TimeNs,
        limits: &Limits,
    ) -> Result<Admission, Rejection> {
        match once {
            Once::Session {
                session,
                sequence,
                acknowledged,
            } => {
                if acknowledged >= sequence {
                    let message = "a command cannot acknowledge its own reply";
                    return Err(Rejection::new(RejectionCode::InvalidArgument, message));
                }
                self.admit_session((*session, *sequence), *acknowledged, principal, now, limits)
            }
            Once::Key(key) => self.admit_key(key, principal, now, limits),
        }
    }

    fn admit_session(
        &mut self,
        (number, sequence): Place,
        acknowledged: u64,
        principal: &str,
        now: TimeNs,
        limits: &Limits,
    ) -> Result<Admission, Rejection> {
        let expired = || {
            Rejection::new(
                RejectionCode::SessionExpired,
                format!(
                    "session {number} is unknown or was idle for too long; whether this command ran \
                     cannot be told. Open a new session"
                ),
            )
        };
        let session = self
            .open
            .get_mut(&number)
            .filter(|session| session.principal == principal)
            .ok_or_else(expired)?;
        if now.saturating_sub(session.last_used) > limits.session_idle_ns_max {
            self.remove_session(number);
            return Err(expired());
        }
        session.last_used = now;
        self.dirty.insert(number);
        if acknowledged > session.acknowledged {
            session.acknowledged = acknowledged;
            let behind = session.ran.split_off(&(acknowledged + 1));
            let forgotten = std::mem::replace(&mut session.ran, behind);
            self.forget(number, forgotten);
        }
        let session = &self.open[&number];
        if let Some(ran) = session.ran.get(&sequence) {
            return ran.replay();
        }
        if sequence <= session.acknowledged {
            return Err(forgotten());
        }
        if session.ran.len() as u64 >= limits.session_window
            || sequence - session.acknowledged > limits.session_window
        {
            return Err(Rejection::new(
                RejectionCode::SessionFull,
                format!(
                    "more than {} commands of session {number} are not acknowledged",
                    limits.session_window
                ),
            ));
        }
        Ok(Admission::Run)
    }

    fn admit_key(
        &mut self,
        key: &str,
        principal: &str,
        now: TimeNs,
        limits: &Limits,
    ) -> Result<Admission, Rejection> {
        if key.len() > ONCE_KEY_BYTES_MAX {
            let message = format!("an idempotency key has at most {ONCE_KEY_BYTES_MAX} bytes");
            return Err(Rejection::new(RejectionCode::InvalidArgument, message));
        }
        self.expire_keys(now, limits);
        let key = OnceKey {
            principal: principal.to_owned(),
            key: key.to_owned(),
        };
        if let Some(ran) = self.keys.get(&key) {
            return ran.replay();
        }
        let own = self.keys_of.get(principal).copied().unwrap_or(0);
        if self.keys.len() as u64 >= limits.once_keys_max || own >= limits.once_keys_max.div_ceil(2)
        {
            return Err(Rejection::new(
                RejectionCode::SessionFull,
                format!(
                    "as many idempotency keys are kept as may be, each for {} seconds; try again \
                     later, or use a session",
                    limits.key_age_ns_max / 1_000_000_000
                ),
            ));
        }
        Ok(Admission::Run)
    }
}

impl Ran {
    fn replay(&self) -> Result<Admission, Rejection> {
        self.outcome
            .clone()
            .map(Admission::Replay)
            .ok_or_else(forgotten)
    }
}

fn forgotten() -> Rejection {
    Rejection::new(
        RejectionCode::ReplyForgotten,
        "this command ran before, but its reply is no longer kept",
    )
}

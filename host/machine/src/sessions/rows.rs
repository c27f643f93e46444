//! Sessions as rows of the state, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Holder, OnceKey, Ran, Sessions};
use crate::Fault;
use crate::store::{Key, Layers, Revision, Span, Table, Writes};
use crate::system::{decode, encode};

impl Sessions {
    pub(crate) fn load(layers: &Layers) -> Result<Self, Fault> {
        let none = Writes::new();
        let mut sessions = Self::default();
        let (start, end) = Table::Session.bounds();
        for item in layers.scan(&none, Span::new(&start, &end))? {
            let (key, row) = item?;
            sessions.load_session_row(&key[1..], &row.value)?;
        }
        let mut by_age = BTreeMap::new();
        let (start, end) = Table::OnceKey.bounds();
        for item in layers.scan(&none, Span::new(&start, &end))? {
            let (key, mut ran): (OnceKey, Ran) = decode(&item?.1.value)?;
            ran.saved = true;
            let key = Arc::new(key);
            sessions.keep(Holder::Key(Arc::clone(&key)), &ran);
            by_age.insert(ran.time, Arc::clone(&key));
            *sessions.keys_of.entry(key.principal.clone()).or_default() += 1;
            sessions.keys.insert(key, ran);
        }
        sessions.keys_by_age = by_age.into_iter().collect();
        Ok(sessions)
    }

    /// A session's own row comes before those of its commands.
    fn load_session_row(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let damaged = || Fault::Corrupt("session row".into());
        let (number, sequence) = key.split_first_chunk().ok_or_else(damaged)?;
        let number = u64::from_be_bytes(*number);
        if sequence.is_empty() {
            self.open.insert(number, decode(value)?);
            return Ok(());
        }
        let sequence = u64::from_be_bytes(sequence.try_into().map_err(|_| damaged())?);
        let mut ran: Ran = decode(value)?;
        ran.saved = true;
        self.keep(Holder::Session((number, sequence)), &ran);
        let session = self.open.get_mut(&number).ok_or_else(damaged)?;
        session.ran.insert(sequence, ran);
        Ok(())
    }

    /// Puts what changed since the last checkpoint into the state.
    pub(crate) fn save(&mut self, layers: &mut Layers, revision: Revision) -> Result<(), Fault> {
        let mut rows = Writes::new();
        for number in std::mem::take(&mut self.dirty) {
            let row = self.open.get(&number).map(|session| encode(session).into());
            rows.insert(Table::Session.key(&[&number.to_be_bytes()]), row);
        }
        for (number, sequence) in std::mem::take(&mut self.dirty_ran) {
            let session = self.open.get_mut(&number);
            let ran = session.and_then(|session| session.ran.get_mut(&sequence));
            let key = Table::Session.key(&[&number.to_be_bytes(), &sequence.to_be_bytes()]);
            rows.insert(key, ran.map(|ran| encode(ran.saved()).into()));
        }
        for key in std::mem::take(&mut self.dirty_keys) {
            let ran = self.keys.get_mut(&key);
            let row = ran.map(|ran| encode(&(&*key, ran.saved())).into());
            rows.insert(once_key(&key), row);
        }
        layers.merge(rows, revision)
    }
}

impl Ran {
    /// Notes that a checkpoint has it from now on.
    fn saved(&mut self) -> &Self {
        self.saved = true;
        self
    }
}

/// Rows of idempotency keys go by a hash: both parts come from callers and have any length.
fn once_key(key: &OnceKey) -> Key {
    Table::OnceKey.key(&[blake3::hash(&encode(key)).as_bytes()])
}

//! Commands on keys: remove, rename, list, count.

use std::collections::BTreeSet;

use hostd_sdk::prelude::*;

use crate::store::{self, Changes};
use crate::{errors, glob};

pub(crate) struct Keys;

#[commands]
impl Keys {
    /// Removes keys and replies with how many of them existed.
    #[write(example = "del one two")]
    fn del(ctx: &Context, keys: Vec<Key>) -> i64 {
        // A key given twice goes once.
        let mut unique = BTreeSet::new();
        for key in keys {
            unique.insert(key.into());
        }
        let mut changes = Changes::new(ctx);
        let mut removed = 0;
        for slot in changes.open_many(unique.into_iter().collect()) {
            removed += i64::from(slot.exists(ctx));
            changes.remove(slot);
        }
        changes.write();
        removed
    }

    /// How many of the keys exist. A key given twice counts twice.
    #[read(example = "exists one two")]
    fn exists(view: &View, keys: Vec<Key>) -> usize {
        store::count_existing(view, &keys)
    }

    /// What kind of value a key has: `string`, or `none` when it does not exist.
    #[read(example = "type greeting")]
    fn r#type(view: &View, key: Key) -> &'static str {
        match store::get(view, &key) {
            Some(_) => "string",
            None => "none",
        }
    }

    /// Gives a key's value and deadline to another key, and removes the first.
    #[write(example = "rename old new")]
    fn rename(ctx: &Context, key: Key, newkey: Key) -> Result<()> {
        let mut changes = Changes::new(ctx);
        let is_same = key == newkey;
        let (from, record) = changes.open(key);
        let record = record.ok_or_else(errors::no_such_key)?;
        if is_same {
            return Ok(());
        }
        let (to, _) = changes.open(newkey);
        changes.remove(from);
        changes.set(to, record);
        changes.write();
        Ok(())
    }

    /// The keys that match a pattern, sorted.
    ///
    /// In a pattern `*` stands for any bytes, `?` for one, `[a-c]` for one of these, `[^a-c]` for
    /// one of the others, and `\` takes the next byte as it is. Looks at every key: with many,
    /// SCAN asks for less at a time.
    #[read(example = "keys user:*")]
    fn keys(view: &View, pattern: &[u8]) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        store::visit_prefix(view, glob::literal_prefix(pattern), |key| {
            if glob::matches(pattern, key) {
                keys.push(key.to_vec());
            }
        });
        keys
    }

    /// Walks over the keys step by step: replies with the next step's cursor and some keys.
    ///
    /// Begin with cursor 0; the reply's cursor is 0 at the end. COUNT is how many keys a step
    /// looks at, by default 10; MATCH leaves out the others as KEYS does. Every key that exists
    /// throughout the walk comes exactly once.
    #[read(example = "scan 0", example = "scan 0 MATCH user:* COUNT 100")]
    fn scan(
        view: &View,
        cursor: &[u8],
        #[keyword("MATCH")] pattern: Option<&[u8]>,
        #[keyword("COUNT")] count: Option<i64>,
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
        let cursor = str::from_utf8(cursor)
            .ok()
            .and_then(|text| text.parse().ok());
        let cursor = match cursor.ok_or_else(errors::invalid_cursor)? {
            0 => u64::MAX,
            cursor => cursor,
        };
        let count = count.unwrap_or(10);
        if count < 1 {
            return Err(errors::syntax());
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let mut keys = Vec::new();
        let next = store::visit_below(view, cursor, count, |key| {
            if pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
                keys.push(key.to_vec());
            }
        });
        Ok((next.unwrap_or(0).to_string().into_bytes(), keys))
    }

    /// How many keys there are.
    #[read(example = "dbsize")]
    fn dbsize(view: &View) -> u64 {
        store::count(view)
    }

    /// Removes every key. ASYNC and SYNC are taken for Redis's sake and change nothing.
    #[write(example = "flushdb")]
    fn flushdb(
        ctx: &Context,
        #[flag("ASYNC")] asynchronous: bool,
        #[flag("SYNC")] synchronous: bool,
    ) -> Result<()> {
        if asynchronous && synchronous {
            return Err(errors::syntax());
        }
        store::clear(ctx);
        Ok(())
    }
}

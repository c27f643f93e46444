//! Commands on values: set, get, append, compare and set.

use std::collections::BTreeMap;

use hostd_sdk::prelude::*;

use crate::errors;
use crate::expiry::Given;
use crate::store::{self, Changes, Record, Slot};

pub(crate) struct Strings;

#[commands]
impl Strings {
    /// Sets a key's value, and removes its deadline.
    ///
    /// EX and PX set a deadline that many seconds or milliseconds from now, EXAT and PXAT one at
    /// that Unix time; KEEPTTL keeps the one there is. NX sets only a key that does not exist, XX
    /// only one that does; the reply is nil when nothing was set. With GET the reply is the value
    /// before, nil when there was none.
    #[write(example = "set greeting hello", example = "set lock me NX EX 30")]
    fn set(
        ctx: &Context,
        key: Key,
        value: Vec<u8>,
        #[keyword("EX")] seconds: Option<i64>,
        #[keyword("PX")] milliseconds: Option<i64>,
        #[keyword("EXAT")] unix_seconds: Option<i64>,
        #[keyword("PXAT")] unix_milliseconds: Option<i64>,
        #[flag("KEEPTTL")] keep_deadline: bool,
        #[flag("NX")] only_new: bool,
        #[flag("XX")] only_existing: bool,
        #[flag("GET")] get: bool,
    ) -> Result<Reply> {
        let given = Given::one_of(seconds, milliseconds, unix_seconds, unix_milliseconds)?;
        if (only_new && only_existing) || (keep_deadline && given.is_some()) {
            return Err(errors::syntax());
        }
        let deadline = match given {
            Some(given) => Some(given.positive_deadline(ctx, "set")?),
            None => None,
        };

        let mut changes = Changes::new(ctx);
        let (slot, old) = changes.open(key);
        let sets = if old.is_some() {
            !only_new
        } else {
            !only_existing
        };
        if sets {
            let kept = old.as_ref().filter(|_| keep_deadline);
            let kept = kept.and_then(|old| old.deadline);
            changes.set(slot, Record::new(value, deadline.or(kept)));
        }
        changes.write();
        Ok(match old {
            Some(old) if get => Reply::Bytes(old.value),
            _ if sets && !get => Reply::Ok,
            _ => Reply::Nil,
        })
    }

    /// A key's value; nil when it does not exist.
    #[read(example = "get greeting")]
    fn get(view: &View, key: Key) -> Option<Vec<u8>> {
        store::get(view, &key).map(|record| record.value)
    }

    /// Sets several keys' values, and removes their deadlines.
    #[write(example = "mset one 1 two 2")]
    fn mset(ctx: &Context, #[names("key", "value")] pairs: Vec<(Key, Vec<u8>)>) {
        let (keys, values) = unique(pairs);
        let changes = Changes::new(ctx);
        let slots = changes.open_many(keys);
        set_all(changes, slots, values);
    }

    /// Sets several keys' values, unless one of them exists: 1 when they were set, else 0.
    #[write(example = "msetnx one 1 two 2")]
    fn msetnx(ctx: &Context, #[names("key", "value")] pairs: Vec<(Key, Vec<u8>)>) -> bool {
        let (keys, values) = unique(pairs);
        let changes = Changes::new(ctx);
        let slots = changes.open_many(keys);
        if slots.iter().any(|slot| slot.exists(ctx)) {
            return false;
        }
        set_all(changes, slots, values);
        true
    }

    /// Several keys' values; nil for those that do not exist.
    #[read(example = "mget one two")]
    fn mget(view: &View, keys: Vec<Key>) -> Vec<Option<Vec<u8>>> {
        let records = store::get_many(view, &keys).into_iter();
        records
            .map(|record| record.map(|record| record.value))
            .collect()
    }

    /// Sets a key that does not exist: 1 when it was set, else 0.
    #[write(example = "setnx greeting hello")]
    fn setnx(ctx: &Context, key: Key, value: Vec<u8>) -> bool {
        let mut changes = Changes::new(ctx);
        let (slot, old) = changes.open(key);
        if old.is_some() {
            return false;
        }
        changes.set(slot, Record::new(value, None));
        changes.write();
        true
    }

    /// Sets a key's value, with a deadline that many seconds from now.
    #[write(example = "setex session 3600 data")]
    fn setex(ctx: &Context, key: Key, seconds: i64, value: Vec<u8>) -> Result<()> {
        let deadline = Given::Seconds(seconds).positive_deadline(ctx, "setex")?;
        set_until(ctx, key, value, deadline);
        Ok(())
    }

    /// Sets a key's value, with a deadline that many milliseconds from now.
    #[write(example = "psetex session 1500 data")]
    fn psetex(ctx: &Context, key: Key, milliseconds: i64, value: Vec<u8>) -> Result<()> {
        let deadline = Given::Millis(milliseconds).positive_deadline(ctx, "psetex")?;
        set_until(ctx, key, value, deadline);
        Ok(())
    }

    /// Sets a key's value and replies with the one before; nil when there was none.
    #[write(example = "getset greeting hello")]
    fn getset(ctx: &Context, key: Key, value: Vec<u8>) -> Option<Vec<u8>> {
        let mut changes = Changes::new(ctx);
        let (slot, old) = changes.open(key);
        changes.set(slot, Record::new(value, None));
        changes.write();
        old.map(|old| old.value)
    }

    /// Removes a key and replies with its value; nil when it does not exist.
    #[write(example = "getdel greeting")]
    fn getdel(ctx: &Context, key: Key) -> Option<Vec<u8>> {
        let mut changes = Changes::new(ctx);
        let (slot, old) = changes.open(key);
        let old = old?;
        changes.remove(slot);
        changes.write();
        Some(old.value)
    }

    /// Replies with a key's value, and changes its deadline.
    ///
    /// EX, PX, EXAT and PXAT set it as SET does; PERSIST removes it; without any of them it stays
    /// as it is.
    #[write(example = "getex session EX 3600", example = "getex session PERSIST")]
    fn getex(
        ctx: &Context,
        key: Key,
        #[keyword("EX")] seconds: Option<i64>,
        #[keyword("PX")] milliseconds: Option<i64>,
        #[keyword("EXAT")] unix_seconds: Option<i64>,
        #[keyword("PXAT")] unix_milliseconds: Option<i64>,
        #[flag("PERSIST")] persist: bool,
    ) -> Result<Option<Vec<u8>>> {
        let given = Given::one_of(seconds, milliseconds, unix_seconds, unix_milliseconds)?;
        if persist && given.is_some() {
            return Err(errors::syntax());
        }
        let deadline = match given {
            Some(given) => Some(given.positive_deadline(ctx, "getex")?),
            None => None,
        };
        let mut changes = Changes::new(ctx);
        let (slot, old) = changes.open(key);
        let Some(old) = old else { return Ok(None) };
        if deadline.is_some() || (persist && old.deadline.is_some()) {
            let value = old.value.clone();
            changes.set(slot, Record { deadline, ..old });
            changes.write();
            return Ok(Some(value));
        }
        Ok(Some(old.value))
    }

    /// Adds to the end of a key's value, which is empty when the key does not exist, and replies
    /// with its new length. Keeps the deadline.
    #[write(example = "append greeting ,")]
    fn append(ctx: &Context, key: Key, value: Vec<u8>) -> usize {
        let mut changes = Changes::new(ctx);
        let (slot, old) = changes.open(key);
        let mut record = old.unwrap_or_else(|| Record::new(Vec::new(), None));
        record.value.extend_from_slice(&value);
        let length = record.value.len();
        changes.set(slot, record);
        changes.write();
        length
    }

    /// Sets a key's value and says what it is, such as `image/png`; removes its deadline.
    ///
    /// The media type stays while the value is only changed in place, as by APPEND or EXPIRE, goes with
    /// it to another key by RENAME, and is gone when the value is set anew without one.
    #[write(example = "setmedia logo image/png data")]
    fn setmedia(ctx: &Context, key: Key, media: Vec<u8>, value: Vec<u8>) -> Result<()> {
        if media.len() > store::MEDIA_BYTES_MAX {
            return Err(errors::media_too_long());
        }
        let mut changes = Changes::new(ctx);
        let (slot, _) = changes.open(key);
        let media = Some(media).filter(|media| !media.is_empty());
        let record = Record {
            media,
            ..Record::new(value, None)
        };
        changes.set(slot, record);
        changes.write();
        Ok(())
    }

    /// A key's value with its media type in front, nil when none is known; nil when the key does
    /// not exist.
    #[read(example = "getmedia logo")]
    fn getmedia(view: &View, key: Key) -> Option<(Option<Vec<u8>>, Vec<u8>)> {
        store::get(view, &key).map(|record| (record.media, record.value))
    }

    /// The length of a key's value; 0 when it does not exist.
    #[read(example = "strlen greeting")]
    fn strlen(view: &View, key: Key) -> usize {
        store::get(view, &key).map_or(0, |record| record.value.len())
    }

    /// Compare and set: sets a key that has the expected value to a new one. 1 when it was set,
    /// 0 when the value is another or the key does not exist. Keeps the deadline.
    #[write(example = "cas owner alice bob")]
    fn cas(ctx: &Context, key: Key, expected: Vec<u8>, new: Vec<u8>) -> bool {
        let mut changes = Changes::new(ctx);
        let (slot, old) = changes.open(key);
        let Some(old) = old.filter(|old| old.value == expected) else {
            return false;
        };
        changes.set(slot, Record::new(new, old.deadline));
        changes.write();
        true
    }
}

fn set_until(ctx: &Context, key: Key, value: Vec<u8>, deadline: Time) {
    let mut changes = Changes::new(ctx);
    let (slot, _) = changes.open(key);
    changes.set(slot, Record::new(value, Some(deadline)));
    changes.write();
}

/// Each key once, with its last value.
fn unique(pairs: Vec<(Key, Vec<u8>)>) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut unique = BTreeMap::new();
    for (key, value) in pairs {
        unique.insert(key.into(), value);
    }
    unique.into_iter().unzip()
}

fn set_all(mut changes: Changes<'_>, slots: Vec<Slot>, values: Vec<Vec<u8>>) {
    for (slot, value) in slots.into_iter().zip(values) {
        changes.set(slot, Record::new(value, None));
    }
    changes.write();
}

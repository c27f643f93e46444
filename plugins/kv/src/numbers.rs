//! Commands on values that are whole numbers.

use hostd_sdk::{Argument as _, prelude::*};

use crate::errors;
use crate::store::{Changes, Record};

pub(crate) struct Numbers;

#[commands]
impl Numbers {
    /// Adds 1 to a key's number, which is 0 when the key does not exist, and replies with the
    /// sum.
    #[write(example = "incr visits")]
    fn incr(ctx: &Context, key: Key) -> Result<i64> {
        add(ctx, key, 1)
    }

    /// Takes 1 from a key's number, which is 0 when the key does not exist, and replies with the
    /// difference.
    #[write(example = "decr stock")]
    fn decr(ctx: &Context, key: Key) -> Result<i64> {
        add(ctx, key, -1)
    }

    /// Adds to a key's number, which is 0 when the key does not exist, and replies with the sum.
    #[write(example = "incrby visits 10")]
    fn incrby(ctx: &Context, key: Key, increment: i64) -> Result<i64> {
        add(ctx, key, increment)
    }

    /// Takes from a key's number, which is 0 when the key does not exist, and replies with the
    /// difference.
    #[write(example = "decrby stock 3")]
    fn decrby(ctx: &Context, key: Key, decrement: i64) -> Result<i64> {
        let increment = decrement.checked_neg();
        add(ctx, key, increment.ok_or_else(errors::decrement_overflow)?)
    }
}

/// Adds to a key's number, and keeps its deadline.
fn add(ctx: &Context, key: Key, increment: i64) -> Result<i64> {
    let mut changes = Changes::new(ctx);
    let (slot, old) = changes.open(key);
    let old = old.unwrap_or_else(|| Record::new(b"0".to_vec(), None));
    // A value is a number when an argument would be.
    let number = i64::parse(old.value);
    let number = number.ok_or_else(errors::not_an_integer)?;
    let sum = number.checked_add(increment).ok_or_else(errors::overflow)?;
    let value = sum.to_string().into_bytes();
    changes.set(slot, Record { value, ..old });
    changes.write();
    Ok(sum)
}

//! Commands on values that are whole numbers.

use hostd_sdk::{Argument as _, prelude::*};

use crate::errors;
use crate::store::Changes;

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
    let (number, deadline) = match old {
        // A value is a number when an argument would be.
        Some(old) => (i64::parse(old.value), old.deadline),
        None => (Some(0), None),
    };
    let number = number.ok_or_else(errors::not_an_integer)?;
    let sum = number.checked_add(increment).ok_or_else(errors::overflow)?;
    changes.set(slot, sum.to_string().into_bytes(), deadline);
    changes.write();
    Ok(sum)
}

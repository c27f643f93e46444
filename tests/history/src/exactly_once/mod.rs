//! Exactly once: what was acknowledged took effect once, what is unknown at most once.
//!
//! [`counter`] judges by the sum that increments left, [`log`] by the tokens that appends left.
//! Both look at what is found after the last operation has returned or will never return.

pub mod counter;
pub mod log;

//! The linearizability check, shown to accept what is right and to find what is wrong.

#![forbid(unsafe_code)]

mod brute;
mod classics;
mod failures;
mod generate;
mod large;
mod notation;
mod pending;
mod random;

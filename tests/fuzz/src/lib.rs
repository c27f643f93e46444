//! Fuzz targets: whatever bytes come over a wire, off a disk or out of a guest, hostd does not
//! crash, does not stall, takes memory in proportion, and every replica does the same.
//!
//! A target is a function of bytes that panics when something is wrong. Two drivers run it:
//!
//! - `cargo xtask fuzz [TARGET]`: libFuzzer, guided by coverage, for as long as one likes;
//! - `cargo test`: the files of `regressions/TARGET`, and a fixed number of inputs that
//!   [`mutate`] makes from a fixed seed.
//!
//! A target's bytes are the decoder's input where there is a decoder, else a sequence of choices,
//! taken off the front with [`arbitrary::Unstructured`]: all zero when they run out.

pub mod components;
pub mod disk;
pub mod machines;
pub mod memory;
pub mod mutate;
pub mod replicas;
pub mod shape;
pub mod targets;

// A source file of `hostd-replica` that is compiled in here looks for these.
pub(crate) use hostd_replica::types;
pub use targets::{TARGETS, Target, find};

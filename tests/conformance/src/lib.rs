//! Other people's clients against a cluster of real hostd processes, and golden exchanges.
//!
//! `tests/clients.rs` installs the clients below `target/conformance` and runs the little program that
//! `clients/` has for each; what cannot be installed fails. `tests/exchanges.rs` runs the scripts of
//! `scripts/` against a node and compares every byte of its answers.

#![forbid(unsafe_code)]

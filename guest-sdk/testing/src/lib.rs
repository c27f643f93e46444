//! Tests a plugin in the real hostd machine, in process: no server, no cluster, plain
//! `cargo test`.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use hostd_testing::Reply;
//!
//! # fn test() {
//! let mut host = hostd_testing::host!(); // builds this crate into a component
//! assert_eq!(host.call("ticket", &[]), Ok(Reply::Integer(1)));
//! host.advance(Duration::from_secs(60)); // fires the timers that fall due
//! host.restart(); // what is not in the state is gone
//! assert_eq!(host.call("ticket", &[]), Ok(Reply::Integer(2)));
//! # }
//! ```
//!
//! The component is the one that a cluster would run, and everything around it is what a node
//! would do: commands go through the log's entries, reads through views, state through the
//! database (in memory). The clock and the random numbers are the test's: a test does the same
//! every time.
//!
//! Instances are dropped after every command, as a node may do at any time, so what a plugin
//! keeps in a static is gone by the next one.
//!
//! [`scripts!`] runs golden scripts: calls and their replies, written down in files.

#![forbid(unsafe_code)]

mod component;
mod disk;
mod host;
mod script;
mod words;

pub use component::component;
pub use host::{Event, Host};
pub use hostd_protocol::{Rejection, RejectionCode, Reply, show};
pub use script::{Transcript, run_script, run_scripts, scripts_in};

/// A [`Host`] with this crate's plugin, as `cargo test` sees the crate: built once in a process.
#[macro_export]
macro_rules! host {
    () => {
        $crate::Host::new(&$crate::component(::core::env!("CARGO_MANIFEST_DIR")))
    };
}

/// Runs every golden script in a directory of this crate, each on a host of its own:
/// `scripts!("tests/scripts")`. See [`run_scripts`].
#[macro_export]
macro_rules! scripts {
    ($directory:expr) => {
        $crate::run_scripts(
            &$crate::component(::core::env!("CARGO_MANIFEST_DIR")),
            ::std::path::Path::new(::core::env!("CARGO_MANIFEST_DIR")).join($directory),
        )
    };
}

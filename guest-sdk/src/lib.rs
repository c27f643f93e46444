//! Write hostd plugins in Rust.
//!
//! A plugin is a set of commands over a state of its own. hostd runs every command on every
//! replica, with the same arguments, time and random numbers, so all replicas reach the same
//! state. This whole plugin hands out tickets:
//!
//! ```
//! //! Hands out tickets: numbers that only rise.
//! use hostd_sdk::prelude::*;
//!
//! struct Ticket;
//!
//! #[plugin]
//! impl Ticket {
//!     /// Takes the next ticket: an integer larger than every earlier one.
//!     #[write(example = "ticket")]
//!     fn ticket(ctx: &Context) -> i64 {
//!         ctx.counter("next").add(1)
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! # Commands
//!
//! [`macro@plugin`] goes on the `impl` block. A method with `#[write]` runs through the
//! replicated log and gets a [`Context`]; a method with `#[read]` runs against a frozen state and
//! gets a [`View`], which has no way to write. The doc comment is the command's help: its first
//! paragraph the summary, the rest the details.
//!
//! Parameters say what the command takes, and callers, `hostctl commands` and completion all
//! learn it from there:
//!
//! | parameter | argument |
//! |---|---|
//! | `key: Key`, `#[key] name: String` | a key, for access rules |
//! | `amount: i64`, `u64`, `u32`, `f64` | a number |
//! | `text: String`, `&str` | text in UTF-8 |
//! | `value: Vec<u8>`, `&[u8]` | any bytes |
//! | `limit: Option<u32>` | may be left out |
//! | `keys: Vec<Key>` | one or more |
//! | `#[names("key", "value")] pairs: Vec<(Key, Vec<u8>)>` | one or more pairs |
//! | `#[keyword("EX")] seconds: Option<i64>` | `EX seconds`, anywhere after the others |
//! | `#[flag("NX")] only_new: bool` | `NX`, anywhere after the others |
//!
//! What a method returns is the reply: `()`, numbers, `bool`, text, bytes, `Option` (nil),
//! `Vec`, tuples, maps, [`Reply`], or a [`Result`] of those. An error is a [`Rejection`], and
//! drops everything that the command wrote; so does a panic.
//!
//! A plugin of many commands spreads them over several types, one a file, with
//! [`macro@commands`], and lists them: `#[plugin(groups = [strings::Strings, keys::Keys])]`.
//!
//! # State
//!
//! Nothing in memory lasts: hostd drops and restarts instances whenever it likes. State is what
//! goes through the context: a [counter](View::counter), a [cell](View::cell), a
//! [map](View::map), a [list](View::list), or plain [keys and values](View::state).
//!
//! # Time, chance, waiting, telling
//!
//! [`View::now`] and [`View::random`] give the command's own time and random numbers.
//! [`Context::timer`] asks to be woken, which calls the method with `#[wake]`.
//! [`Context::publish`] tells subscribers, and `#[plugin(watched = [Watched::map("users")])]` lets
//! them watch a part of the state. The macros [`error!`], [`warn!`], [`info!`],
//! [`debug!`] and [`trace!`] write to the node's log.

#![deny(unsafe_code)]

extern crate self as hostd_sdk;

mod access;
mod arguments;
#[doc(hidden)]
pub mod bindings;
mod clock;
mod context;
mod describe;
mod events;
pub mod log;
mod plugin;
mod random;
mod rejection;
mod replies;
pub mod state;
mod timer;
mod watched;

pub use access::{Access, ReadOnly, ReadWrite};
pub use arguments::{Argument, Key};
pub use clock::Time;
pub use context::{Context, View};
pub use hostd_sdk_macros::{StateValue, commands, migrate, migrate_key, plugin, read, wake, write};
pub use random::Random;
pub use rejection::{Refusal, Rejection};
pub use replies::{IntoReply, Map as ReplyMap, Reply};
pub use timer::Timer;
pub use watched::{Tail, Watched};

/// A command's result.
pub type Result<T, E = Rejection> = core::result::Result<T, E>;

/// What nearly every plugin uses.
pub mod prelude {
    pub use crate::{
        Context, Key, Rejection, Reply, Result, Tail, Time, View, Watched, commands, debug, error,
        info, migrate, migrate_key, plugin, read, trace, wake, warn, write,
    };
    pub use core::time::Duration;
}

/// What the macros' expansions refer to. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::arguments::{ArgumentType, Arguments, Errors, is_keyword};
    pub use crate::bindings::export_plugin;
    pub use crate::describe::{
        ArgumentInfo, CommandInfo, Kind, PluginInfo, is_plugin_name, names_are_unique,
    };
    pub use crate::plugin::{
        Commands, Migrated, MigratedKey, Plugin, Tokens, Unit, exported, finish, wake_id,
    };
    pub use crate::replies::RawReply;
    pub use crate::state::{EncodeValue, StateValue};
}

//! The plugin's state: typed collections over one ordered map from bytes to bytes.
//!
//! [`State`] is that map. [`Counter`], [`Cell`], [`Map`] and [`List`] keep theirs in keys of the
//! form *tag, name, rest*: a byte for the kind of collection, the name, what is inside. Names are
//! encoded so that none is a prefix of another (see [`EncodeKey`]), so two collections never meet,
//! whatever their names. Tags are below [`PLAIN_KEYS_FROM`]: a plugin that uses plain keys beside
//! collections stays clear of them by starting its own keys with that byte or a later one.

mod cell;
mod counter;
mod key;
mod list;
mod map;
mod plain;
mod scan;
mod value;

pub use cell::Cell;
pub use counter::Counter;
pub use key::{EncodeKey, StateKey};
pub use list::{List, ListIter};
pub use map::{Map, MapIter};
pub use plain::State;
pub use scan::{KeyRange, Scan};
#[cfg(feature = "serde")]
pub use value::Serde;
pub use value::{EncodeValue, StateValue};

/// The first byte that no collection's key starts with. Printable text is well above it.
pub const PLAIN_KEYS_FROM: u8 = 0x10;

/// What kind of collection a key belongs to: its first byte. Part of the layout of every
/// plugin's state, so the numbers never change.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    Counter = 1,
    Cell = 2,
    Map = 3,
    List = 4,
}

/// The key under which a collection of this name begins.
fn collection_key(tag: Tag, name: &[u8]) -> Vec<u8> {
    // Room for the key of an entry, so that adding it to a copy rarely allocates again.
    let mut key = Vec::with_capacity(1 + name.len() + 2);
    key.push(tag as u8);
    name.encode_key(&mut key);
    key
}

/// What the keys of the map of this name begin with.
pub(crate) fn map_prefix(name: &[u8]) -> Vec<u8> {
    collection_key(Tag::Map, name)
}

/// Stops the command: the state holds what this code cannot read. It was written under another
/// type, or by a version of the plugin with another layout and no migration.
#[cold]
#[track_caller]
fn unreadable(what: &str, key: &[u8]) -> ! {
    panic!(
        "the state at key {} is no {what}; was the layout changed without a new state_version?",
        key.escape_ascii()
    );
}

//! The exports of the plugin world, over what the macros wrote.

use crate::arguments::{Argument, Arguments, Errors};
use crate::bindings::Guest;
use crate::bindings::hostd::plugin::types::{Description, Token, WatchedPart};
use crate::describe::{CommandInfo, PluginInfo};
use crate::replies::ReplyBuffer;
use crate::{Context, IntoReply, Rejection, Result, View, Watched};

/// A reply in prefix order.
pub type Tokens = Vec<Token>;

/// A table of commands: what `#[plugin]` and `#[commands]` make of an `impl` block.
pub trait Commands {
    /// The commands' constants.
    const COMMANDS: &'static [CommandInfo];

    /// Runs a write command; `None` when this table has none of that name.
    fn apply(ctx: &mut Context, command: &str, arguments: &mut Arguments)
    -> Option<Result<Tokens>>;

    /// Runs a read command; `None` when this table has none of that name.
    fn query(view: &View, command: &str, arguments: &mut Arguments) -> Option<Result<Tokens>>;
}

/// A whole plugin: what `#[plugin]` makes of an `impl` block.
pub trait Plugin {
    /// Its constants.
    const INFO: PluginInfo;
    /// How it words its refusals of bad arguments.
    const ERRORS: Errors;

    /// Runs a write command of any of its tables.
    fn apply(ctx: &mut Context, command: &str, arguments: &mut Arguments)
    -> Option<Result<Tokens>>;

    /// Runs a read command of any of its tables.
    fn query(view: &View, command: &str, arguments: &mut Arguments) -> Option<Result<Tokens>>;

    /// A timer is due.
    fn wake(ctx: &mut Context, id: Vec<u8>) -> Result<()> {
        let _ = ctx;
        crate::error!(
            "timer {} is due, and the plugin has no method with #[wake]",
            id.escape_ascii()
        );
        Ok(())
    }

    /// Changes state of another layout into this version's, one step at a time.
    fn migrate(ctx: &mut Context, from_version: u32, cursor: Vec<u8>) -> Result<Option<Vec<u8>>> {
        let _ = (ctx, cursor);
        Err(no_migration::<Self>(from_version))
    }

    /// Translates one pair of another layout into this version's.
    fn migrate_key(from_version: u32, key: Vec<u8>, value: Vec<u8>) -> Result<Vec<Pair>> {
        let _ = (key, value);
        Err(no_migration::<Self>(from_version))
    }
}

/// A key and its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

fn no_migration<P: Plugin + ?Sized>(from_version: u32) -> Rejection {
    Rejection::new(
        "no_migration",
        format!(
            "{} {} cannot migrate state of version {from_version}",
            P::INFO.name,
            P::INFO.version
        ),
    )
}

impl<P: Plugin> Guest for P {
    fn describe() -> Description {
        start();
        P::INFO.describe()
    }

    fn watched() -> Vec<WatchedPart> {
        start();
        P::INFO.watched.iter().map(Watched::describe).collect()
    }

    fn apply(command: String, arguments: Vec<Vec<u8>>) -> Result<Tokens> {
        start();
        let mut arguments = Arguments::new(arguments, P::ERRORS);
        P::apply(&mut Context::new(), &command, &mut arguments)
            .unwrap_or_else(|| Err(unknown(&command)))
    }

    fn query(command: String, arguments: Vec<Vec<u8>>) -> Result<Tokens> {
        start();
        let mut arguments = Arguments::new(arguments, P::ERRORS);
        P::query(&View::new(), &command, &mut arguments).unwrap_or_else(|| Err(unknown(&command)))
    }

    fn wake(id: Vec<u8>) -> Result<()> {
        start();
        P::wake(&mut Context::new(), id)
    }

    fn migrate(from_version: u32, cursor: Vec<u8>) -> Result<Option<Vec<u8>>> {
        start();
        P::migrate(&mut Context::new(), from_version, cursor)
    }

    fn migrate_key(from_version: u32, key: Vec<u8>, value: Vec<u8>) -> Result<Vec<Pair>> {
        start();
        P::migrate_key(from_version, key, value)
    }
}

/// The host calls only what `describe` told it of.
#[cold]
fn unknown(command: &str) -> Rejection {
    Rejection::invalid_argument(format!("unknown command '{command}'"))
}

/// Makes panics tell the operator what went wrong, once in an instance: the trap that follows
/// carries no text.
#[cfg(target_arch = "wasm32")]
fn start() {
    use std::sync::atomic::{AtomicBool, Ordering};

    static STARTED: AtomicBool = AtomicBool::new(false);
    if !STARTED.swap(true, Ordering::Relaxed) {
        std::panic::set_hook(Box::new(|info| crate::error!("{info}")));
    }
}

/// Elsewhere there is no host to tell, and panics are the process's own affair.
#[cfg(not(target_arch = "wasm32"))]
fn start() {}

/// Makes a reply of what a command returned.
pub fn finish(value: impl IntoReply) -> Result<Tokens> {
    let mut out = ReplyBuffer::new();
    value.into_reply(&mut out)?;
    Ok(out.into_tokens())
}

/// What a method with `#[wake]` can return.
pub trait Unit {
    /// Its outcome.
    fn into_outcome(self) -> Result<()>;
}

impl Unit for () {
    fn into_outcome(self) -> Result<()> {
        Ok(())
    }
}

impl<E: Into<Rejection>> Unit for Result<(), E> {
    fn into_outcome(self) -> Result<()> {
        self.map_err(Into::into)
    }
}

/// What a method with `#[migrate]` can return: nothing when one step does it all, else the
/// cursor for the next step.
pub trait Migrated {
    /// Its outcome.
    fn into_outcome(self) -> Result<Option<Vec<u8>>>;
}

impl Migrated for () {
    fn into_outcome(self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

impl Migrated for Option<Vec<u8>> {
    fn into_outcome(self) -> Result<Option<Vec<u8>>> {
        Ok(self)
    }
}

impl<T: Migrated, E: Into<Rejection>> Migrated for Result<T, E> {
    fn into_outcome(self) -> Result<Option<Vec<u8>>> {
        self.map_err(Into::into)?.into_outcome()
    }
}

/// What a method with `#[migrate_key]` can return: the pairs that a pair becomes, none, one or
/// several.
pub trait MigratedKey {
    /// Its outcome.
    fn into_outcome(self) -> Result<Vec<Pair>>;
}

impl MigratedKey for Vec<Pair> {
    fn into_outcome(self) -> Result<Vec<Pair>> {
        Ok(self)
    }
}

impl MigratedKey for Option<Pair> {
    fn into_outcome(self) -> Result<Vec<Pair>> {
        Ok(self.into_iter().collect())
    }
}

impl MigratedKey for Pair {
    fn into_outcome(self) -> Result<Vec<Pair>> {
        Ok(vec![self])
    }
}

impl<T: MigratedKey, E: Into<Rejection>> MigratedKey for Result<T, E> {
    fn into_outcome(self) -> Result<Vec<Pair>> {
        self.map_err(Into::into)?.into_outcome()
    }
}

/// Reads a timer's id as the type that the method with `#[wake]` takes.
///
/// # Panics
/// When the id is not of that type: a timer of another version of the plugin, or a mistake.
pub fn wake_id<T: Argument>(id: Vec<u8>) -> T {
    T::parse(id).expect("the timer's id has the type that the #[wake] method takes")
}

/// Marks a plugin as used on targets where nothing is exported.
pub const fn exported<P: Plugin>() {}

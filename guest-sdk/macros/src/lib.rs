//! Attribute macros of `hostd-sdk`; see its documentation for how they fit together.
//!
//! `#[plugin]` and `#[commands]` read an `impl` block (`methods`), each method's parameters
//! (`parameter`) and documentation (`help`), and write the table of commands, the dispatch
//! and the exports (`expand`). Nothing here knows what hostd does with them.

#![forbid(unsafe_code)]

mod expand;
mod help;
mod methods;
mod parameter;
mod plugin;
mod value;

use proc_macro::TokenStream;
use syn::Error;

/// Makes a plugin of an `impl` block. Exactly one in a crate.
///
/// ```
/// use hostd_sdk::prelude::*;
///
/// struct Greeter;
///
/// /// Greets people.
/// #[plugin(version = "1.2.0")]
/// impl Greeter {
///     /// Greets somebody, and counts it.
///     #[write(example = "greet Ada")]
///     fn greet(ctx: &Context, name: String) -> String {
///         ctx.counter(&name).add(1);
///         format!("Hello, {name}!")
///     }
///
///     /// Tells how often somebody was greeted.
///     #[read(example = "greeted Ada")]
///     fn greeted(view: &View, name: String) -> i64 {
///         view.counter(&name).get()
///     }
/// }
/// # fn main() {}
/// ```
///
/// Arguments, all optional:
///
/// - `name = "…"`: a lowercase letter, then lowercase letters, digits and dashes; by default the
///   package's name;
/// - `version = "…"`: by default the package's version;
/// - `summary = "…"`: what it is for; by default the `impl` block's doc comment, else the
///   package's description;
/// - `groups = [path::Type, …]`: further commands, each type with [`macro@commands`] on an `impl`
///   block;
/// - `state_version = N`: the layout of the state that this code writes, by default 1. Change it
///   together with the layout;
/// - `reads = [N, …]`: other layouts that this code can read without migration;
/// - `migrates = [N, …]`: layouts from which [`macro@migrate_key`] or [`macro@migrate`] makes this
///   one;
/// - `errors = "redis"`: word refusals of bad arguments as Redis does.
///
/// Methods with [`macro@write`] and [`macro@read`] are commands; at most one each has
/// [`macro@wake`], [`macro@migrate_key`] and [`macro@migrate`]. Others are left alone.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(expand::plugin(arguments.into(), item.into()))
}

/// Makes a group of commands of an `impl` block, for the `groups` of [`macro@plugin`].
///
/// ```
/// use hostd_sdk::prelude::*;
///
/// pub struct Sums;
///
/// #[commands]
/// impl Sums {
///     /// Adds numbers.
///     #[read(example = "sum 1 2 3")]
///     fn sum(numbers: Vec<i64>) -> i64 {
///         numbers.iter().sum()
///     }
/// }
/// # fn main() {}
/// ```
#[proc_macro_attribute]
pub fn commands(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(expand::commands(arguments.into(), item.into()))
}

/// Marks a method as a command that may write: it runs through the replicated log.
///
/// Its first parameter is usually `ctx: &Context`; the others are its arguments. The command is
/// named as the method is, with dashes for underscores, or by `name = "…"`. Any number of
/// `example = "…"` show calls as one would type them.
#[proc_macro_attribute]
pub fn write(_: TokenStream, item: TokenStream) -> TokenStream {
    misplaced("write", item)
}

/// Marks a method as a command that only reads: it adds nothing to the log.
///
/// Its first parameter is usually `view: &View`; the others are its arguments. The command is
/// named as the method is, with dashes for underscores, or by `name = "…"`. Any number of
/// `example = "…"` show calls as one would type them.
#[proc_macro_attribute]
pub fn read(_: TokenStream, item: TokenStream) -> TokenStream {
    misplaced("read", item)
}

/// Marks the method that is called when a timer is due:
/// `fn wake(ctx: &Context, id: &[u8])`. It may return a `Result`; an error drops what it wrote.
#[proc_macro_attribute]
pub fn wake(_: TokenStream, item: TokenStream) -> TokenStream {
    misplaced("wake", item)
}

/// Marks the function that translates one key and value of an older layout into those that they
/// become in this one:
/// `fn migrate_key(from_version: u32, key: Vec<u8>, value: Vec<u8>) -> Vec<(Vec<u8>, Vec<u8>)>`.
/// An `Option` of a pair, a pair, or a `Result` of any of these will do as well.
///
/// It must depend on nothing else, and give no two keys the same name. Then commands of the older
/// version go on while the state is migrated, and nobody waits. It takes the place of
/// [`macro@migrate`] where there are both.
#[proc_macro_attribute]
pub fn migrate_key(_: TokenStream, item: TokenStream) -> TokenStream {
    misplaced("migrate_key", item)
}

/// Marks the method that changes a copy of a state of an older layout into this version's:
/// `fn migrate(ctx: &Context, from_version: u32)`.
///
/// Commands that write wait until it is done. When that may be more than a command's worth of
/// work, do it in steps: `fn migrate(ctx: &Context, from_version: u32, cursor: Vec<u8>) ->
/// Option<Vec<u8>>` is called with an empty cursor first, then with what it returned, until it
/// returns `None`. It may return a `Result` of that: an error, like a panic, ends the migration,
/// and the older version stays with the state as it was. Timers are left as they are.
#[proc_macro_attribute]
pub fn migrate(_: TokenStream, item: TokenStream) -> TokenStream {
    misplaced("migrate", item)
}

/// Lets a struct or an enum be a value in the state: its fields one after another, an enum's
/// variant by its place as one byte in front.
///
/// So fields and variants are part of the layout: adding, removing or reordering them needs a
/// new `state_version`, except for variants added behind the last.
#[proc_macro_derive(StateValue)]
pub fn state_value(item: TokenStream) -> TokenStream {
    finish(value::derive(item.into()))
}

fn finish(result: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    result.unwrap_or_else(Error::into_compile_error).into()
}

/// The expansion of an attribute that `#[plugin]` or `#[commands]` should have taken away.
fn misplaced(attribute: &str, item: TokenStream) -> TokenStream {
    let message = format!(
        "#[{attribute}] belongs on a method inside an `impl` block with #[plugin] or #[commands]"
    );
    let error = Error::new(proc_macro2::Span::call_site(), message);
    let mut tokens = TokenStream::from(error.into_compile_error());
    tokens.extend(item);
    tokens
}

//! What is wrong with a plugin file, in the words of people and of programs, and what to do.

use hostd_machine::PluginError;
use serde::Serialize;

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) message: String,
    /// What to do about it.
    pub(super) advice: String,
}

impl Problem {
    pub(super) fn too_large(what: &str, bytes: u64, bytes_max: u64) -> Self {
        Self {
            code: "too_large",
            message: format!("{what} has {bytes} bytes; a plugin may have {bytes_max}"),
            advice: "build it optimised (`hostctl plugin build` without --debug), and leave out \
                     dependencies and tables that it can do without"
                .into(),
        }
    }

    /// Types that differ from the world's.
    pub(super) fn wrong_type(message: String) -> Self {
        Self {
            code: "wrong_type",
            message,
            advice: "build it with the hostd-sdk of the hostd version that is to run it".into(),
        }
    }
}

impl From<PluginError> for Problem {
    fn from(error: PluginError) -> Self {
        let message = error.to_string();
        let (code, advice) = match &error {
            PluginError::Empty => ("empty", BUILD_AGAIN),
            PluginError::NotWebAssembly => (
                "not_webassembly",
                "name the .wasm file that `hostctl plugin build` prints",
            ),
            PluginError::Invalid(_) => ("invalid", BUILD_AGAIN),
            PluginError::CoreModule(_) => (
                "core_module",
                "put #[plugin] of hostd-sdk on an `impl` block and run `hostctl plugin build`; a \
                 dependency that asks for JavaScript or an operating system cannot be used",
            ),
            PluginError::UnknownImport { name, .. } => ("unknown_import", instead_of(name)),
            PluginError::MissingExport(_) => (
                "missing_export",
                "put #[plugin] of hostd-sdk on an `impl` block: it exports all that hostd calls",
            ),
            PluginError::WrongTypes(_) => return Self::wrong_type(message),
            PluginError::Description(what) => ("description", describe_better(what)),
            PluginError::Resources(what) if what.starts_with("compiling") => (
                "compile_cost",
                "build it optimised (`hostctl plugin build` without --debug); split a generated function \
                 that is very long into several",
            ),
            PluginError::Resources(_) => (
                "resources",
                "a plugin has one memory and few parts: build one crate with hostd-sdk, without \
                 composing components",
            ),
        };
        Self {
            code,
            message,
            advice: advice.into(),
        }
    }
}

const BUILD_AGAIN: &str = "build it again with `hostctl plugin build`, or copy it again";

/// Where to take from what an import was to bring.
fn instead_of(import: &str) -> &'static str {
    if import.starts_with("wasi:") {
        "build for wasm32-unknown-unknown, as `hostctl plugin build` does, and take time, random \
         numbers and storage from the SDK: ctx.now(), ctx.random(), ctx.state()"
    } else if import.starts_with("hostd:") {
        "build it with the hostd-sdk of the hostd version that is to run it"
    } else {
        "remove what imports it; a plugin reaches the world only through hostd-sdk"
    }
}

fn describe_better(what: &str) -> &'static str {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| what.starts_with(prefix));
    if starts(&["the name"]) {
        "give it another with #[plugin(name = \"…\")]"
    } else if starts(&["the command name", "two commands"]) {
        "give it another with #[write(name = \"…\")] or #[read(name = \"…\")]"
    } else if starts(&["more than", "larger than"]) {
        "make it several plugins, or its help shorter"
    } else {
        "`describe` must return by itself, without state, time or random numbers; hostd-sdk's does"
    }
}

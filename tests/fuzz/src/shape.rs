//! What the core module of a plugin imports and exports, as the canonical ABI has the world of
//! `wit/`: the module of `tests/fixtures/scripted`, which uses all of it. Each type is written as
//! its parameters and its results: `i` for 32 bits, `I` for 64.
//!
//! Compiled into the build script too.

/// Interface, function, parameters, results.
pub const IMPORTS: &[(&str, &str, &str, &str)] = &[
    ("hostd:plugin/state@0.1.0", "get", "iii", ""),
    ("hostd:plugin/state@0.1.0", "get-many", "iii", ""),
    ("hostd:plugin/state@0.1.0", "put", "iiii", ""),
    ("hostd:plugin/state@0.1.0", "delete", "ii", ""),
    ("hostd:plugin/state@0.1.0", "write-batch", "ii", ""),
    ("hostd:plugin/state@0.1.0", "scan", "iiiiiiiii", ""),
    ("hostd:plugin/state@0.1.0", "delete-range", "iiiiiiii", "I"),
    ("hostd:plugin/clock@0.1.0", "now", "", "I"),
    ("hostd:plugin/random@0.1.0", "next", "", "I"),
    ("hostd:plugin/random@0.1.0", "bytes", "ii", ""),
    ("hostd:plugin/timer@0.1.0", "set", "iiI", ""),
    ("hostd:plugin/timer@0.1.0", "cancel", "ii", ""),
    ("hostd:plugin/timer@0.1.0", "get", "iii", ""),
    ("hostd:plugin/events@0.1.0", "publish", "iiii", ""),
    ("hostd:plugin/log@0.1.0", "write", "iii", ""),
];

/// Function, parameters, results.
pub const EXPORTS: &[(&str, &str, &str)] = &[
    ("describe", "", "i"),
    ("watched", "", "i"),
    ("apply", "iiii", "i"),
    ("query", "iiii", "i"),
    ("wake", "ii", "i"),
    ("migrate", "iii", "i"),
    ("migrate-key", "iiiii", "i"),
    ("cabi_post_describe", "i", ""),
    ("cabi_post_watched", "i", ""),
    ("cabi_post_apply", "i", ""),
    ("cabi_post_query", "i", ""),
    ("cabi_post_wake", "i", ""),
    ("cabi_post_migrate", "i", ""),
    ("cabi_post_migrate-key", "i", ""),
    ("cabi_realloc", "iiii", "i"),
    ("cabi_realloc_wit_bindgen_0_60_0", "iiii", "i"),
];

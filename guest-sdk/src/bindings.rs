//! The plugin world of `wit/`, as wit-bindgen sees it. Generated code, with the `unsafe` that
//! crossing into the host takes; the rest of the crate has none.

#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::all
)]

wit_bindgen::generate!({
    path: "../wit",
    world: "plugin",
    ownership: Borrowing { duplicate_if_necessary: false },
    pub_export_macro: true,
    export_macro_name: "export_plugin",
    default_bindings_module: "::hostd_sdk::bindings",
});

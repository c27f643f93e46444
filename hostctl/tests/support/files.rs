//! Files that are plugins, and files that are none in every way that can be told.

#[path = "../../../tests/fixtures/unreachable.rs"]
mod unreachable;

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A world that looks like hostd's from afar.
const FOREIGN: &str = "
    package hostd:plugin@0.1.0;

    interface state {
        get: func(key: string) -> option<string>;
        compact: func();
    }

    world plugin {
        import state;
        import launch-missiles: func();
        import log-in: func();
        export describe: func() -> string;
        export apply: func(command: string) -> string;
    }
";

/// Writes one of each.
pub(super) fn write(directory: &Path) {
    let ticket = ticket();
    let write = |name: &str, content: &[u8]| {
        std::fs::write(directory.join(name), content).unwrap();
    };
    write("ticket.wasm", &ticket);
    write("empty.wasm", b"");
    write("text.wasm", b"#!/bin/sh\necho not wasm\n");
    write("truncated.wasm", &ticket[..ticket.len() / 2]);
    write("module.wasm", b"\0asm\x01\0\0\0");
    write("component.wasm", b"\0asm\x0d\0\x01\0");
    write("foreign.wasm", &foreign());
    write("names.wasm", &replaced(&ticket, b"ticket", b"Ticket"));
    write("large.wasm", &padded(&ticket, 17 << 20));
    std::fs::create_dir(directory.join("directory")).unwrap();
}

fn ticket() -> Vec<u8> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/ticket");
    let built = hostd_plugin_build::build(directory, &hostd_plugin_build::Options::default());
    built.unwrap().component
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() - old.len() {
        if bytes[at..].starts_with(old) {
            bytes[at..at + old.len()].copy_from_slice(new);
        }
    }
    bytes
}

/// With a custom section of this many bytes, which means nothing.
fn padded(component: &[u8], bytes: usize) -> Vec<u8> {
    let mut padded = component.to_vec();
    padded.push(0);
    let mut length = bytes;
    while length >= 0x80 {
        padded.push(length as u8 | 0x80);
        length >>= 7;
    }
    padded.push(length as u8);
    padded.resize(padded.len() + bytes, 0);
    padded
}

/// A component of the foreign world, whose functions do nothing.
fn foreign() -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("foreign.wit", FOREIGN).unwrap();
    let world = resolve.select_world(&[package], Some("plugin")).unwrap();
    let mut module = core_module();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default().module(&module).unwrap();
    encoder.encode().unwrap()
}

/// The core functions that the canonical ABI makes of the foreign world's.
fn core_module() -> Vec<u8> {
    let state = "hostd:plugin/state@0.1.0";
    unreachable::module(
        &[
            (state, "get", "iii", ""),
            (state, "compact", "", ""),
            ("$root", "launch-missiles", "", ""),
            ("$root", "log-in", "", ""),
        ],
        &[
            ("describe", "", "i"),
            ("apply", "ii", "i"),
            ("cabi_realloc", "iiii", "i"),
        ],
    )
}

//! Files that are plugins, and files that are none in every way that can be told.

use std::path::Path;

use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
    Instruction, MemorySection, MemoryType, Module, TypeSection, ValType,
};
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
    const NOTHING: u32 = 0;
    const GET: u32 = 1;
    const DESCRIBE: u32 = 2;
    const APPLY: u32 = 3;
    const REALLOC: u32 = 4;
    let mut types = TypeSection::new();
    for (parameters, results) in [(0, 0), (3, 0), (0, 1), (2, 1), (4, 1)] {
        types
            .ty()
            .function(vec![ValType::I32; parameters], vec![ValType::I32; results]);
    }
    let mut imports = ImportSection::new();
    for (module, name, ty) in [
        ("hostd:plugin/state@0.1.0", "get", GET),
        ("hostd:plugin/state@0.1.0", "compact", NOTHING),
        ("$root", "launch-missiles", NOTHING),
        ("$root", "log-in", NOTHING),
    ] {
        imports.import(module, name, EntityType::Function(ty));
    }
    let mut functions = FunctionSection::new();
    let mut exports = ExportSection::new();
    let mut code = CodeSection::new();
    for (name, ty) in [
        ("describe", DESCRIBE),
        ("apply", APPLY),
        ("cabi_realloc", REALLOC),
    ] {
        exports.export(name, ExportKind::Func, imports.len() + functions.len());
        functions.function(ty);
        let mut body = Function::new([]);
        body.instruction(&Instruction::Unreachable);
        body.instruction(&Instruction::End);
        code.function(&body);
    }
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    exports.export("memory", ExportKind::Memory, 0);
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&memories)
        .section(&exports)
        .section(&code);
    module.finish()
}

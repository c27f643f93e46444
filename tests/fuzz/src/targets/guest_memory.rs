//! Guest memory of any bytes behind every pointer that a plugin returns: its description, its
//! replies and its rejections are lifted from there.

use std::sync::OnceLock;

use arbitrary::Unstructured;
use hostd_protocol::{Command, Limits};
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, Instruction, MemorySection, MemoryType, Module, TypeSection,
    ValType,
};

use super::Target;
use crate::disk::Disk;
use crate::machines::{Rig, Seen, component};
use crate::shape::EXPORTS;
use crate::{components, memory};

pub(super) const TARGET: Target = Target {
    name: "guest_memory",
    what: "whatever a plugin returns is a description, a reply or a refusal, in bounded memory",
    run,
    seeds,
    bytes_max: 4096,
    inputs: 150,
};

/// Where the input lies in the guest's memory.
const INPUT: u32 = 1024;

/// Where an empty list lies: nothing is ever written here.
const NOTHING: u32 = 8;

/// Where a description lies that is right.
const DESCRIPTION: u32 = 32 << 10;

/// What the host may take for one call: 64 MiB of bytes are lifted at most, and items of a list
/// take several times their size in the guest, whose memory is small.
const LIFTED_BYTES: usize = 160 << 20;

const PAGES: u64 = 32;

pub(crate) fn limits() -> Limits {
    Limits {
        fuel_per_command: 2_000_000,
        memory_bytes_max: 16 << 20,
        ..Limits::default()
    }
}

fn rig() -> Rig {
    static MADE: OnceLock<Disk> = OnceLock::new();
    Rig::with_plugins(&MADE, limits, &[])
}

fn run(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let Ok(kind) = choices.arbitrary::<u8>() else {
        return;
    };
    let described = kind % 4 != 0;
    let pointer: u32 = choices.arbitrary::<u16>().unwrap_or(0).into();
    // Aligned more often than not, and inside more often than not.
    let pointer = match kind / 4 % 8 {
        0 => pointer,
        1 => pointer << 16,
        _ => INPUT + pointer % 256 * 4,
    };
    let data = choices.take_rest();
    let describe = if described { DESCRIPTION } else { pointer };
    let shell = component("tests/fixtures/scripted");
    let plugin = components::transplant(&shell, &module(data, describe, pointer));
    memory::at_most(LIFTED_BYTES, || {
        drop(crate::machines::engine().compile(&plugin));
    });
    if !described {
        return;
    }
    let install = Command::Install {
        principal: "fuzz".into(),
        component: plugin,
    };
    let call = |command: &str| Command::Call {
        principal: "fuzz".into(),
        plugin: None,
        command: command.into(),
        arguments: vec![b"argument".to_vec().into()],
        once: None,
    };
    let mut one = rig();
    let installed = one.batch(2_000_000, vec![install.clone()]);
    assert!(installed.outcomes[0].is_ok(), "{:?}", installed.outcomes);
    let commands = || vec![call("w"), call("w")];
    memory::at_most(LIFTED_BYTES, || {
        drop(one.query("any", "r", &[b"argument".to_vec().into()]));
    });
    let applied = memory::at_most(LIFTED_BYTES, || one.batch(3_000_000, commands()));
    let seen = Seen::of(&applied);
    let mut other = rig();
    other.batch(2_000_000, vec![install]);
    assert_eq!(Seen::of(&other.batch(3_000_000, commands())), seen);
    assert_eq!(one.checkpoint(4_000_000), other.checkpoint(4_000_000));
}

/// A module whose functions return pointers and do nothing else.
fn module(data: &[u8], describe: u32, apply: u32) -> Vec<u8> {
    let types_of = |letters: &str| vec![ValType::I32; letters.len()];
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
    for (number, (name, parameters, results)) in (0u32..).zip(EXPORTS) {
        types.ty().function(types_of(parameters), types_of(results));
        functions.function(number);
        exports.export(name, ExportKind::Func, number);
        let mut body = Function::new([]);
        if name.starts_with("cabi_realloc") {
            allocate(&mut body);
        } else if *name == "describe" {
            body.instruction(&Instruction::I32Const(describe as i32));
        } else if *name == "watched" && describe == DESCRIPTION {
            body.instruction(&Instruction::I32Const(NOTHING as i32));
        } else if !results.is_empty() {
            body.instruction(&Instruction::I32Const(apply as i32));
        }
        body.instruction(&Instruction::End);
        code.function(&body);
    }
    exports.export("memory", ExportKind::Memory, 0);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: PAGES,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut globals = GlobalSection::new();
    let top = GlobalType {
        val_type: ValType::I32,
        mutable: true,
        shared: false,
    };
    globals.global(top, &ConstExpr::i32_const(256 << 10));
    let mut segments = DataSection::new();
    let at = |place: u32| ConstExpr::i32_const(place as i32);
    segments.active(0, &at(INPUT), data.iter().copied());
    segments.active(0, &at(DESCRIPTION), description());
    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&memories)
        .section(&globals)
        .section(&exports)
        .section(&code)
        .section(&segments);
    module.finish()
}

/// Gives out memory from a rising mark, sixteen bytes further for every call's alignment.
fn allocate(body: &mut Function) {
    use Instruction::{GlobalGet, GlobalSet, I32Add, I32And, I32Const, LocalGet};
    for instruction in [
        GlobalGet(0),
        GlobalGet(0),
        LocalGet(3),
        I32Add,
        I32Const(15),
        I32Add,
        I32Const(-16),
        I32And,
        GlobalSet(0),
    ] {
        body.instruction(&instruction);
    }
}

/// A description in memory: a plugin with a write command `w` and a read command `r` that take
/// one argument.
fn description() -> Vec<u8> {
    let mut memory: Vec<u32> = Vec::new();
    let words = |number: usize| DESCRIPTION + 4 * number as u32;
    // The record is fourteen words long, a command eleven, an argument six.
    const COMMANDS: usize = 14;
    const ARGUMENT: usize = COMMANDS + 2 * 11;
    const TEXT: usize = ARGUMENT + 6;
    let text = words(TEXT);
    let (any, w, r) = ([text, 3], [text + 3, 1], [text + 4, 1]);
    let none = [0, 0];
    memory.extend(any);
    memory.extend(any);
    memory.extend(any);
    memory.push(1);
    memory.extend(none);
    // It migrates from nowhere, and not by key.
    memory.extend(none);
    memory.push(0);
    memory.extend([words(COMMANDS), 2]);
    for (name, access) in [(w, 1), (r, 0)] {
        memory.extend(name);
        memory.push(access);
        memory.extend([words(ARGUMENT), 1]);
        memory.extend(name);
        memory.extend(name);
        memory.extend(none);
    }
    memory.extend(any);
    memory.extend([0, 0, 0]);
    // Bytes, and no key.
    memory.push(3);
    assert_eq!(memory.len(), TEXT);
    let mut bytes: Vec<u8> = memory.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(b"anywr");
    bytes
}

fn seeds() -> Vec<Vec<u8>> {
    // A result in memory: ok or not, then a list or a variant with its payload.
    let input = |kind: u8, words: &[u32]| {
        let words = words.iter().flat_map(|word| word.to_le_bytes());
        [kind, 0, 0].into_iter().chain(words).collect::<Vec<u8>>()
    };
    let tokens = INPUT + 64;
    let mut ok = input(9, &[0, tokens, 3]);
    ok.resize(3 + 64, 0);
    // An array of two: an integer and text.
    for word in [6u32, 0, 2, 0, 2, 0, 7, 0, 4, 0, DESCRIPTION, 3] {
        ok.extend(word.to_le_bytes());
    }
    let refused = input(9, &[1, 0, DESCRIPTION, 3]);
    let own = input(9, &[1, 3, DESCRIPTION, 3, DESCRIPTION, 9]);
    // A list far longer than memory, and one of all memory.
    let long = input(9, &[0, tokens, u32::MAX]);
    let whole = input(9, &[0, 0, (PAGES as u32) << 12]);
    // Bytes that are all of memory, many times over.
    let mut often = input(9, &[0, tokens, 201]);
    often.resize(3 + 64, 0);
    for word in [6, 0, 200, 0]
        .into_iter()
        .chain([5, 0, 0, (PAGES as u32) << 16].repeat(200))
    {
        often.extend(word.to_le_bytes());
    }
    // The input as a description.
    let described = input(8, &[DESCRIPTION, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    vec![ok, refused, own, long, whole, often, described]
}

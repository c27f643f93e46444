//! Makes random core modules with wasm-smith, some with the shape of a plugin's.
//!
//! Here and not while fuzzing, because what wasm-smith asks of shared dependencies would have
//! wasmtime built a second time. `HOSTD_FUZZ_SEED` draws other modules.

#[path = "src/shape.rs"]
#[expect(unreachable_pub, reason = "the crate shows it")]
mod shape;

use std::fmt::Write as _;
use std::path::Path;

use arbitrary::Unstructured;
use shape::{EXPORTS, IMPORTS};
use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
    Instruction, MemorySection, MemoryType, Module, TypeSection, ValType,
};

/// Modules of each kind.
const MODULES: u64 = 60;

/// Choices that one module is made of.
const CHOICES: usize = 3000;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/shape.rs");
    println!("cargo:rerun-if-env-changed=HOSTD_FUZZ_SEED");
    let seed: u64 = std::env::var("HOSTD_FUZZ_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut modules = Vec::new();
    for number in 0..MODULES * 2 {
        let choices: Vec<u8> = std::iter::repeat_with(|| {
            // xorshift64* (Vigna 2016).
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
        })
        .take(CHOICES)
        .collect();
        let mut config = wasm_smith::Config {
            max_memories: 1,
            max_memory32_bytes: 4 << 20,
            reference_types_enabled: number % 4 == 1,
            simd_enabled: number % 3 == 0,
            threads_enabled: false,
            gc_enabled: false,
            exceptions_enabled: false,
            memory64_enabled: false,
            relaxed_simd_enabled: false,
            tail_call_enabled: number % 5 == 0,
            custom_page_sizes_enabled: false,
            wide_arithmetic_enabled: false,
            ..wasm_smith::Config::default()
        };
        if number < MODULES {
            config.module_shape = Some(shape_of_a_plugin());
        }
        if let Ok(module) = wasm_smith::Module::new(config, &mut Unstructured::new(&choices)) {
            modules.push(module.to_bytes());
        }
    }
    let directory = std::env::var("OUT_DIR").expect("cargo sets it");
    let mut list = String::from("&[\n");
    for (number, module) in modules.iter().enumerate() {
        let path = Path::new(&directory).join(format!("{number}.wasm"));
        std::fs::write(&path, module).expect("the build's own directory is written");
        let path = path.display().to_string();
        writeln!(list, "include_bytes!({path:?}),").expect("text takes everything");
    }
    list.push_str("]\n");
    let path = Path::new(&directory).join("smith.rs");
    std::fs::write(path, list).expect("the build's own directory is written");
}

/// A module that imports and exports what a plugin's does.
fn shape_of_a_plugin() -> Vec<u8> {
    let types_of = |letters: &str| -> Vec<ValType> {
        let one = |letter| match letter {
            'i' => ValType::I32,
            _ => ValType::I64,
        };
        letters.chars().map(one).collect()
    };
    let (mut types, mut imports) = (TypeSection::new(), ImportSection::new());
    let (mut functions, mut exports) = (FunctionSection::new(), ExportSection::new());
    let mut code = CodeSection::new();
    for (number, (interface, name, parameters, results)) in (0u32..).zip(IMPORTS) {
        types.ty().function(types_of(parameters), types_of(results));
        imports.import(interface, name, EntityType::Function(number));
    }
    let imported = IMPORTS.len() as u32;
    for (number, (name, parameters, results)) in (imported..).zip(EXPORTS) {
        types.ty().function(types_of(parameters), types_of(results));
        functions.function(number);
        exports.export(name, ExportKind::Func, number);
        let mut body = Function::new([]);
        body.instruction(&Instruction::Unreachable);
        body.instruction(&Instruction::End);
        code.function(&body);
    }
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 2,
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

//! Makes random core modules with wasm-smith, some with the shape of a plugin's.
//!
//! Here and not while fuzzing, because what wasm-smith asks of shared dependencies would have
//! wasmtime built a second time. `HOSTD_FUZZ_SEED` draws other modules.

#[path = "src/shape.rs"]
#[expect(unreachable_pub, reason = "the crate shows it")]
mod shape;
#[path = "../fixtures/unreachable.rs"]
mod unreachable;

use std::fmt::Write as _;
use std::path::Path;

use arbitrary::Unstructured;
use shape::{EXPORTS, IMPORTS};

/// Modules of each kind.
const MODULES: u64 = 60;

/// Choices that one module is made of.
const CHOICES: usize = 3000;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/shape.rs");
    println!("cargo:rerun-if-changed=../fixtures/unreachable.rs");
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
            config.module_shape = Some(unreachable::module(IMPORTS, EXPORTS));
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

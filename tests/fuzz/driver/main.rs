//! The program that libFuzzer's `main` runs: one target, named by `HOSTD_FUZZ_TARGET`. Before it
//! begins it writes the target's seeds to the directory `HOSTD_FUZZ_SEEDS`, if that is set. The
//! target `list` lists them all.

#![no_main]
// libFuzzer calls C functions by their names.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use hostd_fuzz::{TARGETS, Target, find};

fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("HOSTD_FUZZ_TARGET").expect("cargo xtask fuzz names the target");
        find(&name).expect("cargo xtask fuzz names a target that there is")
    })
}

/// What comes before libFuzzer reads its corpus.
#[unsafe(no_mangle)]
pub extern "C" fn LLVMFuzzerInitialize(_count: *mut i32, _arguments: *mut *mut *mut i8) -> i32 {
    if std::env::var("HOSTD_FUZZ_TARGET").as_deref() == Ok("list") {
        for target in TARGETS {
            println!("{}\t{}\t{}", target.name, target.bytes_max, target.what);
        }
        std::process::exit(0);
    }
    if let Some(directory) = std::env::var_os("HOSTD_FUZZ_SEEDS") {
        for (number, seed) in (target().seeds)().iter().enumerate() {
            let path = std::path::Path::new(&directory).join(number.to_string());
            std::fs::write(path, seed).expect("the seeds are written");
        }
    }
    handle_overflows();
    0
}

/// A stack that overflows leaves none for the handler that keeps the input: libFuzzer takes another
/// one if it finds that this was set up.
fn handle_overflows() {
    let memory = Box::leak(vec![0u8; 1 << 18].into_boxed_slice());
    let stack = libc::stack_t {
        ss_sp: memory.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: memory.len(),
    };
    // SAFETY: the memory is never freed and nothing else uses it; the default action with another
    // flag is an action.
    unsafe {
        assert_eq!(libc::sigaltstack(&raw const stack, std::ptr::null_mut()), 0);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        action.sa_flags = libc::SA_ONSTACK;
        assert_eq!(
            libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()),
            0
        );
    }
}

/// Takes one input. A panic ends the process, so that libFuzzer keeps the input; one that the code
/// under test catches itself does not.
///
/// # Safety
/// `data` points to `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> i32 {
    let bytes = if size == 0 {
        &[]
    } else {
        // SAFETY: libFuzzer's promise.
        unsafe { std::slice::from_raw_parts(data, size) }
    };
    if catch_unwind(AssertUnwindSafe(|| (target().run)(bytes))).is_err() {
        std::process::abort();
    }
    0
}

//! The operating system's entropy, replaced.
//!
//! Hash maps with random keys, `select!`, election timeouts and connection identifiers ask the
//! operating system for random bytes, in code that is not ours. In the thread that simulates they
//! get bytes that follow from the seed; in every other thread, the real ones.
//!
//! ring, which makes the keys of TLS, asks the kernel by way of the C library's `syscall`, which is
//! replaced for that one question.

// Replacing a function of the C library is what this file exists for.
#![allow(unsafe_code)]
// The linker looks for it, and nobody else does.
#![allow(unreachable_pub)]

use std::cell::Cell;
use std::ffi::{c_long, c_uint, c_void};

thread_local! {
    /// State of the generator; `None` in threads that do not simulate. No destructor, so that it
    /// can be asked at any time of a thread's life.
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on this thread's entropy follows from `seed`.
pub(crate) fn decide(seed: u64) {
    STATE.set(Some(seed));
}

/// SplitMix64 (Steele, Lea and Flood, 2014): good enough to look random, and nothing here is
/// secret.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The kernel's.
///
/// # Safety
/// As of getrandom(2).
#[cfg(target_arch = "x86_64")]
unsafe fn real(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    let arguments = [buffer as usize, length, flags as usize, 0, 0, 0];
    // SAFETY: the arguments are passed on as they came.
    unsafe { ask_kernel(libc::SYS_getrandom, arguments) as isize }
}

/// The kernel's.
///
/// # Safety
/// As of getrandom(2).
#[cfg(not(target_arch = "x86_64"))]
unsafe fn real(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    // SAFETY: the arguments are passed on as they came.
    unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize }
}

/// Takes the place of the C library's function, getrandom(2).
///
/// # Safety
/// As of the C library's: `buffer` must have room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    let Some(mut state) = STATE.get() else {
        // SAFETY: the arguments are passed on as they came.
        return unsafe { real(buffer, length, flags) };
    };
    if length == 0 {
        // Somebody wants to know whether there is such a function; the pointer may be any.
        return 0;
    }
    // SAFETY: the caller owns `length` bytes at `buffer`; they are only written.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&next(&mut state).to_le_bytes()[..chunk.len()]);
    }
    STATE.set(Some(state));
    length as isize
}

/// Takes the place of the C library's function, syscall(2). That one takes as many arguments as it
/// is given; in the calling convention of this processor, taking all of them is the same.
///
/// # Safety
/// As of the C library's.
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    first: usize,
    second: usize,
    third: usize,
    fourth: usize,
    fifth: usize,
    sixth: usize,
) -> c_long {
    if number == libc::SYS_getrandom && STATE.get().is_some() {
        // SAFETY: these are getrandom's own arguments.
        return unsafe { getrandom(first as *mut c_void, second, third as c_uint) as c_long };
    }
    // SAFETY: as the C library does it: the kernel takes the arguments as they are.
    unsafe { ask_kernel(number, [first, second, third, fourth, fifth, sixth]) }
}

/// # Safety
/// As of the call that `number` names.
#[cfg(target_arch = "x86_64")]
unsafe fn ask_kernel(number: c_long, arguments: [usize; 6]) -> c_long {
    let mut result = number;
    // SAFETY: registers as the kernel's calling convention has them.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    if (-4095..0).contains(&result) {
        // SAFETY: every thread has its own.
        unsafe { *libc::__errno_location() = -result as i32 };
        return -1;
    }
    result
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    /// What each way of asking for entropy gives in a thread with this seed.
    fn draws(seed: u64) -> (Vec<u32>, [u8; 32]) {
        std::thread::spawn(move || {
            super::decide(seed);
            let set: HashSet<u32> = (0..100).collect();
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes[..16]).unwrap();
            let random = quinn::rustls::crypto::ring::default_provider().secure_random;
            random.fill(&mut bytes[16..]).unwrap();
            (set.into_iter().collect(), bytes)
        })
        .join()
        .unwrap()
    }

    #[test]
    fn all_entropy_of_the_thread_follows_from_the_seed() {
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1).0, draws(2).0);
        assert_ne!(draws(1).1, draws(2).1);
    }
}

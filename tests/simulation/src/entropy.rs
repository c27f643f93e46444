//! The operating system's entropy, replaced.
//!
//! Hash maps with random keys, `select!`, election timeouts, connection identifiers and TLS keys all
//! ask the operating system for random bytes, in code that is not ours. In the thread that
//! simulates they get bytes that follow from the seed; in every other thread, the real ones.

// Replacing a function of the C library is what this file exists for.
#![allow(unsafe_code)]
// The linker looks for it, and nobody else does.
#![allow(unreachable_pub)]

use std::cell::Cell;
use std::ffi::{c_uint, c_void};

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

/// Takes the place of the C library's function, getrandom(2).
///
/// # Safety
/// As of the C library's: `buffer` must have room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    let Some(mut state) = STATE.get() else {
        // SAFETY: the arguments are passed on as they came.
        let filled = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
        return filled as isize;
    };
    // SAFETY: the caller owns `length` bytes at `buffer`; they are only written.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&next(&mut state).to_le_bytes()[..chunk.len()]);
    }
    STATE.set(Some(state));
    length as isize
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
            let random = quinn::rustls::crypto::ring::default_provider().secure_random;
            random.fill(&mut bytes).unwrap();
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

//! How much memory a decoder takes: a length field must not make it take more than its input is
//! worth.

// A global allocator cannot be written without.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What any input may cost: serde believes a stated length up to a mebibyte for each collection,
/// and a few may be open at the same time.
const FIXED_BYTES: usize = 8 << 20;

/// Runs `work` and panics when this thread held more memory at once than the input is worth: 8 MiB
/// and `factor` bytes for each byte of input.
pub fn bounded<T>(input: &[u8], factor: usize, work: impl FnOnce() -> T) -> T {
    at_most(FIXED_BYTES + factor * input.len(), work)
}

/// Runs `work` and panics when this thread held more than so many bytes at once.
pub fn at_most<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    let peak = PEAK.get() - before;
    assert!(
        peak <= bytes as isize,
        "it took {peak} bytes of memory; {bytes} are allowed"
    );
    result
}

thread_local! {
    /// Bytes that this thread took and did not give back. What another thread gives back makes it
    /// too large there and negative here, which a difference over one call does not see.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    // A thread that ends still allocates when its locals are gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is passed on as it is to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_at_once_counts() {
        bounded(&[0; 10], 0, || {
            for _ in 0..10 {
                std::hint::black_box(vec![1u8; 4 << 20]);
            }
        });
        let two = || std::hint::black_box((vec![1u8; 6 << 20], vec![1u8; 6 << 20]));
        assert!(std::panic::catch_unwind(|| bounded(&[0; 10], 0, two)).is_err());
        bounded(&[0; 10], 1 << 20, two);
    }
}

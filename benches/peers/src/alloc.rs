//! Counts the bytes that the process holds on the heap.
//!
//! A peer's own estimate of its size leaves out what it does not know (table slack, reference counts, queues), so the
//! allocator counts, the same way for every system. It counts the sizes that are requested, not its size classes.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

use mimalloc::MiMalloc;

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Returns the bytes that are allocated and not yet freed.
pub fn live_bytes() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// mimalloc, with a count of the live bytes.
pub struct Counting;

#[global_allocator]
static GLOBAL: Counting = Counting;

// The one place in this package with unsafe code: only the allocator can count, and its trait is unsafe.
// SAFETY: every call is passed on unchanged to `MiMalloc`, which fulfils the contract of the trait; the counter does
// not touch the memory.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller upholds the contract for `layout`.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as in `alloc`.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller guarantees that `block` was allocated here with `layout`.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as in `dealloc`; the caller also guarantees that `size` is valid.
        unsafe { MiMalloc.realloc(block, layout, size) }
    }
}

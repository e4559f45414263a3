//! What the process holds on the heap, counted.
//!
//! A peer's own size estimate leaves out what it does not know (table slack, reference counts, queues), so memory
//! is counted where it is handed out, the same way for everyone. The sizes are those asked for, not the
//! allocator's size classes.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

use mimalloc::MiMalloc;

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Bytes handed out and not yet given back.
pub fn live_bytes() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// mimalloc, with the live bytes counted.
pub struct Counting;

#[global_allocator]
static GLOBAL: Counting = Counting;

// Counting an allocator's bytes means being the allocator, and that trait is unsafe: the one exception in this package.
// SAFETY: every call is passed on unchanged to `MiMalloc`, whose contract is the one of the trait; the counter
// touches nothing of the memory.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout`, passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as in `alloc`.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise that `block` came from here with `layout`, passed on.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as in `dealloc`; `size` is the caller's promise, too.
        unsafe { MiMalloc.realloc(block, layout, size) }
    }
}

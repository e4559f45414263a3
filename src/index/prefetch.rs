//! Fetching a cache line that will be needed soon.

/// Starts to bring `value`'s cache line near. Does nothing where the processor has no such instruction that stable
/// Rust can name.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program can see, and faults at no address.
        #[allow(unsafe_code, reason = "pays: see BENCHMARKS.md; there is no safe prefetch")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

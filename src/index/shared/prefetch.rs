//! Fetches a cache line that will be needed soon.

/// Starts to fetch the cache line of `value`. Does nothing on processors whose instruction for it stable Rust does not
/// have.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    prefetch_at(value);
}

/// As [`prefetch`], of an address that may be anybody's by now, or nobody's.
#[inline(always)]
pub(crate) fn prefetch_at<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program can see, and faults at no address.
        #[allow(unsafe_code, reason = "pays: see BENCHMARKS.md; there is no safe prefetch")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(address.cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

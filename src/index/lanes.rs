//! The inner loop of the prefix hash: sums over the lanes of strides.

/// Positions per stride: what one vectorised sum covers.
pub(crate) const LANES: usize = 32;

/// What each lane adds to a local hash, and multiplies the folded sum with.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Lanes {
    pub(crate) addends: [u64; LANES],
    /// Odd.
    pub(crate) multipliers: [u64; LANES],
}

/// Puts what the lanes of each whole stride of `locals` add together into `sums`, one by one, and returns the same for
/// the rest of `locals`.
pub(crate) type SumStrides = fn(lanes: &Lanes, locals: &[u64], sums: &mut [u64]) -> u64;

/// The fastest way to do so that this processor has: a product of 64-bit lanes is one instruction with AVX-512, and
/// eight or so without.
pub(crate) fn fastest() -> SumStrides {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            return x86::avx512;
        }
        if is_x86_feature_detected!("avx2") {
            return x86::avx2;
        }
    }
    portable
}

/// Its own inverse: the high half stays, and is taken out of the low half again.
#[inline]
pub(crate) fn fold(x: u64) -> u64 {
    x ^ (x >> 32)
}

// Compiled anew wherever a processor's features are enabled.
#[inline(always)]
#[allow(clippy::inline_always, reason = "features reach only what is inlined")]
fn portable(lanes: &Lanes, locals: &[u64], sums: &mut [u64]) -> u64 {
    // A compiler that knows the number of lanes unrolls the loop before it looks for vectors, and then finds none.
    let count = std::hint::black_box(LANES);
    let (addends, multipliers) = (&lanes.addends[..count], &lanes.multipliers[..count]);
    let sum = |locals: &[u64]| {
        locals.iter().zip(addends.iter().zip(multipliers)).fold(0u64, |sum, (&local, (&addend, &multiplier))| {
            sum.wrapping_add(fold(local.wrapping_add(addend)).wrapping_mul(multiplier))
        })
    };
    let (strides, rest) = locals.as_chunks::<LANES>();
    strides.iter().zip(sums).for_each(|(stride, into)| *into = sum(stride));
    sum(rest)
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "pays, see BENCHMARKS.md: vector loads, and calls that need a processor's feature")]
mod x86 {
    use super::{LANES, Lanes, fold, portable};
    use std::arch::x86_64::{
        __m512i, _mm512_add_epi64, _mm512_loadu_si512, _mm512_mullo_epi64, _mm512_reduce_add_epi64,
        _mm512_setzero_si512, _mm512_srli_epi64, _mm512_xor_si512,
    };

    /// Must be given out only where the processor has AVX-512 F and DQ.
    pub(super) fn avx512(lanes: &Lanes, locals: &[u64], sums: &mut [u64]) -> u64 {
        debug_assert!(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq"));
        // SAFETY: `fastest` gives this function out only where the processor has both features.
        unsafe { sum_avx512(lanes, locals, sums) }
    }

    /// Must be given out only where the processor has AVX2.
    pub(super) fn avx2(lanes: &Lanes, locals: &[u64], sums: &mut [u64]) -> u64 {
        #[target_feature(enable = "avx2")]
        fn with_avx2(lanes: &Lanes, locals: &[u64], sums: &mut [u64]) -> u64 {
            portable(lanes, locals, sums)
        }
        debug_assert!(is_x86_feature_detected!("avx2"));
        // SAFETY: `fastest` gives this function out only where the processor has the feature.
        unsafe { with_avx2(lanes, locals, sums) }
    }

    /// Lanes per register.
    const WIDTH: usize = 8;
    const REGISTERS: usize = LANES / WIDTH;

    #[target_feature(enable = "avx512f,avx512dq")]
    fn load(values: &[u64; WIDTH]) -> __m512i {
        // SAFETY: eight readable values; the load need not be aligned.
        unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    fn term(local: __m512i, addend: __m512i, multiplier: __m512i) -> __m512i {
        let x = _mm512_add_epi64(local, addend);
        _mm512_mullo_epi64(_mm512_xor_si512(x, _mm512_srli_epi64::<32>(x)), multiplier)
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    fn sum_avx512(lanes: &Lanes, locals: &[u64], sums: &mut [u64]) -> u64 {
        // All of both tables stays in registers.
        let addends: [__m512i; REGISTERS] = load_all(&lanes.addends);
        let multipliers: [__m512i; REGISTERS] = load_all(&lanes.multipliers);
        let (strides, rest) = locals.as_chunks::<LANES>();
        for (stride, into) in strides.iter().zip(sums) {
            let locals = load_all(stride);
            let terms: [__m512i; REGISTERS] = [
                term(locals[0], addends[0], multipliers[0]),
                term(locals[1], addends[1], multipliers[1]),
                term(locals[2], addends[2], multipliers[2]),
                term(locals[3], addends[3], multipliers[3]),
            ];
            let sum = _mm512_add_epi64(_mm512_add_epi64(terms[0], terms[1]), _mm512_add_epi64(terms[2], terms[3]));
            *into = _mm512_reduce_add_epi64(sum).cast_unsigned();
        }
        let (chunks, rest) = rest.as_chunks::<WIDTH>();
        let mut sum = _mm512_setzero_si512();
        for (i, chunk) in chunks.iter().enumerate() {
            sum = _mm512_add_epi64(sum, term(load(chunk), addends[i], multipliers[i]));
        }
        let lane = chunks.len() * WIDTH;
        let tables = lanes.addends[lane..].iter().zip(&lanes.multipliers[lane..]);
        let last = rest.iter().zip(tables).fold(0u64, |sum, (&local, (&addend, &multiplier))| {
            sum.wrapping_add(fold(local.wrapping_add(addend)).wrapping_mul(multiplier))
        });
        last.wrapping_add(_mm512_reduce_add_epi64(sum).cast_unsigned())
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    fn load_all(values: &[u64; LANES]) -> [__m512i; REGISTERS] {
        let (chunks, _) = values.as_chunks::<WIDTH>();
        [load(&chunks[0]), load(&chunks[1]), load(&chunks[2]), load(&chunks[3])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_sum_agrees() {
        let random = |i: u64| crate::index::prefix::mix(i);
        let lanes = Lanes {
            addends: std::array::from_fn(|i| random(i as u64)),
            multipliers: std::array::from_fn(|i| random(100 + i as u64) | 1),
        };
        let locals: Vec<u64> = (0..200).map(|i| random(i << 20)).collect();
        let mut ways: Vec<SumStrides> = vec![portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                ways.push(x86::avx2);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                ways.push(x86::avx512);
            }
        }
        for len in 0..locals.len() {
            let term = |i: usize| {
                fold(locals[i].wrapping_add(lanes.addends[i % LANES])).wrapping_mul(lanes.multipliers[i % LANES])
            };
            let sum = |from, to| (from..to).map(term).fold(0, u64::wrapping_add);
            let whole: Vec<_> = (0..len / LANES).map(|s| sum(s * LANES, (s + 1) * LANES)).collect();
            for way in &ways {
                let mut sums = vec![0; len / LANES];
                assert_eq!(way(&lanes, &locals[..len], &mut sums), sum(len / LANES * LANES, len));
                assert_eq!(sums, whole);
            }
        }
    }
}

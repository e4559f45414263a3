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

/// Two ways to sum what lanes make of local hashes, compiled for what a processor can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sums {
    /// Of whole strides: one sum for each, in order.
    pub(crate) strides: fn(lanes: &Lanes, strides: &[[u64; LANES]], sums: &mut [u64]),
    /// Of less than a stride, from lane 0 on.
    pub(crate) part: fn(lanes: &Lanes, locals: &[u64]) -> u64,
}

/// The fastest way to do so that this processor has: a product of 64-bit lanes is one instruction with AVX-512, and
/// eight or so without.
pub(crate) fn fastest() -> Sums {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            return x86::AVX512;
        }
        if is_x86_feature_detected!("avx2") {
            return x86::AVX2;
        }
    }
    PORTABLE
}

const PORTABLE: Sums = Sums { strides, part };

/// Its own inverse: the high half stays, and is taken out of the low half again.
#[inline]
pub(crate) fn fold(x: u64) -> u64 {
    x ^ (x >> 32)
}

// Compiled anew wherever a processor's features are enabled.
#[inline(always)]
#[allow(clippy::inline_always, reason = "features reach only what is inlined")]
fn part(lanes: &Lanes, locals: &[u64]) -> u64 {
    // A compiler that knows the number of lanes unrolls the loop before it looks for vectors, and then finds none.
    let count = std::hint::black_box(LANES);
    let tables = lanes.addends[..count].iter().zip(&lanes.multipliers[..count]);
    locals.iter().zip(tables).fold(0u64, |sum, (&local, (&addend, &multiplier))| {
        sum.wrapping_add(fold(local.wrapping_add(addend)).wrapping_mul(multiplier))
    })
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "features reach only what is inlined")]
fn strides(lanes: &Lanes, strides: &[[u64; LANES]], sums: &mut [u64]) {
    strides.iter().zip(sums).for_each(|(stride, into)| *into = part(lanes, stride));
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "pays, see BENCHMARKS.md: vector loads, and calls that need a processor's feature")]
mod x86 {
    use super::{LANES, Lanes, Sums, part, strides};
    use std::arch::x86_64::{
        __m512i, _mm512_add_epi64, _mm512_loadu_si512, _mm512_maskz_loadu_epi64, _mm512_maskz_mullo_epi64,
        _mm512_mullo_epi64, _mm512_reduce_add_epi64, _mm512_srli_epi64, _mm512_xor_si512,
    };

    /// Must be given out only where the processor has AVX2.
    pub(super) const AVX2: Sums = {
        #[target_feature(enable = "avx2")]
        fn strides_avx2(lanes: &Lanes, locals: &[[u64; LANES]], sums: &mut [u64]) {
            strides(lanes, locals, sums);
        }
        #[target_feature(enable = "avx2")]
        fn part_avx2(lanes: &Lanes, locals: &[u64]) -> u64 {
            part(lanes, locals)
        }
        Sums {
            // SAFETY: `fastest` gives this out only where the processor has the feature.
            strides: |lanes, locals, sums| unsafe { strides_avx2(lanes, locals, sums) },
            // SAFETY: as above.
            part: |lanes, locals| unsafe { part_avx2(lanes, locals) },
        }
    };

    /// Must be given out only where the processor has AVX-512 F and DQ.
    pub(super) const AVX512: Sums = Sums {
        // SAFETY: `fastest` gives this out only where the processor has both features.
        strides: |lanes, locals, sums| unsafe { strides_avx512(lanes, locals, sums) },
        // SAFETY: as above.
        part: |lanes, locals| unsafe { part_avx512(lanes, locals) },
    };

    /// Lanes per register.
    const WIDTH: usize = 8;
    const REGISTERS: usize = LANES / WIDTH;

    #[target_feature(enable = "avx512f,avx512dq")]
    fn load_all(values: &[u64; LANES]) -> [__m512i; REGISTERS] {
        let (chunks, _) = values.as_chunks::<WIDTH>();
        // SAFETY: eight readable values each; the load need not be aligned.
        [0, 1, 2, 3].map(|register| unsafe { _mm512_loadu_si512(chunks[register].as_ptr().cast()) })
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    fn folded(local: __m512i, addend: __m512i) -> __m512i {
        let x = _mm512_add_epi64(local, addend);
        _mm512_xor_si512(x, _mm512_srli_epi64::<32>(x))
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    fn total(terms: [__m512i; REGISTERS]) -> u64 {
        let sum = _mm512_add_epi64(_mm512_add_epi64(terms[0], terms[1]), _mm512_add_epi64(terms[2], terms[3]));
        _mm512_reduce_add_epi64(sum).cast_unsigned()
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    fn strides_avx512(lanes: &Lanes, locals: &[[u64; LANES]], sums: &mut [u64]) {
        // All of both tables stays in registers.
        let (addends, multipliers) = (load_all(&lanes.addends), load_all(&lanes.multipliers));
        for (stride, into) in locals.iter().zip(sums) {
            let locals = load_all(stride);
            *into = total([0, 1, 2, 3].map(|i| _mm512_mullo_epi64(folded(locals[i], addends[i]), multipliers[i])));
        }
    }

    /// Without a branch on the number of lanes, which is as good as random.
    #[target_feature(enable = "avx512f,avx512dq")]
    fn part_avx512(lanes: &Lanes, locals: &[u64]) -> u64 {
        debug_assert!(locals.len() < LANES, "{} lanes", locals.len());
        let mask = (1_u32 << (locals.len() % LANES)) - 1;
        let (addends, multipliers) = (load_all(&lanes.addends), load_all(&lanes.multipliers));
        total([0, 1, 2, 3].map(|i| {
            let mask = (mask >> (i * WIDTH)) as u8;
            // SAFETY: loads only the values that are there; the others' addresses are neither formed nor read.
            let locals = unsafe { _mm512_maskz_loadu_epi64(mask, locals.as_ptr().wrapping_add(i * WIDTH).cast()) };
            _mm512_maskz_mullo_epi64(mask, folded(locals, addends[i]), multipliers[i])
        }))
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
        let mut ways = vec![PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                ways.push(x86::AVX2);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                ways.push(x86::AVX512);
            }
        }
        let term = |i: usize| {
            fold(locals[i].wrapping_add(lanes.addends[i % LANES])).wrapping_mul(lanes.multipliers[i % LANES])
        };
        let sum = |from, to| (from..to).map(term).fold(0, u64::wrapping_add);
        let (whole, _) = locals.as_chunks();
        let expected: Vec<_> = (0..whole.len()).map(|stride| sum(stride * LANES, (stride + 1) * LANES)).collect();
        for way in &ways {
            let mut sums = vec![0; whole.len()];
            (way.strides)(&lanes, whole, &mut sums);
            assert_eq!(sums, expected);
            for len in 0..LANES {
                assert_eq!((way.part)(&lanes, &locals[..len]), sum(0, len));
            }
        }
    }
}

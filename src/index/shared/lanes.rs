//! The inner loops of the prefix hash, by what the processor can do.
//!
//! The carry-less product of two 64-bit words has up to 127 bits. The products of a stride are added up first and
//! reduced to 64 bits once, when their sum is multiplied by the stride's factor `S`: `sum * S` is
//! `low * S + high * (S * x^64)`. These two products do not wait for each other, and two more reduce their sum.

use super::field::{self, Multiples, inverse};
use std::fmt;
use std::sync::OnceLock;

/// Positions per stride: what one sum covers.
pub(crate) const LANES: usize = 32;

/// The local hashes of a stride.
pub(crate) type Stride = [u64; LANES];

/// Strides that have a factor of their own: the lowest digit of a stride's number.
const DIGITS: usize = 256;

/// The keys of a prefix hash: the factors and addends of its terms, and what is computed from them once.
#[repr(align(64))]
pub(crate) struct Keys {
    /// `L` of each lane.
    factors: [u64; LANES],
    /// `A` of each lane.
    addends: [u64; LANES],
    /// For each number of lanes, the sum of `A * L` over that many lanes: the addends' share of a sum.
    constants: [u64; LANES + 1],
    /// For each value of the lowest digit of a stride's number, its factor, and that factor times `x^64`.
    strides: [[u64; 2]; DIGITS],
    /// The factors of the other three digits; that of digit 0 is 1.
    higher: [[u64; DIGITS]; 3],
    /// The inverse of each lane's factor.
    inverses: [u64; LANES],
    /// `L * S` and `A * L * S` of position 0, with which every lookup begins.
    first: [u64; 2],
    /// The multiples of each lane's factor. They are needed only where there is no instruction for products.
    multiples: OnceLock<Box<[Multiples; LANES]>>,
}

/// Keys are secret and must not get into logs.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// Keys from a source of random numbers.
    pub(crate) fn draw(mut random: impl FnMut() -> u64, ways: &Ways) -> Self {
        let times = ways.times;
        // A factor must have an inverse.
        let not_0 = |random: &mut dyn FnMut() -> u64| loop {
            let drawn = random();
            if drawn != 0 {
                break drawn;
            }
        };
        let factors: [u64; LANES] = std::array::from_fn(|_| not_0(&mut random));
        let addends = std::array::from_fn(|_| random());
        let mut constants = [0; LANES + 1];
        for lane in 0..LANES {
            constants[lane + 1] = constants[lane] ^ times(addends[lane], factors[lane]);
        }
        let strides: [[u64; 2]; DIGITS] = std::array::from_fn(|_| {
            let stride = not_0(&mut random);
            [stride, times(stride, field::X64)]
        });
        let first = [factors[0], constants[1]].map(|lane| times(lane, strides[0][0]));
        let mut digit = |digit| if digit == 0 { 1 } else { not_0(&mut random) };
        let higher = std::array::from_fn(|_| std::array::from_fn(&mut digit));
        let inverses = factors.map(|factor| inverse(factor, times));
        Self { factors, addends, constants, strides, higher, inverses, first, multiples: OnceLock::new() }
    }

    /// The factor `S` of a stride, and that times `x^64`, by a given way to multiply.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "features reach only what is inlined")]
    fn stride(&self, number: usize, times: impl Fn(u64, u64) -> u64) -> [u64; 2] {
        let stride = self.strides[number % DIGITS];
        if number < DIGITS {
            return stride;
        }
        let digits = [number >> 8, number >> 16, number >> 24];
        let higher = self.higher.iter().zip(digits).map(|(factors, digit)| factors[digit % DIGITS]);
        let product =
            higher.fold(stride[0], |product, factor| if factor == 1 { product } else { times(product, factor) });
        [product, times(product, field::X64)]
    }

    /// The factor of a stride, inverted.
    pub(crate) fn stride_inverse(&self, number: usize, ways: &Ways) -> u64 {
        inverse(self.stride(number, ways.times)[0], ways.times)
    }

    /// The local hash in `lane` of a stride, from the difference that it makes to the prefix hash and from the inverse of
    /// the stride's factor.
    pub(crate) fn local(&self, lane: usize, difference: u64, stride_inverse: u64, ways: &Ways) -> u64 {
        (ways.times)((ways.times)(difference, stride_inverse), self.inverses[lane]) ^ self.addends[lane]
    }
}

/// The functions that compute prefix hashes, compiled for a kind of processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ways {
    /// Computes the prefix hashes at the ends of whole strides, from stride number `first` on, behind the prefix hash
    /// `before`.
    pub(crate) strides: fn(keys: &Keys, first: usize, before: u64, locals: &[Stride], into: &mut [u64]),
    /// The prefix hash of one block.
    pub(crate) first: fn(keys: &Keys, local: u64) -> u64,
    /// What these local hashes, fewer than a stride has and beginning at lane 0, add to a prefix hash.
    pub(crate) part: fn(keys: &Keys, stride: usize, locals: &[u64]) -> u64,
    /// Turns local hashes into prefix hashes. They begin at `position`, behind the prefix hash `before`, and are all in
    /// one stride.
    pub(crate) chain: fn(keys: &Keys, position: usize, before: u64, hashes: &mut [u64]),
    /// Multiplies two elements of the field.
    pub(crate) times: fn(u64, u64) -> u64,
}

/// The fastest functions that this processor can run.
pub(crate) fn fastest() -> Ways {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("pclmulqdq") {
            let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
            return if wide && is_x86_feature_detected!("vpclmulqdq") { x86::AVX512 } else { x86::AVX2 };
        }
    }
    portable::WAYS
}

mod portable {
    use super::{Keys, LANES, Multiples, Stride, Ways};
    use crate::index::shared::field::{reduce, times};

    pub(super) const WAYS: Ways = Ways { strides, first, part, chain, times };

    fn multiples(keys: &Keys) -> &[Multiples; LANES] {
        keys.multiples.get_or_init(|| Box::new(keys.factors.map(Multiples::of)))
    }

    fn strides(keys: &Keys, first: usize, mut before: u64, locals: &[Stride], into: &mut [u64]) {
        for ((number, locals), into) in (first..).zip(locals).zip(into) {
            before ^= part(keys, number, locals);
            *into = before;
        }
    }

    fn first(keys: &Keys, local: u64) -> u64 {
        part(keys, 0, &[local])
    }

    fn part(keys: &Keys, stride: usize, locals: &[u64]) -> u64 {
        let sum = reduce(Multiples::sum(multiples(keys), locals)) ^ keys.constants[locals.len()];
        times(sum, keys.stride(stride, times)[0])
    }

    fn chain(keys: &Keys, position: usize, before: u64, hashes: &mut [u64]) {
        let stride = [Multiples::of(keys.stride(position / LANES, times)[0])];
        let from = position % LANES;
        let mut sum = 0;
        for ((hash, factor), addend) in hashes.iter_mut().zip(&multiples(keys)[from..]).zip(&keys.addends[from..]) {
            sum ^= reduce(Multiples::sum(std::slice::from_ref(factor), &[*hash ^ addend]));
            *hash = before ^ reduce(Multiples::sum(&stride, &[sum]));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "pays, see BENCHMARKS.md: vector loads, and calls that need a processor's feature")]
mod x86 {
    use super::{Keys, LANES, Stride, Ways};
    use crate::index::shared::field::X64;
    use std::arch::x86_64::{
        __m128i, __m512i, _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_maskz_loadu_epi64,
        _mm_set_epi64x, _mm_xor_si128, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_xor_si256,
        _mm512_alignr_epi64, _mm512_broadcast_i32x4, _mm512_castsi512_si256, _mm512_clmulepi64_epi128,
        _mm512_extracti64x4_epi64, _mm512_loadu_si512, _mm512_mask_storeu_epi64, _mm512_maskz_loadu_epi64,
        _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_unpacklo_epi64, _mm512_xor_si512,
    };

    /// Must be given out only where the processor has AVX2 and PCLMULQDQ.
    pub(super) const AVX2: Ways = Ways {
        // SAFETY: `fastest` gives this out only where the processor has both features.
        strides: |keys, first, before, locals, into| unsafe { strides(keys, first, before, locals, into) },
        // SAFETY: as above.
        first: |keys, local| unsafe { first(keys, local) },
        // SAFETY: as above.
        part: |keys, stride, locals| unsafe { part(keys, stride, locals) },
        // SAFETY: as above.
        chain: |keys, position, before, hashes| unsafe { chain(keys, position, before, hashes) },
        // SAFETY: as above.
        times: |a, b| unsafe { times(a, b) },
    };

    /// Must be given out only where the processor has VPCLMULQDQ, AVX-512 F and VL besides.
    pub(super) const AVX512: Ways = Ways {
        // SAFETY: `fastest` gives this out only where the processor has all the features.
        strides: |keys, first, before, locals, into| unsafe { strides_512(keys, first, before, locals, into) },
        // SAFETY: as above.
        part: |keys, stride, locals| unsafe { part_512(keys, stride, locals) },
        // SAFETY: as above.
        chain: |keys, position, before, hashes| unsafe { chain_512(keys, position, before, hashes) },
        ..AVX2
    };

    #[target_feature(enable = "avx2,pclmulqdq")]
    #[inline]
    fn one(value: u64) -> __m128i {
        _mm_cvtsi64_si128(value.cast_signed())
    }

    #[target_feature(enable = "avx2,pclmulqdq")]
    #[inline]
    fn two([low, high]: [u64; 2]) -> __m128i {
        _mm_set_epi64x(high.cast_signed(), low.cast_signed())
    }

    /// The sum of the products of the low halves and of the high halves; not reduced.
    #[target_feature(enable = "avx2,pclmulqdq")]
    #[inline]
    fn products(a: __m128i, b: __m128i) -> __m128i {
        _mm_xor_si128(_mm_clmulepi64_si128::<0x00>(a, b), _mm_clmulepi64_si128::<0x11>(a, b))
    }

    #[target_feature(enable = "avx2,pclmulqdq")]
    #[inline]
    fn reduce(wide: __m128i) -> u64 {
        let x64 = one(X64);
        let once = _mm_clmulepi64_si128::<0x01>(wide, x64);
        let twice = _mm_clmulepi64_si128::<0x01>(once, x64);
        _mm_cvtsi128_si64(_mm_xor_si128(wide, _mm_xor_si128(once, twice))).cast_unsigned()
    }

    #[target_feature(enable = "avx2,pclmulqdq")]
    #[inline]
    fn times(a: u64, b: u64) -> u64 {
        reduce(_mm_clmulepi64_si128::<0x00>(one(a), one(b)))
    }

    /// The factor of a stride, in the form that [`finish`] takes.
    #[target_feature(enable = "avx2,pclmulqdq")]
    #[inline]
    fn stride(keys: &Keys, number: usize) -> __m128i {
        two(keys.stride(number, |a, b| times(a, b)))
    }

    /// A sum of lanes, not reduced, times the factor of the stride.
    #[target_feature(enable = "avx2,pclmulqdq")]
    #[inline]
    fn finish(sum: __m128i, stride: __m128i) -> u64 {
        reduce(products(sum, stride))
    }

    /// The sum of the lanes' products, not reduced.
    #[target_feature(enable = "avx2,pclmulqdq")]
    #[inline]
    fn sum(keys: &Keys, locals: &[u64]) -> __m128i {
        let (pairs, rest) = locals.as_chunks::<2>();
        let mut sum = one(keys.constants[locals.len()]);
        for (&pair, &factors) in pairs.iter().zip(keys.factors.as_chunks().0) {
            sum = _mm_xor_si128(sum, products(two(pair), two(factors)));
        }
        if let [last] = *rest {
            let product = _mm_clmulepi64_si128::<0x00>(one(last), one(keys.factors[locals.len() - 1]));
            sum = _mm_xor_si128(sum, product);
        }
        sum
    }

    #[target_feature(enable = "avx2,pclmulqdq")]
    fn strides(keys: &Keys, first: usize, mut before: u64, locals: &[Stride], into: &mut [u64]) {
        for ((number, locals), into) in (first..).zip(locals).zip(into) {
            before ^= finish(sum(keys, locals), stride(keys, number));
            *into = before;
        }
    }

    #[target_feature(enable = "avx2,pclmulqdq")]
    fn first(keys: &Keys, local: u64) -> u64 {
        times(local, keys.first[0]) ^ keys.first[1]
    }

    #[target_feature(enable = "avx2,pclmulqdq")]
    fn part(keys: &Keys, number: usize, locals: &[u64]) -> u64 {
        finish(sum(keys, locals), stride(keys, number))
    }

    #[target_feature(enable = "avx2,pclmulqdq")]
    fn chain(keys: &Keys, position: usize, before: u64, hashes: &mut [u64]) {
        let stride = stride(keys, position / LANES);
        let from = position % LANES;
        let mut sum = one(0);
        for ((hash, &factor), &addend) in hashes.iter_mut().zip(&keys.factors[from..]).zip(&keys.addends[from..]) {
            sum = _mm_xor_si128(sum, _mm_clmulepi64_si128::<0x00>(one(*hash ^ addend), one(factor)));
            *hash = before ^ finish(sum, stride);
        }
    }

    /// Lanes per register.
    const WIDTH: usize = 8;
    const REGISTERS: usize = LANES / WIDTH;

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_all(values: &[u64; LANES]) -> [__m512i; REGISTERS] {
        let (chunks, _) = values.as_chunks::<WIDTH>();
        // SAFETY: eight readable values each; the load need not be aligned.
        [0, 1, 2, 3].map(|register| unsafe { _mm512_loadu_si512(chunks[register].as_ptr().cast()) })
    }

    /// The sum of the lanes' products, not reduced.
    #[target_feature(enable = "avx2,pclmulqdq,avx512f,vpclmulqdq")]
    #[inline]
    fn sum_512(locals: [__m512i; REGISTERS], factors: [__m512i; REGISTERS]) -> __m128i {
        let products = [0, 1, 2, 3].map(|i| {
            let low = _mm512_clmulepi64_epi128::<0x00>(locals[i], factors[i]);
            _mm512_xor_si512(low, _mm512_clmulepi64_epi128::<0x11>(locals[i], factors[i]))
        });
        let [a, b, c, d] = products;
        let sum = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
        let sum = _mm256_xor_si256(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum));
        _mm_xor_si128(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum))
    }

    #[target_feature(enable = "avx2,pclmulqdq,avx512f,vpclmulqdq")]
    fn strides_512(keys: &Keys, first: usize, mut before: u64, locals: &[Stride], into: &mut [u64]) {
        // Wide registers cost something to begin with.
        if locals.len() == 1 {
            return strides(keys, first, before, locals, into);
        }
        let factors = load_all(&keys.factors);
        let constant = one(keys.constants[LANES]);
        for ((number, locals), into) in (first..).zip(locals).zip(into) {
            let sum = _mm_xor_si128(sum_512(load_all(locals), factors), constant);
            before ^= finish(sum, stride(keys, number));
            *into = before;
        }
    }

    /// With one branch on the number of lanes, which is as good as random otherwise.
    #[target_feature(enable = "avx2,pclmulqdq,avx512f,avx512vl,vpclmulqdq")]
    fn part_512(keys: &Keys, number: usize, locals: &[u64]) -> u64 {
        debug_assert!(locals.len() < LANES, "{} lanes", locals.len());
        let mask = (1_u32 << (locals.len() % LANES)) - 1;
        let (stride, constant) = (stride(keys, number), one(keys.constants[locals.len()]));
        // A lane that is not there is 0, and so is its product.
        let sum = if locals.len() <= 4 {
            let (factors, _) = keys.factors.as_chunks();
            let pairs = [0, 1].map(|i| {
                // SAFETY: loads only the values that are there; the others' addresses are neither formed nor read.
                unsafe {
                    _mm_maskz_loadu_epi64((mask >> (2 * i)) as u8 & 3, locals.as_ptr().wrapping_add(2 * i).cast())
                }
            });
            _mm_xor_si128(products(pairs[0], two(factors[0])), products(pairs[1], two(factors[1])))
        } else {
            let locals = [0, 1, 2, 3].map(|i| {
                let mask = (mask >> (i * WIDTH)) as u8;
                // SAFETY: as above.
                unsafe { _mm512_maskz_loadu_epi64(mask, locals.as_ptr().wrapping_add(i * WIDTH).cast()) }
            });
            sum_512(locals, load_all(&keys.factors))
        };
        finish(_mm_xor_si128(sum, constant), stride)
    }

    /// As [`finish`], for four sums.
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    #[inline]
    fn finish_512(sums: __m512i, stride: __m512i) -> __m512i {
        let low = _mm512_clmulepi64_epi128::<0x00>(sums, stride);
        let wide = _mm512_xor_si512(low, _mm512_clmulepi64_epi128::<0x11>(sums, stride));
        let x64 = _mm512_set1_epi64(X64.cast_signed());
        let once = _mm512_clmulepi64_epi128::<0x01>(wide, x64);
        _mm512_xor_si512(_mm512_xor_si512(wide, once), _mm512_clmulepi64_epi128::<0x01>(once, x64))
    }

    #[target_feature(enable = "avx2,pclmulqdq,avx512f,vpclmulqdq")]
    fn chain_512(keys: &Keys, position: usize, before: u64, hashes: &mut [u64]) {
        if hashes.len() <= 4 {
            return chain(keys, position, before, hashes);
        }
        assert!(position % LANES + hashes.len() <= LANES, "{} blocks at {position}", hashes.len());
        let stride = _mm512_broadcast_i32x4(stride(keys, position / LANES));
        let before = _mm512_set1_epi64(before.cast_signed());
        let nothing = _mm512_setzero_si512();
        let mut carry = nothing;
        let factors = keys.factors[position % LANES..].chunks(WIDTH);
        let addends = keys.addends[position % LANES..].chunks(WIDTH);
        for ((hashes, factors), addends) in hashes.chunks_mut(WIDTH).zip(factors).zip(addends) {
            let mask = 0xff >> (WIDTH - hashes.len());
            // SAFETY: as many values as there are hashes are loaded of each; no key's slice is shorter.
            let [locals, factors, addends] = [&*hashes, factors, addends]
                .map(|values| unsafe { _mm512_maskz_loadu_epi64(mask, values.as_ptr().cast()) });
            let terms = _mm512_xor_si512(locals, addends);
            // Of every other block, and of pairs; what is behind the hashes is 0.
            let even = _mm512_clmulepi64_epi128::<0x00>(terms, factors);
            let pairs = _mm512_xor_si512(even, _mm512_clmulepi64_epi128::<0x11>(terms, factors));
            // Sums up to and including each pair, and before it.
            let sums = _mm512_xor_si512(pairs, _mm512_alignr_epi64::<6>(pairs, nothing));
            let sums = _mm512_xor_si512(sums, _mm512_alignr_epi64::<4>(sums, nothing));
            let before_pairs = _mm512_xor_si512(carry, _mm512_alignr_epi64::<6>(sums, nothing));
            let sums = _mm512_xor_si512(carry, sums);
            carry = _mm512_shuffle_i64x2::<0xff>(sums, sums);
            let even = finish_512(_mm512_xor_si512(before_pairs, even), stride);
            let prefixes = _mm512_xor_si512(before, _mm512_unpacklo_epi64(even, finish_512(sums, stride)));
            // SAFETY: as many values as there are hashes are stored.
            unsafe { _mm512_mask_storeu_epi64(hashes.as_mut_ptr().cast(), mask, prefixes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::mix;
    use crate::index::shared::field::tests::literal;

    fn random(number: u64) -> u64 {
        mix(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn keys() -> Keys {
        let mut numbers = 1..;
        Keys::draw(|| random(numbers.next().expect("endless")), &fastest())
    }

    /// The formula word for word, with the keys of [`keys`].
    fn term(position: usize, local: u64) -> u64 {
        let (lane, stride) = (position % LANES, position / LANES);
        let key = |table: usize, index: usize| random(1 + (table + index) as u64);
        let (factor, addend) = (key(0, lane), key(LANES, lane));
        let lowest = key(2 * LANES, stride % DIGITS);
        let higher = (0..3).map(|digit| match stride >> (8 * (digit + 1)) & 255 {
            0 => 1,
            index => key(2 * LANES + DIGITS + digit * (DIGITS - 1), index - 1),
        });
        literal(literal(local ^ addend, factor), higher.fold(lowest, literal))
    }

    fn ways() -> Vec<Ways> {
        let mut ways = vec![portable::WAYS];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("pclmulqdq") {
                ways.push(x86::AVX2);
            }
            if is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("vpclmulqdq") {
                ways.push(x86::AVX512);
            }
        }
        ways
    }

    #[test]
    fn every_way_is_the_formula() {
        let keys = keys();
        let locals: Vec<u64> = (0..200).map(|i| if i % 7 == 0 { 0 } else { random(i << 20) }).collect();
        let (whole, _) = locals.as_chunks();
        for way in ways() {
            assert!(locals.iter().all(|&local| (way.first)(&keys, local) == term(0, local)));
        }
        // Strides with one digit, and where a second, a third and a fourth one begin.
        for first in [0, 1, 250, 254, 255, 256, 511, 65_534, 65_535, 65_536, 1 << 24, (1 << 27) - 7] {
            let term = |i: usize| term(first * LANES + i, locals[i]);
            let before = random(first as u64);
            let expected: Vec<u64> =
                (0..200).scan(before, |at, i| Some(std::mem::replace(at, *at ^ term(i)))).collect();
            for way in ways() {
                for count in 0..=whole.len() {
                    let mut ends = vec![0; count];
                    (way.strides)(&keys, first, before, &whole[..count], &mut ends);
                    assert!((1..).zip(ends).all(|(stride, end)| end == expected[stride * LANES]));
                }
                for len in 0..LANES {
                    assert_eq!((way.part)(&keys, first, &locals[..len]), before ^ expected[len]);
                    for from in 0..len {
                        let mut hashes = locals[from..len].to_vec();
                        (way.chain)(&keys, first * LANES + from, expected[from], &mut hashes);
                        assert_eq!(hashes, expected[from + 1..=len]);
                    }
                }
            }
        }
    }

    #[test]
    fn every_way_comes_back() {
        let keys = keys();
        for way in ways() {
            for position in (0..100).chain([8_191, 8_192, 8_193, 1 << 20, 1 << 25, u32::MAX as usize]) {
                let inverse = keys.stride_inverse(position / LANES, &way);
                for local in [0, 1, 1 << 63, u64::MAX, random(position as u64)] {
                    assert_eq!(keys.local(position % LANES, term(position, local), inverse, &way), local);
                }
            }
        }
    }

    #[test]
    fn every_way_multiplies() {
        for way in ways() {
            for (a, b) in (0..1000).map(|i| (random(i), random(i << 32))).chain([(0, 1), (u64::MAX, u64::MAX)]) {
                assert_eq!((way.times)(a, b), literal(a, b));
            }
        }
    }
}

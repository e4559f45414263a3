//! The field of 2^64 elements: polynomials over GF(2) modulo `x^64 + x^4 + x^3 + x + 1`, a bit for each coefficient.
//!
//! Addition is exclusive or, and a product is a carry-less one, reduced. That the modulus is irreducible, as the
//! inverse needs it, is in Seroussi, "Table of low-weight binary irreducible polynomials" (1998), and a test checks
//! it. This code runs everywhere. For processors with an instruction for carry-less products, `lanes.rs` has faster
//! code.

/// What `x^64` is modulo the field's polynomial.
pub(crate) const X64: u64 = 0b1_1011;

/// The remainder of a polynomial of up to 124 coefficients, as [`Multiples::sum`] has them: the upper ones times `x^64`
/// are no more than 64 again.
#[inline]
pub(crate) const fn reduce(wide: u128) -> u64 {
    debug_assert!(wide >> 124 == 0, "a longer polynomial needs another step");
    let high = (wide >> 64) as u64;
    wide as u64 ^ high ^ high << 1 ^ high << 3 ^ high << 4
}

/// The products of one factor and every polynomial of four coefficients, for products with any other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Multiples(pub(crate) [u64; 16]);

impl Multiples {
    pub(crate) const fn of(factor: u64) -> Self {
        let mut multiples = [0, factor, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut by = 2;
        while by < 16 {
            multiples[by] = reduce((multiples[by / 2] as u128) << 1) ^ multiples[by % 2];
            by += 1;
        }
        Self(multiples)
    }

    /// The sum over `i` of the factor behind `factors[i]` times `others[i]`, not reduced.
    ///
    /// A pass of the loop takes the same four coefficients of all the others and shifts only their sum. So a product
    /// costs sixteen loads, and all products share sixteen shifts of 128 bits.
    #[inline]
    pub(crate) fn sum(factors: &[Self], others: &[u64]) -> u128 {
        (0..64).step_by(4).fold(0, |sum, shift| {
            let products = factors.iter().zip(others).map(|(factor, other)| factor.0[(other >> shift) as usize % 16]);
            sum ^ u128::from(products.fold(0, |sum, product| sum ^ product)) << shift
        })
    }
}

/// The product of two elements.
pub(crate) fn times(a: u64, b: u64) -> u64 {
    reduce(Multiples::sum(&[Multiples::of(a)], &[b]))
}

/// The inverse of an element other than 0, by a given way to multiply: `x^(2^64 - 2)`, since `x^(2^64 - 1)` is 1.
///
/// This is the algorithm of Itoh and Tsujii, "A fast algorithm for computing multiplicative inverses in GF(2^m)" (1988).
/// It takes 63 squares and ten products of two different elements.
pub(crate) fn inverse(x: u64, times: impl Fn(u64, u64) -> u64) -> u64 {
    debug_assert!(x != 0, "0 has no inverse");
    let square = |x| times(x, x);
    // x^(2^ones - 1); doubling the number of ones in the exponent, and adding one more, gives 1, 3, 7, 15, 31, 63.
    let (mut power, mut ones) = (x, 1);
    while ones < 63 {
        let shifted = (0..ones).fold(power, |power, _| square(power));
        power = times(square(times(shifted, power)), x);
        ones = 2 * ones + 1;
    }
    square(power)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition of a product, coefficient by coefficient.
    pub(crate) fn literal(a: u64, b: u64) -> u64 {
        let mut wide = (0..64).filter(|i| b >> i & 1 == 1).fold(0, |sum, i| sum ^ u128::from(a) << i);
        for i in (64..128).rev() {
            if wide >> i & 1 == 1 {
                wide ^= (1 << 64 | u128::from(X64)) << (i - 64);
            }
        }
        wide as u64
    }

    proptest! {
        #[test]
        fn products_are_those_of_the_definition(a: u64, b: u64, c: u64) {
            prop_assert_eq!(times(a, b), literal(a, b));
            prop_assert_eq!(times(a, b), times(b, a));
            prop_assert_eq!(times(times(a, b), c), times(a, times(b, c)));
            prop_assert_eq!(times(a, b ^ c), times(a, b) ^ times(a, c));
            prop_assert_eq!(times(a, 1), a);
            prop_assert_eq!(times(a, 0), 0);
        }

        #[test]
        fn inverses_are_inverse(x in 1_u64..) {
            prop_assert_eq!(times(x, inverse(x, times)), 1);
        }

        #[test]
        fn sums_are_sums_of_products(pairs in prop::collection::vec(any::<(u64, u64)>(), 0..40)) {
            let factors: Vec<_> = pairs.iter().map(|pair| Multiples::of(pair.0)).collect();
            let others: Vec<_> = pairs.iter().map(|pair| pair.1).collect();
            let expected = pairs.iter().fold(0, |sum, &(a, b)| sum ^ literal(a, b));
            prop_assert_eq!(reduce(Multiples::sum(&factors, &others)), expected);
        }
    }

    /// Rabin's test: `x^(2^64) = x`, and `x^(2^32) - x` has no factor in common with the modulus, for it has an
    /// inverse.
    #[test]
    fn the_modulus_is_irreducible() {
        let squared = |times: u32| (0..times).fold(2, |power, _| literal(power, power));
        assert_eq!(squared(64), 2);
        let other = squared(32) ^ 2;
        assert_eq!(literal(other, inverse(other, literal)), 1);
    }
}

//! The CRC32C that a batch gets when its head changes, without reading its body.
//!
//! CRC is linear: two messages of one length that differ only in front have checksums that differ by the checksum
//! difference of the fronts, moved over the bytes behind them. Moving over `n` bytes is a multiplication by x^(8n) in
//! GF(2)[x] modulo the Castagnoli polynomial; the powers come from a table, so the cost does not depend on `n`.

/// The Castagnoli polynomial, bits reflected: bit 31 is x^0.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// One in the reflected form.
const ONE: u32 = 1 << 31;

/// `POWERS[k][d]` is x^(8 · d · 256^k), so that four look-ups make any length of 32 bits.
static POWERS: [[u32; 256]; 4] = powers();

/// Moves a CRC32C difference over `len` bytes of unchanged data.
pub(crate) fn shift(difference: u32, len: u32) -> u32 {
    let mut moved = difference;
    for (powers, digit) in POWERS.iter().zip(len.to_le_bytes()) {
        if digit != 0 {
            moved = multiply(powers[usize::from(digit)], moved);
        }
    }
    moved
}

/// The product of two polynomials of degree below 32, modulo the Castagnoli polynomial.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        product ^= b & 0u32.wrapping_sub((a >> bit) & 1);
        b = times_x(b);
    }
    product
}

const fn times_x(a: u32) -> u32 {
    (a >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(a & 1))
}

const fn powers() -> [[u32; 256]; 4] {
    let mut step = ONE;
    let mut i = 0;
    while i < 8 {
        step = times_x(step);
        i += 1;
    }
    let mut table = [[ONE; 256]; 4];
    let mut k = 0;
    while k < 4 {
        let mut d = 1;
        while d < 256 {
            table[k][d] = multiply(table[k][d - 1], step);
            d += 1;
        }
        step = multiply(table[k][255], step);
        k += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shift_equals_appending_the_same_tail() {
        for len in [0usize, 1, 7, 255, 256, 257, 65_535, 65_536, 70_001, 1 << 20, (1 << 24) + 3] {
            let tail = vec![0xA5; len];
            let (a, b) = (crc32c::crc32c(b"one head"), crc32c::crc32c(b"other ones"));
            let expected = crc32c::crc32c_append(a, &tail) ^ crc32c::crc32c_append(b, &tail);
            assert_eq!(shift(a ^ b, u32::try_from(len).unwrap()), expected, "{len}");
        }
    }
}

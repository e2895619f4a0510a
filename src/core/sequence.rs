//! Arithmetic of producer sequences: 31 bits, after 2^31 - 1 comes 0.
//!
//! Source: `DefaultRecordBatch.incrementSequence`.

const MODULUS: i64 = 1 << 31;

/// The sequence `records` after `sequence`.
pub fn advance(sequence: i32, records: u64) -> i32 {
    let records = i64::try_from(records % (1 << 31)).unwrap_or(0);
    i32::try_from((i64::from(sequence) + records).rem_euclid(MODULUS)).unwrap_or(0)
}

/// How many records lie from `from` up to `to`, or `None` if `to` is behind `from`.
///
/// Half of the circle counts as ahead: two sequences that are compared are never a thousand million records apart.
pub fn ahead(from: i32, to: i32) -> Option<u64> {
    let distance = (i64::from(to) - i64::from(from)).rem_euclid(MODULUS);
    if distance < MODULUS / 2 { u64::try_from(distance).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_to_zero_after_the_largest() {
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 5), 3);
        assert_eq!(advance(0, 7), 7);
    }

    #[test]
    fn ahead_sees_across_the_wrap_and_not_backwards() {
        assert_eq!(ahead(i32::MAX, 3), Some(4));
        assert_eq!(ahead(3, i32::MAX), None);
        assert_eq!(ahead(5, 5), Some(0));
        assert_eq!(ahead(6, 5), None);
        assert_eq!((ahead(0, (1 << 30) - 1), ahead(0, 1 << 30)), (Some((1 << 30) - 1), None));
    }
}

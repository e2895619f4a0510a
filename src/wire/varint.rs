//! Variable-length integers: plain (tagged fields, compact lengths) and zigzag (inside records).
//!
//! Source: `ByteUtils` in Kafka's clients.

use crate::error::DecodeError;

/// Reads an unsigned varint of at most 32 bits off the front of `bytes`.
pub(crate) fn read_unsigned(bytes: &mut &[u8]) -> Result<u32, DecodeError> {
    let value = read_bits(bytes, 5)?;
    u32::try_from(value).map_err(|_| DecodeError::BadVarint)
}

/// Reads a zigzag varint of 32 bits.
pub(crate) fn read_varint(bytes: &mut &[u8]) -> Result<i32, DecodeError> {
    let raw = read_unsigned(bytes)?;
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Reads a zigzag varint of 64 bits.
pub(crate) fn read_varlong(bytes: &mut &[u8]) -> Result<i64, DecodeError> {
    let raw = read_bits(bytes, 10)?;
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Appends an unsigned varint.
pub(crate) fn write_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a zigzag varint; a value of 32 bits has the same bytes as varint and as varlong.
pub(crate) fn write_signed(out: &mut Vec<u8>, value: i64) {
    write_unsigned(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Bytes that [`write_signed`] appends.
pub(crate) fn signed_len(value: i64) -> usize {
    let bits = 64 - (((value << 1) ^ (value >> 63)) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn read_bits(bytes: &mut &[u8], len_max: usize) -> Result<u64, DecodeError> {
    let mut value = 0u64;
    for index in 0..len_max {
        let (&byte, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
        *bytes = rest;
        let part = u64::from(byte & 0x7F);
        if index == 9 && part > 1 {
            return Err(DecodeError::BadVarint);
        }
        value |= part << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError::BadVarint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_values_come_back() {
        for value in [0, 1, -1, 63, -64, 64, 300, i64::from(i32::MIN), i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            write_signed(&mut out, value);
            assert_eq!(out.len(), signed_len(value), "{value}");
            let mut rest = out.as_slice();
            assert_eq!(read_varlong(&mut rest), Ok(value));
            assert!(rest.is_empty());
            if let Ok(small) = i32::try_from(value) {
                assert_eq!(read_varint(&mut out.as_slice()), Ok(small));
            }
        }
    }

    #[test]
    fn too_long_and_cut_varints_are_errors() {
        assert_eq!(read_unsigned(&mut &[0xFF; 9][..]), Err(DecodeError::BadVarint));
        assert_eq!(read_unsigned(&mut &[0xFF, 0xFF, 0xFF, 0xFF, 0x1F][..]), Err(DecodeError::BadVarint));
        assert_eq!(read_varlong(&mut &[0xFF; 11][..]), Err(DecodeError::BadVarint));
        let sixty_five_bits = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02];
        assert_eq!(read_varlong(&mut &sixty_five_bits[..]), Err(DecodeError::BadVarint));
        assert_eq!(read_unsigned(&mut &[0x80][..]), Err(DecodeError::Truncated));
    }
}

//! QUIC variable-length integers (RFC 9000 §16): big endian, the two top bits say 1, 2, 4 or 8 bytes.

/// The largest value: 2^62 − 1.
pub const MAX: u64 = (1 << 62) - 1;

/// Bytes of the shortest encoding. 8 for values above [`MAX`], which have none.
#[must_use]
pub const fn size(v: u64) -> usize {
    match v {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Writes `v` in as few bytes as possible to the front of `out` and returns how many; `None` if it does not fit.
pub fn encode(v: u64, out: &mut [u8]) -> Option<usize> {
    encode_with(v, size(v), out)
}

/// Writes `v` in exactly `width` bytes (1, 2, 4 or 8); `None` if the value or the output is too small for that.
pub fn encode_with(v: u64, width: usize, out: &mut [u8]) -> Option<usize> {
    if v > MAX || size(v) > width {
        return None;
    }
    match width {
        1 => *out.first_chunk_mut()? = (v as u8).to_be_bytes(),
        2 => *out.first_chunk_mut()? = (v as u16 | 0x4000).to_be_bytes(),
        4 => *out.first_chunk_mut()? = (v as u32 | 0x8000_0000).to_be_bytes(),
        8 => *out.first_chunk_mut()? = (v | 0xc000_0000_0000_0000).to_be_bytes(),
        _ => return None,
    }
    Some(width)
}

/// Reads a value from the front of `bytes`: the value, and how many bytes it took. `None` if truncated.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    match first >> 6 {
        0 => Some((u64::from(first), 1)),
        1 => Some((u64::from(u16::from_be_bytes(*bytes.first_chunk()?) & 0x3fff), 2)),
        2 => Some((u64::from(u32::from_be_bytes(*bytes.first_chunk()?) & 0x3fff_ffff), 4)),
        _ => Some((u64::from_be_bytes(*bytes.first_chunk()?) & MAX, 8)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_boundary_goes_there_and_back_in_every_width() {
        let mut cases = 0;
        for v in [0, 1, 63, 64, 16_383, 16_384, (1 << 30) - 1, 1 << 30, MAX - 1, MAX] {
            for width in [1, 2, 4, 8] {
                let mut out = [0; 8];
                let written = encode_with(v, width, &mut out);
                assert_eq!(written.is_some(), size(v) <= width, "{v} in {width}");
                if written.is_some() {
                    assert_eq!(decode(&out[..width]), Some((v, width)));
                    assert_eq!(decode(&out[..width - 1]), None, "truncated");
                    assert_eq!(encode_with(v, width, &mut [0; 8][..width - 1]), None);
                    cases += 1;
                }
            }
        }
        assert_eq!(cases, 3 + 4 + 4 + 2 + 2 + 3 + 2 + 1 + 1 + 1 + 1 + 1 + 1 - 1);
        assert_eq!(encode(MAX + 1, &mut [0; 8]), None);
        assert_eq!(encode_with(1, 3, &mut [0; 8]), None);
    }

    #[test]
    fn rfc_9000_appendix_a_1() {
        let eight = [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c];
        assert_eq!(decode(&eight), Some((151_288_809_941_952_652, 8)));
        assert_eq!(decode(&[0x9d, 0x7f, 0x3e, 0x7d]), Some((494_878_333, 4)));
        assert_eq!(decode(&[0x7b, 0xbd]), Some((15_293, 2)));
        assert_eq!(decode(&[0x40, 0x25]), Some((37, 2)));
        assert_eq!(decode(&[0x25]), Some((37, 1)));
    }
}

//! What streams carry: bytes that differ between streams, directions and offsets, and cost nothing to make or to check.

/// Eight bytes from the offset `8 * word` on.
fn word(name: u64, word: u64) -> [u8; 8] {
    let x = (word ^ name.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes()
}

/// `len` bytes of the stream `name` from `offset` on.
pub(super) fn make(name: u64, offset: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 16);
    let skip = (offset % 8) as usize;
    for index in 0..(len + skip).div_ceil(8) as u64 {
        out.extend_from_slice(&word(name, offset / 8 + index));
    }
    out.drain(..skip);
    out.truncate(len);
    out
}

/// The offset of the first byte that is not as it should be.
pub(super) fn differs(name: u64, offset: u64, bytes: &[u8]) -> Option<u64> {
    let skip = (offset % 8) as usize;
    let head = bytes.len().min((8 - skip) % 8);
    let (first, rest) = bytes.split_at(head);
    if first != &word(name, offset / 8)[skip..skip + head] {
        return Some(offset);
    }
    let mut at = offset + head as u64;
    for chunk in rest.chunks(8) {
        if chunk != &word(name, at / 8)[..chunk.len()] {
            return Some(at);
        }
        at += chunk.len() as u64;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_and_found_at_any_offset() {
        let whole = make(7, 0, 100);
        for offset in 0..40 {
            for len in 0..40 {
                let part = make(7, offset as u64, len);
                assert_eq!(part, whole[offset..offset + len]);
                assert_eq!(differs(7, offset as u64, &part), None);
                for index in 0..len {
                    let mut wrong = part.clone();
                    wrong[index] ^= 1;
                    assert!(differs(7, offset as u64, &wrong).is_some());
                }
                assert!(len < 8 || differs(8, offset as u64, &part).is_some());
            }
        }
    }
}

//! The packets of one filled buffer.

use crate::descriptor::Filled;
use std::slice::Chunks;

/// Equal-sized packets in one filled buffer; the last may be shorter. What GSO takes and GRO gives.
#[derive(Clone, Debug)]
pub struct Segments {
    filled: Filled,
    segment_len: usize,
}

impl Segments {
    /// Cuts `filled` every `segment_len` bytes. Into nothing at all when `segment_len` is 0 or `filled` is empty.
    pub const fn new(filled: Filled, segment_len: usize) -> Self {
        Self { filled, segment_len }
    }

    /// Segments.
    pub const fn count(&self) -> usize {
        if self.segment_len == 0 { 0 } else { self.filled.len().div_ceil(self.segment_len) }
    }

    /// Bytes of every segment but the last, as it was given: a single segment may be shorter.
    pub const fn segment_len(&self) -> usize {
        self.segment_len
    }

    /// Bytes of all segments together.
    pub const fn total_len(&self) -> usize {
        if self.segment_len == 0 { 0 } else { self.filled.len() }
    }

    /// One segment; `None` from `count` on.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        if index >= self.count() {
            return None;
        }
        // Less than `total_len`, as the index is less than the count.
        let start = index * self.segment_len;
        let bytes = self.bytes();
        bytes.get(start..bytes.len().min(start.saturating_add(self.segment_len)))
    }

    /// The segments in order, from either end.
    pub fn iter(&self) -> Chunks<'_, u8> {
        self.bytes().chunks(self.segment_len.max(1))
    }

    /// The buffer, to be shared beyond these segments' life.
    pub const fn filled(&self) -> &Filled {
        &self.filled
    }

    /// All segments, one behind the other.
    pub fn bytes(&self) -> &[u8] {
        self.filled.bytes().get(..self.total_len()).unwrap_or_default()
    }
}

impl<'a> IntoIterator for &'a Segments {
    type Item = &'a [u8];
    type IntoIter = Chunks<'a, u8>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Pool, Purpose};

    #[test]
    fn every_way_to_cut() {
        let pool = Pool::new(Config { capacity_bytes: 1 << 20, reserve_bytes: 0 }).unwrap();
        for len in [0, 1, 2, 99, 100, 101, 2_000] {
            for segment_len in [0, 1, 2, 50, 99, 100, 101, 1_999, 2_000, 2_001, usize::MAX] {
                let mut unfilled = pool.take(len, Purpose::Data).unwrap();
                for (at, byte) in unfilled.buffer().iter_mut().enumerate() {
                    *byte = at as u8;
                }
                let segments = Segments::new(unfilled.fill(len), segment_len);
                let cut: Vec<&[u8]> = segments.iter().collect();
                let whole = if segment_len == 0 { &[] } else { segments.filled().bytes() };
                assert_eq!(cut.concat(), whole, "{len} / {segment_len}");
                assert_eq!((segments.bytes(), segments.total_len()), (whole, whole.len()));
                assert_eq!((segments.count(), segments.segment_len()), (cut.len(), segment_len));
                for (index, segment) in cut.iter().enumerate() {
                    assert_eq!(segments.get(index), Some(*segment));
                    let last = index + 1 == cut.len();
                    assert!(
                        segment.len() == segment_len || last && (1..segment_len).contains(&segment.len())
                    );
                }
                assert_eq!((segments.get(cut.len()), segments.get(usize::MAX)), (None, None));
                assert_eq!((&segments).into_iter().len(), cut.len());
            }
        }
    }
}

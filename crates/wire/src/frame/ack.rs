//! ACK frames (RFC 9000 §19.3).

use crate::DecodeError;
use crate::codec::Reader;
use core::ops::RangeInclusive;

/// Packets received with each ECN codepoint (RFC 9000 §19.3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EcnCounts {
    /// With ECT(0).
    pub ect0: u64,
    /// With ECT(1).
    pub ect1: u64,
    /// With congestion experienced.
    pub ce: u64,
}

/// A valid ACK frame: its ranges never go below 0.
#[derive(Clone, Copy, Debug)]
pub struct Ack<'a> {
    /// ECN counts. Their presence says that the stream space is acknowledged, their absence the recovery space.
    pub ecn: Option<EcnCounts>,
    /// How long the peer waited, in µs, without QUIC's exponent. s2n-quic-dc always writes 0.
    pub delay_us: u64,
    largest: u64,
    first_range: u64,
    /// Pairs of gap and range length.
    more: &'a [u8],
}

impl<'a> Ack<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, with_ecn: bool) -> Result<Self, DecodeError> {
        let largest = reader.varint()?;
        let delay_us = reader.varint()?;
        let count = reader.varint()?;
        let first_range = reader.varint()?;
        let mut smallest = largest.checked_sub(first_range).ok_or(DecodeError::AckRange)?;
        let ranges = reader.rest();
        // Every turn takes at least two bytes of the packet or fails, so a huge count costs nothing.
        for _ in 0..count {
            let (_, next) = next_range(reader, smallest)?;
            smallest = next;
        }
        let len = ranges.len().saturating_sub(reader.rest().len());
        let ecn = if with_ecn {
            Some(EcnCounts { ect0: reader.varint()?, ect1: reader.varint()?, ce: reader.varint()? })
        } else {
            None
        };
        let more = ranges.get(..len).unwrap_or_default();
        Ok(Self { ecn, delay_us, largest, first_range, more })
    }

    /// The largest acknowledged packet number.
    #[must_use]
    pub const fn largest(&self) -> u64 {
        self.largest
    }

    /// The acknowledged packet numbers, from the largest down; never empty.
    #[must_use]
    pub const fn ranges(&self) -> AckRanges<'a> {
        let smallest = self.largest.saturating_sub(self.first_range);
        AckRanges { first: Some((self.largest, smallest)), smallest, more: Reader::new(self.more) }
    }
}

/// The next lower range: (largest, smallest).
fn next_range(reader: &mut Reader<'_>, smallest: u64) -> Result<(u64, u64), DecodeError> {
    let gap = reader.varint()?;
    let len = reader.varint()?;
    // One less than the gap says, and ranges do not touch (RFC 9000 §19.3.1).
    let largest = smallest.checked_sub(gap.saturating_add(2)).ok_or(DecodeError::AckRange)?;
    let smallest = largest.checked_sub(len).ok_or(DecodeError::AckRange)?;
    Ok((largest, smallest))
}

/// See [`Ack::ranges`].
#[derive(Clone, Debug)]
pub struct AckRanges<'a> {
    first: Option<(u64, u64)>,
    smallest: u64,
    more: Reader<'a>,
}

impl Iterator for AckRanges<'_> {
    type Item = RangeInclusive<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((largest, smallest)) = self.first.take() {
            return Some(smallest..=largest);
        }
        if self.more.is_empty() {
            return None;
        }
        // Decoding the frame went over the same bytes, so this cannot fail.
        let (largest, smallest) = next_range(&mut self.more, self.smallest).ok()?;
        self.smallest = smallest;
        Some(smallest..=largest)
    }
}

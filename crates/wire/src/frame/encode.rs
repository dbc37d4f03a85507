//! Writing frames into a bounded [`Writer`]. A frame that does not fit leaves the writer as it was.

use super::{EcnCounts, kind};
use crate::codec::Writer;
use crate::{EncodeError, varint};
use core::ops::RangeInclusive;

/// Appends MAX_DATA: the peer may send up to that offset, in bytes.
///
/// # Errors
/// [`EncodeError::Value`] and [`EncodeError::Space`].
pub fn max_data(writer: &mut Writer<'_>, limit: u64) -> Result<(), EncodeError> {
    write(writer, &[kind::MAX_DATA, limit])
}

/// Appends CONNECTION_CLOSE with a code of QUIC itself (`transport`) or of the application, and no reason.
///
/// # Errors
/// [`EncodeError::Value`] and [`EncodeError::Space`].
pub fn connection_close(writer: &mut Writer<'_>, transport: bool, code: u64) -> Result<(), EncodeError> {
    if transport {
        // No frame type, no reason.
        write(writer, &[kind::CLOSE_TRANSPORT, code, 0, 0])
    } else {
        write(writer, &[kind::CLOSE_APPLICATION, code, 0])
    }
}

/// Appends an ACK of as many `ranges` as there is room for, and returns how many that are. They come from the
/// largest number down, so the smallest ones are left out. With `ecn` it acknowledges the stream space, without
/// the recovery space; `delay_us` in µs.
///
/// # Errors
/// [`EncodeError::Ranges`] if there is none, or they do not descend or touch; [`EncodeError::Value`];
/// [`EncodeError::Space`] if not even one fits.
pub fn ack<I>(
    writer: &mut Writer<'_>,
    ranges: I,
    ecn: Option<EcnCounts>,
    delay_us: u64,
) -> Result<usize, EncodeError>
where
    I: Iterator<Item = RangeInclusive<u64>> + Clone,
{
    let ecn_fields = ecn.map_or([0; 3], |ecn| [ecn.ect0, ecn.ect1, ecn.ce]);
    let ecn_fields = if ecn.is_some() { ecn_fields.as_slice() } else { &[] };
    let mut pairs = Pairs { ranges: ranges.clone(), smallest: None };
    let first = pairs.next().ok_or(EncodeError::Ranges)??;

    // The number of ranges stands before them: count first what fits.
    let fixed = [1, varint::size(first.0), varint::size(first.1), varint::size(delay_us)];
    let ecn_len = ecn_fields.iter().fold(0_usize, |sum, v| sum.saturating_add(varint::size(*v)));
    let mut used = fixed.iter().fold(ecn_len, |sum, len| sum.saturating_add(*len));
    let mut more = 0_u64;
    for pair in pairs {
        let (gap, len) = pair?;
        let with = used.saturating_add(varint::size(gap)).saturating_add(varint::size(len));
        let count = more.saturating_add(1);
        if with.saturating_add(varint::size(count)) > writer.remaining() {
            break;
        }
        (used, more) = (with, count);
    }
    if used.saturating_add(varint::size(more)) > writer.remaining() {
        return Err(EncodeError::Space);
    }

    let kind = if ecn.is_some() { kind::ACK_ECN } else { kind::ACK };
    if [first.0, delay_us].iter().chain(ecn_fields).any(|value| *value > varint::MAX) {
        return Err(EncodeError::Value);
    }
    for value in [kind, first.0, delay_us, more, first.1] {
        writer.varint(value)?;
    }
    let mut pairs = Pairs { ranges, smallest: None };
    pairs.next();
    for pair in pairs.take(usize::try_from(more).unwrap_or(usize::MAX)) {
        let (gap, len) = pair?;
        writer.varint(gap)?;
        writer.varint(len)?;
    }
    for value in ecn_fields {
        writer.varint(*value)?;
    }
    Ok(usize::try_from(more).unwrap_or(usize::MAX).saturating_add(1))
}

/// Turns descending ranges into what the frame holds: (largest, length − 1), then (gap, length − 1) again and
/// again.
struct Pairs<I> {
    ranges: I,
    smallest: Option<u64>,
}

impl<I: Iterator<Item = RangeInclusive<u64>>> Iterator for Pairs<I> {
    type Item = Result<(u64, u64), EncodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let range = self.ranges.next()?;
        let (start, end) = range.into_inner();
        let first = match self.smallest.replace(start) {
            None => Some(end),
            Some(smallest) => smallest.checked_sub(2).and_then(|below| below.checked_sub(end)),
        };
        Some(first.zip(end.checked_sub(start)).ok_or(EncodeError::Ranges))
    }
}

fn write(writer: &mut Writer<'_>, values: &[u64]) -> Result<(), EncodeError> {
    let len = values.iter().fold(0_usize, |sum, value| sum.saturating_add(varint::size(*value)));
    if values.iter().any(|value| *value > varint::MAX) {
        return Err(EncodeError::Value);
    }
    if len > writer.remaining() {
        return Err(EncodeError::Space);
    }
    values.iter().try_for_each(|value| writer.varint(*value))
}

//! Bytes of a stream that arrived, in and out of order.
//!
//! A packet is judged before it is opened, and nothing changes until it proved authentic:
//!
//! ```text
//! check ──► Duplicate   open into scratch, forget the bytes
//!       ──► Direct      direct() ─ open into it ─ commit()
//!       ──► Scratch     open into scratch ─ write()
//!       ──► Violation   do not open
//! ```
//! `check` and what follows it belong to one packet: nothing may happen in between.

use super::{VARINT_MAX, ranges::OffsetSet};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Most gaps between received bytes. A sender that loses more than this of one window gets the rest dropped, and sends
/// it again; a hostile one makes us keep 1 KiB of ranges.
pub(crate) const MAX_GAPS: usize = 64;

/// Bytes of a stream's first chunk: most streams are one small message.
pub(crate) const FIRST_CHUNK: u64 = 2 << 10;

/// Where the other chunks begin: at its multiples. A packet in 46 crosses such a border and is copied.
pub(crate) const CHUNK: u64 = 64 << 10;
const CHUNK_SHIFT: u32 = CHUNK.trailing_zeros();

/// Most bytes a limit may lie above what was read, whatever is asked for: it bounds the table of chunks (16,385
/// entries). 64 times the default `max_window`.
pub(crate) const MAX_WINDOW: u64 = 1 << 30;

/// Where the bytes of a packet can be opened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Nothing in it is new.
    Duplicate,
    /// Straight into the window: every byte is missing, in one chunk, whose memory is there already.
    Direct,
    /// Into memory of the caller's, then [`Reassembly::write`].
    Scratch,
}

/// Why a packet cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// It has bytes above `max_data()`. The peer's fault, if the packet is authentic.
    FlowControl,
    /// It contradicts the final offset, or what arrived. The peer's fault, if the packet is authentic.
    FinalSize,
    /// It would make more than [`MAX_GAPS`] gaps. The network's fault: drop it without acknowledging it.
    TooManyGaps,
}

/// Where a chunk's memory may come from; `None` when there is none.
pub(crate) type Spare<'a> = &'a dyn Fn() -> Option<BytesMut>;

/// Memory for the bytes between two borders. `data` holds those from `start` on which were written or skipped so far.
#[derive(Debug, Default)]
struct Chunk {
    start: u64,
    /// 0: no memory yet. Otherwise `data` has capacity up to here.
    end: u64,
    data: BytesMut,
}

/// Chunk 0 is [0, 2 KiB), chunk 1 [2 KiB, 64 KiB), chunk `n` [(n-1) × 64 KiB, n × 64 KiB).
fn index_of(offset: u64) -> u64 {
    if offset < FIRST_CHUNK { 0 } else { (offset >> CHUNK_SHIFT).saturating_add(1) }
}

fn start_of(index: u64) -> u64 {
    match index {
        0 => 0,
        1 => FIRST_CHUNK,
        _ => index.saturating_sub(1) << CHUNK_SHIFT,
    }
}

fn end_of(index: u64) -> u64 {
    if index == 0 { FIRST_CHUNK } else { index << CHUNK_SHIFT }
}

impl Chunk {
    /// The place of `offset`, `len` bytes long. What was never written becomes 0 here, packet by packet, while it is
    /// about to enter the cache anyway.
    fn slice(&mut self, offset: u64, len: usize) -> Option<&mut [u8]> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(len)?;
        if offset.checked_add(len as u64)? > self.end {
            return None;
        }
        if to > self.data.len() {
            self.data.resize(to, 0);
        }
        self.data.get_mut(from..to)
    }

    /// Copies as much of `bytes` to `offset` as this chunk takes; returns how much.
    fn fill(&mut self, offset: u64, bytes: &[u8]) -> usize {
        let room = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        if offset == self.start.saturating_add(self.data.len() as u64) {
            self.data.extend_from_slice(bytes);
        } else if let Some(place) = self.slice(offset, bytes.len()) {
            place.copy_from_slice(bytes);
        }
        bytes.len()
    }
}

/// The receiving half's window: everything that arrived above what was read.
///
/// Memory: chunks are allocated when authentic bytes for them arrive, and only below `max_data()`. With a window that is
/// a multiple of [`CHUNK`] that is at most the window and one chunk; other windows count as the next multiple.
#[derive(Debug)]
pub(crate) struct Reassembly {
    received: OffsetSet,
    max_data: u64,
    final_offset: Option<u64>,
    read_offset: u64,
    /// Chunk `base + i` at `i`; `base` is the one `read_offset` is in.
    chunks: VecDeque<Chunk>,
    base: u64,
    allocated: u64,
    stopped: bool,
}

impl Reassembly {
    /// An empty window of `window` bytes (at most [`MAX_WINDOW`]).
    pub(crate) fn new(window: u64) -> Self {
        Self {
            received: OffsetSet::new(),
            max_data: window.min(MAX_WINDOW),
            final_offset: None,
            read_offset: 0,
            chunks: VecDeque::new(),
            base: 0,
            allocated: 0,
            stopped: false,
        }
    }

    /// As if everything below `offset`, a multiple of [`CHUNK`], had been read.
    #[cfg(test)]
    fn starting_at(offset: u64, window: u64) -> Self {
        let received = OffsetSet::starting_at(offset);
        let max_data = (offset + window).min(VARINT_MAX);
        Self { received, max_data, read_offset: offset, base: index_of(offset), ..Self::new(0) }
    }

    #[cfg(test)]
    /// The offset the peer may send to.
    pub(crate) fn max_data(&self) -> u64 {
        self.max_data
    }

    /// Raises `max_data()`; it never goes back, nor above [`MAX_WINDOW`] from what was read.
    pub(crate) fn set_max_data(&mut self, max_data: u64) {
        let most = self.read_offset.saturating_add(MAX_WINDOW).min(VARINT_MAX);
        self.max_data = self.max_data.max(max_data.min(most));
    }

    /// Judges a packet that was not opened yet: its stream offset, payload length and the final offset it names.
    pub(crate) fn check(
        &self,
        offset: u64,
        len: usize,
        final_offset: Option<u64>,
    ) -> Result<Placement, Violation> {
        let end = offset.checked_add(len as u64).filter(|&end| end <= self.max_data);
        let end = end.ok_or(Violation::FlowControl)?;
        let size_known = match (self.final_offset, final_offset) {
            (Some(known), Some(named)) if known != named => return Err(Violation::FinalSize),
            (Some(known), _) if end > known => return Err(Violation::FinalSize),
            // The size may lie above our limit: the peer knows it before it may send everything.
            (None, Some(named)) if named < end.max(self.received.end()) || named > VARINT_MAX => {
                return Err(Violation::FinalSize);
            }
            (known, named) => known.is_some() || named.is_none(),
        };
        let Some(missing) = self.received.next_missing(offset..end) else {
            return Ok(if size_known { Placement::Duplicate } else { Placement::Scratch });
        };
        if self.received.gaps() >= MAX_GAPS && self.received.adds_gap(&(offset..end)) {
            return Err(Violation::TooManyGaps);
        }
        let whole = missing == (offset..end);
        Ok(if whole && self.has_memory(offset, end) { Placement::Direct } else { Placement::Scratch })
    }

    /// Whether one chunk has memory for `offset..end`. A forged packet must not make us allocate, so the first packet of
    /// a chunk is always copied; as most of those cross a border, that costs next to nothing.
    fn has_memory(&self, offset: u64, end: u64) -> bool {
        let slot = index_of(offset).checked_sub(self.base).and_then(|slot| usize::try_from(slot).ok());
        slot.and_then(|slot| self.chunks.get(slot)).is_some_and(|chunk| end <= chunk.end)
    }

    /// The place for the payload of a packet that `check` called [`Placement::Direct`]. It may be left in any state:
    /// its bytes count only after `commit`. `None` for any other range.
    pub(crate) fn direct(&mut self, offset: u64, len: usize) -> Option<&mut [u8]> {
        let end = offset.checked_add(len as u64)?;
        if self.received.next_missing(offset..end)? != (offset..end) || end > self.max_data {
            return None;
        }
        let slot = usize::try_from(index_of(offset).checked_sub(self.base)?).ok()?;
        self.chunks.get_mut(slot)?.slice(offset, len)
    }

    /// The bytes in the place that `direct` gave for this range are authentic. Returns how many bytes are new: all.
    pub(crate) fn commit(&mut self, offset: u64, len: usize, final_offset: Option<u64>) -> u64 {
        let end = offset.saturating_add(len as u64);
        debug_assert!(self.has_memory(offset, end), "commit without direct");
        let new = self.received.insert(offset..end);
        self.name_size(final_offset);
        new
    }

    /// Takes the payload of a packet that was opened elsewhere and that `check` did not refuse: copies what is missing.
    /// Returns how many bytes are new.
    ///
    /// `spare` may lend memory of [`CHUNK`] bytes for a chunk that has none yet.
    pub(crate) fn write(
        &mut self,
        offset: u64,
        payload: &[u8],
        final_offset: Option<u64>,
        spare: Spare<'_>,
    ) -> u64 {
        let end = offset.saturating_add(payload.len() as u64);
        debug_assert!(self.check(offset, payload.len(), final_offset).is_ok(), "write of a refused packet");
        if end > self.max_data {
            return 0;
        }
        self.name_size(final_offset);
        if self.stopped {
            let new = self.received.insert(offset..end);
            self.read_offset = self.received.prefix();
            return new;
        }
        let mut from = offset;
        while let Some(missing) = self.received.next_missing(from..end) {
            let skip = usize::try_from(missing.start.saturating_sub(offset)).unwrap_or(usize::MAX);
            let stop = usize::try_from(missing.end.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.copy(missing.start, payload.get(skip..stop).unwrap_or_default(), spare);
            from = missing.end;
        }
        self.received.insert(offset..end)
    }

    fn name_size(&mut self, final_offset: Option<u64>) {
        if self.final_offset.is_some() || final_offset.is_none() {
            return;
        }
        self.final_offset = final_offset;
        if self.is_finished() {
            // A half-closed stream may live on for hours.
            self.release();
        }
    }

    /// Lets go of all memory, if nothing that arrived waits to be read. What comes next gets new memory.
    pub(crate) fn let_go_if_read(&mut self) {
        if self.received.end() == self.read_offset {
            self.release();
        }
    }

    fn release(&mut self) {
        self.chunks = VecDeque::new();
        self.allocated = 0;
    }

    fn copy(&mut self, mut offset: u64, mut bytes: &[u8], spare: Spare<'_>) {
        while !bytes.is_empty() {
            let copied = self.chunk_for(offset, spare).map_or(0, |chunk| chunk.fill(offset, bytes));
            debug_assert!(copied > 0, "check admits only bytes that have a chunk");
            let Some(rest) = bytes.get(copied..).filter(|_| copied > 0) else { return };
            offset = offset.saturating_add(copied as u64);
            bytes = rest;
        }
    }

    /// The chunk of `offset`, with memory. Once the size is known, none is allocated above it.
    fn chunk_for(&mut self, offset: u64, spare: Spare<'_>) -> Option<&mut Chunk> {
        let index = index_of(offset);
        let slot = usize::try_from(index.checked_sub(self.base)?).ok()?;
        if slot >= self.chunks.len() {
            self.chunks.resize_with(slot.saturating_add(1), Chunk::default);
        }
        let chunk = self.chunks.get_mut(slot)?;
        if chunk.end == 0 {
            chunk.start = start_of(index).max(self.read_offset);
            chunk.end = end_of(index).min(self.final_offset.unwrap_or(u64::MAX));
            let size = chunk.end.saturating_sub(chunk.start);
            // Small streams and last chunks get what they need; whole chunks may be had from the last one read.
            let recycled = if size > CHUNK - FIRST_CHUNK - 1 { spare() } else { None };
            chunk.data = match recycled {
                Some(memory) => memory,
                None => BytesMut::with_capacity(usize::try_from(size).ok()?),
            };
            self.allocated = self.allocated.saturating_add(size);
        }
        Some(chunk)
    }

    /// Moves all bytes without a gap behind the last read to `out`, without copying them; returns how many.
    ///
    /// Each `Bytes` keeps the memory of its whole chunk while it lives.
    pub(crate) fn read(&mut self, out: &mut Vec<Bytes>) -> u64 {
        let begin = self.read_offset;
        let until = self.received.prefix();
        while self.read_offset < until {
            let Some(chunk) = self.chunks.front_mut() else { break };
            let end = until.min(chunk.end);
            let n = usize::try_from(end.saturating_sub(chunk.start)).unwrap_or(usize::MAX);
            debug_assert!(0 < n && n <= chunk.data.len(), "received bytes are in their chunk");
            self.read_offset = end.max(self.read_offset);
            if end < chunk.end && self.final_offset != Some(end) {
                chunk.start = end;
                out.push(chunk.data.split_to(n.min(chunk.data.len())).freeze());
                break;
            }
            // What forged packets left behind the final offset goes with the chunk.
            let (mut data, size) =
                (std::mem::take(&mut chunk.data), chunk.end.saturating_sub(start_of(self.base)));
            data.truncate(n);
            out.push(data.freeze());
            self.allocated = self.allocated.saturating_sub(size);
            self.chunks.pop_front();
            self.base = self.base.saturating_add(1);
        }
        self.read_offset.saturating_sub(begin)
    }

    /// Everything below this offset arrived.
    pub(crate) fn contiguous_end(&self) -> u64 {
        self.received.prefix()
    }

    /// Everything below this offset was read, or dropped after `stop`.
    pub(crate) fn read_offset(&self) -> u64 {
        self.read_offset
    }

    #[cfg(test)]
    /// The stream's size, once an authentic packet named it.
    pub(crate) fn final_offset(&self) -> Option<u64> {
        self.final_offset
    }

    /// Everything up to the final offset arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.final_offset == Some(self.received.prefix())
    }

    /// Everything up to the final offset arrived and was read, or dropped after `stop`.
    pub(crate) fn is_finished(&self) -> bool {
        self.final_offset == Some(self.read_offset)
    }

    /// Drops what was not read and whatever arrives from now on; offsets and size are kept account of.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.release();
        self.read_offset = self.received.prefix();
    }

    /// Bytes of chunks that are not read to their end.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.allocated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::testing::{Random, byte_at};

    fn payload(from: u64, to: u64) -> Vec<u8> {
        (from..to).map(byte_at).collect()
    }

    fn assert_read(window: &mut Reassembly, total: &mut u64) {
        let mut out = Vec::new();
        let n = window.read(&mut out);
        for bytes in &out {
            assert!(bytes.iter().zip(*total..).all(|(&byte, at)| byte == byte_at(at)), "at {total}");
            *total += bytes.len() as u64;
        }
        assert_eq!(out.iter().map(|bytes| bytes.len() as u64).sum::<u64>(), n);
        assert_eq!((*total, window.contiguous_end()), (window.read_offset(), window.read_offset()));
    }

    /// The window as one bool per byte. `runs` counts runs of received bytes; the byte before the first is received.
    struct Model {
        there: Vec<bool>,
        runs: usize,
        prefix: usize,
        highest: usize,
        size: Option<u64>,
    }

    impl Model {
        fn has(&self, at: usize) -> bool {
            at == 0 || self.there.get(at - 1) == Some(&true)
        }

        fn verdict(&self, at: usize, len: usize, limit: u64, named: Option<u64>) -> Result<bool, Violation> {
            let end = (at + len) as u64;
            if end > limit {
                return Err(Violation::FlowControl);
            }
            let size = self.size.or(named);
            if size.is_some_and(|size| {
                end > size || (self.highest as u64) > size || named.is_some_and(|n| n != size)
            }) {
                return Err(Violation::FinalSize);
            }
            let new = self.there[at..at + len].iter().any(|there| !there);
            let touches = (at..=at + len + 1).any(|at| self.has(at));
            if new && !touches && self.runs > MAX_GAPS {
                return Err(Violation::TooManyGaps);
            }
            Ok(new || (named.is_some() && self.size.is_none()))
        }

        fn add(&mut self, at: usize, len: usize) -> u64 {
            let mut new = 0;
            for at in at..at + len {
                if !self.there[at] {
                    self.runs = self.runs + 1 - usize::from(self.has(at)) - usize::from(self.has(at + 2));
                    self.there[at] = true;
                    new += 1;
                }
            }
            self.highest = self.highest.max(if len > 0 { at + len } else { 0 });
            self.prefix += self.there[self.prefix..].iter().take_while(|there| **there).count();
            new
        }
    }

    #[derive(Default, Debug)]
    struct Seen {
        operations: u64,
        direct: u64,
        forged: u64,
        scratch: u64,
        duplicate: u64,
        flow: u64,
        size: u64,
        gaps: u64,
        stopped: u64,
        finished: u64,
    }

    fn one_stream(random: &mut Random, seen: &mut Seen) {
        let size = [400_000, 9_000, 9_000][random.below(3) as usize];
        let size = random.below(size) + 1;
        let base = if random.one_in(2) { 0 } else { (VARINT_MAX - 400_001) / CHUNK * CHUNK };
        let size = if base == 0 { size } else { size.min(VARINT_MAX - base) };
        let credit = if random.one_in(2) { 4 * CHUNK } else { 3_000 };
        let credit = 300 + random.below(credit);
        let longest = [2, 40, 1408, 1408, 9_000][random.below(5) as usize];
        let tiny_gaps = random.one_in(3);
        let mut window = Reassembly::starting_at(base, credit);
        let mut model =
            Model { there: vec![false; size as usize], runs: 1, prefix: 0, highest: 0, size: None };
        let (mut total, mut stopped) = (base, false);
        for _ in 0..3_000 {
            seen.operations += 1;
            let limit = window.max_data() - base;
            let at = match random.below(4) {
                0 | 1 if !tiny_gaps => model.prefix as u64,
                0 => (model.prefix as u64 + 2 * random.below(200)).min(size),
                1 => (model.prefix as u64).saturating_sub(random.below(3_000)),
                _ => random.below((limit + 100).min(size + 1)),
            } as usize;
            let len = (random.below(longest) as usize).min(size as usize - at);
            let named = match random.below(64) {
                0 => Some(random.below(size + 2)),
                1..=8 => Some(size),
                _ => None,
            };
            let expected = model.verdict(at, len, limit, named);
            if expected.is_ok() && named.is_some_and(|named| named != size) {
                continue;
            }
            let (from, to) = (base + at as u64, base + (at + len) as u64);
            let named = named.map(|named| base + named);
            let forged = random.one_in(8);
            let verdict = window.check(from, len, named);
            match (verdict, expected) {
                (Ok(Placement::Duplicate), Ok(false)) => seen.duplicate += 1,
                (Ok(Placement::Direct), Ok(true)) => {
                    assert!(!stopped && index_of(from) == index_of(to - 1));
                    let place = window.direct(from, len).unwrap();
                    if forged {
                        seen.forged += 1;
                        place.fill(0);
                    } else {
                        seen.direct += 1;
                        place.copy_from_slice(&payload(from, to));
                        assert_eq!(window.commit(from, len, named), model.add(at, len));
                        model.size = model.size.or(named.map(|named| named - base));
                    }
                }
                (Ok(Placement::Scratch), Ok(true)) => {
                    let new = model.there[at..at + len].iter().all(|there| !there);
                    assert_eq!(
                        window.direct(from, len).is_some(),
                        new && len > 0 && window.has_memory(from, to)
                    );
                    seen.scratch += 1;
                    assert_eq!(window.write(from, &payload(from, to), named, &|| None), model.add(at, len));
                    model.size = model.size.or(named.map(|named| named - base));
                }
                (Err(Violation::FlowControl), Err(Violation::FlowControl)) => seen.flow += 1,
                (Err(Violation::FinalSize), Err(Violation::FinalSize)) => seen.size += 1,
                (Err(Violation::TooManyGaps), Err(Violation::TooManyGaps)) => seen.gaps += 1,
                other => panic!("{other:?} at {at}, {len} bytes, size {named:?}"),
            }
            assert_eq!(window.contiguous_end(), base + model.prefix as u64);
            assert_eq!(window.final_offset(), model.size.map(|size| base + size));
            assert_eq!(window.is_complete(), model.size == Some(model.prefix as u64));
            assert_eq!(window.received.gaps(), model.runs - 1);
            assert!(window.allocated_bytes() <= credit.next_multiple_of(CHUNK) + CHUNK);
            let stored: u64 = window.chunks.iter().map(|chunk| chunk.data.len() as u64).sum();
            assert!(stored <= window.allocated_bytes());
            if random.one_in(16) && !stopped {
                assert_read(&mut window, &mut total);
                if random.one_in(2) {
                    window.set_max_data(total + credit);
                }
            }
            if random.one_in(20_000) && !stopped {
                stopped = true;
                seen.stopped += 1;
                window.stop();
            }
            if stopped {
                assert_eq!((window.allocated_bytes(), window.read(&mut Vec::new())), (0, 0));
                assert_eq!(window.read_offset(), window.contiguous_end());
                window.set_max_data(window.read_offset() + credit);
            }
            if window.is_finished() {
                assert_eq!(window.read_offset(), base + size);
                assert_eq!(window.allocated_bytes(), 0);
                seen.finished += 1;
                return;
            }
        }
    }

    #[test]
    fn r8_equals_a_vec_over_random_operations() {
        let (mut random, mut seen) = (Random::new(7), Seen::default());
        while seen.operations < 1_500_000 {
            one_stream(&mut random, &mut seen);
        }
        let counts =
            [seen.direct, seen.forged, seen.scratch, seen.duplicate, seen.flow, seen.size, seen.gaps];
        assert!(counts.iter().all(|&count| count > 10_000), "{seen:?}");
        assert!(seen.stopped > 10 && seen.finished > 100, "{seen:?}");
    }

    #[test]
    fn fragments_cannot_make_it_grow() {
        const WINDOW: u64 = 16 << 20;
        let mut window = Reassembly::new(WINDOW);
        let (mut taken, mut refused) = (0, 0);
        for offset in (1..WINDOW).step_by(2) {
            match window.check(offset, 1, None) {
                Ok(_) => taken += window.write(offset, &[byte_at(offset)], None, &|| None),
                Err(violation) => {
                    assert_eq!(violation, Violation::TooManyGaps);
                    refused += 1;
                }
            }
        }
        assert_eq!((taken, refused), (MAX_GAPS as u64, WINDOW / 2 - MAX_GAPS as u64));
        // Everything but the first byte.
        let mut window = Reassembly::new(WINDOW);
        for offset in (1..WINDOW).step_by(1408) {
            let bytes = payload(offset, (offset + 1408).min(WINDOW));
            assert!(window.check(offset, bytes.len(), None).is_ok());
            window.write(offset, &bytes, None, &|| None);
        }
        assert_eq!((window.received.gaps(), window.allocated_bytes()), (1, WINDOW));
        assert_eq!(window.check(WINDOW, 1, None), Err(Violation::FlowControl));
        window.write(0, &[byte_at(0)], Some(WINDOW), &|| None);
        assert_read(&mut window, &mut 0);
        assert!(window.is_finished() && window.allocated_bytes() == 0);
    }

    #[test]
    fn nothing_is_allocated_before_a_packet_is_authentic() {
        let mut window = Reassembly::new(1 << 20);
        assert_eq!(window.check(0, 1408, None), Ok(Placement::Scratch));
        assert!(window.direct(0, 1408).is_none() && window.allocated_bytes() == 0);
        window.write(0, &payload(0, 10), Some(1000), &|| None);
        assert_eq!(window.allocated_bytes(), 1000, "not more than the stream is long");
    }

    #[test]
    fn forged_bytes_behind_the_end_are_not_read() {
        let mut window = Reassembly::new(1 << 20);
        window.write(0, &payload(0, 10), None, &|| None);
        assert_eq!(window.check(500, 100, None), Ok(Placement::Direct));
        window.direct(500, 100).unwrap().fill(9);
        window.write(10, &payload(10, 20), Some(20), &|| None);
        let mut total = 0;
        assert_read(&mut window, &mut total);
        assert!(window.is_finished() && total == 20);
    }

    #[test]
    fn edges() {
        let mut window = Reassembly::new(u64::MAX);
        assert_eq!(window.max_data(), MAX_WINDOW);
        window.set_max_data(u64::MAX);
        window.set_max_data(5);
        assert_eq!(window.max_data(), MAX_WINDOW);
        assert_eq!(window.check(u64::MAX, 1, None), Err(Violation::FlowControl));
        assert_eq!(window.check(0, 0, None), Ok(Placement::Duplicate));
        assert_eq!(window.check(0, 1, Some(VARINT_MAX)), Ok(Placement::Scratch), "more than the limit");
        assert_eq!(window.check(0, 1, Some(VARINT_MAX + 1)), Err(Violation::FinalSize));
        window.write(0, &payload(0, 3000), None, &|| None);
        assert_read(&mut window, &mut 0);
        assert_eq!(window.allocated_bytes(), CHUNK - FIRST_CHUNK);
        assert_eq!(window.check(3000, 0, Some(3000)), Ok(Placement::Scratch));
        window.write(3000, &[], Some(3000), &|| None);
        assert!(window.is_finished() && window.allocated_bytes() == 0);
        assert_eq!(window.check(3000, 0, Some(3000)), Ok(Placement::Duplicate));
        assert_eq!(window.check(2999, 2, None), Err(Violation::FinalSize));
    }
}

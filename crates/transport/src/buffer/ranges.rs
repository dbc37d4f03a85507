//! Which numbers and which offsets were seen: sorted ranges, merged as they meet.

use std::{
    collections::VecDeque,
    ops::{Range, RangeInclusive},
};

/// Most ranges of received packet numbers kept in one space. Each costs 16 bytes and up to 16 more on the wire, and one
/// ACK shows fewer than 100; 256 gaps are 10 % loss over 2,560 packets.
pub(crate) const MAX_RANGES: usize = 256;

/// Half-open ranges, sorted, not empty, and with a gap between any two.
///
/// A deque, not a tree: what arrives in order touches only the newest, what fills a hole usually one of the oldest, and
/// both ends are cheap.
#[derive(Debug, Default)]
struct Spans(VecDeque<Range<u64>>);

impl Spans {
    /// Index of the first range that ends after `at`.
    fn first_ending_after(&self, at: u64) -> usize {
        match self.0.back() {
            Some(last) if last.end > at => self.0.partition_point(|span| span.end <= at),
            _ => self.0.len(),
        }
    }

    /// Adds `new` (not empty); returns how many numbers of it were not there.
    fn insert(&mut self, new: Range<u64>) -> u64 {
        let len = new.end.saturating_sub(new.start);
        match self.0.back_mut() {
            Some(last) if last.end == new.start => {
                last.end = new.end;
                return len;
            }
            Some(last) if last.end > new.start => {}
            _ => {
                self.0.push_back(new);
                return len;
            }
        }
        // Ranges that only touch `new` are merged, too: hence `<` here and `>` below.
        let first = self.0.partition_point(|span| span.end < new.start);
        let mut merged = new;
        let mut overlap = 0u64;
        let mut behind = first;
        while let Some(span) = self.0.get(behind) {
            if span.start > merged.end {
                break;
            }
            // `merged` has grown only at ends that were in no other range, so each overlap is counted once.
            let shared = span.end.min(merged.end).saturating_sub(span.start.max(merged.start));
            overlap = overlap.saturating_add(shared);
            merged = merged.start.min(span.start)..merged.end.max(span.end);
            behind = behind.saturating_add(1);
        }
        match self.0.get_mut(first) {
            Some(span) if behind > first => {
                *span = merged;
                let second = first.saturating_add(1);
                if behind > second {
                    self.0.drain(second..behind);
                }
            }
            _ => self.0.insert(first, merged),
        }
        len.saturating_sub(overlap)
    }
}

/// Received packet numbers of one space: the duplicate filter, and what an ACK says.
///
/// At most [`MAX_RANGES`] ranges; when a new one does not fit, the oldest is forgotten. Of a forgotten number nobody knows whether
/// it arrived: what is [`is_forgotten`](Self::is_forgotten) counts only for what else is new in it.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    spans: Spans,
    /// Numbers below are remembered only where they came after they were forgotten.
    floor: u64,
}

impl Ranges {
    /// No number was received.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Notes that `n` (a varint) arrived; `false`: it is there already.
    pub(crate) fn insert(&mut self, n: u64) -> bool {
        debug_assert!(n <= super::VARINT_MAX);
        let is_new = self.spans.insert(n..n.saturating_add(1)) == 1;
        if self.spans.0.len() > MAX_RANGES
            && let Some(oldest) = self.spans.0.pop_front()
        {
            self.floor = self.floor.max(oldest.end);
        }
        is_new
    }

    /// Whether `n` is known to have arrived.
    pub(crate) fn contains(&self, n: u64) -> bool {
        self.spans.0.get(self.spans.first_ending_after(n)).is_some_and(|span| span.start <= n)
    }

    /// Whether `n` may have arrived, and been forgotten.
    pub(crate) fn is_forgotten(&self, n: u64) -> bool {
        n < self.floor && !self.contains(n)
    }

    /// From the newest range to the oldest.
    pub(crate) fn iter_desc(&self) -> impl Iterator<Item = RangeInclusive<u64>> + Clone + '_ {
        self.spans.0.iter().rev().map(|span| span.start..=span.end.saturating_sub(1))
    }

    /// The largest number that arrived, while it is not forgotten.
    pub(crate) fn largest(&self) -> Option<u64> {
        self.spans.0.back().map(|span| span.end.saturating_sub(1))
    }

    /// Forgets all numbers up to and including `n`: the peer knows that they arrived.
    pub(crate) fn remove_through(&mut self, n: u64) {
        self.floor = self.floor.max(n.saturating_add(1));
        while let Some(first) = self.spans.0.front_mut() {
            if first.start > n {
                break;
            }
            if first.end.saturating_sub(1) > n {
                first.start = n.saturating_add(1);
                break;
            }
            self.spans.0.pop_front();
        }
    }

    #[cfg(test)]
    /// How many ranges there are.
    pub(crate) fn len(&self) -> usize {
        self.spans.0.len()
    }

    #[cfg(test)]
    /// Whether no number is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.0.is_empty()
    }
}

/// Stream offsets, from 0 without a gap up to `prefix()`, and in ranges above it.
///
/// It forgets nothing, so each user bounds it: for a sender by what is in flight (an ACK only names packets that it
/// sent, each adds at most one range), for a receiver by `reassembly::MAX_GAPS`. Filling a hole far from both ends
/// moves the ranges between it and the nearer end, 16 bytes each.
#[derive(Debug, Default)]
pub(crate) struct OffsetSet {
    prefix: u64,
    above: Spans,
}

/// Bytes of a sending half that the peer acknowledged.
pub(crate) type AckedOffsets = OffsetSet;

impl OffsetSet {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Everything below `prefix`.
    #[cfg(test)]
    pub(crate) fn starting_at(prefix: u64) -> Self {
        Self { prefix, above: Spans::default() }
    }

    /// Adds `new`; returns how many bytes of it are new.
    pub(crate) fn insert(&mut self, new: Range<u64>) -> u64 {
        let new = new.start.max(self.prefix)..new.end;
        if new.is_empty() {
            return 0;
        }
        if new.start > self.prefix {
            return self.above.insert(new);
        }
        let Some(next) = self.above.0.front() else {
            self.prefix = new.end;
            return new.end.saturating_sub(new.start);
        };
        if new.end < next.start {
            self.prefix = new.end;
            return new.end.saturating_sub(new.start);
        }
        let added = self.above.insert(new);
        if let Some(joined) = self.above.0.pop_front() {
            self.prefix = joined.end;
        }
        added
    }

    /// Everything below this offset is in.
    pub(crate) fn prefix(&self) -> u64 {
        self.prefix
    }

    /// One behind the highest offset that is in.
    pub(crate) fn end(&self) -> u64 {
        self.above.0.back().map_or(self.prefix, |span| span.end)
    }

    /// Gaps below [`end`](Self::end).
    pub(crate) fn gaps(&self) -> usize {
        self.above.0.len()
    }

    /// The first part of `range` that is missing as a whole.
    pub(crate) fn next_missing(&self, range: Range<u64>) -> Option<Range<u64>> {
        let mut start = range.start.max(self.prefix);
        let mut index = self.above.first_ending_after(start);
        if let Some(span) = self.above.0.get(index).filter(|span| span.start <= start) {
            start = span.end;
            index = index.saturating_add(1);
        }
        let end = self.above.0.get(index).map_or(range.end, |span| span.start.min(range.end));
        (start < end).then_some(start..end)
    }

    /// Whether adding `range` would make one gap more.
    pub(crate) fn adds_gap(&self, range: &Range<u64>) -> bool {
        let start = range.start.max(self.prefix);
        if start == self.prefix || start >= range.end {
            return false;
        }
        let index = self.above.0.partition_point(|span| span.end < start);
        self.above.0.get(index).is_none_or(|span| span.start > range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{VARINT_MAX, testing::Random};
    use std::collections::BTreeSet;

    fn runs(set: &BTreeSet<u64>) -> Vec<RangeInclusive<u64>> {
        let mut runs: Vec<RangeInclusive<u64>> = Vec::new();
        for &n in set {
            match runs.last_mut() {
                Some(run) if *run.end() + 1 == n => *run = *run.start()..=n,
                _ => runs.push(n..=n),
            }
        }
        runs
    }

    fn against_a_set(seed: u64, base: u64, spread: u64, operations: u64) -> u64 {
        let mut random = Random::new(seed);
        let (mut ranges, mut model) = (Ranges::new(), BTreeSet::new());
        let (mut newest, mut dropped) = (base, 0);
        for operation in 0..operations {
            match random.below(100) {
                0 => {
                    let through = newest.saturating_sub(random.below(2 * spread));
                    ranges.remove_through(through);
                    model = model.split_off(&(through + 1));
                }
                1..=40 => {
                    newest = (newest + 1 + random.below(3) / 2).min(VARINT_MAX);
                    assert_eq!(ranges.insert(newest), model.insert(newest));
                }
                41..=80 => {
                    let n = newest - random.below(spread).min(newest);
                    assert_eq!(ranges.insert(n), model.insert(n));
                }
                _ => {
                    let n = newest.saturating_add(5).saturating_sub(random.below(spread + 10));
                    assert_eq!(ranges.contains(n), model.contains(&n));
                }
            }
            if ranges.len() == MAX_RANGES || operation % 512 == 0 {
                let mut expected = runs(&model);
                if expected.len() > MAX_RANGES {
                    model = model.split_off(expected[1].start());
                    expected.remove(0);
                    dropped += 1;
                }
                assert!(ranges.iter_desc().eq(expected.iter().rev().cloned()));
                assert_eq!(ranges.len(), expected.len());
            }
            assert_eq!(ranges.largest(), model.last().copied());
            assert_eq!(ranges.is_empty(), model.is_empty());
        }
        dropped
    }

    #[test]
    fn r8_numbers_equal_a_set_over_random_operations() {
        for seed in 0..50 {
            let spread = 1 << (3 + seed % 7);
            against_a_set(seed, 0, spread, 10_000);
            against_a_set(seed, VARINT_MAX - 2_000, spread, 10_000);
        }
        assert!(against_a_set(99, 1 << 40, 4_000, 10_000) > 100, "ranges were dropped");
    }

    #[test]
    fn the_oldest_range_is_forgotten() {
        let mut ranges = Ranges::new();
        for n in 0..MAX_RANGES as u64 {
            assert!(ranges.insert(1_000 + 2 * n));
        }
        assert!(ranges.insert(2));
        assert!(!ranges.contains(2), "older than all that fit");
        assert!(ranges.insert(10_000));
        assert!(!ranges.contains(1_000) && ranges.contains(1_002) && ranges.contains(10_000));
        assert!(ranges.is_forgotten(2) && ranges.is_forgotten(1_000));
        assert!(!ranges.is_forgotten(1_001) && !ranges.is_forgotten(1_002));
        assert!(ranges.insert(1_003), "joins two");
        assert_eq!(ranges.len(), MAX_RANGES - 1);
    }

    fn offsets_against_a_set(seed: u64, base: u64, inserted: &mut u64) {
        const SIZE: u64 = 600;
        let mut random = Random::new(seed);
        let mut offsets = OffsetSet::starting_at(base);
        let mut model = vec![false; SIZE as usize];
        let missing = |model: &[bool], from: u64, to: u64| {
            let start = (from..to).find(|&at| !model[at as usize])?;
            let end = (start..to).find(|&at| model[at as usize]).unwrap_or(to);
            Some(base + start..base + end)
        };
        while !model.iter().all(|&there| there) {
            let start = random.below(SIZE);
            let end = (start + random.below(12)).min(SIZE);
            let range = base + start..base + end;
            assert_eq!(offsets.next_missing(range.clone()), missing(&model, start, end));
            let (gaps, adds) = (offsets.gaps(), offsets.adds_gap(&range));
            let new = (start..end).filter(|&at| !model[at as usize]).count() as u64;
            model[start as usize..end as usize].fill(true);
            assert_eq!(offsets.insert(range), new);
            assert_eq!(adds, offsets.gaps() > gaps);
            let prefix = model.iter().position(|there| !there).unwrap_or(SIZE as usize);
            assert_eq!(offsets.prefix(), base + prefix as u64);
            let highest = model.iter().rposition(|&there| there).map_or(0, |at| at as u64 + 1);
            assert_eq!(offsets.end(), base + highest);
            let gap_starts = model[..highest as usize].windows(2).filter(|pair| pair[0] && !pair[1]);
            assert_eq!(offsets.gaps(), gap_starts.count() + usize::from(highest > 0 && !model[0]));
            *inserted += 1;
        }
        assert_eq!((offsets.gaps(), offsets.prefix()), (0, base + SIZE));
    }

    #[test]
    fn r8_offsets_equal_a_vec_over_random_operations() {
        let mut inserted = 0;
        for seed in 0..2_000 {
            offsets_against_a_set(seed, 0, &mut inserted);
            offsets_against_a_set(seed, VARINT_MAX - 600, &mut inserted);
        }
        assert!(inserted > 1_000_000, "{inserted}");
    }
}

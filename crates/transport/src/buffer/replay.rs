//! Which key ids of a peer were used.

use super::VARINT_MAX;

/// How many key ids up to the largest seen are told apart. One bit each: 8 KiB a path, enough for two seconds of
/// reordering at 30,000 streams a second.
pub(crate) const REPLAY_WINDOW: u64 = 65_536;

const WORD_BITS: u64 = u64::BITS as u64;
const WORDS: u64 = REPLAY_WINDOW / WORD_BITS;

/// What is known of a key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Never accepted.
    New,
    /// Accepted before: a replay for certain.
    Replayed,
    /// Older than the window, or the id that is never used (2^62-1): perhaps a replay.
    Unknown,
}

/// The key ids accepted on one path.
///
/// The bit of id `n` is bit `n` mod [`REPLAY_WINDOW`] of a ring; bits behind the end of `words` are 0. The memory grows
/// with the ids seen, so a path with few streams costs a few bytes.
#[derive(Debug, Default)]
pub(crate) struct ReplayWindow {
    words: Vec<u64>,
    /// One above the largest id accepted.
    next: u64,
}

/// The word of the ring `key_id` is in, and its bit there.
fn place(key_id: u64) -> (usize, u64) {
    (((key_id / WORD_BITS) % WORDS) as usize, 1u64.wrapping_shl((key_id % WORD_BITS) as u32))
}

impl ReplayWindow {
    /// No id was accepted.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Judges `key_id` without noting it.
    pub(crate) fn check(&self, key_id: u64) -> Verdict {
        if key_id >= VARINT_MAX {
            return Verdict::Unknown;
        }
        let Some(age) = self.next.checked_sub(key_id).filter(|&age| age > 0) else {
            return Verdict::New;
        };
        if age > REPLAY_WINDOW {
            return Verdict::Unknown;
        }
        let (word, bit) = place(key_id);
        if self.words.get(word).is_some_and(|word| word & bit != 0) {
            Verdict::Replayed
        } else {
            Verdict::New
        }
    }

    /// Notes `key_id` after its packet proved authentic; nothing unless `check` says [`Verdict::New`].
    pub(crate) fn accept(&mut self, key_id: u64) {
        if self.check(key_id) != Verdict::New {
            return;
        }
        if key_id >= self.next {
            self.forget(self.next, key_id);
            self.next = key_id.saturating_add(1);
        }
        let (word, bit) = place(key_id);
        if word >= self.words.len() {
            // Doubling without the overshoot of `resize`, which could end above 8 KiB.
            let len = word.saturating_add(1);
            self.words.reserve_exact(len.next_power_of_two().saturating_sub(self.words.len()));
            self.words.resize(len, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    /// Clears the bits of `first` to `last`, which belong to ids that leave the window.
    fn forget(&mut self, first: u64, last: u64) {
        if last.saturating_sub(first) >= REPLAY_WINDOW {
            self.words.clear();
            return;
        }
        let mut from = first;
        while from <= last {
            let word_end = from | (WORD_BITS.saturating_sub(1));
            let keep_above =
                if word_end <= last { 0 } else { u64::MAX.wrapping_shl((last % WORD_BITS) as u32) << 1 };
            let (word, bit) = place(from);
            if let Some(word) = self.words.get_mut(word) {
                *word &= bit.wrapping_sub(1) | keep_above;
            }
            from = word_end.saturating_add(1);
        }
    }

    /// The smallest id that is new for certain, as StaleKey says it: one above the largest accepted.
    pub(crate) fn min_acceptable(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::testing::Random;
    use std::collections::BTreeSet;

    struct Model {
        seen: BTreeSet<u64>,
    }

    impl Model {
        fn check(&self, key_id: u64) -> Verdict {
            match self.seen.last() {
                _ if key_id >= VARINT_MAX => Verdict::Unknown,
                Some(&max) if key_id < max && max - key_id >= REPLAY_WINDOW => Verdict::Unknown,
                _ if self.seen.contains(&key_id) => Verdict::Replayed,
                _ => Verdict::New,
            }
        }
    }

    fn against_a_set(seed: u64, base: u64, jump: u64, operations: u64, verdicts: &mut [u64; 3]) {
        let mut random = Random::new(seed);
        let (mut window, mut model) = (ReplayWindow::new(), Model { seen: BTreeSet::new() });
        let mut newest = base;
        for _ in 0..operations {
            let id = match random.below(8) {
                0..=2 => newest.saturating_add(1),
                3 => newest.saturating_add(random.below(jump)),
                4 => newest.saturating_sub(random.below(64)),
                5 => newest.saturating_sub(REPLAY_WINDOW - 4 + random.below(8)),
                _ => newest.saturating_sub(random.below(REPLAY_WINDOW + REPLAY_WINDOW / 8)),
            };
            let verdict = model.check(id);
            assert_eq!(window.check(id), verdict, "id {id}, newest {newest}");
            verdicts[verdict as usize] += 1;
            if random.below(8) > 0 {
                window.accept(id);
                if verdict == Verdict::New {
                    model.seen.insert(id);
                    newest = newest.max(id);
                    assert_eq!(window.check(id), Verdict::Replayed);
                }
            }
            assert_eq!(window.min_acceptable(), model.seen.last().map_or(0, |max| max + 1));
        }
        assert!(window.words.capacity() as u64 <= WORDS);
    }

    #[test]
    fn r8_equals_a_set_over_random_operations() {
        let mut verdicts = [0; 3];
        for seed in 0..10 {
            against_a_set(seed, 0, 4, 30_000, &mut verdicts);
            against_a_set(seed, 1 << 33, 300, 30_000, &mut verdicts);
            against_a_set(seed, 0, 3 * REPLAY_WINDOW, 30_000, &mut verdicts);
            against_a_set(seed, VARINT_MAX - 20_000, 9, 30_000, &mut verdicts);
        }
        assert!(verdicts.iter().all(|&count| count > 50_000), "{verdicts:?}");
    }

    #[test]
    fn a_million_replays_are_refused() {
        let mut window = ReplayWindow::new();
        let mut random = Random::new(3);
        for id in 0..100_000 {
            window.accept(id);
        }
        let refused = (0..1_000_000).filter(|_| window.check(random.below(100_000)) != Verdict::New).count();
        assert_eq!(refused, 1_000_000);
        assert_eq!(window.check(100_000), Verdict::New);
    }

    #[test]
    fn edges_of_the_window() {
        let mut window = ReplayWindow::new();
        assert_eq!((window.min_acceptable(), window.check(0)), (0, Verdict::New));
        window.accept(REPLAY_WINDOW);
        assert_eq!((window.check(1), window.check(0)), (Verdict::New, Verdict::Unknown));
        window.accept(VARINT_MAX);
        assert_eq!(window.min_acceptable(), REPLAY_WINDOW + 1);
        window.accept(VARINT_MAX - 1);
        assert_eq!(window.check(VARINT_MAX - 1), Verdict::Replayed);
        assert_eq!(window.check(VARINT_MAX - 2), Verdict::New);
        assert_eq!(window.check(REPLAY_WINDOW), Verdict::Unknown);
        assert_eq!(window.check(u64::MAX), Verdict::Unknown);
        assert_eq!(window.min_acceptable(), VARINT_MAX);
    }

    #[test]
    fn few_ids_cost_few_bytes() {
        let mut window = ReplayWindow::new();
        (0..256).for_each(|id| window.accept(id));
        assert_eq!(window.words.capacity(), 4);
    }
}

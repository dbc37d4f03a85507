//! Persistent congestion (RFC 9002 §7.6): everything sent over a long time was lost.
//!
//! The span from the first to the last packet lost with nothing acknowledged in between, over all streams of the path. Kept as one
//! span and one departure, whatever is in flight; where that is not enough to know, the answer is no.

#[derive(Clone, Debug, Default)]
pub(crate) struct LostRun {
    /// Departures of the first and the last packet of the newest run.
    span: Option<(u64, u64)>,
    /// The earliest departure after it that was acknowledged.
    acknowledged_after: Option<u64>,
    /// The newest departure that was acknowledged in earlier events.
    newest_acknowledged: Option<u64>,
}

impl LostRun {
    /// Departures of what one event acknowledged (late packets included) and declared lost, each ascending. Returns the longest
    /// time in which only losses are known.
    pub(crate) fn settle(&mut self, acknowledged: &[u64], lost: impl Iterator<Item = u64>) -> u64 {
        if let Some((first, last)) = self.span {
            let within = acknowledged.partition_point(|at| *at < first);
            match acknowledged.get(within) {
                Some(at) if *at <= last => self.span = None,
                Some(at) => {
                    self.acknowledged_after =
                        Some(self.acknowledged_after.map_or(*at, |after| after.min(*at)));
                }
                None => {}
            }
        }
        let mut longest = 0u64;
        for at in lost {
            match &mut self.span {
                // Older than the run: what lies between is not known any more.
                Some((first, _)) if at < *first => continue,
                Some((_, last)) if at <= *last || self.acknowledged_after.is_none_or(|after| after > at) => {
                    *last = at.max(*last);
                }
                _ => {
                    self.span = Some((at, at));
                    let next = acknowledged.partition_point(|acknowledged| *acknowledged < at);
                    self.acknowledged_after = acknowledged.get(next).copied();
                    if self.newest_acknowledged.is_some_and(|newest| newest >= at) {
                        // Something younger was acknowledged before; it may have left at any time since.
                        self.acknowledged_after = Some(at);
                    }
                }
            }
            if let Some((first, last)) = self.span {
                longest = longest.max(last.saturating_sub(first));
            }
        }
        self.newest_acknowledged = self.newest_acknowledged.max(acknowledged.last().copied());
        longest
    }

    /// The controller has been told.
    pub(crate) fn clear(&mut self) {
        self.span = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::testing::Random;

    #[test]
    fn an_outage_is_one_run() {
        let mut run = LostRun::default();
        assert_eq!(run.settle(&[10, 20], [15].into_iter()), 0);
        assert_eq!(run.settle(&[900], [18, 30, 40, 800].into_iter()), 770);
        run.clear();
        assert_eq!(run.settle(&[950], [890, 910, 920].into_iter()), 10);
    }

    #[test]
    fn goes_on_from_event_to_event() {
        let mut run = LostRun::default();
        assert_eq!(run.settle(&[], [100, 200].into_iter()), 100);
        assert_eq!(run.settle(&[], [500].into_iter()), 400);
        // A late packet shows that something arrived in between.
        assert_eq!(run.settle(&[300], [600].into_iter()), 0);
    }

    /// The definition, with everything remembered.
    fn by_definition(acknowledged: &[u64], lost: &[u64]) -> u64 {
        let mut longest = 0;
        for first in lost {
            let end = acknowledged.iter().filter(|at| *at >= first).min().copied().unwrap_or(u64::MAX);
            let last = lost.iter().filter(|at| **at >= *first && **at < end).max();
            longest = longest.max(last.map_or(0, |last| last - first));
        }
        longest
    }

    #[test]
    fn never_says_more_than_the_definition() {
        let mut equal = 0;
        for seed in 0..2_000 {
            let mut random = Random::new(seed);
            let mut run = LostRun::default();
            let (mut all_acknowledged, mut all_lost): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
            let mut open: Vec<u64> = Vec::new();
            for now in 0..60u64 {
                // Departures are even, so that an acknowledged one never has a lost one beside it.
                open.push(now * 2);
                if random.below(6) > 0 {
                    continue;
                }
                let share = random.below(100);
                let (mut acknowledged, mut lost) = (Vec::new(), Vec::new());
                open.retain(|at| {
                    let verdict = random.below(100);
                    if verdict < share / 4 {
                        acknowledged.push(*at);
                    } else if verdict < share {
                        lost.push(*at);
                    }
                    verdict >= share
                });
                all_acknowledged.extend(&acknowledged);
                all_lost.extend(&lost);
                let (said, truth) = (
                    run.settle(&acknowledged, lost.into_iter()),
                    by_definition(&all_acknowledged, &all_lost),
                );
                assert!(said <= truth, "seed {seed}: {said}, but {truth}");
                equal += u32::from(said == truth && truth > 0);
            }
        }
        assert!(equal > 1_000, "{equal}");
    }
}

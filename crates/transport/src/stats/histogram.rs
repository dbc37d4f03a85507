//! Counts of values in fixed logarithmic buckets: one increment a value, no allocation.

/// Buckets of `UNIT`s: each power of two has 2^`SUB` of them, and all but the last have an inclusive upper bound.
///
/// `Histogram<1_000, 2, 77>` has bounds at 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, … 2^20 thousands.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<const UNIT: u64, const SUB: u32, const N: usize> {
    counts: [u64; N],
    sum: u64,
}

/// Actual minus scheduled departure, in ns: from 1 µs, to within a quarter of a power of two, up to 1.05 s.
pub type Lateness = Histogram<1_000, 2, 77>;
/// Packets in a row: 1, 2, 4, … 4,096.
pub type Trains = Histogram<1, 0, 14>;
/// Packets of one transmission: 1, 2, 4, … 64.
pub type Segments = Histogram<1, 0, 8>;

impl<const UNIT: u64, const SUB: u32, const N: usize> Histogram<UNIT, SUB, N> {
    /// Adds one value.
    pub fn record(&mut self, value: u64) {
        // Bounds are inclusive, so that a value of just a bound belongs to its bucket.
        let below = value.saturating_sub(1).checked_div(UNIT).unwrap_or(0);
        let index = if below >> SUB == 0 {
            below
        } else {
            let exponent = below.ilog2();
            let shift = exponent.saturating_sub(SUB);
            let octave = u64::from(shift.saturating_add(1));
            (octave << SUB) | ((below >> shift) & (1u64 << SUB).saturating_sub(1))
        };
        let index = usize::try_from(index).unwrap_or(usize::MAX).min(N.saturating_sub(1));
        if let Some(count) = self.counts.get_mut(index) {
            *count = count.saturating_add(1);
        }
        self.sum = self.sum.saturating_add(value);
    }

    /// Upper bound of a bucket, inclusive, in units of a value; the last one has none.
    pub fn bound(index: usize) -> Option<u64> {
        if index.saturating_add(1) >= N {
            return None;
        }
        let (octave, sub) = (index >> SUB, (index as u64) & (1u64 << SUB).saturating_sub(1));
        let bound = match octave.checked_sub(1) {
            None => sub.saturating_add(1),
            Some(shift) => (1u64 << SUB).saturating_add(sub).saturating_add(1).checked_shl(shift as u32)?,
        };
        bound.checked_mul(UNIT)
    }

    /// By bucket.
    pub const fn counts(&self) -> &[u64; N] {
        &self.counts
    }

    /// Of all values.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The bound below which a share of `quantile` (0 to 1) lies; 0 when empty, `u64::MAX` beyond the last bound.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let count = self.count();
        if count == 0 {
            return 0;
        }
        let rank = ((count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0u64;
        for (index, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return Self::bound(index).unwrap_or(u64::MAX);
            }
        }
        u64::MAX
    }
}

impl<const UNIT: u64, const SUB: u32, const N: usize> Default for Histogram<UNIT, SUB, N> {
    fn default() -> Self {
        Self { counts: [0; N], sum: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds<const UNIT: u64, const SUB: u32, const N: usize>(_: &Histogram<UNIT, SUB, N>) -> Vec<u64> {
        (0..N - 1).map(|index| Histogram::<UNIT, SUB, N>::bound(index).unwrap()).collect()
    }

    /// A value lies in the first bucket whose bound it does not exceed.
    fn agrees<const UNIT: u64, const SUB: u32, const N: usize>(mut histogram: Histogram<UNIT, SUB, N>) {
        let bounds = bounds(&histogram);
        let last = *bounds.last().unwrap();
        let mut values: Vec<u64> = (0..3_000).collect();
        values.extend(bounds.iter().flat_map(|bound| [bound - 1, *bound, bound + 1]));
        values.extend([last * 2, u64::MAX]);
        let mut expected = vec![0u64; N];
        for value in &values {
            expected[bounds.iter().position(|bound| value <= bound).unwrap_or(N - 1)] += 1;
            histogram.record(*value);
        }
        assert_eq!(histogram.counts().as_slice(), expected);
        assert_eq!(histogram.count(), values.len() as u64);
    }

    #[test]
    fn every_value_lies_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        agrees(Lateness::default());
        agrees(Trains::default());
        agrees(Segments::default());
    }

    /// `packages/paceline/src/stats.ts` has the same bounds.
    #[test]
    fn bounds_are_those_of_the_documentation() {
        assert_eq!(bounds(&Segments::default()), [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(bounds(&Trains::default()).last(), Some(&4_096));
        let lateness = bounds(&Lateness::default());
        assert_eq!(lateness[..13], [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20].map(|us| us * 1_000));
        assert_eq!(lateness.last(), Some(&((1 << 20) * 1_000)));
    }

    #[test]
    fn quantiles_are_bounds() {
        let mut histogram = Lateness::default();
        assert_eq!(histogram.quantile(0.5), 0);
        for us in 1..=100 {
            histogram.record(us * 1_000);
        }
        assert_eq!(histogram.quantile(0.5), 56_000);
        assert_eq!(histogram.quantile(0.99), 112_000);
        assert_eq!(histogram.quantile(0.0), 1_000);
        assert_eq!(histogram.sum(), 5_050_000);
    }
}

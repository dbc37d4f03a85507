//! From the worker's clock to the line of `performance.now()`.

/// Nanoseconds in a millisecond.
pub(crate) const NS_PER_MS: f64 = 1e6;

/// Both clocks tick alike (CLOCK_MONOTONIC); they differ by when `performance.now()` was 0 in this environment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line {
    /// The worker's clock when `performance.now()` was 0, in ns. Negative for a clock that started later than Node.
    origin_ns: i64,
}

impl Line {
    /// A line on which `now_ms` is somewhere between `before_ns` and `after_ns` of the worker's clock.
    pub(crate) fn new(before_ns: u64, now_ms: f64, after_ns: u64) -> Self {
        let middle_ns = before_ns + after_ns.saturating_sub(before_ns) / 2;
        Self { origin_ns: middle_ns as i64 - (now_ms * NS_PER_MS) as i64 }
    }

    /// A time of the worker, in ms on the line.
    pub(crate) fn ms(self, ns: u64) -> f64 {
        // The difference first: it is small enough for a double to hold its nanoseconds.
        (ns as i64).wrapping_sub(self.origin_ns) as f64 / NS_PER_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_worker_is_on_the_line_to_the_nanosecond() {
        // A year of uptime, an environment that began 250.000003 ms ago.
        let year = 31_536_000_000_000_000u64;
        let line = Line::new(year, 250.000_003, year);
        assert_eq!(line.ms(year), 250.000_003);
        assert_eq!(line.ms(year + 1), 250.000_004);
        assert_eq!(line.ms(year - 250_000_003), 0.0);
        assert_eq!(line.ms(year - 250_000_003 - 1_000_000), -1.0);
    }

    #[test]
    fn the_middle_of_the_two_readings_counts() {
        assert_eq!(Line::new(1_000_000, 5.0, 1_000_400).ms(1_000_200), 5.0);
        // A clock that was read out of order is not taken for a huge interval.
        assert_eq!(Line::new(1_000_000, 5.0, 999_000).ms(1_000_000), 5.0);
    }
}

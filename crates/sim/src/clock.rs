//! The clock of one node: virtual time, unless it is told to read earlier for a while.

/// A clock that may step back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// How far behind it reads, and until when, both in ns of virtual time.
    back: Option<(u64, u64)>,
}

impl Clock {
    /// Reads `by_ns` earlier until `until_ns`, then right again.
    pub(crate) fn step_back(&mut self, by_ns: u64, until_ns: u64) {
        self.back = Some((by_ns, until_ns));
    }

    /// What it reads at `now_ns`.
    pub(crate) fn reading(&self, now_ns: u64) -> u64 {
        match self.back {
            Some((by_ns, until_ns)) if now_ns < until_ns => now_ns.saturating_sub(by_ns),
            _ => now_ns,
        }
    }

    /// The first moment from `now_ns` on at which it reads `reading_ns` or more.
    pub(crate) fn when(&self, now_ns: u64, reading_ns: u64) -> u64 {
        match self.back {
            Some((by_ns, until_ns)) if now_ns < until_ns => {
                now_ns.max(reading_ns.saturating_add(by_ns).min(until_ns.max(reading_ns)))
            }
            _ => now_ns.max(reading_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_the_first_moment_of_a_reading() {
        let mut clock = Clock::default();
        assert_eq!((clock.reading(70), clock.when(70, 90), clock.when(70, 50)), (70, 90, 70));
        clock.step_back(30, 100);
        for now in 40..120 {
            for reading in 0..150 {
                let first = (now..).find(|at| clock.reading(*at) >= reading);
                assert_eq!(Some(clock.when(now, reading)), first, "{now} {reading}");
            }
        }
    }
}

//! Whether a stream brings bulk or messages.

use crate::config::{MS, SECOND};

/// From a stream that brings so many bytes per second, nothing is a message: 50 µs of it are two or three packets.
const BULK_RATE: u128 = 70_000_000;

/// How much a stream brings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Inflow {
    since_ns: u64,
    bytes: u64,
    bulk: bool,
}

impl Inflow {
    /// Notes what became readable, and whether it is part of bulk: of so much in a millisecond that no reader waits for each
    /// piece.
    pub(crate) fn note(&mut self, bytes: u64, now_ns: u64) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        let elapsed_ns = now_ns.saturating_sub(self.since_ns);
        if elapsed_ns >= MS {
            let brought = u128::from(self.bytes).saturating_mul(u128::from(SECOND));
            let bulk = brought >= BULK_RATE.saturating_mul(u128::from(elapsed_ns));
            *self = Self { since_ns: now_ns, bytes: 0, bulk };
        }
        self.bulk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of `bytes`, each `every_ns`: how many count as bulk of a hundred.
    fn bulk(inflow: &mut Inflow, from_ns: u64, bytes: u64, every_ns: u64) -> usize {
        (1..=100).filter(|at| inflow.note(bytes, from_ns + at * every_ns)).count()
    }

    #[test]
    fn bulk_is_known_after_a_millisecond_and_forgotten_with_the_first_message_after_it() {
        let mut inflow = Inflow::default();
        assert_eq!(bulk(&mut inflow, 5 * SECOND, 14_720, 50_000), 80, "294 MB/s");
        assert!(!inflow.note(14_720, 6 * SECOND));
        assert_eq!(bulk(&mut inflow, 7 * SECOND, 64 << 10, 1_000_000), 0, "65 MB/s");
        assert_eq!(bulk(&mut inflow, 8 * SECOND, 100, 10_000), 0, "10 MB/s in small pieces");
    }

    #[test]
    fn a_clock_that_stands_still_is_no_bulk() {
        let mut inflow = Inflow::default();
        assert_eq!(bulk(&mut inflow, 5 * SECOND, 1 << 20, 0), 0);
        assert!(inflow.note(u64::MAX, 6 * SECOND));
    }
}

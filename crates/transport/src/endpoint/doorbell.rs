//! When the application is told that there is news.
//!
//! A turn of a JavaScript event loop costs about 10 µs and another 9 µs to begin, so a bulk receiver that is woken for every
//! 64 KiB burst spends more on waking than on reading. While news is only more of the same, the bell rings at most every
//! [`INTERVAL_NS`]; whatever somebody may wait for rings at once.

/// 4,000 wakes a second at most; 250 µs of 10 Gbit/s are 300 KB, about one slab of the boundary.
const INTERVAL_NS: u64 = 250_000;
/// Less than this in one step is a message, not bulk.
const BULK_BYTES: u64 = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Doorbell {
    last_ns: u64,
    owed: bool,
    urgent: bool,
    /// Readable in this step, without what is part of bulk.
    bytes: u64,
    bulk: bool,
}

impl Doorbell {
    /// Something happened that somebody may wait for.
    pub(super) fn urgent(&mut self) {
        self.owed = true;
        self.urgent = true;
    }

    /// Stream bytes became readable in this step.
    pub(super) fn readable(&mut self, bytes: u64, bulk: bool) {
        self.owed |= bytes > 0;
        self.bulk |= bulk;
        self.bytes = self.bytes.saturating_add(if bulk { 0 } else { bytes });
    }

    /// Whether part of bulk became readable in this step.
    pub(super) fn take_bulk(&mut self) -> bool {
        std::mem::take(&mut self.bulk)
    }

    /// Completion records were added.
    pub(super) fn records(&mut self) {
        self.owed = true;
    }

    /// Whether to ring now; asked once, at the end of a step.
    pub(super) fn rings(&mut self, now_ns: u64) -> bool {
        let message = self.bytes > 0 && self.bytes < BULK_BYTES;
        let bytes = std::mem::take(&mut self.bytes);
        debug_assert!(bytes == 0 || self.owed);
        if !self.owed || !(self.urgent || message || now_ns >= self.last_ns.saturating_add(INTERVAL_NS)) {
            return false;
        }
        *self = Self { last_ns: now_ns, ..Self::default() };
        true
    }

    /// When a bell that is owed rings at the latest.
    pub(super) fn next_ring(&self) -> Option<u64> {
        self.owed.then(|| self.last_ns.saturating_add(INTERVAL_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_rings_four_thousand_times_a_second_and_messages_at_once() {
        let mut bell = Doorbell { last_ns: 1_000_000, ..Doorbell::default() };
        assert!(!bell.rings(9_000_000));
        bell.readable(64 << 10, false);
        assert!(bell.rings(9_000_000));
        bell.readable(64 << 10, false);
        assert!(!bell.rings(9_100_000));
        assert_eq!(bell.next_ring(), Some(9_250_000));
        assert!(!bell.rings(9_249_999));
        assert!(bell.rings(9_250_000));
        assert_eq!(bell.next_ring(), None);
        bell.readable(1_000, false);
        assert!(bell.rings(9_250_001), "a message does not wait");
        bell.readable(64 << 10, false);
        bell.urgent();
        assert!(bell.rings(9_250_002), "nor does an end");
        bell.records();
        assert!(!bell.rings(9_250_003));
    }
}

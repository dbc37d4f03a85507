//! Whether a path carries ECN marks (RFC 9000 §13.4.2), as far as dcQUIC's ACKs tell.
//!
//! An ACK of the stream space counts the marks of every packet of the stream, those of the recovery space included. So the counts
//! must reach the number of packets acknowledged in the stream space, all of which left with ECT(0). What is more than that may
//! be the recovery space's.

use crate::stats::EcnState;
use paceline_wire::frame::EcnCounts;

/// RFC 9000 §13.4.2: marked packets that all vanish before the first answer.
const SILENT_PTOS: u32 = 3;
/// … and packets that are enough to judge by. An answer from time-wait acknowledges one packet and counts no marks.
const TESTED_PACKETS: u64 = 10;

#[derive(Clone, Debug, Default)]
pub(crate) struct EcnValidation {
    state: EcnState,
}

impl EcnValidation {
    /// Whether packets are sent with ECT(0).
    pub(crate) fn is_capable(&self) -> bool {
        self.state != EcnState::Failed
    }

    pub(crate) fn state(&self) -> EcnState {
        self.state
    }

    /// An ACK of a stream of which `acknowledged` packets of the stream space have been acknowledged in all. A path that fails
    /// stays so.
    pub(crate) fn on_counts(&mut self, counts: EcnCounts, acknowledged: u64) {
        let marked = counts.ect0.saturating_add(counts.ce);
        match self.state {
            EcnState::Failed => {}
            _ if marked == 0 && counts.ect1 == 0 && acknowledged < TESTED_PACKETS => {}
            // We never send ECT(1).
            _ if counts.ect1 > 0 || marked < acknowledged => self.state = EcnState::Failed,
            _ if marked > 0 => self.state = EcnState::Capable,
            _ => {}
        }
    }

    /// That many PTOs in a row have expired.
    pub(crate) fn on_ptos(&mut self, expired: u32) {
        if self.state == EcnState::Testing && expired >= SILENT_PTOS {
            self.state = EcnState::Failed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ect0: u64, ect1: u64, ce: u64) -> EcnCounts {
        EcnCounts { ect0, ect1, ce }
    }

    #[test]
    fn counts_that_add_up_keep_it_on() {
        let mut ecn = EcnValidation::default();
        ecn.on_counts(counts(10, 0, 2), 12);
        ecn.on_counts(counts(15, 0, 4), 14);
        ecn.on_ptos(100);
        assert!(ecn.is_capable());
    }

    #[test]
    fn missing_or_foreign_marks_turn_it_off_for_good() {
        let mut ecn = EcnValidation::default();
        ecn.on_counts(counts(0, 0, 0), 9);
        assert!(ecn.is_capable(), "time-wait counts nothing");
        for bad in [counts(0, 0, 0), counts(9, 0, 0), counts(0, 10, 0), counts(10, 1, 0)] {
            let mut ecn = EcnValidation::default();
            ecn.on_counts(bad, 10);
            assert!(!ecn.is_capable(), "{bad:?}");
            ecn.on_counts(counts(100, 0, 0), 20);
            assert!(!ecn.is_capable());
        }
    }

    #[test]
    fn silence_from_the_start_turns_it_off() {
        let mut ecn = EcnValidation::default();
        ecn.on_ptos(2);
        assert!(ecn.is_capable());
        ecn.on_ptos(3);
        assert!(!ecn.is_capable());
    }
}

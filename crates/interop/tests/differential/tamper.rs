//! A packet that somebody changed on the way.

use crate::tally::Tally;
use paceline_interop::Rng;

/// A header is no longer than that: half of the changed bits are there.
const HEADER_BITS: u64 = 60 * 8;

/// The packet, cut short or with one bit changed.
pub(crate) fn changed(rng: &mut Rng, packet: &[u8], tally: &mut Tally) -> Vec<u8> {
    let mut bad = packet.to_vec();
    if rng.one_in(3) {
        bad.truncate(usize::try_from(rng.below(packet.len() as u64)).unwrap());
        tally.note("truncated");
    } else {
        let bits = packet.len() as u64 * 8;
        let among = if rng.one_in(2) { bits.min(HEADER_BITS) } else { bits };
        let bit = rng.below(among);
        bad[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
        tally.note("tampered");
    }
    bad
}

/// Whole it is `authentic`, changed it is not.
pub(crate) fn refused(rng: &mut Rng, packet: &[u8], authentic: impl Fn(&[u8]) -> bool, tally: &mut Tally) {
    assert!(authentic(packet));
    assert!(!authentic(&changed(rng, packet, tally)));
}

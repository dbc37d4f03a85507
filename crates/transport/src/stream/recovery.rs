//! What a stream has sent and not yet seen acknowledged, in one packet-number space.
//!
//! A ring in order of numbers, its front the oldest packet without a verdict. Numbers of the stream space are contiguous;
//! those of the recovery space jump, so reordering is counted in packets, not in numbers.

use paceline_pacer::SentInfo;
use paceline_pool::Filled;
use std::collections::VecDeque;

/// RFC 9002 §6.1.1, kPacketThreshold.
pub(crate) const PACKET_THRESHOLD: usize = 3;

/// A sealed packet, still in its descriptor.
#[derive(Clone, Debug)]
pub(crate) struct Retained {
    pub(crate) filled: Filled,
    pub(crate) start: u32,
    pub(crate) len: u16,
}

impl Retained {
    pub(crate) fn bytes(&self) -> &[u8] {
        let start = self.start as usize;
        self.filled.bytes().get(start..start.saturating_add(usize::from(self.len))).unwrap_or(&[])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In the wheel, or on its way to the network.
    Scheduled,
    /// Left; counted in the path's bytes in flight.
    InFlight,
    /// Has its verdict; only keeps its place.
    Acknowledged,
    /// Declared lost; an acknowledgement may still come (spurious loss).
    Lost,
}

/// One packet that was sealed.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) number: u64,
    /// Number in the stream space that the AEAD nonce was made from.
    pub(crate) original: u64,
    pub(crate) offset: u64,
    pub(crate) payload: u16,
    pub(crate) packet_len: u16,
    pub(crate) fin: bool,
    pub(crate) state: State,
    pub(crate) sent_ns: u64,
    pub(crate) info: Option<SentInfo>,
    /// `None` for probes without data.
    pub(crate) retained: Option<Retained>,
}

#[derive(Debug, Default)]
pub(crate) struct SentMap {
    ring: VecDeque<Sent>,
    largest_acknowledged: Option<u64>,
    /// Nothing below this number is in flight, so that each ACK looks only at what the last one left open.
    settled_below: u64,
}

impl SentMap {
    /// Numbers must rise.
    pub(crate) fn insert(&mut self, sent: Sent) {
        debug_assert!(self.ring.back().is_none_or(|last| last.number < sent.number));
        self.ring.push_back(sent);
    }

    /// A scheduled packet left. It may be older than what was settled (its send was retried).
    pub(crate) fn note_in_flight(&mut self, number: u64) {
        self.settled_below = self.settled_below.min(number);
    }

    fn position(&self, number: u64) -> Result<usize, usize> {
        let first = match self.ring.front() {
            Some(first) => first.number,
            None => return Err(0),
        };
        if number < first {
            return Err(0);
        }
        let guess = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        if self.ring.get(guess).is_some_and(|sent| sent.number == number) {
            return Ok(guess);
        }
        self.ring.binary_search_by_key(&number, |sent| sent.number)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Sent> {
        let position = self.position(number).ok()?;
        self.ring.get_mut(position)
    }

    /// Calls `each` for every packet of `first..=last` that is still known.
    pub(crate) fn for_each_in(&mut self, first: u64, last: u64, mut each: impl FnMut(&mut Sent)) {
        let (Ok(from) | Err(from)) = self.position(first);
        for sent in self.ring.range_mut(from.min(self.ring.len())..) {
            if sent.number > last {
                break;
            }
            each(sent);
        }
    }

    pub(crate) fn note_largest_acknowledged(&mut self, number: u64) {
        self.largest_acknowledged = self.largest_acknowledged.max(Some(number));
    }

    /// Calls `lost` for every packet in flight that is [`PACKET_THRESHOLD`] packets older than the newest acknowledged one.
    pub(crate) fn detect_reordered(&mut self, mut lost: impl FnMut(&mut Sent)) {
        let Some(largest) = self.largest_acknowledged else { return };
        let newest = match self.position(largest) {
            Ok(position) => position,
            // Already dropped from the ring: everything before it has its verdict.
            Err(position) => position.saturating_sub(1),
        };
        let Some(end) = newest.checked_sub(PACKET_THRESHOLD.saturating_sub(1)) else { return };
        let end = end.min(self.ring.len());
        let (Ok(from) | Err(from)) = self.position(self.settled_below);
        for sent in self.ring.range_mut(from.min(end)..end) {
            if sent.state == State::InFlight {
                lost(sent);
            }
            self.settled_below = self.settled_below.max(sent.number.saturating_add(1));
        }
    }

    /// Drops verdicts from the front. `forget_before_ns`: lost packets sent earlier are no longer waited for.
    pub(crate) fn trim(&mut self, forget_before_ns: u64) {
        while let Some(front) = self.ring.front() {
            let over = match front.state {
                State::Acknowledged => true,
                State::Lost => front.sent_ns < forget_before_ns,
                State::Scheduled | State::InFlight => false,
            };
            if !over {
                break;
            }
            self.ring.pop_front();
        }
        // A window's worth of slots is not kept for good by a stream that has become quiet.
        if self.ring.is_empty() && self.ring.capacity() > 1024 {
            self.ring.shrink_to(64);
        }
    }

    /// The oldest packet without a verdict that can be copied, or that is a bare probe.
    pub(crate) fn oldest_in_flight(&self) -> Option<&Sent> {
        self.ring.iter().find(|sent| sent.state == State::InFlight)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.ring.iter()
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Sent> + '_ {
        self.ring.drain(..)
    }
}

#[cfg(test)]
mod tests;

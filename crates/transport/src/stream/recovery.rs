//! What a stream has sent and not yet seen acknowledged, in one packet-number space.
//!
//! A ring in order of numbers, its front the oldest packet without a verdict. Numbers of the stream space skip one now and
//! then, those of the recovery space jump, so reordering is counted in packets, not in numbers. What was left out is not in
//! the ring: it can be neither lost nor probed.

use paceline_pacer::SentInfo;
use paceline_pool::Filled;
use std::collections::VecDeque;

/// RFC 9002 §6.1.1, kPacketThreshold.
pub(crate) const PACKET_THRESHOLD: usize = 3;
/// Runs of left-out numbers that are remembered: more than a window has (one or two in the stream space), and who
/// acknowledges older ones gains nothing by it.
const MAX_LEFT_OUT: usize = 8;

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
    /// One above the newest number.
    next: u64,
    /// The newest numbers that were left out, first and last of each run.
    left_out: VecDeque<(u64, u64)>,
}

impl SentMap {
    /// Numbers must rise.
    pub(crate) fn insert(&mut self, sent: Sent) {
        debug_assert!(self.ring.back().is_none_or(|last| last.number < sent.number));
        if sent.number > self.next {
            if self.left_out.len() >= MAX_LEFT_OUT {
                self.left_out.pop_front();
            }
            self.left_out.push_back((self.next, sent.number.saturating_sub(1)));
        }
        self.next = sent.number.saturating_add(1);
        if self.ring.capacity() == 0 {
            // `push_back` would take room for four: half a KiB for the probes of an idle stream.
            self.ring.reserve_exact(1);
        }
        self.ring.push_back(sent);
    }

    /// Whether `first..=last` names a number that was never sealed.
    pub(crate) fn has_unsent_in(&self, first: u64, last: u64) -> bool {
        last >= self.next || self.left_out.iter().any(|&(from, to)| first <= to && from <= last)
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

    /// Drops verdicts from the front. Lost packets sent before `forget_before_ns` are no longer waited for, once what they
    /// carried is `settled`: a peer that is done repeats its last acknowledgement, which may name only them.
    pub(crate) fn trim(&mut self, forget_before_ns: u64, settled: impl Fn(&Sent) -> bool) {
        while let Some(front) = self.ring.front() {
            let over = match front.state {
                State::Acknowledged => true,
                State::Lost => front.sent_ns < forget_before_ns && settled(front),
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

    /// Of the packets in flight with data, the one that comes first in the stream. O(packets), for probes.
    pub(crate) fn first_in_stream(&self) -> Option<&Sent> {
        let in_flight =
            self.ring.iter().filter(|sent| sent.state == State::InFlight && sent.retained.is_some());
        in_flight.min_by_key(|sent| sent.offset)
    }

    /// For a stream that has become idle.
    pub(crate) fn shrink(&mut self) {
        self.ring.shrink_to_fit();
        self.left_out.shrink_to_fit();
    }

    /// Lets go of every retained packet; its verdict is still waited for.
    pub(crate) fn let_go(&mut self) {
        for sent in &mut self.ring {
            sent.retained = None;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.ring.iter()
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Sent> + '_ {
        self.ring.drain(..)
    }
}

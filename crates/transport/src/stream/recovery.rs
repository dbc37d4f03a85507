//! What a stream has sent and not yet seen acknowledged, in one packet-number space.
//!
//! A ring in order of numbers, its front the oldest packet without a verdict. Numbers of the stream space skip one now and
//! then, those of the recovery space jump, so reordering is counted in packets, not in numbers. What was left out is not in
//! the ring: it can be neither lost nor probed.
//!
//! A peer may acknowledge all but one packet, so what is done behind it is swept out of the ring: whenever the ring is twice as
//! long as what the last sweep left, and whenever acknowledgements have met as many packets in vain as a sweep looks at.

use paceline_pacer::SentInfo;
use paceline_pool::Filled;
use std::collections::VecDeque;

/// Runs of left-out numbers that are remembered: more than a window has (one in half a window of the stream space), and who
/// acknowledges older ones gains nothing by it.
const MAX_LEFT_OUT: usize = 8;

/// A shorter ring is not worth a sweep for its length.
const MIN_SWEPT: usize = 64;

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
    /// In the wheel, or handed to the environment.
    Scheduled,
    /// Left; counted in the path's bytes in flight.
    InFlight,
    /// Has its verdict; goes with the next trim or sweep.
    Acknowledged,
    /// Declared lost; an acknowledgement may still come (spurious loss). Without `info`, it was never in flight or was given up, and nobody was told of a loss.
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

/// A packet, and how many were sealed before it in its space.
#[derive(Debug)]
struct Placed {
    ordinal: u64,
    sent: Sent,
}

#[derive(Debug, Default)]
pub(crate) struct SentMap {
    ring: VecDeque<Placed>,
    /// Packets sealed so far.
    sealed: u64,
    /// Number and ordinal of the newest packet that was acknowledged.
    largest_acknowledged: Option<(u64, u64)>,
    /// Nothing below this number is in flight, so that each ACK looks only at what the last one left open.
    settled_below: u64,
    /// One above the newest number.
    next: u64,
    /// One above the newest number that the environment was handed. Numbers of a space leave in order.
    handed: u64,
    /// The newest numbers that were left out, first and last of each run.
    left_out: VecDeque<(u64, u64)>,
    /// A ring of this length is swept.
    sweep_at: usize,
    /// Packets met by acknowledgements since the last sweep that had one already.
    idle_visits: usize,
    /// Packets met by acknowledgements, for the audit.
    visits: u64,
}

impl SentMap {
    /// Numbers must rise.
    pub(crate) fn insert(&mut self, sent: Sent) {
        debug_assert!(self.ring.back().is_none_or(|last| last.sent.number < sent.number));
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
        self.ring.push_back(Placed { ordinal: self.sealed, sent });
        self.sealed = self.sealed.saturating_add(1);
    }

    /// Whether `first..=last` names a number that was never sealed, or still waits here.
    pub(crate) fn has_unsent_in(&self, first: u64, last: u64) -> bool {
        last >= self.handed || self.left_out.iter().any(|&(from, to)| first <= to && from <= last)
    }

    /// The environment gets the packets up to `number`: they may arrive before their completions come back.
    pub(crate) fn note_handed(&mut self, number: u64) {
        self.handed = self.handed.max(number.saturating_add(1));
    }

    /// A scheduled packet left. It may be older than what was settled (its send was retried).
    pub(crate) fn note_in_flight(&mut self, number: u64) {
        self.settled_below = self.settled_below.min(number);
    }

    fn position(&self, number: u64) -> Result<usize, usize> {
        let first = match self.ring.front() {
            Some(first) => first.sent.number,
            None => return Err(0),
        };
        if number < first {
            return Err(0);
        }
        let guess = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        if self.ring.get(guess).is_some_and(|placed| placed.sent.number == number) {
            return Ok(guess);
        }
        self.ring.binary_search_by_key(&number, |placed| placed.sent.number)
    }

    /// The index of the first packet of `number` or above.
    fn lower_bound(&self, number: u64) -> usize {
        let (Ok(index) | Err(index)) = self.position(number);
        index.min(self.ring.len())
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Sent> {
        let position = self.position(number).ok()?;
        self.ring.get_mut(position).map(|placed| &mut placed.sent)
    }

    /// Acknowledges every packet of `first..=last` that is not yet; `each` sees it with the state it had.
    pub(crate) fn acknowledge(&mut self, first: u64, last: u64, mut each: impl FnMut(&mut Sent)) {
        let from = self.lower_bound(first);
        for Placed { ordinal, sent } in self.ring.range_mut(from..) {
            if sent.number > last {
                break;
            }
            self.visits = self.visits.saturating_add(1);
            if sent.state == State::Acknowledged {
                self.idle_visits = self.idle_visits.saturating_add(1);
                continue;
            }
            each(sent);
            sent.state = State::Acknowledged;
            self.largest_acknowledged = self.largest_acknowledged.max(Some((sent.number, *ordinal)));
        }
        // A packet may hold a hundred ACK frames that name the same: the walks in vain have paid for a sweep.
        if self.idle_visits > self.ring.len() {
            self.ring.retain(|placed| placed.sent.state != State::Acknowledged);
            self.idle_visits = 0;
        }
    }

    /// The first packet of `first..=last` that is in flight.
    pub(crate) fn first_in_flight(&self, first: u64, last: u64) -> Option<u64> {
        let packets = self.ring.range(self.lower_bound(first)..).map(|placed| &placed.sent);
        let mut packets = packets.take_while(|sent| sent.number <= last);
        packets.find(|sent| sent.state == State::InFlight).map(|sent| sent.number)
    }

    pub(crate) fn largest_acknowledged(&self) -> Option<u64> {
        self.largest_acknowledged.map(|(number, _)| number)
    }

    /// Packets that acknowledgements looked at so far.
    pub(crate) fn visits(&self) -> u64 {
        self.visits
    }

    /// Forgets a packet that has its verdict; an acknowledgement of it says nothing any more.
    pub(crate) fn remove_settled(&mut self, number: u64) {
        if let Ok(position) = self.position(number)
            && self
                .ring
                .get(position)
                .is_some_and(|placed| matches!(placed.sent.state, State::Lost | State::Acknowledged))
        {
            self.ring.remove(position);
        }
    }

    /// Calls `lost` for every packet in flight that is `threshold` packets older than the newest acknowledged one.
    pub(crate) fn detect_reordered(&mut self, threshold: usize, mut lost: impl FnMut(&mut Sent)) {
        let Some((_, largest)) = self.largest_acknowledged else { return };
        let Some(newest) = largest.checked_sub(threshold as u64) else { return };
        let from = self.lower_bound(self.settled_below);
        for Placed { ordinal, sent } in self.ring.range_mut(from..) {
            if *ordinal > newest {
                break;
            }
            if sent.state == State::InFlight {
                lost(sent);
            }
            self.settled_below = self.settled_below.max(sent.number.saturating_add(1));
        }
    }

    /// Drops what is over: acknowledged packets, and lost ones sent before `forget_before_ns`, once what they carried is
    /// `settled`. Until then those are waited for: a peer that is done repeats its last acknowledgement, which may name only them.
    pub(crate) fn trim(&mut self, forget_before_ns: u64, settled: impl Fn(&Sent) -> bool) {
        let is_over = |placed: &Placed| match placed.sent.state {
            State::Acknowledged => true,
            State::Lost => placed.sent.sent_ns < forget_before_ns && settled(&placed.sent),
            State::Scheduled | State::InFlight => false,
        };
        while self.ring.front().is_some_and(is_over) {
            self.ring.pop_front();
        }
        if self.ring.len() >= self.sweep_at.max(MIN_SWEPT) {
            self.ring.retain(|placed| !is_over(placed));
            self.sweep_at = self.ring.len().saturating_mul(2);
        }
        // A window's worth of slots is not kept for good by a stream that has become quiet.
        if self.ring.is_empty() && self.ring.capacity() > 1024 {
            self.ring.shrink_to(64);
        }
    }

    /// Of the packets in flight with data, the one that comes first in the stream. O(packets), for probes.
    pub(crate) fn first_in_stream(&self) -> Option<&Sent> {
        let in_flight = self.iter().filter(|sent| sent.state == State::InFlight && sent.retained.is_some());
        in_flight.min_by_key(|sent| sent.offset)
    }

    /// For a stream that has become idle.
    pub(crate) fn shrink(&mut self) {
        self.ring.shrink_to_fit();
        self.left_out.shrink_to_fit();
    }

    /// Lets go of every retained packet; its verdict is still waited for.
    pub(crate) fn let_go(&mut self) {
        for placed in &mut self.ring {
            placed.sent.retained = None;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.ring.iter().map(|placed| &placed.sent)
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Sent> + '_ {
        self.ring.drain(..).map(|placed| placed.sent)
    }
}

#[cfg(test)]
mod tests;

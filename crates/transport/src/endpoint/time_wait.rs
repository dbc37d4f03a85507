//! Streams that are over, remembered for as long as a late packet of theirs may want an answer.
//!
//! Only what an answer needs is kept (≤ 256 bytes an entry), in a bounded FIFO that does not count against stream limits.
//! Keys are derived again from the path secret for each late packet; an authentic one is acknowledged by its own number,
//! together with what was acknowledged last, or told of the close. Repeating the last control packet alone is not enough: it
//! may have had no room for a range, and its peer would repeat that packet until its idle timeout (sim, seed 623).

use crate::{
    path::Route,
    stream::recv::{Close, Recv},
    transmission::Space,
};
use paceline_wire::{Credentials, Opener, PhaseSecret, Writer, frame};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Entries; the oldest goes first.
const MAX_ENTRIES: usize = 65_536;
/// Bytes of acknowledgements kept; the newest ranges come first.
pub(crate) const MAX_ACKS: usize = 96;
/// A CONNECTION_CLOSE with the longest code.
const MAX_CLOSE: usize = 32;
/// Late packets of one stream that are answered: a window's worth (each lost packet may come again), and probes.
const MAX_ANSWERS: u16 = 8_192;
/// Above every queue id that a stream has.
const NAMELESS: u64 = 1 << 40;

#[derive(Debug)]
pub(crate) struct Entry {
    /// Outlives the path: a peer that was closed here may still miss an acknowledgement.
    pub(crate) route: Arc<Route>,
    pub(crate) key_id: u64,
    /// Who opened it. Where that was the peer, its path still maps the key id here.
    pub(crate) opener: Opener,
    /// The queue id the peer is told apart by.
    pub(crate) peer_queue_id: u64,
    /// ACK frames of what had arrived at the end, or the close that was said instead.
    pub(crate) frames: Box<[u8]>,
    /// They are a close: nothing is acknowledged.
    pub(crate) closed: bool,
    /// The peer's key phase, where it is not the first.
    pub(crate) phase: Option<Box<PhaseSecret>>,
    /// Number of the next control packet.
    pub(crate) next_control: u64,
    /// What late packets are numbered with at least, per space.
    pub(crate) expected: [u64; 2],
    /// Late packets answered so far.
    pub(crate) answers: u16,
}

impl Entry {
    /// What it will say: the close, or what `recv` has to acknowledge.
    pub(crate) fn last_words(close: Option<Close>, recv: &Recv) -> Box<[u8]> {
        match close {
            Some(close) => Self::farewell(close),
            None => {
                let mut acks = [0; MAX_ACKS];
                let len = recv.encode_acks(&mut acks);
                acks.get(..len).unwrap_or(&[]).into()
            }
        }
    }

    pub(crate) fn farewell(close: Close) -> Box<[u8]> {
        let mut frames = [0; MAX_CLOSE];
        let mut writer = Writer::new(&mut frames);
        let fits = frame::connection_close(&mut writer, close.transport, close.code).is_ok();
        debug_assert!(fits);
        let len = writer.len();
        frames.get(..len).unwrap_or(&[]).into()
    }

    /// Whether a packet of this number may be answered. Whoever misses an answer asks again with a higher number, so a lower
    /// one is a replay, or says nothing that a later one did not.
    pub(crate) fn expects(&self, space: Space, number: u64) -> bool {
        self.answers < MAX_ANSWERS
            && self.expected.get(space as usize).is_some_and(|expected| number >= *expected)
    }

    /// An authentic packet is being answered. Returns the number of the control packet that does it.
    pub(crate) fn note_answer(&mut self, space: Space, number: u64) -> u64 {
        if let Some(expected) = self.expected.get_mut(space as usize) {
            *expected = number.saturating_add(1);
        }
        self.answers = self.answers.saturating_add(1);
        let control = self.next_control;
        self.next_control = control.saturating_add(1);
        control
    }
}

#[derive(Debug, Default)]
pub(crate) struct TimeWait {
    entries: BTreeMap<u64, Entry>,
    order: VecDeque<(u64, u64)>,
    nameless: u64,
}

impl TimeWait {
    /// Remembers a stream until `expires_ns`. Returns what had to be forgotten for it.
    pub(crate) fn insert(&mut self, queue_id: u64, entry: Entry, expires_ns: u64) -> Option<Entry> {
        let evicted = if self.order.len() >= MAX_ENTRIES { self.pop_front() } else { None };
        // Expiry times must not go back, or the front of the FIFO would not be the next to expire.
        let expires_ns = self.order.back().map_or(expires_ns, |(last, _)| expires_ns.max(*last));
        self.order.push_back((expires_ns, queue_id));
        self.entries.insert(queue_id, entry);
        evicted
    }

    /// A queue id for an entry that never had one.
    pub(crate) fn next_nameless(&mut self) -> u64 {
        self.nameless = self.nameless.wrapping_add(1);
        NAMELESS | (self.nameless & (NAMELESS - 1))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, queue_id: u64) -> bool {
        self.entries.contains_key(&queue_id)
    }

    /// The stream that a packet with these credentials belongs to.
    pub(crate) fn find(&mut self, queue_id: u64, credentials: &Credentials) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&queue_id)?;
        (entry.route.credential_id == credentials.id && entry.key_id == credentials.key_id).then_some(entry)
    }

    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.order.front().map(|(expires_ns, _)| *expires_ns)
    }

    /// The next entry whose time is over.
    pub(crate) fn pop_expired(&mut self, now_ns: u64) -> Option<Entry> {
        if self.next_expiry()? > now_ns {
            return None;
        }
        self.pop_front()
    }

    fn pop_front(&mut self) -> Option<Entry> {
        let (_, queue_id) = self.order.pop_front()?;
        self.entries.remove(&queue_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_at_most_256_bytes() {
        // With its acknowledgements, its number and time in the two indices; the phase secret comes after 2^23 packets only.
        let index = size_of::<u64>() * 3;
        assert!(size_of::<Entry>() + MAX_ACKS + index <= 256, "{}", size_of::<Entry>());
    }
}

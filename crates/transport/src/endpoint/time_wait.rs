//! Streams that are over, remembered for as long as a late packet of theirs may want an answer.
//!
//! Only what an answer needs is kept (≤ 256 bytes an entry), in a bounded FIFO that does not count against stream limits.
//! Keys are derived again from the path secret for each late packet; an authentic one is acknowledged by its own number,
//! together with what was acknowledged last, or told of the close. Repeating the last control packet alone is not enough: it
//! may have had no room for a range, and its peer would repeat that packet until its idle timeout (sim, seed 623).

use crate::{path::Route, stream::recv::Close};
use paceline_wire::{Credentials, Opener, PhaseSecret};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Entries; the oldest goes first.
const MAX_ENTRIES: usize = 65_536;
/// Bytes of acknowledgements kept; the newest ranges come first.
pub(crate) const MAX_ACKS: usize = 96;

#[derive(Debug)]
pub(crate) struct Entry {
    /// Outlives the path: a peer that was closed here may still miss an acknowledgement.
    pub(crate) route: Arc<Route>,
    pub(crate) key_id: u64,
    /// Who opened it. Where that was the peer, its path still maps the key id here.
    pub(crate) opener: Opener,
    /// The queue id the peer is told apart by.
    pub(crate) peer_queue_id: u64,
    /// ACK frames of what had arrived at the end.
    pub(crate) acks: Box<[u8]>,
    /// Said instead of any acknowledgement.
    pub(crate) close: Option<Close>,
    /// The peer's key phase, where it is not the first.
    pub(crate) phase: Option<Box<PhaseSecret>>,
    /// Number of the next control packet.
    pub(crate) next_control: u64,
    /// Late packets looked at so far, bounded so that one that is replayed for ever is not answered for ever.
    pub(crate) answers: u16,
}

/// Late packets of one stream that are looked at: a window's worth (each lost packet may come again), and probes.
const MAX_ANSWERS: u16 = 8_192;

#[derive(Debug, Default)]
pub(crate) struct TimeWait {
    entries: BTreeMap<u64, Entry>,
    order: VecDeque<(u64, u64)>,
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

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, queue_id: u64) -> bool {
        self.entries.contains_key(&queue_id)
    }

    /// The stream that a late packet with these credentials belongs to, if it may still be answered.
    pub(crate) fn answer(&mut self, queue_id: u64, credentials: &Credentials) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&queue_id)?;
        if entry.route.credential_id != credentials.id
            || entry.key_id != credentials.key_id
            || entry.answers >= MAX_ANSWERS
        {
            return None;
        }
        entry.answers = entry.answers.saturating_add(1);
        Some(entry)
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

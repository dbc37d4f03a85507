//! Streams that are over, remembered for as long as a late packet of theirs may want an answer.
//!
//! Only what an answer needs is kept (≤ 256 bytes an entry), in a bounded FIFO that does not count against stream limits.
//! A packet is answered with the stream's last control packet, byte for byte: it carries the last acknowledgement, or the
//! close. The answer goes to the path's address, never to the packet's source, and is never larger than what came.

use paceline_wire::Credentials;
use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
};

/// Entries; the oldest goes first.
const MAX_ENTRIES: usize = 65_536;
/// A longer last control packet is not kept.
pub(crate) const MAX_ANSWER: usize = 160;

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) credentials: Credentials,
    pub(crate) remote: SocketAddr,
    pub(crate) local: Option<IpAddr>,
    /// The last control packet; empty when there is nothing to say.
    pub(crate) answer: Box<[u8]>,
    /// The peer opened it, so its path still maps the key id here.
    pub(crate) accepted: bool,
    /// Answers given so far, bounded so that a packet that is replayed for ever is not answered for ever.
    pub(crate) answers: u8,
}

/// Answers to one stream's late packets: more than a peer that lost an ACK needs in 16 probes.
const MAX_ANSWERS: u8 = 32;

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

    /// What to answer to a packet of `len` bytes with these credentials.
    pub(crate) fn answer(&mut self, queue_id: u64, credentials: &Credentials, len: usize) -> Option<&Entry> {
        let entry = self.entries.get_mut(&queue_id)?;
        if entry.credentials != *credentials
            || entry.answer.is_empty()
            || entry.answer.len() > len
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

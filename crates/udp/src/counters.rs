//! What the socket did, counted by the worker's thread and readable from any.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a socket since it was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Send calls that succeeded.
    pub sends: u64,
    /// Transmissions that left in a send call together with others.
    pub joined: u64,
    /// Bursts that segmentation offload refused, and that were sent singly.
    pub gso_fallbacks: u64,
    /// Send calls that found the socket full.
    pub would_block: u64,
    /// Send calls that found the device full (ENOBUFS).
    pub device_full: u64,
    /// Send calls repeated because the error may have belonged to an earlier datagram (ICMP).
    pub stale_errors: u64,
    /// Receive calls that brought a burst.
    pub receives: u64,
    /// Receive calls that failed in a way that will not pass by itself.
    pub receive_errors: u64,
    /// Arrivals larger than a descriptor; their last, cut datagram was dropped.
    pub truncated: u64,
    /// Times the pool had no descriptor to receive into.
    pub starved: u64,
}

/// One atomic per counter. One thread writes, so relaxed additions never contend.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sends: Count,
    pub(crate) joined: Count,
    pub(crate) gso_fallbacks: Count,
    pub(crate) would_block: Count,
    pub(crate) device_full: Count,
    pub(crate) stale_errors: Count,
    pub(crate) receives: Count,
    pub(crate) receive_errors: Count,
    pub(crate) truncated: Count,
    pub(crate) starved: Count,
}

impl Tally {
    pub(crate) fn read(&self) -> Counters {
        Counters {
            sends: self.sends.get(),
            joined: self.joined.get(),
            gso_fallbacks: self.gso_fallbacks.get(),
            would_block: self.would_block.get(),
            device_full: self.device_full.get(),
            stale_errors: self.stale_errors.get(),
            receives: self.receives.get(),
            receive_errors: self.receive_errors.get(),
            truncated: self.truncated.get(),
            starved: self.starved.get(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

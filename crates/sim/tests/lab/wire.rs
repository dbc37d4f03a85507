//! One direction of the lab's network: a bottleneck, a delay, and what a test does to the packets.

use paceline_sim::Rng;
use paceline_transport::{Ecn, SECOND};
use std::{cmp::Reverse, collections::BinaryHeap};

/// What a direction does. Times in ns, chances in parts per million.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    pub(crate) delay_ns: u64,
    pub(crate) jitter_ns: u64,
    pub(crate) loss_ppm: u32,
    /// Held back by up to `reorder_ns` and overtaken.
    pub(crate) reorder_ppm: u32,
    pub(crate) reorder_ns: u64,
    /// Bytes per second of the bottleneck.
    pub(crate) rate: Option<u64>,
    pub(crate) queue_bytes: u64,
    /// Nothing gets through.
    pub(crate) down: bool,
    /// Larger UDP payloads vanish without a word.
    pub(crate) silent_mtu: usize,
    /// Larger UDP payloads are refused with EMSGSIZE when they are sent.
    pub(crate) refused_mtu: usize,
    /// ECN-capable packets are marked CE when they waited longer than this.
    pub(crate) ce_above_ns: Option<u64>,
    /// ECN-capable packets vanish.
    pub(crate) drops_ecn: bool,
    /// The ECN field is set to zero on the way.
    pub(crate) bleaches_ecn: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay_ns: 10_000_000,
            jitter_ns: 0,
            loss_ppm: 0,
            reorder_ppm: 0,
            reorder_ns: 0,
            rate: None,
            queue_bytes: 1 << 20,
            down: false,
            silent_mtu: usize::MAX,
            refused_mtu: usize::MAX,
            ce_above_ns: None,
            drops_ecn: false,
            bleaches_ecn: false,
        }
    }
}

/// How often something happened, so that a test can show that its fault did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) swallowed: u64,
    pub(crate) too_large: u64,
    pub(crate) overflowed: u64,
    pub(crate) held_back: u64,
    pub(crate) marked: u64,
    pub(crate) ecn_dropped: u64,
    pub(crate) bleached: u64,
    /// Queueing delay each packet met, ns.
    pub(crate) queue_ns: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) ecn: Ecn,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug)]
struct InFlight {
    at_ns: u64,
    order: u64,
    datagram: Datagram,
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ns, self.order) == (other.at_ns, other.order)
    }
}
impl Eq for InFlight {}
impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.order).cmp(&(other.at_ns, other.order))
    }
}

/// One direction: towards node 0, or away from it. All nodes share it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) conditions: Conditions,
    pub(crate) counts: Counts,
    rng: Rng,
    busy_until_ns: u64,
    last_arrival_ns: u64,
    order: u64,
    in_flight: BinaryHeap<Reverse<InFlight>>,
}

impl Wire {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            conditions: Conditions::default(),
            counts: Counts::default(),
            rng,
            busy_until_ns: 0,
            last_arrival_ns: 0,
            order: 0,
            in_flight: BinaryHeap::new(),
        }
    }

    pub(crate) fn send(&mut self, now_ns: u64, from: usize, to: usize, mut ecn: Ecn, bytes: &[u8]) {
        let Self { conditions: c, counts, .. } = self;
        counts.sent += 1;
        if c.down {
            counts.swallowed += 1;
            return;
        }
        if bytes.len() > c.silent_mtu {
            counts.too_large += 1;
            return;
        }
        if c.drops_ecn && ecn != Ecn::NotEct {
            counts.ecn_dropped += 1;
            return;
        }
        if self.rng.chance_ppm(c.loss_ppm) {
            counts.lost += 1;
            return;
        }
        let mut depart_ns = now_ns;
        if let Some(rate) = c.rate {
            let waiting_ns = self.busy_until_ns.saturating_sub(now_ns);
            counts.queue_ns.push(u32::try_from(waiting_ns).unwrap_or(u32::MAX));
            if u128::from(waiting_ns) * u128::from(rate) / u128::from(SECOND) > u128::from(c.queue_bytes) {
                counts.overflowed += 1;
                return;
            }
            if ecn != Ecn::NotEct && c.ce_above_ns.is_some_and(|above| waiting_ns > above) {
                counts.marked += 1;
                ecn = Ecn::Ce;
            }
            depart_ns = self.busy_until_ns.max(now_ns) + bytes.len() as u64 * SECOND / rate;
            self.busy_until_ns = depart_ns;
        }
        if c.bleaches_ecn && ecn != Ecn::NotEct {
            counts.bleached += 1;
            ecn = Ecn::NotEct;
        }
        let mut at_ns = depart_ns + c.delay_ns + self.rng.below(c.jitter_ns + 1);
        if self.rng.chance_ppm(c.reorder_ppm) {
            counts.held_back += 1;
            at_ns += 1 + self.rng.below(c.reorder_ns);
        } else {
            at_ns = at_ns.max(self.last_arrival_ns);
            self.last_arrival_ns = at_ns;
        }
        self.order += 1;
        let datagram = Datagram { from, to, ecn, bytes: bytes.to_vec() };
        self.in_flight.push(Reverse(InFlight { at_ns, order: self.order, datagram }));
    }

    pub(crate) fn next_arrival(&self) -> Option<u64> {
        self.in_flight.peek().map(|next| next.0.at_ns)
    }

    pub(crate) fn pop_arrived(&mut self, now_ns: u64) -> Option<Datagram> {
        self.next_arrival().filter(|at| *at <= now_ns)?;
        self.in_flight.pop().map(|next| next.0.datagram)
    }
}

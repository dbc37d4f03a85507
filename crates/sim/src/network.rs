//! Datagrams on their way: links that delay, lose, double, overtake and damage them, all decided by the seed.

use crate::rng::Rng;
use paceline_transport::{Ecn, SECOND};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    net::SocketAddr,
};

/// What a link does to datagrams in one direction. Times in ns, chances in parts per million.
#[derive(Clone, Debug)]
pub struct Link {
    /// One-way delay.
    pub delay_ns: u64,
    /// Added at random, up to this. Datagrams keep their order unless `reorder_ppm` says otherwise.
    pub jitter_ns: u64,
    /// Lost.
    pub loss_ppm: u32,
    /// Delivered twice.
    pub duplicate_ppm: u32,
    /// Held back by up to `reorder_ns` and overtaken.
    pub reorder_ppm: u32,
    /// How long an overtaken datagram is held back at most.
    pub reorder_ns: u64,
    /// One bit flipped.
    pub corrupt_ppm: u32,
    /// Bytes per second; `None` is infinitely fast.
    pub rate: Option<u64>,
    /// Bytes that wait for `rate` at most; what comes on top is lost.
    pub queue_bytes: u64,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay_ns: 1_000_000,
            jitter_ns: 0,
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            reorder_ns: 0,
            corrupt_ppm: 0,
            rate: None,
            queue_bytes: 1 << 20,
        }
    }
}

/// How often each fault really happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// By `loss_ppm`.
    pub lost: u64,
    /// A second copy was delivered.
    pub duplicated: u64,
    /// Held back, and at least one younger datagram arrived first.
    pub reordered: u64,
    /// One bit was flipped.
    pub corrupted: u64,
    /// The queue in front of `rate` was full.
    pub overflowed: u64,
}

/// A datagram that arrives or has arrived.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) ecn: Ecn,
    pub(crate) bytes: Vec<u8>,
    pub(crate) at_ns: u64,
}

#[derive(Debug)]
struct InFlight {
    at_ns: u64,
    sequence: u64,
    held_back: bool,
    datagram: Datagram,
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ns, self.sequence) == (other.at_ns, other.sequence)
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
        (self.at_ns, self.sequence).cmp(&(other.at_ns, other.sequence))
    }
}

#[derive(Debug)]
struct Direction {
    from: SocketAddr,
    to: SocketAddr,
    link: Link,
    /// When the bottleneck has sent what it holds, ns.
    busy_until_ns: u64,
    last_arrival_ns: u64,
    newest_delivered: u64,
}

/// All links and everything on them.
#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    directions: Vec<Direction>,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    sequence: u64,
    pub(crate) faults: Faults,
    /// Inbox per node, by address.
    inboxes: Vec<(SocketAddr, VecDeque<Datagram>)>,
    pub(crate) datagrams: u64,
    pub(crate) largest: usize,
    /// Copies of everything sent, while somebody listens in.
    pub(crate) captured: Option<Vec<Captured>>,
}

/// A datagram as an observer of the network sees it.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Source.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
    /// UDP payload.
    pub bytes: Vec<u8>,
    /// When it was sent, ns.
    pub at_ns: u64,
}

impl Network {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            rng,
            directions: Vec::new(),
            in_flight: BinaryHeap::new(),
            sequence: 0,
            faults: Faults::default(),
            inboxes: Vec::new(),
            datagrams: 0,
            largest: 0,
            captured: None,
        }
    }

    pub(crate) fn attach(&mut self, address: SocketAddr) {
        self.inboxes.push((address, VecDeque::new()));
    }

    pub(crate) fn set_link(&mut self, from: SocketAddr, to: SocketAddr, link: Link) {
        if let Some(direction) = self.directions.iter_mut().find(|d| d.from == from && d.to == to) {
            direction.link = link;
            return;
        }
        self.directions.push(Direction {
            from,
            to,
            link,
            busy_until_ns: 0,
            last_arrival_ns: 0,
            newest_delivered: 0,
        });
    }

    /// A datagram enters the network. Without a link to its destination it is gone, as on any network.
    pub(crate) fn send(&mut self, now_ns: u64, from: SocketAddr, to: SocketAddr, ecn: Ecn, bytes: &[u8]) {
        self.datagrams += 1;
        self.largest = self.largest.max(bytes.len());
        if let Some(captured) = &mut self.captured {
            captured.push(Captured { from, to, bytes: bytes.to_vec(), at_ns: now_ns });
        }
        let Some(direction) = self.directions.iter_mut().find(|d| d.from == from && d.to == to) else {
            return;
        };
        let link = &direction.link;
        if self.rng.chance_ppm(link.loss_ppm) {
            self.faults.lost += 1;
            return;
        }
        let mut depart_ns = now_ns;
        if let Some(rate) = link.rate {
            let waiting_ns = direction.busy_until_ns.saturating_sub(now_ns);
            if u128::from(waiting_ns) * u128::from(rate) / u128::from(SECOND) > u128::from(link.queue_bytes) {
                self.faults.overflowed += 1;
                return;
            }
            depart_ns = direction.busy_until_ns.max(now_ns) + bytes.len() as u64 * SECOND / rate;
            direction.busy_until_ns = depart_ns;
        }
        let mut bytes = bytes.to_vec();
        if self.rng.chance_ppm(link.corrupt_ppm) && !bytes.is_empty() {
            let bit = self.rng.below(bytes.len() as u64 * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            self.faults.corrupted += 1;
        }
        let mut at_ns = depart_ns + link.delay_ns + self.rng.below(link.jitter_ns + 1);
        let held_back = self.rng.chance_ppm(link.reorder_ppm);
        if held_back {
            at_ns += 1 + self.rng.below(link.reorder_ns);
        } else {
            at_ns = at_ns.max(direction.last_arrival_ns);
            direction.last_arrival_ns = at_ns;
        }
        let copies = if self.rng.chance_ppm(link.duplicate_ppm) { 2 } else { 1 };
        for copy in 0..copies {
            let at_ns = at_ns + copy * (1 + self.rng.below(100_000));
            if copy > 0 {
                self.faults.duplicated += 1;
            }
            self.sequence += 1;
            let datagram = Datagram { from, to, ecn, bytes: bytes.clone(), at_ns };
            let in_flight = InFlight { at_ns, sequence: self.sequence, held_back, datagram };
            self.in_flight.push(Reverse(in_flight));
        }
    }

    /// A datagram that somebody puts onto the last hop: it arrives now.
    pub(crate) fn inject(&mut self, now_ns: u64, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.sequence += 1;
        let datagram = Datagram { from, to, ecn: Ecn::NotEct, bytes: bytes.to_vec(), at_ns: now_ns };
        let in_flight = InFlight { at_ns: now_ns, sequence: self.sequence, held_back: false, datagram };
        self.in_flight.push(Reverse(in_flight));
    }

    /// When the next datagram arrives.
    pub(crate) fn next_arrival(&self) -> Option<u64> {
        self.in_flight.peek().map(|next| next.0.at_ns)
    }

    /// Puts what has arrived by `now_ns` into the inboxes; returns the addresses that got something.
    pub(crate) fn deliver(&mut self, now_ns: u64, arrived: &mut Vec<SocketAddr>) {
        while self.next_arrival().is_some_and(|at| at <= now_ns) {
            let Some(Reverse(next)) = self.in_flight.pop() else { return };
            let InFlight { sequence, held_back, datagram, .. } = next;
            if let Some(direction) =
                self.directions.iter_mut().find(|d| d.from == datagram.from && d.to == datagram.to)
            {
                if held_back && direction.newest_delivered > sequence {
                    self.faults.reordered += 1;
                }
                direction.newest_delivered = direction.newest_delivered.max(sequence);
            }
            if let Some((address, inbox)) =
                self.inboxes.iter_mut().find(|(address, _)| *address == datagram.to)
            {
                arrived.push(*address);
                inbox.push_back(datagram);
            }
        }
    }

    pub(crate) fn receive(&mut self, address: SocketAddr) -> Option<Datagram> {
        let (_, inbox) = self.inboxes.iter_mut().find(|(inbox, _)| *inbox == address)?;
        inbox.pop_front()
    }

    pub(crate) fn has_mail(&self, address: SocketAddr) -> bool {
        self.inboxes.iter().any(|(inbox, mail)| *inbox == address && !mail.is_empty())
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

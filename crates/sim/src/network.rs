//! Datagrams on their way: links that delay, lose, double, overtake and damage them, all decided by the seed.

use crate::{
    addresses::Addresses,
    faults::{FaultCounts, FaultKind},
    link::Link,
    log::Log,
    rng::Rng,
};
use paceline_transport::{Ecn, SECOND};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    net::SocketAddr,
    rc::Rc,
};

/// Nodes of a world at most: addresses stay within 10.0.0.0/8.
pub(crate) const MAX_NODES: usize = 65_536;
/// A second copy arrives within this after the first.
const DUPLICATE_WITHIN_NS: u64 = 100_000;
/// What a socket keeps for a process that does not read, as after `SO_RCVBUF`; what comes on top is lost.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

/// A datagram that arrives or has arrived.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// Tells it from all others of the world.
    pub(crate) sequence: u64,
    pub(crate) from: SocketAddr,
    pub(crate) ecn: Ecn,
    pub(crate) bytes: Rc<[u8]>,
    pub(crate) at_ns: u64,
}

/// What was done to a datagram that shows only when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    None,
    HeldBack,
    Copied,
    Replayed,
}

#[derive(Debug)]
struct InFlight {
    to: usize,
    trick: Trick,
    datagram: Datagram,
}

#[derive(Debug)]
struct Direction {
    link: Link,
    /// When the bottleneck has sent what it holds, ns.
    busy_until_ns: u64,
    last_arrival_ns: u64,
    newest_delivered: u64,
    /// Datagrams still to be lost by the burst that began.
    burst_left: u32,
}

/// What waits at a node's socket.
#[derive(Debug, Default)]
struct Inbox {
    mail: VecDeque<Datagram>,
    bytes: usize,
    /// Nobody is there: what comes is gone.
    closed: bool,
}

/// All links and everything on them. Nodes are named by index.
#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    /// By source, then by destination.
    directions: Vec<Vec<Option<Box<Direction>>>>,
    /// Arrival, sequence, and place in `slots`.
    order: BinaryHeap<Reverse<(u64, u64, u32)>>,
    slots: Vec<Option<InFlight>>,
    free: Vec<u32>,
    sequence: u64,
    pub(crate) faults: FaultCounts,
    inboxes: Vec<Inbox>,
    pub(crate) addresses: Addresses,
    /// Between nodes that were not linked; without it, they do not reach each other.
    pub(crate) between_all: Option<Link>,
    pub(crate) datagrams: u64,
    /// Of them, bytes.
    pub(crate) bytes: u64,
    /// Arrived at a socket, copies too, and their bytes.
    pub(crate) delivered: (u64, u64),
    /// Second copies put onto links.
    pub(crate) copies: u64,
    /// Sent to where nobody is.
    pub(crate) unreachable: u64,
    pub(crate) largest: usize,
    /// Lost because a queue was full.
    pub(crate) overflowed: u64,
    /// Marked "congestion experienced".
    pub(crate) ce_marked: u64,
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
            order: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            faults: FaultCounts::default(),
            inboxes: Vec::new(),
            addresses: Addresses::default(),
            between_all: None,
            datagrams: 0,
            bytes: 0,
            delivered: (0, 0),
            copies: 0,
            unreachable: 0,
            largest: 0,
            overflowed: 0,
            ce_marked: 0,
            captured: None,
        }
    }

    /// Makes room for one more node.
    pub(crate) fn attach(&mut self) {
        self.inboxes.push(Inbox::default());
        self.directions.push(Vec::new());
    }

    fn direction(&self, from: usize, to: usize) -> Option<&Direction> {
        self.directions.get(from)?.get(to)?.as_deref()
    }

    /// Links what nobody linked, if everybody is to reach everybody.
    fn link_all(&mut self, from: usize, to: usize) {
        if let Some(link) = &self.between_all
            && (self.direction(from, to).is_none() || self.direction(to, from).is_none())
        {
            let link = link.clone();
            for (from, to) in [(from, to), (to, from)] {
                if self.direction(from, to).is_none() {
                    self.set_link(from, to, link.clone());
                }
            }
        }
    }

    /// All pairs that are linked, by source and destination.
    pub(crate) fn linked(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.directions.iter().enumerate().flat_map(|(from, row)| {
            row.iter().enumerate().filter_map(move |(to, direction)| direction.as_ref().map(|_| (from, to)))
        })
    }

    pub(crate) fn set_link(&mut self, from: usize, to: usize, link: Link) {
        let row = &mut self.directions[from];
        if row.len() <= to {
            row.resize_with(to + 1, || None);
        }
        match &mut row[to] {
            Some(direction) => direction.link = link,
            none => {
                *none = Some(Box::new(Direction {
                    link,
                    busy_until_ns: 0,
                    last_arrival_ns: 0,
                    newest_delivered: 0,
                    burst_left: 0,
                }));
            }
        }
    }

    /// The largest datagram that a node may send to an address, if the path says so.
    pub(crate) fn signalled_mtu(&self, from: usize, to: SocketAddr) -> Option<usize> {
        let to = self.addresses.index(to)?;
        let link = self.direction(from, to).map(|direction| &direction.link).or(self.between_all.as_ref())?;
        link.max_datagram.filter(|_| link.mtu_signal)
    }

    /// A datagram enters the network. Without a link to its destination it is gone, as on any network.
    pub(crate) fn send(
        &mut self,
        log: &mut Log,
        now_ns: u64,
        from: usize,
        to: SocketAddr,
        mut ecn: Ecn,
        bytes: &Rc<[u8]>,
    ) {
        self.datagrams += 1;
        self.bytes += bytes.len() as u64;
        self.largest = self.largest.max(bytes.len());
        if let Some(captured) = &mut self.captured {
            captured.push(Captured {
                from: self.addresses.address(from),
                to,
                bytes: bytes.to_vec(),
                at_ns: now_ns,
            });
        }
        let Some(to) = self.addresses.index(to) else {
            self.unreachable += 1;
            return;
        };
        self.link_all(from, to);
        let back = self.direction(to, from).is_some_and(|direction| direction.link.up);
        let Self { rng, directions, faults, .. } = self;
        let Some(direction) =
            directions.get_mut(from).and_then(|row| row.get_mut(to)).and_then(Option::as_deref_mut)
        else {
            return;
        };
        let link = &direction.link;
        if let Some(kind) = fate(link, back, &mut direction.burst_left, rng, bytes.len()) {
            faults.add(kind, 1);
            log.fault(now_ns, kind, from, to, bytes.len());
            return;
        }
        let mut depart_ns = now_ns;
        if let Some(rate) = link.rate {
            let waiting_ns = direction.busy_until_ns.saturating_sub(now_ns);
            if u128::from(waiting_ns) * u128::from(rate) / u128::from(SECOND) > u128::from(link.queue_bytes) {
                self.overflowed += 1;
                log.overflow(now_ns, from, to, bytes.len());
                return;
            }
            depart_ns = direction.busy_until_ns.max(now_ns) + bytes.len() as u64 * SECOND / rate;
            direction.busy_until_ns = depart_ns;
        }
        let mut bytes = Rc::clone(bytes);
        if rng.chance_ppm(link.corrupt_ppm) && !bytes.is_empty() {
            let bit = rng.below(bytes.len() as u64 * 8);
            let mut damaged = bytes.to_vec();
            damaged[(bit / 8) as usize] ^= 1 << (bit % 8);
            bytes = damaged.into();
            faults.add(FaultKind::Corruption, 1);
            log.fault(now_ns, FaultKind::Corruption, from, to, bit as usize);
        }
        if rng.chance_ppm(link.truncate_ppm) && !bytes.is_empty() {
            let len = rng.below(bytes.len() as u64) as usize;
            bytes = bytes[..len].into();
            faults.add(FaultKind::Truncation, 1);
            log.fault(now_ns, FaultKind::Truncation, from, to, len);
        }
        if ecn != Ecn::NotEct && rng.chance_ppm(link.ce_ppm) {
            ecn = Ecn::Ce;
            self.ce_marked += 1;
        }
        let mut at_ns = depart_ns + link.delay_ns + rng.below(link.jitter_ns + 1);
        let mut trick = Trick::None;
        if rng.chance_ppm(link.reorder_ppm) {
            trick = Trick::HeldBack;
            at_ns += 1 + rng.below(link.reorder_ns);
        } else {
            at_ns = at_ns.max(direction.last_arrival_ns);
            if link.delay_spike_ns > 0 && rng.chance_ppm(link.delay_ppm) {
                at_ns += link.delay_spike_ns;
                faults.add(FaultKind::Delay, 1);
                log.fault(now_ns, FaultKind::Delay, from, to, bytes.len());
            }
            direction.last_arrival_ns = at_ns;
        }
        let duplicate = rng.chance_ppm(link.duplicate_ppm);
        let replay = rng.chance_ppm(link.replay_ppm).then(|| at_ns + link.replay_after_ns);
        let copy_ns = if duplicate { Some(at_ns + 1 + rng.below(DUPLICATE_WITHIN_NS)) } else { None };
        let from = self.addresses.address(from);
        for (at_ns, trick) in [(Some(at_ns), trick), (copy_ns, Trick::Copied), (replay, Trick::Replayed)] {
            if let Some(at_ns) = at_ns {
                self.copies += u64::from(trick == Trick::Copied);
                self.fly(at_ns, from, to, ecn, Rc::clone(&bytes), trick);
            }
        }
    }

    fn fly(&mut self, at_ns: u64, from: SocketAddr, to: usize, ecn: Ecn, bytes: Rc<[u8]>, trick: Trick) {
        self.sequence += 1;
        let sequence = self.sequence;
        let datagram = Datagram { sequence, from, ecn, bytes, at_ns };
        let in_flight = Some(InFlight { to, trick, datagram });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = in_flight;
                slot
            }
            None => {
                self.slots.push(in_flight);
                (self.slots.len() - 1) as u32
            }
        };
        self.order.push(Reverse((at_ns, sequence, slot)));
    }

    /// A datagram that somebody puts onto the last hop: it arrives now.
    pub(crate) fn inject(&mut self, now_ns: u64, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if let Some(to) = self.addresses.index(to) {
            self.fly(now_ns, from, to, Ecn::NotEct, bytes.into(), Trick::None);
        }
    }

    /// When the next datagram arrives.
    pub(crate) fn next_arrival(&self) -> Option<u64> {
        self.order.peek().map(|Reverse((at_ns, ..))| *at_ns)
    }

    /// Puts what has arrived by `now_ns` into the inboxes.
    pub(crate) fn deliver(&mut self, log: &mut Log, now_ns: u64) {
        while self.next_arrival().is_some_and(|at| at <= now_ns) {
            let Some(Reverse((_, _, slot))) = self.order.pop() else { return };
            let Some(InFlight { to, trick, datagram }) = self.slots[slot as usize].take() else { continue };
            self.free.push(slot);
            let Some(inbox) = self.inboxes.get_mut(to) else { continue };
            if inbox.closed {
                self.unreachable += 1;
                continue;
            }
            if inbox.bytes + datagram.bytes.len() > RECEIVE_BUFFER_BYTES {
                self.overflowed += 1;
                continue;
            }
            let from = self.addresses.index(datagram.from);
            let mut overtaken = false;
            if let Some(direction) = from
                .and_then(|from| self.directions.get_mut(from)?.get_mut(to))
                .and_then(Option::as_deref_mut)
            {
                overtaken = direction.newest_delivered > datagram.sequence;
                direction.newest_delivered = direction.newest_delivered.max(datagram.sequence);
            }
            let kind = match trick {
                Trick::HeldBack if overtaken => Some(FaultKind::Reorder),
                Trick::Copied => Some(FaultKind::Duplication),
                Trick::Replayed => Some(FaultKind::Replay),
                Trick::HeldBack | Trick::None => None,
            };
            if let Some(kind) = kind {
                self.faults.add(kind, 1);
                log.fault(datagram.at_ns, kind, from.unwrap_or(usize::MAX), to, datagram.bytes.len());
            }
            inbox.bytes += datagram.bytes.len();
            self.delivered = (self.delivered.0 + 1, self.delivered.1 + datagram.bytes.len() as u64);
            inbox.mail.push_back(datagram);
        }
    }

    pub(crate) fn receive(&mut self, node: usize) -> Option<Datagram> {
        let inbox = &mut self.inboxes[node];
        let datagram = inbox.mail.pop_front()?;
        inbox.bytes -= datagram.bytes.len();
        Some(datagram)
    }

    /// When the oldest datagram that waits at a node arrived there.
    pub(crate) fn oldest_mail(&self, node: usize) -> Option<u64> {
        self.inboxes[node].mail.front().map(|datagram| datagram.at_ns)
    }

    /// The node's socket is closed: what waited there is gone. Another one is there at once.
    pub(crate) fn close(&mut self, node: usize) {
        self.inboxes[node] = Inbox::default();
    }

    /// The node's socket is closed, and nobody takes its place.
    pub(crate) fn leave(&mut self, node: usize) {
        self.inboxes[node] = Inbox { closed: true, ..Inbox::default() };
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.order.len()
    }
}

/// Why a datagram does not get through, if it does not. `back` says whether the other direction is up.
fn fate(link: &Link, back: bool, burst_left: &mut u32, rng: &mut Rng, len: usize) -> Option<FaultKind> {
    if !link.up {
        return Some(if back { FaultKind::OneWayPartition } else { FaultKind::Blackhole });
    }
    if link.max_datagram.is_some_and(|max| len > max) {
        return Some(FaultKind::MtuDrop);
    }
    if link.burst_loss_ppm == 0 {
        // A burst ends with what causes it.
        *burst_left = 0;
    }
    if *burst_left == 0 && rng.chance_ppm(link.burst_loss_ppm) {
        *burst_left = link.burst_loss_len;
    }
    if *burst_left > 0 {
        *burst_left -= 1;
        return Some(FaultKind::BurstLoss);
    }
    rng.chance_ppm(link.loss_ppm).then_some(FaultKind::Loss)
}

//! A network for tests of applications: endpoints that come and go at addresses of their choice, and time that passes only up
//! to the next news that one of them has for its application.
//!
//! The same workers, links, log and counters as in a [`World`](crate::World), which in contrast knows its applications and has
//! checkers.

use crate::{
    environment::{SimEnvironment, Wires},
    faults::FaultCounts,
    link::Link,
    log::Log,
    network::{MAX_NODES, Network},
    rng::Rng,
    world::NodeId,
};
use paceline_transport::{
    BurstLimits, Config, Step, Worker,
    app::{Command, Shared},
    pool::{self, Pool},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

/// As in `World`: so that "before the start" exists.
const START_NS: u64 = 1_000_000_000;
/// Steps of one endpoint at one instant before it counts as spinning.
const MAX_STEPS_AT_ONCE: u32 = 100_000;
/// Hosts of endpoints that bind a wildcard: 10.0.0.1, or fd00::1, and up.
const FIRST_V4: u32 = 0x0a00_0001;
const FIRST_V6: u128 = 0xfd00 << 112 | 1;
/// Ports of endpoints that leave the choice to the system (RFC 6335 §6).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// Why an endpoint could not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Somebody is there.
    InUse(SocketAddr),
    /// The network has had as many addresses as it may, or a host all of its ports.
    Full,
    /// The pool's sizes are refused.
    Pool(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(address) => write!(f, "{address} is in use"),
            Self::Full => {
                write!(f, "the network has had {MAX_NODES} addresses, or the host all of its ports")
            }
            Self::Pool(why) => f.write_str(why),
        }
    }
}

impl Error for Refused {}

/// What a network did so far. Every datagram sent and every copy was delivered, is in flight, or is in exactly one of the counts of
/// what was lost; those refused to their sender (`Link::mtu_signal`) were not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// By endpoints, and their bytes.
    pub sent: (u64, u64),
    /// Second copies of them, wherever those are now.
    pub copied: u64,
    /// To sockets, with copies, and their bytes.
    pub delivered: (u64, u64),
    /// What became of the others.
    pub faults: FaultCounts,
    /// Lost because the queue of a link or of a socket was full.
    pub overflowed: u64,
    /// Marked "congestion experienced".
    pub marked: u64,
    /// Lost because nobody is at the address.
    pub unreachable: u64,
    /// On their way, copies too.
    pub in_flight: u64,
    /// Steps of all workers.
    pub steps: u64,
}

#[derive(Debug)]
struct Member {
    // Dropped before the pool that its transmissions come from.
    worker: Worker<SimEnvironment>,
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    next_wake_ns: Option<u64>,
    coalesce_until_ns: Option<u64>,
    /// There are commands.
    prompted: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Testbed {
    now_ns: u64,
    // Dropped before the wires.
    members: Vec<Option<Member>>,
    /// Indices of members that are there, in order.
    present: Vec<usize>,
    wires: Rc<RefCell<Wires>>,
    rng: Rng,
    link: Link,
    /// Pairs with a link of their own.
    own: BTreeMap<(usize, usize), Link>,
    /// Pairs that are cut off.
    cut: BTreeSet<(usize, usize)>,
    steps: u64,
    hosts: u32,
}

impl Testbed {
    /// When time begins, ns.
    pub const START_NS: u64 = START_NS;

    /// An empty network. `link` is between all; `trace` keeps the log as text.
    pub fn new(seed: u64, link: Link, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let mut network = Network::new(rng.fork());
        network.between_all = Some(link.clone());
        let mut log = Log::new(trace);
        log.labels.origin_ns = START_NS;
        let wires = Wires { network, log, observer: None, transmissions: 0 };
        Self {
            now_ns: START_NS,
            members: Vec::new(),
            present: Vec::new(),
            wires: Rc::new(RefCell::new(wires)),
            rng,
            link,
            own: BTreeMap::new(),
            cut: BTreeSet::new(),
            steps: 0,
            hosts: 0,
        }
    }

    /// An endpoint comes to `bind`. A wildcard address is a host of its own, port 0 a free one. An address that was left can be
    /// had again: what is on its way there arrives.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn attach(&mut self, bind: SocketAddr, config: Config, segments: usize) -> Result<NodeId, Refused> {
        let address = self.choose(bind)?;
        let pool_config =
            pool::Config { capacity_bytes: config.pool_bytes, reserve_bytes: config.pool_reserve_bytes };
        let pool = Pool::new(pool_config).map_err(|error| Refused::Pool(error.to_string()))?;
        let index = {
            let Wires { network, log, .. } = &mut *self.wires.borrow_mut();
            let index = network.addresses.choose(address);
            if index == log.labels.nodes.len() {
                log.labels.nodes.push(address);
                network.attach();
                self.members.push(None);
            } else {
                network.close(index);
            }
            index
        };
        let shared = Arc::new(Shared::default());
        let mut environment =
            SimEnvironment::new(NodeId(index), 0, Arc::clone(&pool), Rc::clone(&self.wires), self.rng.fork());
        environment.limits = BurstLimits { max_segments: segments, ..environment.limits };
        let worker = Worker::new(config, environment, Arc::clone(&pool), Arc::clone(&shared), self.now_ns);
        self.members[index] = Some(Member {
            worker,
            shared,
            pool,
            next_wake_ns: Some(self.now_ns),
            coalesce_until_ns: None,
            prompted: false,
        });
        if let Err(at) = self.present.binary_search(&index) {
            self.present.insert(at, index);
        }
        Ok(NodeId(index))
    }

    fn choose(&mut self, bind: SocketAddr) -> Result<SocketAddr, Refused> {
        if self.members.len() >= MAX_NODES {
            return Err(Refused::Full);
        }
        let ip = if bind.ip().is_unspecified() {
            self.hosts += 1;
            let host = self.hosts - 1;
            match bind.ip() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(FIRST_V4 + host)),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(FIRST_V6 + u128::from(host))),
            }
        } else {
            bind.ip()
        };
        if bind.port() > 0 {
            let address = SocketAddr::new(ip, bind.port());
            return if self.is_present(address) { Err(Refused::InUse(address)) } else { Ok(address) };
        }
        // One that was never had, if there is: a port of somebody who left would get the mail to them.
        let mut ports = EPHEMERAL.map(|port| SocketAddr::new(ip, port));
        let new =
            ports.clone().find(|address| self.wires.borrow().network.addresses.index(*address).is_none());
        new.or_else(|| ports.find(|address| !self.is_present(*address))).ok_or(Refused::Full)
    }

    fn is_present(&self, address: SocketAddr) -> bool {
        let index = self.wires.borrow().network.addresses.index(address);
        index.is_some_and(|index| self.members.get(index).is_some_and(Option::is_some))
    }

    /// An endpoint goes: everything of it is freed. Returns how many descriptors did not come home, 0 unless there is a bug.
    pub fn detach(&mut self, node: NodeId) -> usize {
        let Some(Member { worker, pool, .. }) = self.members.get_mut(node.0).and_then(Option::take) else {
            return 0;
        };
        self.wires.borrow_mut().network.leave(node.0);
        self.present.retain(|index| *index != node.0);
        drop(worker);
        pool.stats().lent
    }

    fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(node.0)?.as_ref()
    }

    /// Where an endpoint is, or was.
    pub fn address(&self, node: NodeId) -> SocketAddr {
        self.wires.borrow().network.addresses.address(node.0)
    }

    /// Its queues, until it goes.
    pub fn shared(&self, node: NodeId) -> Option<&Arc<Shared>> {
        self.member(node).map(|member| &member.shared)
    }

    /// Its packet memory, until it goes.
    pub fn pool(&self, node: NodeId) -> Option<&Arc<Pool>> {
        self.member(node).map(|member| &member.pool)
    }

    /// Gives commands to an endpoint, which sees them when time goes on; `commands` is empty then.
    pub fn submit(&mut self, node: NodeId, commands: &mut Vec<Command>) {
        if let Some(member) = self.members.get_mut(node.0).and_then(Option::as_mut) {
            member.prompted |= !commands.is_empty();
            member.shared.submit(commands);
        }
        commands.clear();
    }

    /// Sets the link between all that have no link of their own, for what is sent from now on.
    pub fn link_all(&mut self, link: Link) {
        self.wires.borrow_mut().network.between_all = Some(link.clone());
        self.link = link;
        let linked: Vec<_> = self.wires.borrow().network.linked().collect();
        for (from, to) in linked {
            self.relink(from, to);
        }
    }

    /// Sets the link of one direction, or with `None` the one that all have.
    pub fn link_one_way(&mut self, from: NodeId, to: NodeId, link: Option<Link>) {
        match link {
            Some(link) => self.own.insert((from.0, to.0), link),
            None => self.own.remove(&(from.0, to.0)),
        };
        self.relink(from.0, to.0);
    }

    /// The link of one direction as it is now.
    pub fn link_of(&self, from: NodeId, to: NodeId) -> &Link {
        self.own.get(&(from.0, to.0)).unwrap_or(&self.link)
    }

    /// Cuts one direction off or mends it.
    pub fn cut(&mut self, from: NodeId, to: NodeId, cut: bool) {
        if cut {
            self.cut.insert((from.0, to.0));
        } else {
            self.cut.remove(&(from.0, to.0));
        }
        self.relink(from.0, to.0);
    }

    /// Mends everything that was cut off.
    pub fn heal(&mut self) {
        for (from, to) in std::mem::take(&mut self.cut) {
            self.relink(from, to);
        }
    }

    fn relink(&mut self, from: usize, to: usize) {
        let up = !self.cut.contains(&(from, to));
        let link = Link { up, ..self.own.get(&(from, to)).unwrap_or(&self.link).clone() };
        self.wires.borrow_mut().network.set_link(from, to, link);
    }

    /// Virtual time, ns; [`START_NS`](Self::START_NS) at first.
    pub const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// What the network did so far.
    pub fn traffic(&self) -> Traffic {
        let network = &self.wires.borrow().network;
        Traffic {
            sent: (network.datagrams, network.bytes),
            copied: network.copies,
            delivered: network.delivered,
            faults: network.faults,
            overflowed: network.overflowed,
            marked: network.ce_marked,
            unreachable: network.unreachable,
            in_flight: network.in_flight() as u64,
            steps: self.steps,
        }
    }

    /// Hash of every datagram that was sent or received so far, and of its time.
    pub fn log_hash(&self) -> u64 {
        self.wires.borrow().log.hash()
    }

    /// The log as text, if it is kept.
    pub fn log_text(&self) -> Option<String> {
        self.wires.borrow().log.text().map(str::to_owned)
    }

    fn next_event(&self) -> Option<u64> {
        let network = &self.wires.borrow().network;
        let wakes = self.present.iter().filter_map(|index| {
            let member = self.members[*index].as_ref()?;
            if member.prompted { Some(self.now_ns) } else { member.due(network.oldest_mail(*index)) }
        });
        wakes.chain(network.next_arrival()).min().map(|at| at.max(self.now_ns))
    }

    /// Lets time pass until `until_ns`, or until endpoints have news; appends those that have. Endpoints that are due at one
    /// instant step in the order of their addresses' first appearance.
    ///
    /// # Panics
    /// If a worker asks to be stepped again and again at one instant.
    pub fn advance(&mut self, until_ns: u64, news: &mut Vec<NodeId>) {
        while let Some(next) = self.next_event().filter(|next| *next <= until_ns) {
            self.now_ns = next;
            {
                let Wires { network, log, .. } = &mut *self.wires.borrow_mut();
                network.deliver(log, next);
            }
            for at in 0..self.present.len() {
                let index = self.present[at];
                let mail = self.wires.borrow().network.oldest_mail(index);
                let Some(member) = self.members[index].as_mut() else { continue };
                if member.prompted || member.due(mail).is_some_and(|due| due <= next) {
                    let (steps, rings) = member.step(next);
                    self.steps += steps;
                    if rings {
                        news.push(NodeId(index));
                    }
                }
            }
            if !news.is_empty() {
                return;
            }
        }
        self.now_ns = self.now_ns.max(until_ns);
    }
}

impl Member {
    fn due(&self, mail: Option<u64>) -> Option<u64> {
        let environment = self.worker.environment();
        let gathered_ns = self.coalesce_until_ns.unwrap_or(0);
        let mail = mail.map(|at| at.max(environment.receive_retry_ns).max(gathered_ns));
        [self.next_wake_ns, mail, environment.writable_ns].into_iter().flatten().min()
    }

    /// Steps until nothing more is due at this instant; returns how often, and whether there is news.
    fn step(&mut self, now_ns: u64) -> (u64, bool) {
        self.prompted = false;
        self.worker.environment_mut().set_time(now_ns, now_ns);
        let mut rings = false;
        for steps in 1..=MAX_STEPS_AT_ONCE {
            let Step { next_wake_ns, coalesce_until_ns, busy, news, .. } = self.worker.step(now_ns);
            self.next_wake_ns = next_wake_ns;
            self.coalesce_until_ns = coalesce_until_ns;
            rings |= news;
            if !busy && next_wake_ns.is_none_or(|wake| wake > now_ns) {
                return (u64::from(steps), rings);
            }
        }
        panic!("a worker spins at {now_ns} ns");
    }
}

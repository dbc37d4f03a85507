//! What the tests share: a seeded random source, and a pair of endpoints with a network between them that loses,
//! duplicates and reorders.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part")]

use paceline_handshake::{
    AttemptId, Config, Counters, Established, Event, FailReason, Handshake, Message, Secret,
};
use paceline_wire::CredentialId;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let len = chunk.len();
            chunk.copy_from_slice(&self.next().to_le_bytes()[..len]);
        }
    }
}

pub fn secret(n: u8) -> Secret {
    let mut bytes = [0; 32];
    Rng(n.into()).fill(&mut bytes);
    Secret::new(&bytes).unwrap()
}

pub fn list(secrets: &[Secret]) -> Arc<[Secret]> {
    secrets.into()
}

pub fn server_config() -> Config {
    Config { accept: true, ..Config::default() }
}

/// An endpoint with everything it has said so far.
pub struct Node {
    pub handshake: Handshake,
    pub address: SocketAddr,
    pub rng: Rng,
    pub events: Vec<Event>,
}

impl Node {
    pub fn new(config: Config, secrets: &[Secret], address: &str, seed: u64) -> Self {
        let mut rng = Rng(seed);
        let handshake = Handshake::new(config, list(secrets), 0, &mut |out| rng.fill(out));
        Self { handshake, address: address.parse().unwrap(), rng, events: Vec::new() }
    }

    pub fn client(secrets: &[Secret], seed: u64) -> Self {
        Self::new(Config::default(), secrets, "192.0.2.1:50000", seed)
    }

    pub fn server(secrets: &[Secret], seed: u64) -> Self {
        Self::new(server_config(), secrets, "192.0.2.2:4433", seed)
    }

    pub fn connect(&mut self, now_ns: u64, remote: SocketAddr, secrets: &[Secret]) -> AttemptId {
        let rng = &mut self.rng;
        self.handshake.connect(now_ns, remote, &list(secrets), 10 * SECOND, &mut |out| rng.fill(out)).unwrap()
    }

    pub fn receive(&mut self, now_ns: u64, remote: SocketAddr, datagram: &[u8]) {
        let rng = &mut self.rng;
        self.handshake.receive(now_ns, remote, None, datagram, &mut |out| rng.fill(out));
    }

    pub fn advance(&mut self, now_ns: u64) {
        let rng = &mut self.rng;
        self.handshake.advance(now_ns, &mut |out| rng.fill(out));
    }

    /// Messages that wait, and remembers the events that do.
    pub fn drain(&mut self) -> Vec<Message> {
        while let Some(event) = self.handshake.poll_event() {
            self.events.push(event);
        }
        std::iter::from_fn(|| self.handshake.poll_message()).collect()
    }

    /// Receives, does what is due, and gives what it sends.
    pub fn exchange(&mut self, now_ns: u64, remote: SocketAddr, datagram: &[u8]) -> Vec<Message> {
        self.receive(now_ns, remote, datagram);
        self.advance(now_ns);
        self.drain()
    }

    pub fn counters(&self) -> Counters {
        *self.handshake.counters()
    }

    /// Attempts, pending entries, queued Initiations.
    pub fn tables(&self) -> [usize; 3] {
        [self.handshake.attempts(), self.handshake.pending(), self.handshake.queued()]
    }

    pub fn usable(&self) -> Vec<&Established> {
        self.events
            .iter()
            .filter_map(|e| if let Event::Usable { path, .. } = e { Some(&**path) } else { None })
            .collect()
    }

    pub fn half_open(&self) -> Vec<&Established> {
        self.events
            .iter()
            .filter_map(|e| if let Event::HalfOpen { path } = e { Some(&**path) } else { None })
            .collect()
    }

    pub fn confirmed(&self) -> Vec<(CredentialId, SocketAddr, Option<[u8; 16]>)> {
        let of = |e: &Event| match e {
            Event::Confirmed { credential_id, remote, reset_token } => {
                Some((*credential_id, *remote, *reset_token))
            }
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }

    pub fn expired(&self) -> Vec<CredentialId> {
        self.events
            .iter()
            .filter_map(
                |e| if let Event::Expired { credential_id } = e { Some(*credential_id) } else { None },
            )
            .collect()
    }

    pub fn failed(&self) -> Vec<(AttemptId, Option<CredentialId>, FailReason)> {
        let of = |e: &Event| match e {
            Event::Failed { attempt, credential_id, error } => Some((*attempt, *credential_id, *error)),
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }
}

/// A handshake whose messages arrive at once, one after the other.
pub struct Steps {
    pub initiation: Message,
    pub response: Message,
    pub confirm: Message,
    pub confirmed: Message,
}

pub fn only(mut messages: Vec<Message>) -> Message {
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.remove(0)
}

/// Runs one handshake without a cookie.
pub fn complete(client: &mut Node, server: &mut Node, now_ns: u64, secrets: &[Secret]) -> Steps {
    client.connect(now_ns, server.address, secrets);
    let initiation = only(client.drain());
    let response = only(server.exchange(now_ns, client.address, initiation.bytes()));
    let confirm = only(client.exchange(now_ns, server.address, response.bytes()));
    let confirmed = only(server.exchange(now_ns, client.address, confirm.bytes()));
    assert!(client.exchange(now_ns, server.address, confirmed.bytes()).is_empty());
    Steps { initiation, response, confirm, confirmed }
}

/// What the network does, in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub loss: u64,
    pub duplication: u64,
    pub max_delay_ns: u64,
}

/// Two endpoints and what is on its way between them.
pub struct World {
    pub now_ns: u64,
    pub nodes: [Node; 2],
    faults: Faults,
    rng: Rng,
    on_the_way: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    sent: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    newest: [u64; 2],
}

impl World {
    pub fn new(nodes: [Node; 2], faults: Faults, seed: u64) -> Self {
        Self {
            now_ns: 0,
            nodes,
            faults,
            rng: Rng(seed),
            on_the_way: BTreeMap::new(),
            sent: 0,
            lost: 0,
            duplicated: 0,
            reordered: 0,
            newest: [0; 2],
        }
    }

    fn collect(&mut self, from: usize) {
        for message in self.nodes[from].drain() {
            let to = 1 - from;
            if message.remote != self.nodes[to].address {
                continue;
            }
            let copies = 1 + u64::from(self.rng.below(1000) < self.faults.duplication);
            self.duplicated += copies - 1;
            for _ in 0..copies {
                if self.rng.below(1000) < self.faults.loss {
                    self.lost += 1;
                    continue;
                }
                let at_ns = self.now_ns + MS + self.rng.below(self.faults.max_delay_ns);
                self.sent += 1;
                self.on_the_way.insert((at_ns, self.sent), (to, message.bytes().to_vec()));
            }
        }
    }

    /// Runs until `until_ns`, or until nothing is left to do.
    pub fn run(&mut self, until_ns: u64) {
        loop {
            (0..2).for_each(|node| self.collect(node));
            let arrival = self.on_the_way.keys().next().map(|(at_ns, _)| *at_ns);
            let timers = self.nodes.iter().filter_map(|node| node.handshake.next_timeout());
            let Some(next_ns) = timers.chain(arrival).min() else { return };
            if next_ns > until_ns {
                self.now_ns = until_ns;
                return;
            }
            self.now_ns = self.now_ns.max(next_ns);
            while let Some(entry) = self.on_the_way.first_entry() {
                if entry.key().0 > self.now_ns {
                    break;
                }
                let ((_, number), (to, datagram)) = entry.remove_entry();
                self.reordered += u64::from(number < self.newest[to]);
                self.newest[to] = self.newest[to].max(number);
                let remote = self.nodes[1 - to].address;
                self.nodes[to].receive(self.now_ns, remote, &datagram);
            }
            let now_ns = self.now_ns;
            self.nodes.iter_mut().for_each(|node| node.advance(now_ns));
        }
    }
}

pub fn local(address: &str) -> Option<IpAddr> {
    Some(address.parse().unwrap())
}

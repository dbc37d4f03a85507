//! The handshake: an initiator, a responder, and somebody between them who holds, damages, repeats and invents messages,
//! if need be with the MAC of an insider.

use super::{Reach, build::damage, input::Input};
use paceline_transport::{
    fuzzing::wire::crypto::{HmacSha256Key, hkdf_expand_sha256, hkdf_extract_sha256},
    handshake::{
        Acceptance, Config, Counters, Event, HANDSHAKE_QUEUE, HANDSHAKE_TIMEOUT_NS, Handshake, MAX_ATTEMPTS,
        Secret,
    },
};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

/// Datagrams that wait at most.
const MAX_WAITING: usize = 64;

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

    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// The bytes of a secret; new ones every run would make no difference, but a crash that cannot be replayed.
pub fn secret_bytes(n: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    Rng(n.into()).fill(&mut bytes);
    bytes
}

pub fn secrets(list: &[u8]) -> Arc<[Secret]> {
    list.iter().map(|n| Secret::new(&secret_bytes(*n)).expect("random enough")).collect()
}

/// An insider's MAC over all but the last 16 bytes (handshake.md section 2 says how its key is derived).
fn put_mac(message: &mut [u8]) {
    let Some((body, mac)) = message.split_last_chunk_mut::<16>() else { return };
    let prk = hkdf_extract_sha256(b"paceline secret v1", &[&secret_bytes(1)]);
    let mut key = [0; 32];
    hkdf_expand_sha256(&prk, &[b"paceline handshake mac"], &mut key);
    *mac = HmacSha256Key::new(&key).tag16(&[body]);
}

struct Node {
    handshake: Handshake,
    rng: Rng,
    address: SocketAddr,
    events: Vec<Event>,
    /// Bytes in and out, by the other side's address.
    bytes: BTreeMap<SocketAddr, (u64, u64)>,
}

impl Node {
    fn new(config: Config, list: &Arc<[Secret]>, address: &str, seed: u64) -> Self {
        let mut rng = Rng(seed);
        let handshake = Handshake::new(config, Arc::clone(list), 0, &mut |out| rng.fill(out));
        let address = address.parse().expect("an address");
        Self { handshake, rng, address, events: Vec::new(), bytes: BTreeMap::new() }
    }

    fn receive(&mut self, now_ns: u64, from: SocketAddr, bytes: &[u8]) {
        self.bytes.entry(from).or_default().0 += bytes.len() as u64;
        let rng = &mut self.rng;
        self.handshake.receive(now_ns, from, None, bytes, &mut |out| rng.fill(out));
    }

    fn connect(&mut self, now_ns: u64, remote: SocketAddr, list: &Arc<[Secret]>) {
        let rng = &mut self.rng;
        let _ = self.handshake.connect(now_ns, remote, list, HANDSHAKE_TIMEOUT_NS, &mut |out| rng.fill(out));
    }

    /// Does what is due; what it says goes to `waiting`.
    fn advance(&mut self, now_ns: u64, waiting: &mut Vec<Datagram>) {
        let rng = &mut self.rng;
        self.handshake.advance(now_ns, &mut |out| rng.fill(out));
        while let Some(event) = self.handshake.poll_event() {
            self.events.push(event);
        }
        while let Some(message) = self.handshake.poll_message() {
            self.bytes.entry(message.remote).or_default().1 += message.bytes().len() as u64;
            waiting.push(Datagram {
                from: self.address,
                to: message.remote,
                bytes: message.bytes().to_vec(),
            });
        }
        assert!(self.handshake.is_quiet());
        assert!(self.handshake.attempts() <= MAX_ATTEMPTS && self.handshake.queued() <= HANDSHAKE_QUEUE);
    }

    /// Messages that passed the MAC, or for confirmations their seal.
    fn authentic(&self) -> u64 {
        let Counters {
            dropped_type,
            dropped_length,
            dropped_not_accepting,
            dropped_unknown_secret,
            dropped_unexpected,
            dropped_mac,
            dropped_unknown_credential,
            dropped_confirm,
            ..
        } = *self.handshake.counters();
        let dropped = dropped_type
            + dropped_length
            + dropped_not_accepting
            + dropped_unknown_secret
            + dropped_unexpected
            + dropped_mac
            + dropped_unknown_credential
            + dropped_confirm;
        self.handshake.counters().received().saturating_sub(dropped)
    }

    fn usable(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Usable { .. })).count()
    }
}

#[derive(Clone)]
struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

struct World {
    now_ns: u64,
    client: Node,
    server: Node,
    waiting: Vec<Datagram>,
    old: Vec<Datagram>,
}

impl World {
    fn deliver(&mut self, datagram: &Datagram) {
        for node in [&mut self.client, &mut self.server] {
            if node.address == datagram.to {
                node.receive(self.now_ns, datagram.from, &datagram.bytes);
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        for node in [&mut self.client, &mut self.server] {
            node.advance(self.now_ns, &mut self.waiting);
        }
        self.waiting.truncate(MAX_WAITING);
        // Nobody gets more from a responder than he sent it.
        assert!(self.server.bytes.values().all(|(received, sent)| sent <= received), "amplified");
    }

    fn take(&mut self, input: &mut Input<'_>) -> Option<Datagram> {
        if self.waiting.is_empty() {
            return None;
        }
        let at = input.below(self.waiting.len());
        let datagram = self.waiting.remove(at);
        self.old.push(datagram.clone());
        if self.old.len() > MAX_WAITING {
            self.old.remove(0);
        }
        Some(datagram)
    }
}

/// What the initiator makes of it counts.
pub fn initiator(data: &[u8]) -> Reach {
    run(data, true)
}

/// What the responder makes of it counts.
pub fn responder(data: &[u8]) -> Reach {
    run(data, false)
}

fn run(data: &[u8], at_initiator: bool) -> Reach {
    let mut input = Input::new(data);
    let setup = input.u8();
    let list = secrets(&[1]);
    let config = Config { aes_256: setup & 1 != 0, ..Config::default() };
    let accepting = Config {
        accept: true,
        cookie_always: setup & 2 != 0,
        application: (setup & 12 == 12).then(|| "other".into()),
        handshakes_per_second: if setup & 16 != 0 { 2 } else { 1_000 },
        ..config.clone()
    };
    let mut world = World {
        now_ns: 0,
        client: Node::new(config, &list, "192.0.2.1:50000", 11),
        server: Node::new(accepting, &list, "192.0.2.2:4433", 12),
        waiting: Vec::new(),
        old: Vec::new(),
    };
    let target = if at_initiator { world.client.address } else { world.server.address };
    let mut hostile = 0;
    let mut genuine = 0;
    world.client.connect(0, world.server.address, &list);
    world.settle();
    if at_initiator && setup & 32 == 0 {
        // There is something for it to receive.
        for datagram in std::mem::take(&mut world.waiting) {
            world.deliver(&datagram);
        }
    }
    let at_start = world.authentic_at(at_initiator);
    while !input.is_empty() {
        let operation = input.u8();
        let before = world.authentic_at(at_initiator);
        let mut forged = false;
        let mut outsider = false;
        match operation % 16 {
            0..=3 => {
                if let Some(datagram) = world.take(&mut input) {
                    world.deliver(&datagram);
                }
            }
            // Damaged, mostly by an insider, who can make the MAC.
            4..=7 => {
                if let Some(mut datagram) = world.take(&mut input) {
                    forged = damage(&mut datagram.bytes, &mut input) && datagram.to == target;
                    outsider = forged && operation & 16 != 0;
                    if operation & 16 == 0 {
                        put_mac(&mut datagram.bytes);
                    }
                    if operation & 32 != 0 {
                        datagram.from.set_port(u16::from(operation));
                    }
                    world.deliver(&datagram);
                }
            }
            8 => {
                world.take(&mut input);
            }
            9 | 10 => {
                if !world.old.is_empty() {
                    let mut datagram = world.old[input.below(world.old.len())].clone();
                    if operation & 32 != 0 {
                        datagram.from.set_port(u16::from(operation));
                    }
                    forged = datagram.to == target;
                    world.deliver(&datagram);
                }
            }
            11 => {
                world.now_ns += input.duration_ns();
                world.settle();
            }
            12 => world.client.connect(world.now_ns, world.server.address, &list),
            13 => {
                let acceptance = [Acceptance::Accept, Acceptance::Ignore, Acceptance::Closing];
                world.server.handshake.set_acceptance(acceptance[input.below(3)]);
                world.server.handshake.set_secrets(if operation & 16 != 0 {
                    secrets(&[1, 2])
                } else {
                    secrets(&[2])
                });
                world.settle();
            }
            14 => {
                let len = [32, 56, 144, 176, usize::from(input.u8())][input.below(5)];
                let mut bytes = input.bytes(len).to_vec();
                bytes.resize(len, 0);
                if let Some(first) = bytes.first_mut() {
                    *first = 0x80 | (*first & 7);
                }
                if operation & 16 != 0 {
                    put_mac(&mut bytes);
                }
                let from = if at_initiator { world.server.address } else { world.client.address };
                forged = true;
                world.deliver(&Datagram { from, to: target, bytes });
            }
            _ => {
                let usable = world.client.events.iter().rev().find_map(|event| match event {
                    Event::Usable { path, .. } => Some(path.credential_id),
                    _ => None,
                });
                if let Some(id) = usable {
                    world.client.handshake.on_authentic(world.now_ns, &id);
                    world.server.handshake.on_authentic(world.now_ns, &id);
                    world.settle();
                }
            }
        }
        assert!(
            !outsider || world.authentic_at(at_initiator) == before,
            "damaged without the MAC, and accepted"
        );
        hostile += u64::from(forged);
        genuine += u64::from(forged && world.authentic_at(at_initiator) > before);
    }
    // Of the datagrams only the hostile ones are counted; a genuine one gets past the decoder, too.
    let past = world.authentic_at(at_initiator) > at_start;
    let reach = Reach { past, datagrams: hostile, authentic: genuine };
    a_stranger_still_gets_in(world, &list);
    reach
}

impl World {
    fn authentic_at(&self, at_initiator: bool) -> u64 {
        if at_initiator { self.client.authentic() } else { self.server.authentic() }
    }
}

/// Whatever happened: once its limits have had time to recover, the responder answers somebody new.
fn a_stranger_still_gets_in(mut world: World, list: &Arc<[Secret]>) {
    world.now_ns += 60 * 1_000_000_000;
    world.waiting.clear();
    world.server.handshake.set_acceptance(Acceptance::Accept);
    world.server.handshake.set_secrets(Arc::clone(list));
    // Of the same application as the server, whatever that is, so that it is not refused.
    let application = world.server.handshake.counters().refusals_sent;
    let mut stranger = Node::new(Config::default(), list, "192.0.2.3:50000", 13);
    stranger.connect(world.now_ns, world.server.address, list);
    std::mem::swap(&mut world.client, &mut stranger);
    for _ in 0..8 {
        world.settle();
        for datagram in std::mem::take(&mut world.waiting) {
            world.deliver(&datagram);
        }
    }
    let refused = world.server.handshake.counters().refusals_sent > application;
    assert!(world.client.usable() == 1 || refused, "{:?}", world.server.handshake.counters());
}

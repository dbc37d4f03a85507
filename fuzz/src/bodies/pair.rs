//! Two endpoints and a network that does what the input says: every byte that arrives is the right one, every stream
//! ends, everything comes home.

use super::{
    Reach,
    environment::{AMPLIFICATION, Datagram, Node, Verdict, config},
    handshake::secrets,
    input::Input,
};
use bytes::Bytes;
use paceline_transport::{
    Algorithm, Config, Ecn, SECOND, SendError, StreamAudit,
    app::{Command, Outbox, StreamUpdate},
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

const MS: u64 = 1_000_000;
/// Datagrams on their way at most.
const MAX_IN_FLIGHT: usize = 2_048;
/// Operations of an input that count.
const MAX_OPERATIONS: usize = 400;
/// A timeout that the input has made the path's PTO a part of: it may let 15 s pass while an answer is under way.
const PATIENCE_NS: u64 = 600 * SECOND;
/// Events until everything has ended, far beyond what the slowest takes.
const MAX_ROUNDS: usize = 50_000;

/// What a stream's writer sends at an offset; the first byte tells writers apart.
fn byte_at(tag: u8, offset: u64) -> u8 {
    if offset == 0 {
        return tag;
    }
    ((offset ^ u64::from(tag) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// What an application wrote under a tag.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    bytes: u64,
    finished: bool,
}

/// A stream as one application sees it.
#[derive(Debug, Default)]
struct Stream {
    tag: u8,
    received: u64,
    consumed: u64,
    their_tag: Option<u8>,
    stopped: bool,
    newest: StreamUpdate,
}

struct Side {
    node: Node,
    streams: BTreeMap<u32, Stream>,
    next_stream: u32,
    /// Peers that streams can be opened to.
    peers: Vec<u32>,
    next_peer: u32,
}

struct World {
    now_ns: u64,
    sides: [Side; 2],
    written: Vec<Written>,
    /// No two writers have the same, so no stream can pass for another.
    next_tag: u8,
    in_flight: VecDeque<Datagram>,
    old: Vec<Datagram>,
    faults: u64,
    /// Applications take what arrives at once.
    reading: bool,
}

/// See the module.
pub fn pair(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let [setup_a, setup_b, other] = [input.u8(), input.u8(), input.u8()];
    let mut world = World::new(setup_a, setup_b, other);
    let mut operations = 0;
    while !input.is_empty() && operations < MAX_OPERATIONS {
        operations += 1;
        world.operate(&mut input);
    }
    let authentic = world.sides.iter().map(|side| side.node.accepted()).sum();
    let bytes: u64 =
        world.sides.iter().map(|side| side.node.shared.stats().endpoint.stream_bytes_received).sum();
    let datagrams = world.sides.iter().map(|side| side.node.shared.stats().endpoint.packets_received).sum();
    let reach = Reach { past: bytes > 0 && world.faults > 0, datagrams, authentic };
    world.end();
    reach
}

impl World {
    fn new(setup_a: u8, setup_b: u8, other: u8) -> Self {
        let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 4433));
        let side = |n: u8, setup: u8| {
            let controller = if other & n == 0 { Algorithm::Bbr } else { Algorithm::Cubic };
            let config = Config { congestion_control: controller, ..config(setup) };
            let segments = [64, 1][usize::from(setup >> 6 & 1)];
            Side {
                node: Node::new(config, address(n), SECOND, n.into(), segments),
                streams: BTreeMap::new(),
                next_stream: 1,
                peers: Vec::new(),
                next_peer: 1,
            }
        };
        let mut world = Self {
            now_ns: SECOND,
            sides: [side(1, setup_a), side(2, setup_b)],
            written: vec![Written::default(); 256],
            next_tag: 1,
            in_flight: VecDeque::new(),
            old: Vec::new(),
            faults: 0,
            reading: false,
        };
        world.connect(0);
        if other & 4 != 0 {
            // Both at once: two paths between the same two.
            world.connect(1);
        }
        if other & 8 == 0 {
            // Most inputs begin with a stream that works.
            world.open(0, 0, 4);
            world.write(0, 0, 3_000);
            world.run(8);
        }
        world
    }

    fn connect(&mut self, from: usize) {
        let remote = self.sides[1 - from].node.address;
        let side = &mut self.sides[from];
        if side.next_peer > 7 {
            return;
        }
        let peer = side.next_peer;
        side.next_peer += 2;
        side.peers.push(peer);
        let secrets = secrets(&[1]);
        let connect =
            Command::Connect { peer, remote, secrets, handshake_timeout_ns: 3 * SECOND, max_rate: None };
        side.node.command(connect);
    }

    fn open(&mut self, from: usize, peer: usize, priority: u8) {
        let side = &mut self.sides[from];
        // Each opened one is accepted at most once, so 256 tags are enough.
        let few = side.next_stream < 128;
        let (Some(&peer), true) = (side.peers.get(peer % side.peers.len().max(1)), few) else { return };
        let tag = self.next_tag;
        self.next_tag += 1;
        let stream = side.next_stream;
        side.next_stream += 2;
        side.streams.insert(stream, Stream { tag, ..Stream::default() });
        side.node.command(Command::Open { stream, peer, priority });
    }

    fn write(&mut self, from: usize, which: usize, len: u64) {
        let side = &mut self.sides[from];
        let Some((id, stream)) = nth(&mut side.streams, which) else { return };
        let written = &mut self.written[usize::from(stream.tag)];
        if written.finished || stream.newest.failure.is_some() {
            return;
        }
        let data: Bytes = (written.bytes..written.bytes + len).map(|at| byte_at(stream.tag, at)).collect();
        written.bytes += len;
        side.node.command(Command::Write { stream: id, data });
    }

    fn finish(&mut self, from: usize, which: usize) {
        let side = &mut self.sides[from];
        let Some((id, stream)) = nth(&mut side.streams, which) else { return };
        // Also after a failure: what closes the stream may then name its end.
        self.written[usize::from(stream.tag)].finished = true;
        side.node.command(Command::Finish(id));
    }

    fn consume(&mut self, from: usize, which: usize) {
        let side = &mut self.sides[from];
        let Some((id, stream)) = nth(&mut side.streams, which) else { return };
        let bytes = stream.received - stream.consumed;
        stream.consumed = stream.received;
        side.node.command(Command::Consume { stream: id, bytes });
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let operation = input.u8();
        let side = usize::from(operation >> 7);
        match operation & 31 {
            // The network works for a while.
            0..=3 => self.run(1 + usize::from(operation >> 5 & 3) * 4),
            4 => self.open(side, usize::from(operation >> 5 & 1), input.u8()),
            5 | 6 => {
                let (which, len) = (input.below(8), u64::from(input.u8()));
                self.write(side, which, len << (operation >> 5 & 3) << 2);
            }
            7 => self.finish(side, input.below(8)),
            8 => self.consume(side, input.below(8)),
            9 => {
                let (which, code) = (input.below(8), input.varint());
                self.with_stream(side, which, |stream| Command::Reset { stream, code });
            }
            10 => {
                let which = input.below(8);
                if let Some((_, stream)) = nth(&mut self.sides[side].streams, which) {
                    stream.stopped = true;
                }
                self.with_stream(side, which, Command::StopReading);
            }
            11 => {
                let (which, value) = (input.below(8), input.varint());
                self.with_stream(side, which, |stream| match operation >> 5 & 3 {
                    0 => Command::WantRoom { stream, level: value },
                    1 => Command::WantAcknowledged { stream, offset: value },
                    2 => Command::Record(stream),
                    _ => Command::SetPriority { stream, priority: value as u8 },
                });
            }
            12 => self.more_commands(side, input),
            13 => {
                let count = 1 + input.below(8);
                for _ in 0..count {
                    self.sides[side].node.environment().verdicts.push_back(match operation >> 5 & 3 {
                        0 => Verdict::Failed(SendError::TooLarge),
                        1 => Verdict::Failed(SendError::Os(101)),
                        2 => Verdict::Failed(SendError::Os(5)),
                        _ => Verdict::Later(2 * MS),
                    });
                }
                self.faults += 1;
            }
            14 => self.sides[side].node.environment().lazy = operation & 32 != 0,
            15..=17 => {
                // Time passes and nothing arrives.
                self.now_ns += input.duration_ns();
                self.settle();
            }
            18 => {
                let next = self.sides.iter().filter_map(|side| side.node.next_wake_ns).min();
                self.now_ns = self.now_ns.max(next.unwrap_or(0));
                self.settle();
            }
            _ => self.network(operation, input),
        }
    }

    fn with_stream(&mut self, from: usize, which: usize, command: impl FnOnce(u32) -> Command) {
        let side = &mut self.sides[from];
        if let Some((id, _)) = nth(&mut side.streams, which) {
            side.node.command(command(id));
        }
    }

    fn more_commands(&mut self, from: usize, input: &mut Input<'_>) {
        let value = input.u8();
        let side = &mut self.sides[from];
        let peer = side.peers.get(usize::from(value >> 4) % side.peers.len().max(1)).copied();
        match value % 8 {
            0..=2 => self.connect(from),
            3 => side.node.command(Command::AcceptStreams(u32::from(value >> 6))),
            4 => peer.into_iter().for_each(|peer| side.node.command(Command::ClosePeer(peer))),
            5 if value == 255 => side.node.command(Command::Shutdown),
            _ => {
                // Slower ones only take longer than anybody's patience.
                let max_rate = (value & 16 != 0).then(|| 10_000 + input.varint());
                let peers = peer.into_iter();
                peers.for_each(|peer| side.node.command(Command::SetMaxRate { peer, max_rate }));
            }
        }
    }

    /// What happens to datagrams between the two.
    fn network(&mut self, operation: u8, input: &mut Input<'_>) {
        let at = input.below(self.in_flight.len().min(256));
        match operation & 31 {
            19 | 20 => {
                // One of them overtakes the others.
                if let Some(datagram) = self.in_flight.remove(at) {
                    self.faults += u64::from(at > 0);
                    self.deliver(datagram);
                }
            }
            21 | 22 => {
                self.faults += u64::from(self.in_flight.remove(at).is_some());
            }
            23 => {
                if let Some(datagram) = self.in_flight.get(at).cloned() {
                    self.in_flight.push_back(datagram);
                    self.faults += 1;
                }
            }
            24 => {
                let (bit, byte) = (input.below(8), usize::from(input.u16()));
                if let Some(datagram) = self.in_flight.get_mut(at) {
                    let byte = byte % datagram.bytes.len();
                    datagram.bytes[byte] ^= 1 << bit;
                    self.faults += 1;
                }
            }
            25 => {
                let len = usize::from(input.u16());
                if let Some(datagram) = self.in_flight.get_mut(at) {
                    let len = 1 + len % datagram.bytes.len();
                    self.faults += u64::from(len < datagram.bytes.len());
                    datagram.bytes.truncate(len);
                }
            }
            26 => {
                if let Some(datagram) = self.in_flight.get_mut(at) {
                    datagram.ecn = Ecn::Ce;
                    self.faults += 1;
                }
            }
            27 => {
                // A burst of loss.
                let count = (1 + at).min(self.in_flight.len());
                self.in_flight.drain(..count);
                self.faults += count as u64;
            }
            28 | 29 => {
                // What was delivered long ago comes again, perhaps from somewhere else.
                if !self.old.is_empty() {
                    let mut datagram = self.old[input.below(self.old.len())].clone();
                    if operation & 32 != 0 {
                        datagram.from = SocketAddr::from(([10, 0, 0, 9], 9));
                    }
                    self.faults += 1;
                    self.deliver(datagram);
                }
            }
            _ => {
                let to = self.sides[usize::from(operation >> 7)].node.address;
                let from = SocketAddr::from(([10, 0, 0, if operation & 32 != 0 { 9 } else { 1 }], 4433));
                let len = input.below(64);
                let bytes = input.bytes(len).to_vec();
                if !bytes.is_empty() {
                    self.faults += 1;
                    self.deliver(Datagram { from, to, ecn: Ecn::NotEct, bytes });
                }
            }
        }
        self.settle();
    }

    fn deliver(&mut self, datagram: Datagram) {
        if self.old.len() < 64 {
            self.old.push(datagram.clone());
        } else {
            let at = datagram.bytes.len() % 64;
            self.old[at] = datagram.clone();
        }
        for side in &mut self.sides {
            if side.node.address == datagram.to {
                side.node.deliver(datagram);
                return;
            }
        }
    }

    /// `rounds` one-way trips of 1 ms in which everything arrives; when nothing is under way, the next thing happens.
    fn run(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.settle();
            let next = self.sides.iter().filter_map(|side| side.node.next_wake_ns).min();
            self.now_ns = match next {
                Some(next) if self.in_flight.is_empty() => next.max(self.now_ns),
                _ => self.now_ns + MS,
            };
            for datagram in std::mem::take(&mut self.in_flight) {
                self.deliver(datagram);
            }
            self.settle();
        }
    }

    fn settle(&mut self) {
        for index in 0..2 {
            let sent = self.sides[index].node.step(self.now_ns);
            for datagram in sent {
                if self.in_flight.len() < MAX_IN_FLIGHT {
                    self.in_flight.push_back(datagram);
                }
            }
            let news = self.sides[index].node.take_news();
            self.hear(index, &news);
            self.sides[index].node.news = news;
            // Nobody but the two gets more than an unproven address may.
            let [other, own] = [1 - index, index].map(|side| self.sides[side].node.address);
            for (address, (received, sent)) in &self.sides[index].node.bytes {
                assert!(
                    *address == other || *address == own || *sent <= AMPLIFICATION * received,
                    "amplified to {address}"
                );
            }
        }
    }

    fn hear(&mut self, index: usize, news: &Outbox) {
        let side = &mut self.sides[index];
        for update in &news.peers {
            if update.accepted && update.open {
                side.peers.push(update.peer);
            }
        }
        for update in &news.streams {
            if update.accepted_from.is_some() {
                let stream = Stream { tag: self.next_tag, ..Stream::default() };
                self.next_tag += 1;
                assert!(side.streams.insert(update.stream, stream).is_none(), "accepted twice");
            }
            let stream = side.streams.get_mut(&update.stream).expect("a stream that nobody opened");
            check_update(stream, update, &self.written);
            if self.reading && stream.received > stream.consumed {
                let bytes = stream.received - stream.consumed;
                stream.consumed = stream.received;
                side.node.command(Command::Consume { stream: update.stream, bytes });
            }
        }
    }

    /// The network heals, applications read and finish: everything ends, and then the endpoints.
    fn end(mut self) {
        for index in 0..2 {
            let environment = self.sides[index].node.environment();
            environment.verdicts.clear();
            environment.lazy = false;
        }
        self.reading = true;
        let begin = self.now_ns;
        // Those accepted only now are finished, too.
        let mut rounds = 0;
        while !self.all_closed() {
            for index in 0..2 {
                for which in 0..self.sides[index].streams.len() {
                    let stream = nth(&mut self.sides[index].streams, which).map(|(_, stream)| &*stream);
                    let open = stream.is_some_and(|stream| {
                        !stream.newest.closed && !self.written[usize::from(stream.tag)].finished
                    });
                    if open {
                        self.finish(index, which);
                    }
                    self.consume(index, which);
                }
            }
            self.run(4);
            rounds += 1;
            assert!(rounds < MAX_ROUNDS, "no end at {} s: {:?}", self.now_ns / SECOND, self.open_streams());
            let patient = self.now_ns < begin + PATIENCE_NS;
            assert!(patient || self.all_closed(), "stalled: {:?}", self.open_streams());
        }
        let begin = self.now_ns;
        self.sides.iter_mut().for_each(|side| side.node.command(Command::Shutdown));
        while !self.sides.iter().all(|side| side.node.done) {
            self.run(1);
            rounds += 1;
            assert!(rounds < 2 * MAX_ROUNDS, "no end of shutdown");
            let done = self.sides.iter().all(|side| side.node.done);
            assert!(
                done || self.now_ns < begin + PATIENCE_NS,
                "shutdown stalled: {:?}",
                self.sides.each_ref().map(|side| side.node.worker.audit())
            );
        }
        let [a, b] = self.sides;
        a.node.end();
        b.node.end();
    }

    fn all_closed(&self) -> bool {
        self.sides.iter().all(|side| side.streams.values().all(|stream| stream.newest.closed))
    }

    /// What is known of those that do not end.
    fn open_streams(&self) -> Vec<(&u32, &Stream, Option<StreamAudit>)> {
        let all = self.sides.iter().flat_map(|side| {
            let mut audits = side.node.worker.audit().streams;
            side.streams.iter().map(move |(id, stream)| {
                let at = audits.iter().position(|audit| audit.id == *id);
                (id, stream, at.map(|at| audits.swap_remove(at)))
            })
        });
        all.filter(|(_, stream, _)| !stream.newest.closed).collect()
    }
}

fn nth(streams: &mut BTreeMap<u32, Stream>, which: usize) -> Option<(u32, &mut Stream)> {
    let count = streams.len();
    streams.iter_mut().nth(which % count.max(1)).map(|(id, stream)| (*id, stream))
}

/// Totals only grow, bytes are those that were written, an end is the end.
fn check_update(stream: &mut Stream, update: &StreamUpdate, written: &[Written]) {
    let before = &stream.newest;
    assert!(!before.closed, "news of a closed stream: {update:?}");
    let own = written[usize::from(stream.tag)];
    assert!(update.sealed >= before.sealed && update.acknowledged >= before.acknowledged);
    assert!(update.acknowledged <= update.sealed && update.sealed <= own.bytes, "{update:?} {own:?}");
    assert!(!update.fin_acknowledged || own.finished, "{update:?} {own:?}");
    assert!(update.transmissions >= before.transmissions);
    for bytes in &update.readable {
        assert!(!stream.stopped || !bytes.is_empty());
        for byte in bytes.iter() {
            let tag = *stream.their_tag.get_or_insert(*byte);
            assert_eq!(*byte, byte_at(tag, stream.received), "at {}", stream.received);
            stream.received += 1;
        }
    }
    let theirs = stream.their_tag.map(|tag| written[usize::from(tag)]);
    if let Some(theirs) = theirs {
        assert!(stream.received <= theirs.bytes, "{} of {theirs:?}", stream.received);
    }
    if update.end {
        assert!(!before.end, "ended twice");
        if let (Some(theirs), false) = (theirs, stream.stopped) {
            assert!(theirs.finished && stream.received == theirs.bytes, "{} of {theirs:?}", stream.received);
        }
    }
    let (end, failure) = (before.end || update.end, before.failure.or(update.failure));
    stream.newest = StreamUpdate { end, failure, readable: Vec::new(), ..update.clone() };
}

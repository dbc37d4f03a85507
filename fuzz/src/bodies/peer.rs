//! One endpoint and a peer that has the keys and no manners: authentic packets with hostile offsets, final sizes, ACKs,
//! limits, closes, key phases and numbers, next to genuine ones.

use super::{
    Reach,
    build::damage,
    environment::{AMPLIFICATION, Datagram, Node, config},
    handshake::{Rng, secrets},
    input::Input,
};
use bytes::Bytes;
use paceline_transport::{
    Ecn, SECOND,
    app::Command,
    fuzzing::wire::{
        Credentials, Opener, PathSecret, StreamKeys, Writer, frame,
        packet::{control, secret_control, stream},
        varint,
    },
    handshake::{self, Established, Event, Handshake},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::RangeInclusive,
    sync::Arc,
};

const MS: u64 = 1_000_000;
/// Operations of an input that count.
const MAX_OPERATIONS: usize = 300;
/// A shutdown takes three PTOs, and the input may have let 15 s pass while an answer was under way.
const PATIENCE_NS: u64 = 600 * SECOND;
/// Streams that the attacker keeps in mind.
const MAX_LINES: usize = 24;
/// Of the endpoint's configuration, and what it may hold of one stream: the window, and what was granted already.
const MAX_WINDOW: u64 = 256 << 10;

/// What the attacker sends at an offset, whichever packet it is in.
fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// A stream from the attacker's side.
#[derive(Debug)]
struct Line {
    /// Opened by the attacker.
    own: bool,
    key_id: u64,
    /// For opening, in the phase the endpoint is in; what is sealed has keys of its own every time, as numbers repeat.
    keys: StreamKeys,
    /// The endpoint's queue; 0 until it told.
    queue_id: u64,
    next_number: u64,
    next_recovery: u64,
    next_control: u64,
    next_offset: u64,
    /// Numbers received from the endpoint, by space.
    seen: [BTreeSet<u64>; 2],
    received_end: u64,
}

/// The endpoint's application.
#[derive(Debug, Default)]
struct Reader {
    received: u64,
    consumed: u64,
    written: u64,
    sealed: u64,
    closed: bool,
}

struct World {
    now_ns: u64,
    node: Node,
    attacker: SocketAddr,
    secret: Arc<PathSecret>,
    /// As the endpoint would prove its restart with to the attacker, and the other way round.
    token: [u8; 16],
    lines: Vec<Line>,
    next_key_id: u64,
    peers: Vec<u32>,
    streams: BTreeMap<u32, Reader>,
    next_stream: u32,
    old: Vec<Vec<u8>>,
    hostile: u64,
    authentic: u64,
}

/// See the module.
pub fn peer(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let (setup, other) = (input.u8(), input.u8());
    let mut world = World::connected(setup, other);
    let mut operations = 0;
    while !input.is_empty() && operations < MAX_OPERATIONS {
        operations += 1;
        world.operate(&mut input);
    }
    let reach = Reach { past: world.authentic > 0, datagrams: world.hostile, authentic: world.authentic };
    world.end();
    reach
}

/// A genuine handshake in either direction; what the attacker has of it.
fn shake_hands(
    node: &mut Node,
    attacker: SocketAddr,
    now_ns: u64,
    connects: bool,
) -> (Box<Established>, [u8; 16]) {
    let list = secrets(&[1]);
    let mut rng = Rng(99);
    let config = handshake::Config { accept: true, ..handshake::Config::default() };
    let mut hand = Handshake::new(config, Arc::clone(&list), now_ns, &mut |out| rng.fill(out));
    if connects {
        let attempt = hand.connect(now_ns, node.address, &list, SECOND, &mut |out| rng.fill(out));
        assert!(attempt.is_ok());
    } else {
        let connect = Command::Connect {
            peer: 1,
            remote: attacker,
            secrets: list,
            handshake_timeout_ns: SECOND,
            max_rate: None,
        };
        node.command(connect);
    }
    let mut path = None;
    let mut confirmed = false;
    for _ in 0..8 {
        for datagram in node.step(now_ns) {
            hand.receive(now_ns, node.address, None, &datagram.bytes, &mut |out| rng.fill(out));
        }
        hand.advance(now_ns, &mut |out| rng.fill(out));
        while let Some(event) = hand.poll_event() {
            match event {
                Event::Usable { path: made, .. } | Event::HalfOpen { path: made } => path = Some(made),
                Event::Confirmed { .. } => confirmed = true,
                Event::Expired { .. } | Event::Failed { .. } => panic!("{event:?}"),
            }
        }
        while let Some(message) = hand.poll_message() {
            let bytes = message.bytes().to_vec();
            node.deliver(Datagram { from: attacker, to: node.address, ecn: Ecn::NotEct, bytes });
        }
    }
    assert!(confirmed, "a genuine handshake works");
    let path = path.expect("confirmed");
    let token = hand.reset_token(&path.credential_id);
    (path, token)
}

impl World {
    fn connected(setup: u8, other: u8) -> Self {
        let now_ns = SECOND;
        let address = SocketAddr::from(([10, 0, 0, 1], 4433));
        let attacker = SocketAddr::from(([10, 0, 0, 2], 4433));
        let mut node = Node::new(config(setup), address, now_ns, 1, 64);
        let (path, token) = shake_hands(&mut node, attacker, now_ns, other & 1 != 0);
        let mut world = Self {
            now_ns,
            node,
            attacker,
            secret: Arc::clone(&path.secret),
            token,
            lines: Vec::new(),
            next_key_id: 0,
            peers: Vec::new(),
            streams: BTreeMap::new(),
            next_stream: 1,
            old: Vec::new(),
            hostile: 0,
            authentic: 0,
        };
        world.settle();
        world.open_own();
        if other & 2 == 0 {
            world.open_theirs(4);
            world.write(0, 3_000);
            world.pass(MS);
        }
        world
    }

    fn open_own(&mut self) {
        if self.lines.len() < MAX_LINES {
            self.lines.push(Line::new(&self.secret, true, self.next_key_id));
            self.next_key_id += 1;
        }
    }

    fn open_theirs(&mut self, priority: u8) {
        let Some(peer) = self.peers.first().copied() else { return };
        if self.streams.len() < MAX_LINES {
            let stream = self.next_stream;
            self.next_stream += 2;
            self.streams.insert(stream, Reader::default());
            self.node.command(Command::Open { stream, peer, priority });
        }
    }

    fn write(&mut self, which: usize, len: usize) {
        let count = self.streams.len().max(1);
        let Some((id, reader)) = self.streams.iter_mut().nth(which % count) else { return };
        // As `Command::Write` asks: within the bound of the send buffer.
        if reader.written - reader.sealed < 1 << 20 {
            reader.written += len as u64;
            self.node.command(Command::Write { stream: *id, data: Bytes::from(vec![7; len]) });
        }
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let operation = input.u8();
        let which = usize::from(operation >> 5);
        match operation & 31 {
            0..=7 => {
                let line = input.below(self.lines.len());
                if let Some(bytes) = self.stream_packet(line, input) {
                    self.attack(bytes, operation & 0x80 != 0, input);
                }
            }
            8..=13 => {
                let line = input.below(self.lines.len());
                if let Some(bytes) = self.control_packet(line, input) {
                    self.attack(bytes, operation & 0x80 != 0, input);
                }
            }
            14 => self.secret_control(input),
            15 => self.open_own(),
            16 => self.open_theirs(input.u8()),
            17 | 18 => {
                let len = usize::from(input.u8()) << (operation >> 6);
                self.write(which, len);
            }
            19 => self.command(which, |stream, _| Command::Finish(stream)),
            20 => {
                let code = input.varint();
                self.command(which, |stream, _| Command::Reset { stream, code });
            }
            21 => self.command(which, |stream, _| Command::StopReading(stream)),
            22 | 23 => self.command(which, |stream, reader| {
                let bytes = reader.received - reader.consumed;
                reader.consumed = reader.received;
                Command::Consume { stream, bytes }
            }),
            24 => {
                let value = input.varint();
                self.command(which, |stream, _| match value % 4 {
                    0 => Command::Record(stream),
                    1 => Command::WantAcknowledged { stream, offset: value },
                    2 => Command::WantRoom { stream, level: value },
                    _ => Command::SetPriority { stream, priority: value as u8 },
                });
            }
            25 => match input.u8() {
                limit @ 0..=7 => self.node.command(Command::AcceptStreams(limit.into())),
                255 => self
                    .peers
                    .first()
                    .into_iter()
                    .for_each(|peer| self.node.command(Command::ClosePeer(*peer))),
                254 => self.node.command(Command::Shutdown),
                _ => {}
            },
            26 => {
                // Something the attacker sent before.
                if !self.old.is_empty() {
                    let bytes = self.old[input.below(self.old.len())].clone();
                    self.attack(bytes, operation & 0x80 != 0, input);
                }
            }
            27 => {
                let len = input.below(64);
                let bytes = input.bytes(len).to_vec();
                self.attack(bytes, true, input);
            }
            // What a good peer would do.
            28 => (0..self.lines.len()).for_each(|line| self.acknowledge(line)),
            29 => self.pass(MS),
            30 => {
                let ns = input.duration_ns();
                self.pass(ns);
            }
            _ => {
                let next = self.node.next_wake_ns.unwrap_or(0).saturating_sub(self.now_ns);
                self.pass(next);
            }
        }
    }

    fn command(&mut self, which: usize, make: impl FnOnce(u32, &mut Reader) -> Command) {
        let count = self.streams.len().max(1);
        if let Some((id, reader)) = self.streams.iter_mut().nth(which % count) {
            let command = make(*id, reader);
            self.node.command(command);
            self.settle();
        }
    }

    /// A stream packet of the line: most of its fields as they should be.
    fn stream_packet(&mut self, line: usize, input: &mut Input<'_>) -> Option<Vec<u8>> {
        let queue = line as u64 + 1;
        let id = *self.secret.id();
        let mut frames = [0; 256];
        let kind = input.u8();
        let line = self.lines.get_mut(line)?;
        let frames_len = if kind & 7 == 5 { line.frames(&mut frames, input) } else { 0 };
        let mut keys = self.secret.stream_keys(line.key_id, line.opener());
        if kind & 0x18 == 0x18 {
            keys.seal.update();
        }
        let offset = match input.u8() {
            0..=159 => line.next_offset,
            160..=191 => line.next_offset.saturating_sub(input.varint()),
            192..=223 => line.next_offset + u64::from(input.u8()),
            _ => input.varint(),
        };
        let len = match input.u8() {
            small @ 0..=127 => usize::from(small),
            large => usize::from(large - 127) * 10,
        };
        let len = if kind & 7 == 5 { 0 } else { len };
        let end = offset.saturating_add(len as u64);
        let final_offset = match input.u8() {
            0..=191 => None,
            192..=239 => Some(end),
            _ => Some(input.varint()),
        };
        let numbers = if kind & 7 == 5 { &mut line.next_recovery } else { &mut line.next_number };
        let number = match input.u8() {
            0..=223 => *numbers,
            224..=239 => *numbers + u64::from(input.u8()),
            _ => input.varint(),
        };
        *numbers = (*numbers).max(number.saturating_add(1).min(1 << 61));
        let header = stream::Header {
            credentials: Credentials { id, key_id: line.key_id },
            queue_id: if input.u8() < 240 { line.queue_id } else { input.varint() % (1 << 60) },
            source_queue_id: (kind & 0x20 == 0).then_some(queue),
            number,
            next_expected_control: if kind & 0x40 == 0 { 0 } else { input.varint() },
            offset,
            final_offset,
            key_phase: keys.seal.phase(),
        };
        let mut packet = vec![0; len + 512];
        let written = if kind & 7 == 5 {
            stream::probe(&header, &frames[..frames_len], &keys.control_seal, &mut packet).ok()?
        } else {
            let payload: Vec<u8> = (offset..end).map(byte_at).collect();
            let layout = stream::Layout::minimal(&header);
            stream::seal(&header, &layout, &mut keys.seal, &payload, &mut packet).ok()?
        };
        packet.truncate(written);
        line.next_offset = line.next_offset.max(end.min(1 << 30));
        if kind & 7 == 6 {
            let number = line.next_recovery.max(number.saturating_add(1));
            line.next_recovery = number.saturating_add(1);
            stream::retransmit(&mut packet, number, &keys.control_seal).ok()?;
        }
        Some(packet)
    }

    fn control_packet(&mut self, line: usize, input: &mut Input<'_>) -> Option<Vec<u8>> {
        let queue = line as u64 + 1;
        let id = *self.secret.id();
        let line = self.lines.get_mut(line)?;
        let mut frames = [0; 512];
        let frames_len = line.frames(&mut frames, input);
        let number = if input.u8() < 224 { line.next_control } else { input.varint() };
        line.next_control = line.next_control.max(number.saturating_add(1).min(1 << 61));
        let header = control::Header {
            credentials: Credentials { id, key_id: line.key_id },
            queue_id: Some(if input.u8() < 240 { line.queue_id } else { input.varint() % (1 << 60) }),
            source_queue_id: Some(queue),
            number,
        };
        let key = self.secret.stream_control_keys(line.key_id, line.opener()).0;
        let mut packet = vec![0; 1_024];
        let len = control::encode(&header, &frames[..frames_len], &key, &mut packet).ok()?;
        packet.truncate(len);
        Some(packet)
    }

    fn secret_control(&mut self, input: &mut Input<'_>) {
        let (kind, value, key, id) =
            (input.u8(), input.varint(), self.secret.control_sealer(), *self.secret.id());
        let mut packet = vec![0; secret_control::MAX_LEN];
        let queue_id = (kind & 4 != 0).then_some(value);
        let len = match kind & 3 {
            0 => secret_control::stale_key(&id, queue_id, value, &key, &mut packet),
            1 => secret_control::replay_detected(&id, queue_id, value, &key, &mut packet),
            2 => secret_control::unknown_path_secret(&id, queue_id, &[kind; 16], &mut packet),
            _ => secret_control::unknown_path_secret(&id, queue_id, &self.token, &mut packet),
        };
        packet.truncate(len.expect("fits"));
        self.attack(packet, false, input);
    }

    /// A good peer's ACK of everything seen, and room for 64 KiB more.
    fn acknowledge(&mut self, line: usize) {
        let Some(line) = self.lines.get_mut(line) else { return };
        if line.queue_id == 0 {
            return;
        }
        let mut frames = [0; 1_024];
        let mut writer = Writer::new(&mut frames);
        for (space, seen) in line.seen.iter().enumerate() {
            let ecn = (space == 0).then(Default::default);
            let _ = frame::ack(&mut writer, descending(seen).iter().cloned(), ecn, 0);
        }
        let _ = frame::max_data(&mut writer, line.received_end + (64 << 10));
        let header = control::Header {
            credentials: Credentials { id: *self.secret.id(), key_id: line.key_id },
            queue_id: Some(line.queue_id),
            source_queue_id: None,
            number: line.next_control,
        };
        line.next_control += 1;
        let key = self.secret.stream_control_keys(line.key_id, line.opener()).0;
        let mut packet = vec![0; 1_200];
        if let Ok(len) = control::encode(&header, writer.written(), &key, &mut packet) {
            packet.truncate(len);
            self.send(packet, self.attacker);
        }
    }

    /// A packet for the endpoint, now and then damaged, now and then from elsewhere.
    fn attack(&mut self, mut bytes: Vec<u8>, elsewhere: bool, input: &mut Input<'_>) {
        if self.old.len() < 32 {
            self.old.push(bytes.clone());
        }
        if input.one_in(16) {
            damage(&mut bytes, input);
        }
        if bytes.is_empty() {
            return;
        }
        let from = if elsewhere { SocketAddr::from(([10, 0, 0, 9], 9)) } else { self.attacker };
        let before = self.node.accepted();
        self.send(bytes, from);
        self.hostile += 1;
        self.authentic += u64::from(self.node.accepted() > before);
    }

    fn send(&mut self, bytes: Vec<u8>, from: SocketAddr) {
        self.node.deliver(Datagram { from, to: self.node.address, ecn: Ecn::Ect0, bytes });
        self.settle();
    }

    fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        self.settle();
    }

    fn settle(&mut self) {
        for datagram in self.node.step(self.now_ns) {
            self.observe(&datagram);
        }
        for (address, (received, sent)) in &self.node.bytes {
            assert!(*address == self.attacker || *sent <= AMPLIFICATION * received, "amplified to {address}");
        }
        let news = self.node.take_news();
        for update in &news.peers {
            if update.open {
                self.peers.push(update.peer);
            }
        }
        for update in &news.streams {
            if update.accepted_from.is_some() {
                assert!(self.streams.insert(update.stream, Reader::default()).is_none(), "accepted twice");
            }
            let reader = self.streams.get_mut(&update.stream).expect("a stream that nobody opened");
            assert!(!reader.closed, "news of a closed stream: {update:?}");
            assert!(update.acknowledged <= update.sealed && update.sealed <= reader.written, "{update:?}");
            for byte in update.readable.iter().flatten() {
                assert_eq!(*byte, byte_at(reader.received), "at {}", reader.received);
                reader.received += 1;
            }
            assert!(reader.received - reader.consumed <= MAX_WINDOW, "more than the window: {reader:?}");
            reader.sealed = update.sealed;
            reader.closed |= update.closed;
        }
        self.node.news = news;
    }

    /// What the endpoint says is decoded as a peer would.
    fn observe(&mut self, datagram: &Datagram) {
        if datagram.to != self.attacker {
            return;
        }
        if let Ok(packet) = stream::Packet::decode(&datagram.bytes) {
            assert_eq!(packet.credentials().id, *self.secret.id());
            let Some(line) = self.line_that_opens(&packet) else { return };
            line.queue_id = packet.source_queue_id().unwrap_or(line.queue_id);
            let new =
                line.seen[usize::from(packet.space() == stream::Space::Recovery)].insert(packet.number());
            assert!(new, "a packet number twice");
            line.received_end = line.received_end.max(packet.end_offset());
        } else if let Ok(packet) = control::Packet::decode(&datagram.bytes) {
            let at = packet.queue_id().and_then(|queue| usize::try_from(queue).ok()?.checked_sub(1));
            let key_id = packet.credentials().key_id;
            let line = at.and_then(|at| self.lines.get_mut(at)).filter(|line| line.key_id == key_id);
            if let Some(line) = line {
                let key = self.secret.stream_control_keys(key_id, line.opener()).1;
                assert!(packet.verify(&key).is_ok(), "what an endpoint sends is authentic");
                line.queue_id = packet.source_queue_id().unwrap_or(line.queue_id);
                assert!(frame::Frames::new(packet.control_data()).all(|frame| frame.is_ok()));
            }
        }
    }

    /// The stream a packet of the endpoint belongs to. Both sides count their key ids from 0, and a queue id it only has
    /// once the attacker told one: the keys decide.
    fn line_that_opens(&mut self, packet: &stream::Packet<'_>) -> Option<&mut Line> {
        let key_id = packet.credentials().key_id;
        let mut payload = vec![0; packet.payload_len()];
        let mut opens = |line: &mut Line| {
            let StreamKeys { open, control_open, .. } = &mut line.keys;
            let opened = line.key_id == key_id && packet.open(open, control_open, &mut payload).is_ok();
            if opened && !packet.is_probe() {
                open.opened(packet.key_phase());
            }
            opened
        };
        let at = match self.lines.iter_mut().position(&mut opens) {
            Some(at) => at,
            None => {
                let mut line = Line::new(&self.secret, false, key_id);
                assert!(opens(&mut line), "what an endpoint sends opens: {packet:?}");
                if self.lines.len() >= MAX_LINES {
                    return None;
                }
                self.lines.push(line);
                self.lines.len() - 1
            }
        };
        assert!(packet.is_probe() || payload.iter().all(|byte| *byte == 7));
        self.lines.get_mut(at)
    }

    /// The attacker falls silent; the endpoint shuts down by itself.
    fn end(mut self) {
        self.node.command(Command::Shutdown);
        let begin = self.now_ns;
        let mut rounds = 0;
        while !self.node.done {
            self.settle();
            let next = self.node.next_wake_ns;
            if !self.node.done {
                self.now_ns = self.now_ns.max(next.expect("something is to come"));
            }
            rounds += 1;
            assert!(rounds < 20_000, "no end");
            assert!(self.now_ns < begin + PATIENCE_NS, "stalled");
        }
        self.settle();
        self.node.end();
    }
}

/// The ranges of a set from the top.
fn descending(seen: &BTreeSet<u64>) -> Vec<RangeInclusive<u64>> {
    let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
    for &n in seen.iter().rev() {
        match ranges.last_mut() {
            Some(range) if range.start().checked_sub(1) == Some(n) => *range = n..=*range.end(),
            _ => ranges.push(n..=n),
        }
    }
    ranges
}

impl Line {
    fn new(secret: &PathSecret, own: bool, key_id: u64) -> Self {
        Self {
            own,
            key_id,
            keys: secret.stream_keys(key_id, if own { Opener::Local } else { Opener::Remote }),
            queue_id: 0,
            next_number: 0,
            next_recovery: 0,
            next_control: 0,
            next_offset: 0,
            seen: [BTreeSet::new(), BTreeSet::new()],
            received_end: 0,
        }
    }

    const fn opener(&self) -> Opener {
        if self.own { Opener::Local } else { Opener::Remote }
    }

    /// Up to four frames; returns their bytes.
    fn frames(&self, out: &mut [u8], input: &mut Input<'_>) -> usize {
        let mut writer = Writer::new(out);
        for _ in 0..=input.below(4) {
            let kind = input.u8();
            let _ = match kind & 15 {
                0..=2 => {
                    let space = usize::from(kind >> 7);
                    let ecn = (space == 0).then(|| frame::EcnCounts { ect0: 1, ect1: 0, ce: input.varint() });
                    frame::ack(&mut writer, descending(&self.seen[space]).into_iter(), ecn, 0).map(drop)
                }
                3 | 4 => {
                    // A little or much more than was sent.
                    let newest = self.seen[usize::from(kind >> 7)].last().copied().unwrap_or(0);
                    let end = newest.saturating_add(input.varint()).min(varint::MAX);
                    let start = end.saturating_sub(input.varint());
                    let ecn = (kind & 0x80 == 0).then(Default::default);
                    frame::ack(&mut writer, std::iter::once(start..=end), ecn, input.varint()).map(drop)
                }
                5 => {
                    // Every second number: as many ranges as fit.
                    let top = input.varint();
                    let count = u64::from(input.u8());
                    let ranges = (0..count).map_while(|i| top.checked_sub(i * 2)).map(|n| n..=n);
                    frame::ack(&mut writer, ranges, (kind & 0x80 == 0).then(Default::default), 0).map(drop)
                }
                6 | 7 => frame::max_data(&mut writer, self.received_end + input.varint()),
                8 => frame::max_data(&mut writer, input.varint()),
                9 if kind >= 192 => frame::connection_close(&mut writer, kind & 16 != 0, input.varint()),
                10 => writer.bytes(input.bytes(8)),
                11 => writer.bytes(&[1, 0, 0, 0]),
                _ => Ok(()),
            };
        }
        writer.len()
    }
}

//! Two endpoints on a table: every datagram is in the test's hands.

use crate::{
    app::{Command, Outbox, PeerId, Shared, StreamId},
    config::{Config, MS, SECOND},
    endpoint::Endpoint,
    environment::{Backpressure, BurstLimits, Environment, Received},
    stream::Stream,
    transmission::{Completion, Ecn, Kind, Outcome, PathKey, SendError, StreamKey, Transmission},
};
use paceline_handshake::Secret;
use paceline_pool::{Pool, Purpose, Segments};
use paceline_wire::{
    Credentials, Opener, Writer,
    frame::{self, EcnCounts},
    packet::{control, stream},
};
use std::{collections::VecDeque, net::SocketAddr, ops::RangeInclusive, sync::Arc};

/// What the socket does with transmissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Socket {
    Sends,
    Fails,
    /// It has taken them and says nothing yet.
    Keeps,
}

#[derive(Debug)]
pub(super) struct Wire {
    pool: Arc<Pool>,
    pub(super) socket: Socket,
    pub(super) sent: Vec<(Kind, Vec<u8>)>,
    kept: Vec<Transmission>,
    inbox: VecDeque<Vec<u8>>,
    results: Vec<Completion>,
    other: SocketAddr,
    random: u64,
}

impl Environment for Wire {
    fn submit(&mut self, now_ns: u64, due: &mut VecDeque<Transmission>) -> Backpressure {
        for transmission in due.drain(..) {
            let outcome = match self.socket {
                Socket::Sends => Outcome::Sent { at_ns: now_ns },
                Socket::Fails => Outcome::Failed { error: SendError::Os(1), at_ns: now_ns },
                Socket::Keeps => {
                    self.kept.push(transmission);
                    continue;
                }
            };
            if self.socket == Socket::Sends {
                let packets = transmission.segments.iter().map(|bytes| (transmission.kind, bytes.to_vec()));
                self.sent.extend(packets);
            }
            self.results.push(Completion { transmission, outcome });
        }
        Backpressure::None
    }

    fn poll_results(&mut self, results: &mut Vec<Completion>) {
        results.append(&mut self.results);
    }

    fn receive(&mut self, now_ns: u64) -> Option<Received> {
        let bytes = self.inbox.pop_front()?;
        let mut unfilled = self.pool.take(bytes.len(), Purpose::Receive).unwrap();
        unfilled.buffer()[..bytes.len()].copy_from_slice(&bytes);
        let segments = Segments::new(unfilled.fill(bytes.len()), bytes.len());
        Some(Received { remote: self.other, local: None, ecn: Ecn::Ect0, segments, at_ns: now_ns })
    }

    fn random(&mut self, out: &mut [u8]) {
        for byte in out {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.random >> 56) as u8;
        }
    }

    fn burst_limits(&self, _remote: &SocketAddr) -> BurstLimits {
        BurstLimits { max_segments: 16, max_bytes: 65_507 }
    }
}

pub(super) struct Side {
    pub(super) endpoint: Endpoint,
    pub(super) wire: Wire,
    shared: Arc<Shared>,
    pub(super) news: Outbox,
}

impl Side {
    fn new(seed: u64, other: SocketAddr, config: Config) -> Self {
        let pool = Pool::new(paceline_pool::Config {
            capacity_bytes: config.pool_bytes,
            reserve_bytes: config.pool_reserve_bytes,
        })
        .unwrap();
        let mut wire = Wire {
            pool: pool.clone(),
            socket: Socket::Sends,
            sent: Vec::new(),
            kept: Vec::new(),
            inbox: VecDeque::new(),
            results: Vec::new(),
            other,
            random: seed,
        };
        let shared = Arc::new(Shared::default());
        let endpoint = Endpoint::new(config, pool, shared.clone(), SECOND, &mut |out| wire.random(out));
        Self { endpoint, wire, shared, news: Outbox::default() }
    }

    pub(super) fn step(&mut self, now_ns: u64) {
        while self.endpoint.step(&mut self.wire, now_ns).busy {}
        let mut news = Outbox::default();
        self.shared.take_news(&mut news);
        self.news.peers.append(&mut news.peers);
        self.news.streams.append(&mut news.streams);
    }

    pub(super) fn command(&mut self, command: Command) {
        self.shared.submit(&mut vec![command]);
    }

    pub(super) fn stream(&self, id: StreamId) -> Option<&Stream> {
        self.endpoint.by_id.get(&id).and_then(|key| self.endpoint.streams.get(*key))
    }

    pub(super) fn key(&self, id: StreamId) -> StreamKey {
        self.endpoint.by_id[&id]
    }

    pub(super) fn path(&self) -> PathKey {
        *self.endpoint.by_credential.values().next().unwrap()
    }

    /// The kept transmissions come back.
    pub(super) fn release_kept(&mut self, outcome: Outcome) {
        let kept = std::mem::take(&mut self.wire.kept);
        self.wire.results.extend(kept.into_iter().map(|transmission| Completion { transmission, outcome }));
    }
}

pub(super) const PEER: PeerId = 1;

pub(super) struct Bench {
    pub(super) now_ns: u64,
    pub(super) ours: Side,
    pub(super) theirs: Side,
    /// A stream that may be over by now, as its packets name it.
    over: Option<(Credentials, u64, Opener)>,
}

pub(super) fn config() -> Config {
    Config {
        pool_bytes: 4 << 20,
        pool_reserve_bytes: 1 << 20,
        initial_window: 10_000,
        secrets: secrets(),
        ..Config::default()
    }
}

pub(super) fn secrets() -> Arc<[Secret]> {
    let bytes: Vec<u8> = (1..=32).collect();
    Arc::from([Secret::new(&bytes).unwrap()])
}

pub(super) fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 4433))
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            now_ns: SECOND,
            ours: Side::new(1, address(2), config()),
            theirs: Side::new(2, address(1), config()),
            over: None,
        }
    }

    pub(super) fn connect(&mut self) {
        let connect = Command::Connect {
            peer: PEER,
            remote: address(2),
            secrets: secrets(),
            handshake_timeout_ns: 10 * SECOND,
            max_rate: None,
        };
        self.ours.command(connect);
    }

    /// Both, until nobody says anything; every datagram takes a millisecond.
    pub(super) fn settle(&mut self) {
        for _ in 0..50 {
            self.ours.step(self.now_ns);
            self.theirs.step(self.now_ns);
            let to_theirs = self.ours.wire.sent.drain(..).map(|(_, bytes)| bytes);
            self.theirs.wire.inbox.extend(to_theirs);
            let to_ours = self.theirs.wire.sent.drain(..).map(|(_, bytes)| bytes);
            self.ours.wire.inbox.extend(to_ours);
            self.now_ns += MS;
        }
        self.hush();
    }

    /// One exchange of everything that was said.
    pub(super) fn settle_once(&mut self) {
        self.theirs.wire.inbox.extend(self.ours.wire.sent.drain(..).map(|(_, bytes)| bytes));
        self.theirs.step(self.now_ns);
        self.ours.wire.inbox.extend(self.theirs.wire.sent.drain(..).map(|(_, bytes)| bytes));
        self.now_ns += MS;
        self.ours.step(self.now_ns);
    }

    /// Forgets what was said so far.
    pub(super) fn hush(&mut self) {
        for side in [&mut self.ours, &mut self.theirs] {
            side.wire.sent.clear();
            side.wire.inbox.clear();
            side.news = Outbox::default();
        }
    }

    pub(super) fn inject(&mut self, bytes: Vec<u8>) {
        self.ours.wire.inbox.push_back(bytes);
    }

    /// Whether somebody could make packets of the stream.
    pub(super) fn has_keys(&self, id: StreamId) -> bool {
        self.names(id).is_some()
    }

    fn names(&self, id: StreamId) -> Option<(Credentials, u64, Opener)> {
        let live =
            self.ours.stream(id).map(|stream| Some((stream.credentials?, stream.queue_id, stream.opener)));
        live.unwrap_or(self.over)
    }

    /// Its packets can be made when it is over, too.
    pub(super) fn remember(&mut self, id: StreamId) {
        self.over = self.names(id);
    }

    /// As the peer of a stream of ours would name it. `next_expected_control`: it has had nothing from us.
    fn header(&self, stream: StreamId, number: u64) -> (stream::Header, paceline_wire::StreamKeys) {
        let (credentials, queue_id, opener) = self.names(stream).unwrap();
        let theirs = *self.theirs.endpoint.by_credential.get(&credentials.id).unwrap();
        let opener = if opener == Opener::Local { Opener::Remote } else { Opener::Local };
        let secret = &self.theirs.endpoint.paths.get(theirs).unwrap().secret;
        let header = stream::Header {
            credentials,
            queue_id,
            source_queue_id: Some(77 << 20),
            number,
            next_expected_control: 0,
            offset: 0,
            final_offset: None,
            key_phase: false,
        };
        (header, secret.stream_keys(credentials.key_id, opener))
    }

    pub(super) fn data(
        &self,
        id: StreamId,
        number: u64,
        range: std::ops::Range<u64>,
        final_offset: Option<u64>,
    ) -> Vec<u8> {
        let (mut header, mut keys) = self.header(id, number);
        (header.offset, header.final_offset) = (range.start, final_offset);
        let payload = vec![7; (range.end - range.start) as usize];
        let mut out = vec![0; payload.len() + 200];
        let layout = stream::Layout::minimal(&header);
        let len = stream::seal(&header, &layout, &mut keys.seal, &payload, &mut out).unwrap();
        out.truncate(len);
        out
    }

    pub(super) fn probe(&self, id: StreamId, number: u64, frames: &[u8]) -> Vec<u8> {
        let (header, keys) = self.header(id, number);
        let mut out = vec![0; 300];
        let len = stream::probe(&header, frames, &keys.control_seal, &mut out).unwrap();
        out.truncate(len);
        out
    }

    pub(super) fn control(&self, id: StreamId, number: u64, frames: &[u8]) -> Vec<u8> {
        let (header, keys) = self.header(id, 0);
        let header = control::Header {
            credentials: header.credentials,
            queue_id: Some(header.queue_id),
            source_queue_id: header.source_queue_id,
            number,
        };
        let mut out = vec![0; 300];
        let len = control::encode(&header, frames, &keys.control_seal, &mut out).unwrap();
        out.truncate(len);
        out
    }
}

pub(super) fn close(transport: bool, code: u64) -> Vec<u8> {
    write(|writer| frame::connection_close(writer, transport, code).unwrap())
}

pub(super) fn max_data(limit: u64) -> Vec<u8> {
    write(|writer| frame::max_data(writer, limit).unwrap())
}

/// Of the stream space, or of the recovery space.
pub(super) fn ack(stream_space: bool, numbers: RangeInclusive<u64>) -> Vec<u8> {
    let ecn = stream_space.then(EcnCounts::default);
    write(|writer| {
        let _ = frame::ack(writer, std::iter::once(numbers), ecn, 0).unwrap();
    })
}

fn write(frames: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = [0; 200];
    let mut writer = Writer::new(&mut out);
    frames(&mut writer);
    let len = writer.len();
    out[..len].to_vec()
}

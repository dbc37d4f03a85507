//! Our endpoint on a real socket, and an application on it that knows what it expects.

use bytes::Bytes;
use paceline_transport::{
    Config, Failure, ResetKey, SECOND,
    app::{Command, Outbox},
    handshake::InjectedPath,
    stats::EndpointStats,
    wire::{Role, Suite},
};
use paceline_udp::{Options, Runtime};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

const CHUNK: usize = 64 << 10;
const SEND_BUFFER: u64 = 4 << 20;
/// The only peer of an endpoint.
const PEER: u32 = 1;

/// A stream, as the application sees it.
#[derive(Debug, Default)]
pub struct Flow {
    /// The peer opened it.
    pub accepted: bool,
    /// All that came, unless it is only counted.
    pub received: Vec<u8>,
    /// Bytes that came.
    pub read: u64,
    /// All of it.
    pub end: bool,
    /// What ended it.
    pub failure: Option<Failure>,
    /// Nothing more will come.
    pub closed: bool,
    /// Everything written is acknowledged.
    pub acknowledged: bool,
    sending: Bytes,
    /// To be sent after `sending`, so many times.
    again: (Bytes, u32),
    written: u64,
    sealed: u64,
    finishing: bool,
    finished: bool,
}

/// What becomes of what is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    Kept,
    Counted,
}

/// An endpoint.
pub struct Ours {
    what: Received,
    runtime: Runtime,
    bell: Receiver<()>,
    /// By our number: odd ones were opened here.
    pub flows: BTreeMap<u32, Flow>,
    /// How the peer ended, if it did.
    pub peer_closed: Option<Result<(), Failure>>,
    next_stream: u32,
    outbox: Outbox,
}

impl Ours {
    /// On a port of its own.
    ///
    /// # Errors
    /// As the runtime says.
    pub fn start(mtu: u16, window: u64, reset_key: [u8; 32]) -> Result<Self, paceline_udp::StartError> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), mtu, window, reset_key)
    }

    /// At that address.
    ///
    /// # Errors
    /// As the runtime says.
    pub fn start_at(
        bind: SocketAddr,
        mtu: u16,
        window: u64,
        reset_key: [u8; 32],
    ) -> Result<Self, paceline_udp::StartError> {
        let config = Config {
            max_datagram_v4: mtu,
            initial_window: window,
            reset_key: Some(ResetKey(reset_key)),
            ..Config::default()
        };
        let (ring, bell) = mpsc::channel();
        let options = Options::new(bind, config);
        let runtime = Runtime::start(options, move || {
            let _ = ring.send(());
        })?;
        Ok(Self {
            what: Received::Kept,
            runtime,
            bell,
            flows: BTreeMap::new(),
            peer_closed: None,
            next_stream: 1,
            outbox: Outbox::default(),
        })
    }

    /// Counts what it receives, and keeps none of it.
    #[must_use]
    pub fn counting(self) -> Self {
        Self { what: Received::Counted, ..self }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.runtime.local_addr()
    }

    /// Gives it its peer.
    ///
    /// # Errors
    /// The process has used the secret.
    pub fn inject(&self, path: InjectedPath) -> Result<(), paceline_udp::InjectError> {
        self.runtime.inject(PEER, path, None)
    }

    /// Gives it a peer whose secret the process may have used: what one must never do, to see that the other side notices.
    pub fn inject_again(&self, path: InjectedPath) {
        self.submit(vec![Command::Inject { peer: PEER, path: Box::new(path), max_rate: None }]);
    }

    /// Opens a stream.
    pub fn open(&mut self) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.flows.insert(stream, Flow::default());
        self.submit(vec![Command::Open { stream, peer: PEER, priority: 3 }]);
        stream
    }

    /// Sends `data` and FIN.
    pub fn send(&mut self, stream: u32, data: Bytes) {
        if let Some(flow) = self.flows.get_mut(&stream) {
            flow.sending = data;
            flow.finishing = true;
        }
        let commands = self.write(stream);
        self.submit(commands);
    }

    /// Sends `piece` so many times, and FIN.
    pub fn send_again(&mut self, stream: u32, piece: Bytes, times: u32) {
        if let Some(flow) = self.flows.get_mut(&stream) {
            flow.again = (piece, times);
        }
        self.send(stream, Bytes::new());
    }

    fn submit(&self, mut commands: Vec<Command>) {
        if !commands.is_empty() {
            self.runtime.shared().submit(&mut commands);
            self.runtime.wake();
        }
    }

    fn write(&mut self, stream: u32) -> Vec<Command> {
        let mut commands = Vec::new();
        let Some(flow) = self.flows.get_mut(&stream) else { return commands };
        if !flow.finishing || flow.finished || flow.closed {
            return commands;
        }
        while flow.written - flow.sealed < SEND_BUFFER {
            if flow.sending.is_empty() && flow.again.1 > 0 {
                flow.again.1 -= 1;
                flow.sending = flow.again.0.clone();
            }
            if flow.sending.is_empty() {
                break;
            }
            let data = flow.sending.split_to(CHUNK.min(flow.sending.len()));
            flow.written += data.len() as u64;
            commands.push(Command::Write { stream, data });
        }
        if flow.sending.is_empty() && flow.again.1 == 0 {
            flow.finished = true;
            commands.push(Command::Finish(stream));
            commands.push(Command::WantAcknowledged { stream, offset: u64::MAX });
        } else if !commands.is_empty() {
            commands.push(Command::WantRoom { stream, level: SEND_BUFFER / 2 });
        }
        commands
    }

    fn take_news(&mut self) {
        while self.runtime.shared().take_news(&mut self.outbox) {
            let mut outbox = std::mem::take(&mut self.outbox);
            let mut commands = Vec::new();
            for mut update in outbox.streams.drain(..) {
                let flow = self.flows.entry(update.stream).or_default();
                flow.accepted |= update.accepted_from.is_some();
                let bytes: u64 = update.readable.iter().map(|bytes| bytes.len() as u64).sum();
                flow.read += bytes;
                if self.what == Received::Kept {
                    update.readable.iter().for_each(|bytes| flow.received.extend_from_slice(bytes));
                }
                self.runtime.shared().received.give(&mut update.readable);
                if bytes > 0 {
                    commands.push(Command::Consume { stream: update.stream, bytes });
                }
                flow.end |= update.end;
                flow.sealed = flow.sealed.max(update.sealed);
                flow.acknowledged |= update.fin_acknowledged;
                flow.failure = flow.failure.or(update.failure);
                flow.closed |= update.closed;
                commands.append(&mut self.write(update.stream));
            }
            for peer in outbox.peers.drain(..) {
                self.peer_closed = self.peer_closed.or(peer.closed);
            }
            outbox.records.clear();
            self.outbox = outbox;
            self.submit(commands);
        }
    }

    /// Until `done`, which may write, or `timeout`. Returns whether it was done.
    pub fn run(&mut self, timeout: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = Instant::now() + timeout;
        loop {
            self.take_news();
            if done(self) {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.runtime.failed() {
                return false;
            }
            // One bell may stand for what was taken already.
            let _ = self.bell.recv_timeout(left);
        }
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> EndpointStats {
        self.runtime.shared().stats().endpoint
    }

    /// Counters, for a row that failed.
    #[must_use]
    pub fn describe(&self) -> String {
        let endpoint = self.stats();
        let flows: Vec<String> = self
            .flows
            .iter()
            .filter(|(_, flow)| !flow.closed)
            .take(3)
            .map(|(id, flow)| {
                format!(
                    "stream {id}: read {}, end {}, written {}, sealed {}, acknowledged {}, {:?}",
                    flow.read, flow.end, flow.written, flow.sealed, flow.acknowledged, flow.failure
                )
            })
            .collect();
        format!(
            "sent {} packets ({} again), received {}, dropped {}; {}",
            endpoint.packets,
            endpoint.packets_retransmitted,
            endpoint.packets_received,
            endpoint.packets_dropped,
            flows.join("; ")
        )
    }
}

/// What we are given of the secret.
#[must_use]
pub fn path(
    export: [u8; 32],
    suite: Suite,
    role: Role,
    remote: SocketAddr,
    window: u64,
    mtu: u16,
) -> InjectedPath {
    let mut path = InjectedPath::new(export, suite, role, remote);
    path.peer.initial_max_data = window;
    path.peer.max_datagram = mtu;
    path.confirm_timeout_ns = 3 * SECOND;
    path
}

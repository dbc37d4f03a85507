//! One stream of upstream's to a server of ours, over wires that remember.

use crate::{
    matrix::fresh_secret,
    nonces::Nonces,
    ours::{self, Ours},
    proxy::{Proxy, Script, Way},
    upstream::{Entry, Stream, Upstream},
};
use paceline_transport::wire::{Opener, PathSecret, Role, Suite, crypto::reset_token, packet::stream};
use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::block_in_place,
};

pub(crate) const WINDOW: u64 = 1 << 20;
pub(crate) const MTU: u16 = 1_472;
pub(crate) const OUR_RESET_KEY: [u8; 32] = [0x2f; 32];
/// Time-wait lasts as long: 0.7 s are inside, 5 s are not.
pub(crate) const IDLE_MS: u32 = 2_000;
/// Copies from where the client's packets came from, and as many from an address that nobody knows.
pub(crate) const COPIES: usize = 5;
/// So long an answer may take.
pub(crate) const ANSWER: Duration = Duration::from_millis(250);
/// And this long whatever comes in the end, on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);
pub(crate) const UP: usize = 1_000_000;
pub(crate) const DOWN: usize = 300_000;

pub(crate) type Seen = Result<String, String>;

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A second endpoint of upstream's that opens to the first, which is the server of the path secret. The address is the name under
/// which each finds the other's secret; nothing is sent there.
pub(crate) fn client_of(
    upstream: &Upstream,
    export: [u8; 32],
    suite: Suite,
) -> Result<(Upstream, SocketAddr), String> {
    let client = Upstream::start(b"a client's reset key").map_err(text)?;
    let name = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map_err(text)?;
    let entry = Entry {
        export,
        suite,
        role: Role::Server,
        remote: name,
        our_token: [0; 16],
        window: WINDOW,
        mtu: MTU,
        idle_timeout_ms: IDLE_MS,
    };
    upstream.register(&entry).map_err(text)?;
    client.register(&Entry { role: Role::Client, ..entry }).map_err(text)?;
    Ok((client, name))
}

/// One stream of upstream's to a server of ours, over wires that remember.
pub(crate) struct Scene {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) ours: Ours,
    /// In front of our server.
    pub(crate) front: Proxy,
    /// In front of upstream's acceptor: where our server believes the peer to be.
    pub(crate) home: Proxy,
    /// Whoever replays from an address of its own.
    pub(crate) stranger: UdpSocket,
    pub(crate) strangers_mail: Vec<Vec<u8>>,
    pub(crate) export: [u8; 32],
    pub(crate) suite: Suite,
    pub(crate) role: Role,
}

impl Scene {
    pub(crate) async fn new(
        upstream: &Arc<Upstream>,
        suite: Suite,
        role: Role,
        idle_ms: u32,
        script: Option<Script>,
    ) -> Result<Self, String> {
        let ours = Ours::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), MTU, WINDOW, OUR_RESET_KEY)
            .map_err(text)?;
        let front = match script {
            None => Proxy::recording(ours.address()).await,
            Some(script) => Proxy::scripted(ours.address(), script).await,
        }
        .map_err(text)?;
        let home = Proxy::recording(upstream.acceptor().map_err(text)?).await.map_err(text)?;
        let stranger = UdpSocket::bind("127.0.0.1:0").map_err(text)?;
        stranger.set_nonblocking(true).map_err(text)?;
        let export = fresh_secret();
        let mut path = ours::path(export, suite, role, home.address, WINDOW, MTU);
        path.peer.idle_timeout_ms = idle_ms;
        let secret = PathSecret::new(export, suite, role);
        upstream
            .register(&Entry {
                export,
                suite,
                role: role.peer(),
                remote: ours.address(),
                our_token: reset_token(&OUR_RESET_KEY, secret.id()),
                window: WINDOW,
                mtu: MTU,
                idle_timeout_ms: idle_ms,
            })
            .map_err(text)?;
        ours.inject(path).map_err(text)?;
        let upstream = Arc::clone(upstream);
        Ok(Self { upstream, ours, front, home, stranger, strangers_mail: Vec::new(), export, suite, role })
    }

    pub(crate) async fn open(&self) -> Result<Stream, String> {
        self.upstream.open(self.ours.address(), self.front.address).await.map_err(text)
    }

    /// Our application, until `done`.
    pub(crate) fn until(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut Ours) -> bool,
    ) -> Result<(), String> {
        if block_in_place(|| self.ours.run(LONG, &mut done)) {
            return Ok(());
        }
        Err(format!("{what}: not within {LONG:?}; {}", self.ours.describe()))
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        block_in_place(|| self.ours.run(time, |_| false));
    }

    /// Packets of the client's so far.
    fn client_packets(&self) -> u64 {
        self.front.counts(Way::There).seen
    }

    /// Until the client has sent nothing for that long: a busy machine may have kept it from an acknowledgement, and then it repeats.
    pub(crate) fn until_quiet(&mut self, quiet: Duration) -> Result<(), String> {
        let begin = Instant::now();
        while begin.elapsed() < LONG {
            let before = self.client_packets();
            self.pass(quiet);
            if self.client_packets() == before {
                return Ok(());
            }
        }
        Err(format!("the client is not quiet for {quiet:?}"))
    }

    /// The client's packet that opens the stream. On a busy machine a probe may come before it.
    pub(crate) fn first_packet(&self) -> Result<Vec<u8>, String> {
        let tape = self.front.tape().map(|tape| tape.all(Way::There)).unwrap_or_default();
        let opens = |packet: &stream::Packet<'_>| {
            packet.queue_id() == 0
                && packet.original_number() == 0
                && packet.space() == stream::Space::Stream
                && !packet.is_probe()
        };
        let mut openings = tape
            .into_iter()
            .filter(|datagram| stream::Packet::decode(datagram).is_ok_and(|packet| opens(&packet)));
        let first = openings.next().ok_or("the client sent no opening")?;
        let packet = stream::Packet::decode(&first).map_err(text)?;
        let keys = PathSecret::new(self.export, self.suite, self.role)
            .stream_keys(packet.credentials().key_id, Opener::Remote);
        let mut payload = vec![0; packet.payload_len()];
        packet.open(&keys.open, &keys.control_open, &mut payload).map_err(|_| "it does not open")?;
        Ok(first)
    }

    pub(crate) fn listen(&mut self) {
        let mut buffer = [0; 2_048];
        while let Ok(len) = self.stranger.recv(&mut buffer) {
            self.strangers_mail.push(buffer[..len].to_vec());
        }
    }

    /// All that our server sent, by where it came out.
    pub(crate) fn sent(&mut self) -> [usize; 3] {
        self.listen();
        let back = |proxy: &Proxy, way| proxy.tape().map_or(0, |tape| tape.count(way));
        [back(&self.front, Way::Back), back(&self.home, Way::There), self.strangers_mail.len()]
    }

    /// Replays `first` and says what our server sent then, and how many packets the client itself sent meanwhile.
    pub(crate) async fn replay(
        &mut self,
        first: &[u8],
        wait: Duration,
    ) -> Result<([usize; 3], usize), String> {
        self.until_all_seen()?;
        let before = self.sent();
        let received = self.ours.stats().packets_received;
        let from_client = self.client_packets();
        let mut copies = 0;
        for _ in 0..COPIES {
            copies += self.front.repeat(first).await.map_err(text)?;
            self.stranger.send_to(first, self.ours.address()).map_err(text)?;
            copies += 1;
            self.pass(Duration::from_millis(5));
        }
        self.pass(wait);
        // What is on its way is in one count and not in the other.
        let begin = Instant::now();
        let client = loop {
            let client = usize::try_from(self.client_packets() - from_client).map_err(text)?;
            let arrived = usize::try_from(self.ours.stats().packets_received - received).map_err(text)?;
            if arrived == copies + client && copies >= 2 * COPIES {
                break client;
            }
            if begin.elapsed() > LONG {
                return Err(format!(
                    "{copies} copies sent, {client} packets of the client, {arrived} arrived"
                ));
            }
            self.pass(Duration::from_millis(1));
        };
        self.until_all_seen()?;
        let after = self.sent();
        Ok((std::array::from_fn(|at| after[at] - before[at]), client))
    }

    /// Until none of what our server sent is on its way any more.
    fn until_all_seen(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            self.listen();
            let bytes = |proxy: &Proxy, way| proxy.tape().map_or(0, |tape| tape.bytes(way));
            let mail: usize = self.strangers_mail.iter().map(Vec::len).sum();
            let seen = bytes(&self.front, Way::Back) + bytes(&self.home, Way::There) + mail as u64;
            let sent = self.ours.stats().bytes_sent;
            if seen == sent {
                return Ok(());
            }
            if begin.elapsed() > LONG {
                return Err(format!("our server sent {sent} bytes, {seen} were seen"));
            }
            self.pass(Duration::from_millis(1));
        }
    }

    /// Nothing was accepted, every packet of our server's was seen, and no number of a key has two.
    pub(crate) fn judge(&mut self) -> Seen {
        if self.ours.flows.len() != 1 {
            return Err(format!("our server accepted {} streams", self.ours.flows.len()));
        }
        self.until_all_seen()?;
        let mut packets = self.front.tape().map(|tape| tape.all(Way::Back)).unwrap_or_default();
        packets.extend(self.home.tape().map(|tape| tape.all(Way::There)).unwrap_or_default());
        packets.extend_from_slice(&self.strangers_mail);
        let mut nonces = Nonces::new(PathSecret::new(self.export, self.suite, self.role), Opener::Remote);
        for packet in &packets {
            nonces.add(packet)?;
        }
        Ok(format!(
            "{} packets, {} numbers, {} secret control",
            nonces.packets,
            nonces.distinct(),
            nonces.secret_control
        ))
    }

    /// Both ways to the end.
    pub(crate) async fn whole_stream(&mut self) -> Result<(), String> {
        let mut theirs = self.open().await?;
        let up = vec![0x33; UP];
        let writer = tokio::spawn(async move {
            theirs.write_all(&up).await?;
            theirs.shutdown().await?;
            let mut down = Vec::new();
            theirs.read_to_end(&mut down).await?;
            Ok::<_, std::io::Error>(down.len())
        });
        self.answer_all()?;
        let down = writer.await.map_err(text)?.map_err(text)?;
        if down != DOWN {
            return Err(format!("they received {down} bytes of {DOWN}"));
        }
        self.until("our end", |ours| ours.flows.values().all(|flow| flow.closed))
    }

    pub(crate) fn answer_all(&mut self) -> Result<(), String> {
        self.until("what they send", |ours| ours.flows.values().any(|flow| flow.end))?;
        for stream in self.ours.flows.keys().copied().collect::<Vec<_>>() {
            self.ours.send(stream, vec![0x44; DOWN].into());
        }
        if self.ours.flows.values().any(|flow| flow.received.len() != UP) {
            return Err("not what they sent".into());
        }
        Ok(())
    }
}

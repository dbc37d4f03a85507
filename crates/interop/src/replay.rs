//! A byte-identical copy of an upstream client's first packet comes once more: while its stream lives, in its time-wait, after it.
//!
//! All addresses that our server knows of are ours to listen at, so that nothing it sends escapes [`Nonces`].

use crate::{
    matrix::fresh_secret,
    nonces::Nonces,
    ours::{self, Ours},
    proxy::{Proxy, Way},
    report::{Row, row},
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

const WINDOW: u64 = 1 << 20;
const MTU: u16 = 1_472;
const OUR_RESET_KEY: [u8; 32] = [0x2f; 32];
/// Time-wait lasts as long: 0.7 s are inside, 5 s are not.
const IDLE_MS: u32 = 2_000;
/// Copies from where the client's packets came from, and as many from an address that nobody knows.
const COPIES: usize = 5;
/// So long an answer may take.
const ANSWER: Duration = Duration::from_millis(250);
const LONG: Duration = Duration::from_secs(5);
const UP: usize = 200_000;
const DOWN: usize = 300_000;

type Seen = Result<String, String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// One stream of upstream's to a server of ours, over wires that remember.
struct Scene {
    upstream: Arc<Upstream>,
    ours: Ours,
    /// In front of our server.
    front: Proxy,
    /// In front of upstream's acceptor: where our server believes the peer to be.
    home: Proxy,
    /// Whoever replays from an address of its own.
    stranger: UdpSocket,
    strangers_mail: Vec<Vec<u8>>,
    export: [u8; 32],
    suite: Suite,
    role: Role,
}

impl Scene {
    async fn new(upstream: &Arc<Upstream>, suite: Suite, role: Role) -> Result<Self, String> {
        let ours = Ours::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), MTU, WINDOW, OUR_RESET_KEY)
            .map_err(text)?;
        let front = Proxy::recording(ours.address()).await.map_err(text)?;
        let home = Proxy::recording(upstream.acceptor().map_err(text)?).await.map_err(text)?;
        let stranger = UdpSocket::bind("127.0.0.1:0").map_err(text)?;
        stranger.set_nonblocking(true).map_err(text)?;
        let export = fresh_secret();
        let mut path = ours::path(export, suite, role, home.address, WINDOW, MTU);
        path.peer.idle_timeout_ms = IDLE_MS;
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
                idle_timeout_ms: IDLE_MS,
            })
            .map_err(text)?;
        ours.inject(path).map_err(text)?;
        let upstream = Arc::clone(upstream);
        Ok(Self { upstream, ours, front, home, stranger, strangers_mail: Vec::new(), export, suite, role })
    }

    async fn open(&self) -> Result<Stream, String> {
        self.upstream.open(self.ours.address(), self.front.address).await.map_err(text)
    }

    /// Our application, until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Ours) -> bool) -> Result<(), String> {
        if block_in_place(|| self.ours.run(LONG, &mut done)) {
            return Ok(());
        }
        Err(format!("{what}: not within {LONG:?}; {}", self.ours.describe()))
    }

    fn pass(&mut self, time: Duration) {
        block_in_place(|| self.ours.run(time, |_| false));
    }

    /// The first packet of the client's, which must open the stream.
    fn first_packet(&self) -> Result<Vec<u8>, String> {
        let tape = self.front.tape().map(|tape| tape.all(Way::There)).unwrap_or_default();
        let first = tape.into_iter().next().ok_or("the client sent nothing")?;
        let packet = stream::Packet::decode(&first).map_err(text)?;
        let keys = PathSecret::new(self.export, self.suite, self.role)
            .stream_keys(packet.credentials().key_id, Opener::Remote);
        let mut payload = vec![0; packet.payload_len()];
        packet.open(&keys.open, &keys.control_open, &mut payload).map_err(|_| "it does not open")?;
        if packet.queue_id() != 0 || packet.original_number() != 0 {
            return Err(format!("the first packet is no opening: {packet:?}"));
        }
        Ok(first)
    }

    fn listen(&mut self) {
        let mut buffer = [0; 2_048];
        while let Ok(len) = self.stranger.recv(&mut buffer) {
            self.strangers_mail.push(buffer[..len].to_vec());
        }
    }

    /// All that our server sent, by where it came out.
    fn sent(&mut self) -> [usize; 3] {
        self.listen();
        let back = |proxy: &Proxy, way| proxy.tape().map_or(0, |tape| tape.count(way));
        [back(&self.front, Way::Back), back(&self.home, Way::There), self.strangers_mail.len()]
    }

    /// Replays `first` and says what our server sent then, and how many packets the client itself sent meanwhile.
    async fn replay(&mut self, first: &[u8], wait: Duration) -> Result<([usize; 3], usize), String> {
        let before = self.sent();
        let received = self.ours.stats().packets_received;
        let from_client = self.front.counts(Way::There).seen;
        let mut copies = 0;
        for _ in 0..COPIES {
            copies += self.front.repeat(first).await.map_err(text)?;
            self.stranger.send_to(first, self.ours.address()).map_err(text)?;
            copies += 1;
            self.pass(Duration::from_millis(5));
        }
        self.pass(wait);
        let client = usize::try_from(self.front.counts(Way::There).seen - from_client).map_err(text)?;
        let arrived = usize::try_from(self.ours.stats().packets_received - received).map_err(text)?;
        if arrived != copies + client || copies < 2 * COPIES {
            return Err(format!("{copies} copies sent, {client} packets of the client, {arrived} arrived"));
        }
        let after = self.sent();
        Ok((std::array::from_fn(|at| after[at] - before[at]), client))
    }

    /// Nothing was accepted, every packet of our server's was seen, and no number of a key has two.
    fn judge(&mut self) -> Seen {
        if self.ours.flows.len() != 1 {
            return Err(format!("our server accepted {} streams", self.ours.flows.len()));
        }
        self.listen();
        let mut packets = self.front.tape().map(|tape| tape.all(Way::Back)).unwrap_or_default();
        packets.extend(self.home.tape().map(|tape| tape.all(Way::There)).unwrap_or_default());
        packets.append(&mut self.strangers_mail);
        let seen: u64 = packets.iter().map(|packet| packet.len() as u64).sum();
        let sent = self.ours.stats().bytes_sent;
        if seen != sent {
            return Err(format!("our server sent {sent} bytes, {seen} were seen"));
        }
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
    async fn whole_stream(&mut self) -> Result<(), String> {
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

    fn answer_all(&mut self) -> Result<(), String> {
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

/// What may come of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Silence,
    OneSecretControl,
}

async fn after_the_end(
    upstream: &Arc<Upstream>,
    suite: Suite,
    role: Role,
    wait: Duration,
    answer: Answer,
) -> Seen {
    let mut scene = Scene::new(upstream, suite, role).await?;
    scene.whole_stream().await?;
    let end = Instant::now();
    let first = scene.first_packet()?;
    scene.pass(wait.saturating_sub(end.elapsed()));
    let at = end.elapsed();
    let (sent, client) = scene.replay(&first, ANSWER).await?;
    if client > 0 {
        return Err(format!("the client itself still sent {client} packets"));
    }
    let judged = scene.judge()?;
    let allowed = usize::from(answer == Answer::OneSecretControl);
    let total: usize = sent.iter().sum();
    if total > allowed || total != usize::from(judged.ends_with(" 1 secret control")) {
        return Err(format!("our server sent {sent:?} packets (client, home, stranger); {judged}"));
    }
    Ok(format!("{} copies after {} ms: {total} answers; {judged}", 2 * COPIES, at.as_millis()))
}

/// While the stream is idle, and again while it is busy.
async fn during_life(upstream: &Arc<Upstream>, suite: Suite, role: Role) -> Seen {
    let mut scene = Scene::new(upstream, suite, role).await?;
    let mut theirs = scene.open().await?;
    theirs.write_all(&[0x33; 1_000]).await.map_err(text)?;
    scene.until("the first bytes", |ours| ours.flows.values().any(|flow| flow.received.len() == 1_000))?;
    let first = scene.first_packet()?;
    scene.pass(ANSWER);
    let (idle, client) = scene.replay(&first, ANSWER).await?;
    let total: usize = idle.iter().sum();
    if client > 0 || total > 0 {
        return Err(format!(
            "idle: our server sent {idle:?} packets (client, home, stranger), the client {client}"
        ));
    }
    let writer = tokio::spawn(async move {
        for _ in 0..(UP - 1_000) / 1_000 {
            theirs.write_all(&[0x33; 1_000]).await?;
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        theirs.shutdown().await?;
        let mut down = Vec::new();
        theirs.read_to_end(&mut down).await?;
        Ok::<_, std::io::Error>(down.len())
    });
    let (busy, client) = scene.replay(&first, Duration::ZERO).await?;
    if busy[2] > 0 || client == 0 {
        return Err(format!("busy: the stranger got {} packets, the client sent {client}", busy[2]));
    }
    scene.answer_all()?;
    let down = writer.await.map_err(text)?.map_err(text)?;
    if down != DOWN {
        return Err(format!("they received {down} bytes of {DOWN}"));
    }
    scene.until("our end", |ours| ours.flows.values().all(|flow| flow.closed))?;
    Ok(format!("{} copies while idle, {} while busy; {}", 2 * COPIES, 2 * COPIES, scene.judge()?))
}

/// Upstream as the server, under the same replay: it does repeat numbers, and [`Nonces`] sees it.
async fn upstream_repeats(upstream: &Arc<Upstream>) -> Seen {
    let (suite, role) = (Suite::Aes128GcmSha256, Role::Server);
    let client = Upstream::start(b"a client's reset key").map_err(text)?;
    let front = Proxy::recording(upstream.acceptor().map_err(text)?).await.map_err(text)?;
    // A name under which each finds the other's secret; nothing is sent there.
    let name = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map_err(text)?;
    let export = fresh_secret();
    let entry = Entry {
        export,
        suite,
        role,
        remote: name,
        our_token: [0; 16],
        window: WINDOW,
        mtu: MTU,
        idle_timeout_ms: IDLE_MS,
    };
    upstream.register(&entry).map_err(text)?;
    client.register(&Entry { role: role.peer(), ..entry }).map_err(text)?;
    let mut stream = client.open(name, front.address).await.map_err(text)?;
    stream.write_all(b"hello").await.map_err(text)?;
    stream.shutdown().await.map_err(text)?;
    let mut accepted = upstream.accept().await.map_err(text)?;
    let mut got = Vec::new();
    accepted.read_to_end(&mut got).await.map_err(text)?;
    accepted.write_all(b"world").await.map_err(text)?;
    accepted.shutdown().await.map_err(text)?;
    stream.read_to_end(&mut got).await.map_err(text)?;
    drop((accepted, stream));
    let tape = front.tape().ok_or("no tape")?;
    let mut nonces = Nonces::new(PathSecret::new(export, suite, role), Opener::Remote);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let before = tape.all(Way::Back);
    before
        .iter()
        .try_for_each(|packet| nonces.add(packet))
        .map_err(|error| format!("already before: {error}"))?;
    let first = tape.all(Way::There).into_iter().next().ok_or("the client sent nothing")?;
    front.repeat(&first).await.map_err(text)?;
    let again = tokio::time::timeout(LONG, upstream.accept()).await.map_err(|_| "it accepts nothing")?;
    drop(again.map_err(text)?);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let after = tape.all(Way::Back);
    let repeated: Vec<String> =
        after[before.len()..].iter().filter_map(|packet| nonces.add(packet).err()).collect();
    // A repeated number of a MAC is one thing, a repeated nonce the other.
    if repeated.iter().any(|error| error.contains("Sealed")) {
        return Ok(repeated.join("; "));
    }
    Err(format!(
        "no repeated nonce in {} packets and {} more: {repeated:?}",
        before.len(),
        after.len() - before.len()
    ))
}

/// All rows, in order, as they are done.
pub async fn play(upstream: &Arc<Upstream>, wanted: impl Fn(&str) -> bool, mut tell: impl FnMut(Row)) {
    let (short, long) = (Suite::Aes128GcmSha256, Suite::Aes256GcmSha384);
    let at = Duration::from_millis;
    row!(
        wanted,
        tell,
        "first packet replayed 0.3 s after the end",
        after_the_end(upstream, short, Role::Server, at(300), Answer::Silence)
    );
    row!(
        wanted,
        tell,
        "first packet replayed 0.7 s after the end",
        after_the_end(upstream, long, Role::Client, at(700), Answer::Silence)
    );
    row!(
        wanted,
        tell,
        "first packet replayed 5 s after the end, time-wait 2 s",
        after_the_end(upstream, short, Role::Client, at(5_000), Answer::OneSecretControl)
    );
    row!(wanted, tell, "first packet replayed during the stream", during_life(upstream, long, Role::Server));
    row!(
        wanted,
        tell,
        "first packet replayed to upstream's server: it repeats a number, and the checker sees it",
        upstream_repeats(upstream)
    );
}

//! UnknownPathSecret, StaleKey and ReplayDetected on live streams: each way, with the right authenticator and a wrong one.

use crate::{
    matrix::fresh_secret,
    ours::{self, Ours},
    proxy::{Proxy, Way},
    report::{Row, row},
    upstream::{Entry, Stream, Upstream},
};
use bytes::Bytes;
use paceline_transport::wire::{
    ControlKey, Opener, PathSecret, Role, Suite,
    crypto::reset_token,
    packet::{Kind, classify, secret_control, stream},
};
use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::block_in_place,
};

const WINDOW: u64 = 1 << 20;
const MTU: u16 = 1_472;
const OUR_RESET_KEY: [u8; 32] = [0x1f; 32];
/// So long nothing may happen after a wrong authenticator.
const QUIET: Duration = Duration::from_millis(700);
/// So long whatever comes in the end may take, on a busy machine.
const LONG: Duration = Duration::from_secs(10);
/// Upstream has read what is in its socket, unless it had no turn for as long.
const READ: Duration = Duration::from_millis(500);

type Seen = Result<String, String>;

/// A secret, and both sides of it.
struct Pair {
    upstream: Arc<Upstream>,
    export: [u8; 32],
    address: SocketAddr,
    acceptor: SocketAddr,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn expect(seen: &str, expected: &str) -> Seen {
    if seen.contains(expected) { Ok(seen.into()) } else { Err(format!("expected {expected}, saw {seen}")) }
}

impl Pair {
    /// We are the handshake client; upstream knows of it if `registered`.
    fn new(upstream: &Arc<Upstream>, ours: &Ours, registered: Option<[u8; 16]>) -> Result<Self, String> {
        let pair = Self {
            upstream: Arc::clone(upstream),
            export: fresh_secret(),
            address: ours.address(),
            acceptor: upstream.acceptor().map_err(text)?,
        };
        if let Some(our_token) = registered {
            pair.register(our_token)?;
        }
        Ok(pair)
    }

    /// With key ids from 0.
    fn register(&self, our_token: [u8; 16]) -> Result<(), String> {
        let entry = Entry {
            export: self.export,
            suite: Suite::Aes128GcmSha256,
            role: Role::Server,
            remote: self.address,
            our_token,
            window: WINDOW,
            mtu: MTU,
            idle_timeout_ms: 2_000,
        };
        self.upstream.register(&entry).map_err(text)
    }

    fn secret(&self) -> PathSecret {
        PathSecret::new(self.export, Suite::Aes128GcmSha256, Role::Client)
    }

    fn path(
        &self,
        first_key_id: u64,
        their_token: Option<[u8; 16]>,
    ) -> paceline_transport::handshake::InjectedPath {
        let mut path =
            ours::path(self.export, Suite::Aes128GcmSha256, Role::Client, self.acceptor, WINDOW, MTU);
        path.first_key_id = first_key_id;
        path.peer_reset_token = their_token;
        path
    }

    fn their_token(&self) -> [u8; 16] {
        self.upstream.token(self.secret().id().0)
    }

    fn our_token(&self) -> [u8; 16] {
        reset_token(&OUR_RESET_KEY, self.secret().id())
    }
}

fn start(bind: SocketAddr) -> Result<Ours, String> {
    Ours::start_at(bind, MTU, WINDOW, OUR_RESET_KEY).map_err(text)
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// How a stream of ours ends within `timeout`, or that it does not.
fn our_end(ours: &mut Ours, timeout: Duration) -> String {
    block_in_place(|| ours.run(timeout, |ours| ours.flows.values().any(|flow| flow.failure.is_some())));
    let failure = ours.flows.values().find_map(|flow| flow.failure);
    failure.map_or("nothing".into(), |failure| format!("{failure:?}"))
}

/// How a stream of theirs ends within `timeout`, or that it does not.
async fn their_end(stream: &mut Stream, timeout: Duration) -> String {
    let mut byte = [0];
    match tokio::time::timeout(timeout, stream.read(&mut byte)).await {
        Err(_) => "nothing".into(),
        Ok(Ok(read)) => format!("{read} bytes"),
        Ok(Err(error)) => error.to_string(),
    }
}

fn send_hello(ours: &mut Ours) -> u32 {
    let stream = ours.open();
    ours.send(stream, Bytes::from_static(b"hello"));
    stream
}

/// Upstream has never heard of our secret.
async fn unknown_from_them(upstream: &Arc<Upstream>, right: bool) -> Seen {
    let mut ours = start(any_port())?;
    let pair = Pair::new(upstream, &ours, None)?;
    let mut token = pair.their_token();
    token[0] ^= u8::from(!right);
    ours.inject(pair.path(0, Some(token))).map_err(text)?;
    send_hello(&mut ours);
    let seen = our_end(&mut ours, if right { LONG } else { QUIET });
    expect(&seen, if right { "PeerRestarted" } else { "nothing" })
}

/// What a wire lets through, of packets on both ways.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lets {
    Everything,
    /// Nothing comes back from the target.
    NothingBack,
    /// No secret-control packets.
    NoSecretControl,
    /// Secret-control packets with another last byte.
    WrongSecretControl,
}

/// A wire to `target`, and how many secret-control packets came to it.
async fn wire(target: SocketAddr, lets: Lets) -> Result<(Proxy, Arc<AtomicU64>), String> {
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let script = move |way: Way, datagram: &[u8]| {
        let mut datagram = datagram.to_vec();
        let secret_control = datagram.first().is_some_and(|first| classify(*first) == Kind::SecretControl);
        count.fetch_add(u64::from(secret_control), Ordering::Relaxed);
        match lets {
            Lets::NothingBack if way == Way::Back => return Vec::new(),
            Lets::NoSecretControl if secret_control => return Vec::new(),
            Lets::WrongSecretControl if secret_control => {
                if let Some(last) = datagram.last_mut() {
                    *last ^= 1;
                }
            }
            _ => {}
        }
        vec![datagram]
    };
    Ok((Proxy::scripted(target, Box::new(script)).await.map_err(text)?, told))
}

/// `seen`, if there was what it is said to come from.
fn because_of(told: &AtomicU64, seen: Seen) -> Seen {
    match told.load(Ordering::Relaxed) {
        0 => Err(format!("no secret-control packet came: {seen:?}")),
        count => seen.map(|seen| format!("{seen}, after {count} secret-control packets")),
    }
}

/// Until a secret-control packet came: from then on it can do harm.
async fn until_told(told: &AtomicU64) {
    let begin = Instant::now();
    while told.load(Ordering::Relaxed) == 0 && begin.elapsed() < LONG {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What of upstream's answers reaches us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    SecretControl {
        right: bool,
    },
    /// The stream's close, with the code that upstream itself takes for success.
    Close,
}

/// A second endpoint with the first one's secret, at its address, whose key ids begin at `again`.
async fn used_key_id(upstream: &Arc<Upstream>, again: u64, heard: Heard) -> Seen {
    const FIRST: u64 = 70_000;
    let mut ours = start(any_port())?;
    let address = ours.address();
    let mut pair = Pair::new(upstream, &ours, None)?;
    // Upstream sends secret control to where the path secret is registered, everything else to where packets come from.
    let (lets_home, lets_back) = match heard {
        Heard::SecretControl { right: true } => (Lets::Everything, Lets::NothingBack),
        Heard::SecretControl { right: false } => (Lets::WrongSecretControl, Lets::NothingBack),
        Heard::Close => (Lets::NoSecretControl, Lets::Everything),
    };
    let (home, told) = wire(address, lets_home).await?;
    let (front, _) = wire(pair.acceptor, lets_back).await?;
    pair.address = home.address;
    pair.register([0; 16])?;
    ours.inject(pair.path(FIRST, None)).map_err(text)?;
    let stream = ours.open();
    ours.send(stream, Bytes::from_static(b"hello"));
    let mut theirs = upstream.accept().await.map_err(text)?;
    let mut got = Vec::new();
    theirs.read_to_end(&mut got).await.map_err(text)?;
    if got != b"hello" {
        return Err(format!("they received {got:?}"));
    }
    theirs.shutdown().await.map_err(text)?;
    drop(theirs);
    block_in_place(|| ours.run(LONG, |ours| ours.flows.values().all(|flow| flow.closed)));
    drop(ours);
    // Upstream's mailbox for a key id outlives its stream by half a second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut ours = start(address)?;
    let mut path = pair.path(again, None);
    path.remote = front.address;
    ours.inject_again(path);
    send_hello(&mut ours);
    // Nothing is authenticated before upstream's application looks at the stream.
    let accepted = tokio::spawn({
        let upstream = Arc::clone(upstream);
        async move {
            if let Ok(mut theirs) = upstream.accept().await {
                let _ = their_end(&mut theirs, LONG).await;
            }
        }
    });
    let wrong = heard == Heard::SecretControl { right: false };
    if wrong {
        until_told(&told).await;
    }
    let seen = our_end(&mut ours, if wrong { QUIET } else { LONG });
    accepted.abort();
    if ours.flows.values().any(|flow| flow.acknowledged) {
        return Err(format!("reported as delivered: {seen}"));
    }
    let seen = expect(&seen, if wrong { "nothing" } else { "KeyRejected" });
    if heard == Heard::Close { seen } else { because_of(&told, seen) }
}

/// A packet of upstream's form, with a MAC that is right or wrong, for a stream of ours that is under way.
async fn forged_to_us(upstream: &Arc<Upstream>, stale: bool, right: bool) -> Seen {
    let mut ours = start(any_port())?;
    let pair = Pair::new(upstream, &ours, Some([0; 16]))?;
    // Nobody listens at the peer's address, so that the stream is not answered: an answered one is past the replay check.
    let deaf = UdpSocket::bind("127.0.0.1:0").map_err(text)?;
    deaf.set_read_timeout(Some(LONG)).map_err(text)?;
    let mut path = pair.path(0, None);
    path.remote = deaf.local_addr().map_err(text)?;
    ours.inject(path).map_err(text)?;
    send_hello(&mut ours);
    let mut first = [0; 2_048];
    let len = block_in_place(|| deaf.recv(&mut first)).map_err(text)?;
    let packet = stream::Packet::decode(&first[..len]).map_err(text)?;
    let other = PathSecret::new([0x55; 32], Suite::Aes128GcmSha256, Role::Server);
    let theirs = PathSecret::new(pair.export, Suite::Aes128GcmSha256, Role::Server);
    let key: ControlKey = if right { theirs.control_sealer() } else { other.control_sealer() };
    let mut out = [0; secret_control::MAX_LEN];
    let len = if stale {
        secret_control::stale_key(theirs.id(), packet.source_queue_id(), 5_000, &key, &mut out)
    } else {
        secret_control::replay_detected(theirs.id(), packet.source_queue_id(), 0, &key, &mut out)
    }
    .map_err(text)?;
    deaf.send_to(&out[..len], pair.address).map_err(text)?;
    let seen = our_end(&mut ours, if right { LONG } else { QUIET });
    expect(&seen, if right { "KeyRejected" } else { "nothing" })
}

/// A ReplayDetected of our form, for a stream of upstream's that is under way.
async fn forged_replay_to_them(upstream: &Arc<Upstream>, right: bool) -> Seen {
    let ours = start(any_port())?;
    let pair = Pair::new(upstream, &ours, Some([0; 16]))?;
    let deaf = UdpSocket::bind("127.0.0.1:0").map_err(text)?;
    deaf.set_read_timeout(Some(LONG)).map_err(text)?;
    let address = deaf.local_addr().map_err(text)?;
    let mut theirs = upstream.open(pair.address, address).await.map_err(text)?;
    let mut first = [0; 2_048];
    let (len, from) = block_in_place(|| deaf.recv_from(&mut first)).map_err(text)?;
    let packet = stream::Packet::decode(&first[..len]).map_err(text)?;
    let other = PathSecret::new([0x55; 32], Suite::Aes128GcmSha256, Role::Client);
    let secret = pair.secret();
    let key = if right { secret.control_sealer() } else { other.control_sealer() };
    let mut out = [0; secret_control::MAX_LEN];
    let (id, key_id) = (secret.id(), packet.credentials().key_id);
    let len = secret_control::replay_detected(id, packet.source_queue_id(), key_id, &key, &mut out)
        .map_err(text)?;
    deaf.send_to(&out[..len], from).map_err(text)?;
    let seen = their_end(&mut theirs, if right { LONG } else { QUIET }).await;
    expect(&seen, if right { "key has been replayed" } else { "nothing" })
}

/// We have never heard of upstream's secret.
async fn unknown_to_them(upstream: &Arc<Upstream>, right: bool) -> Seen {
    let ours = start(any_port())?;
    let pair = Pair::new(upstream, &ours, None)?;
    let mut token = pair.our_token();
    token[0] ^= u8::from(!right);
    pair.register(token)?;
    let mut theirs = upstream.open(pair.address, pair.address).await.map_err(text)?;
    // The answer may be there before the write is.
    let seen = match theirs.write_all(b"hello").await {
        Ok(()) => their_end(&mut theirs, if right { LONG } else { QUIET }).await,
        Err(error) => text(error),
    };
    expect(&seen, if right { "unknown path secret" } else { "nothing" })
}

/// Upstream's key ids begin anew: ours says so, in upstream's own form.
async fn used_by_them(upstream: &Arc<Upstream>, stale: bool, right: bool) -> Seen {
    let mut ours = start(any_port())?;
    let pair = Pair::new(upstream, &ours, None)?;
    pair.register(pair.our_token())?;
    let mut path = pair.path(0, None);
    // Time-wait lasts as long: before its end, the key id is that of a stream whose late packets are acknowledged.
    path.peer.idle_timeout_ms = 1_000;
    ours.inject(path).map_err(text)?;
    if stale {
        // Far ahead of what any window remembers: upstream's counter goes where an authentic StaleKey sends it.
        let mut out = [0; secret_control::MAX_LEN];
        let secret = pair.secret();
        let len = secret_control::stale_key(secret.id(), None, 200_000, &secret.control_sealer(), &mut out)
            .map_err(text)?;
        let socket = UdpSocket::bind("127.0.0.1:0").map_err(text)?;
        socket.send_to(&out[..len], pair.acceptor).map_err(text)?;
        tokio::time::sleep(READ).await;
    }
    let mut theirs = upstream.open(pair.address, pair.address).await.map_err(text)?;
    theirs.write_all(b"hello").await.map_err(text)?;
    theirs.shutdown().await.map_err(text)?;
    let arrived = |ours: &mut Ours| ours.flows.values().any(|flow| flow.end);
    if !block_in_place(|| ours.run(LONG, arrived)) {
        return Err(format!("the first stream does not arrive: {}", ours.describe()));
    }
    for stream in ours.flows.keys().copied().collect::<Vec<_>>() {
        ours.send(stream, Bytes::new());
    }
    their_end(&mut theirs, LONG).await;
    if !block_in_place(|| ours.run(LONG, |ours| ours.flows.values().all(|flow| flow.closed))) {
        return Err(format!("the first stream does not end: {}", ours.describe()));
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    // Started again with the same secret, which its map refuses to take twice.
    let successor =
        Pair { upstream: Arc::new(Upstream::start(b"upstream's reset key").map_err(text)?), ..pair };
    successor.register(successor.our_token())?;
    let lets = if right { Lets::Everything } else { Lets::WrongSecretControl };
    let (front, told) = wire(ours.address(), lets).await?;
    let mut again = successor.upstream.open(successor.address, front.address).await.map_err(text)?;
    // The answer may be there before the write is.
    let seen = match again.write_all(b"hello").await {
        Ok(()) if right => their_end(&mut again, LONG).await,
        Ok(()) => {
            until_told(&told).await;
            their_end(&mut again, QUIET).await
        }
        Err(error) => text(error),
    };
    if ours.flows.len() != 1 {
        return Err(format!("ours accepted it: {} streams", ours.flows.len()));
    }
    let expected = match (right, stale) {
        (true, true) => "potentially replayed",
        (true, false) => "key has been replayed",
        (false, _) => "nothing",
    };
    because_of(&told, expect(&seen, expected))
}

/// The key that the next stream of upstream's would have, after an authentic or forged StaleKey.
async fn forged_stale_to_them(upstream: &Arc<Upstream>, right: bool) -> Seen {
    let ours = start(any_port())?;
    let pair = Pair::new(upstream, &ours, None)?;
    let listener = UdpSocket::bind("127.0.0.1:0").map_err(text)?;
    listener.set_read_timeout(Some(LONG)).map_err(text)?;
    pair.register([0; 16])?;
    let other = PathSecret::new([0x55; 32], Suite::Aes128GcmSha256, Role::Client);
    let secret = pair.secret();
    let key = if right { secret.control_sealer() } else { other.control_sealer() };
    let mut out = [0; secret_control::MAX_LEN];
    let len = secret_control::stale_key(secret.id(), None, 4_321, &key, &mut out).map_err(text)?;
    listener.send_to(&out[..len], pair.acceptor).map_err(text)?;
    tokio::time::sleep(READ).await;
    let address = listener.local_addr().map_err(text)?;
    let theirs = upstream.open(pair.address, address).await.map_err(text)?;
    let mut first = [0; 2_048];
    let len = block_in_place(|| listener.recv(&mut first)).map_err(text)?;
    drop(theirs);
    let packet = stream::Packet::decode(&first[..len]).map_err(text)?;
    let key_id = packet.credentials().key_id;
    let mut payload = vec![0; packet.payload_len()];
    let keys = secret.stream_keys(key_id, Opener::Remote);
    packet.open(&keys.open, &keys.control_open, &mut payload).map_err(|_| "it does not open")?;
    expect(&format!("key id {key_id}"), if right { "key id 4321" } else { "key id 0" })
}

/// All rows, in order, as they are done.
pub async fn play(upstream: &Arc<Upstream>, wanted: impl Fn(&str) -> bool, mut tell: impl FnMut(Row)) {
    row!(wanted, tell, "UnknownPathSecret from them, right token", unknown_from_them(upstream, true));
    row!(wanted, tell, "UnknownPathSecret from them, wrong token", unknown_from_them(upstream, false));
    let by = |right| Heard::SecretControl { right };
    row!(wanted, tell, "StaleKey from them, right MAC", used_key_id(upstream, 5, by(true)));
    row!(wanted, tell, "StaleKey from them, wrong MAC", used_key_id(upstream, 5, by(false)));
    row!(wanted, tell, "ReplayDetected from them, right MAC", used_key_id(upstream, 70_000, by(true)));
    row!(wanted, tell, "ReplayDetected from them, wrong MAC", used_key_id(upstream, 70_000, by(false)));
    row!(
        wanted,
        tell,
        "their close with code 0 after a replayed key id is an error",
        used_key_id(upstream, 70_000, Heard::Close)
    );
    row!(wanted, tell, "StaleKey forged to us, right MAC", forged_to_us(upstream, true, true));
    row!(wanted, tell, "StaleKey forged to us, wrong MAC", forged_to_us(upstream, true, false));
    row!(wanted, tell, "ReplayDetected forged to us, right MAC", forged_to_us(upstream, false, true));
    row!(wanted, tell, "ReplayDetected forged to us, wrong MAC", forged_to_us(upstream, false, false));
    row!(wanted, tell, "UnknownPathSecret to them, right token", unknown_to_them(upstream, true));
    row!(wanted, tell, "UnknownPathSecret to them, wrong token", unknown_to_them(upstream, false));
    row!(wanted, tell, "StaleKey to them, right MAC", used_by_them(upstream, true, true));
    row!(wanted, tell, "StaleKey to them, wrong MAC", used_by_them(upstream, true, false));
    row!(wanted, tell, "ReplayDetected to them, right MAC", used_by_them(upstream, false, true));
    row!(wanted, tell, "ReplayDetected to them, wrong MAC", used_by_them(upstream, false, false));
    row!(wanted, tell, "StaleKey forged to them, right MAC", forged_stale_to_them(upstream, true));
    row!(wanted, tell, "StaleKey forged to them, wrong MAC", forged_stale_to_them(upstream, false));
    row!(wanted, tell, "ReplayDetected forged to them, right MAC", forged_replay_to_them(upstream, true));
    row!(wanted, tell, "ReplayDetected forged to them, wrong MAC", forged_replay_to_them(upstream, false));
}

//! How fast bulk goes in each pairing, in turns, in this process: `paceline-interop --throughput`.

use crate::{
    matrix::fresh_secret,
    ours::{self, Ours},
    upstream::{Entry, Upstream},
};
use bytes::Bytes;
use paceline_transport::wire::{Role, Suite};
use std::{
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
    net::{SocketAddr, UdpSocket},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::spawn_blocking,
};

const MTU: u16 = 1_472;
/// Of every stream from its first byte on, in all pairings: nobody waits for credit.
const WINDOW: u64 = 16 << 20;
const SUITE: Suite = Suite::Aes128GcmSha256;
/// What is written, and read, at a time.
const PIECE: usize = 1 << 20;
const LIMIT: Duration = Duration::from_secs(60);
/// Bytes of a round that is not counted: threads, caches and sockets are made.
const WARM_UP: u64 = 16 << 20;

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// paceline to s2n-quic-dc.
    OursToTheirs,
    /// s2n-quic-dc to paceline.
    TheirsToOurs,
    /// s2n-quic-dc to itself.
    TheirsToTheirs,
    /// paceline to itself.
    OursToOurs,
}

impl Pairing {
    /// In the order of a round.
    pub const ALL: [Self; 4] =
        [Self::OursToTheirs, Self::TheirsToTheirs, Self::TheirsToOurs, Self::OursToOurs];

    /// For people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OursToTheirs => "ours to theirs",
            Self::TheirsToOurs => "theirs to ours",
            Self::TheirsToTheirs => "theirs to theirs",
            Self::OursToOurs => "ours to ours",
        }
    }

    /// What it must reach, as a multiple of theirs to theirs.
    #[must_use]
    pub const fn floor(self) -> f64 {
        match self {
            Self::OursToTheirs | Self::TheirsToOurs => 0.9,
            Self::TheirsToTheirs => 1.0,
            Self::OursToOurs => 2.0,
        }
    }
}

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of each pairing.
    pub rounds: u32,
    /// Of each run.
    pub bytes: u64,
}

impl Default for Plan {
    /// 2 GiB of each pairing, in eight turns.
    fn default() -> Self {
        Self { rounds: 8, bytes: 256 << 20 }
    }
}

/// One run.
#[derive(Clone, Copy, Debug)]
struct Run {
    gigabits: f64,
    /// Of the whole process: both ends.
    cpu_seconds_per_gigabyte: f64,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Processor time of this process, in seconds. (proc_pid_stat(5): fields 14 and 15, in hundredths.)
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

/// Both sides of upstream's, so that it can talk to itself.
struct Bench {
    opener: Arc<Upstream>,
    acceptor: Arc<Upstream>,
}

impl Bench {
    async fn run(&self, pairing: Pairing, bytes: u64) -> Result<Run, String> {
        let cpu = cpu_seconds();
        let seconds = match pairing {
            Pairing::OursToTheirs => self.ours_to_theirs(bytes).await,
            Pairing::TheirsToOurs => self.theirs_to_ours(bytes).await,
            Pairing::TheirsToTheirs => self.theirs_to_theirs(bytes).await,
            Pairing::OursToOurs => ours_to_ours(bytes).await,
        }
        .map_err(|error| format!("{}: {error}", pairing.name()))?;
        Ok(Run {
            gigabits: bytes as f64 * 8.0 / 1e9 / seconds,
            cpu_seconds_per_gigabyte: (cpu_seconds() - cpu) / (bytes as f64 / 1e9),
        })
    }

    async fn ours_to_theirs(&self, bytes: u64) -> Result<f64, String> {
        let export = fresh_secret();
        let mut ours = start()?;
        register(&self.acceptor, export, Role::Server, ours.address())?;
        let acceptor = self.acceptor.acceptor().map_err(text)?;
        ours.inject(ours::path(export, SUITE, Role::Client, acceptor, WINDOW, MTU)).map_err(text)?;
        let begin = Instant::now();
        let sender = spawn_blocking(move || {
            let stream = ours.open();
            send(&mut ours, stream, bytes).map(|()| ours)
        });
        let mut theirs = self.acceptor.accept().await.map_err(text)?;
        let read = read_theirs(&mut theirs).await?;
        let seconds = begin.elapsed().as_secs_f64();
        theirs.shutdown().await.map_err(text)?;
        sender.await.map_err(text)??;
        expect(read, bytes).map(|()| seconds)
    }

    async fn theirs_to_ours(&self, bytes: u64) -> Result<f64, String> {
        let export = fresh_secret();
        let ours = start()?;
        let address = ours.address();
        register(&self.opener, export, Role::Client, address)?;
        let home = self.opener.acceptor().map_err(text)?;
        ours.inject(ours::path(export, SUITE, Role::Server, home, WINDOW, MTU)).map_err(text)?;
        let begin = Instant::now();
        let receiver = spawn_blocking(move || receive(ours, bytes, begin));
        let mut theirs = self.opener.open(address, address).await.map_err(text)?;
        write_theirs(&mut theirs, bytes).await?;
        let (seconds, _ours) = receiver.await.map_err(text)??;
        Ok(seconds)
    }

    async fn theirs_to_theirs(&self, bytes: u64) -> Result<f64, String> {
        let export = fresh_secret();
        // A name under which each finds the other's secret; nothing is sent there.
        let name = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map_err(text)?;
        register(&self.opener, export, Role::Client, name)?;
        register(&self.acceptor, export, Role::Server, name)?;
        let target = self.acceptor.acceptor().map_err(text)?;
        let begin = Instant::now();
        let opener = Arc::clone(&self.opener);
        let sender = tokio::spawn(async move {
            let mut theirs = opener.open(name, target).await.map_err(text)?;
            write_theirs(&mut theirs, bytes).await.map(|()| theirs)
        });
        let mut theirs = self.acceptor.accept().await.map_err(text)?;
        let read = read_theirs(&mut theirs).await?;
        let seconds = begin.elapsed().as_secs_f64();
        sender.await.map_err(text)??;
        expect(read, bytes).map(|()| seconds)
    }
}

async fn ours_to_ours(bytes: u64) -> Result<f64, String> {
    let export = fresh_secret();
    let (mut sender, receiver) = (start()?, start()?);
    let home = sender.address();
    sender.inject(ours::path(export, SUITE, Role::Client, receiver.address(), WINDOW, MTU)).map_err(text)?;
    receiver.inject(ours::path(export, SUITE, Role::Server, home, WINDOW, MTU)).map_err(text)?;
    let begin = Instant::now();
    let (told, tell) = mpsc::channel();
    let receiver = spawn_blocking(move || {
        let received = receive(receiver, bytes, begin);
        let _ = told.send(());
        received
    });
    let sender = spawn_blocking(move || {
        let stream = sender.open();
        let sent = send(&mut sender, stream, bytes);
        // Not closed before the other side has it all.
        let _ = tell.recv_timeout(LIMIT);
        sent
    });
    let received = receiver.await.map_err(text)?;
    sender.await.map_err(text)??;
    received.map(|(seconds, _)| seconds)
}

fn start() -> Result<Ours, String> {
    Ours::start(MTU, WINDOW, [0x3f; 32]).map(Ours::counting).map_err(text)
}

fn register(upstream: &Upstream, export: [u8; 32], role: Role, remote: SocketAddr) -> Result<(), String> {
    let entry = Entry {
        export,
        suite: SUITE,
        role,
        remote,
        our_token: [0; 16],
        window: WINDOW,
        mtu: MTU,
        idle_timeout_ms: 30_000,
    };
    upstream.register(&entry).map_err(text)
}

fn expect(read: u64, bytes: u64) -> Result<(), String> {
    if read == bytes { Ok(()) } else { Err(format!("{read} of {bytes} bytes arrived")) }
}

fn send(ours: &mut Ours, stream: u32, bytes: u64) -> Result<(), String> {
    let pieces = u32::try_from(bytes / PIECE as u64).map_err(text)?;
    ours.send_again(stream, Bytes::from(vec![0x5a; PIECE]), pieces);
    let done = ours.run(LIMIT, |ours| ours.flows.values().all(|flow| flow.acknowledged));
    if done { Ok(()) } else { Err(format!("not all is acknowledged: {}", ours.describe())) }
}

fn receive(mut ours: Ours, bytes: u64, begin: Instant) -> Result<(f64, Ours), String> {
    let done = ours.run(LIMIT, |ours| ours.flows.values().any(|flow| flow.end));
    let seconds = begin.elapsed().as_secs_f64();
    if !done {
        return Err(format!("not all arrives: {}", ours.describe()));
    }
    expect(ours.flows.values().map(|flow| flow.read).sum(), bytes)?;
    for stream in ours.flows.keys().copied().collect::<Vec<_>>() {
        ours.send(stream, Bytes::new());
    }
    ours.run(Duration::from_secs(1), |ours| ours.flows.values().all(|flow| flow.closed));
    Ok((seconds, ours))
}

async fn write_theirs(theirs: &mut crate::upstream::Stream, bytes: u64) -> Result<(), String> {
    let piece = vec![0x5a; PIECE];
    let written = async {
        for _ in 0..bytes / PIECE as u64 {
            theirs.write_all(&piece).await?;
        }
        theirs.shutdown().await
    };
    tokio::time::timeout(LIMIT, written).await.map_err(text)?.map_err(text)
}

async fn read_theirs(theirs: &mut crate::upstream::Stream) -> Result<u64, String> {
    let mut buffer = vec![0; PIECE];
    let mut all = 0;
    let read = async {
        loop {
            match theirs.read(&mut buffer).await? {
                0 => return Ok::<_, std::io::Error>(all),
                len => all += len as u64,
            }
        }
    };
    tokio::time::timeout(LIMIT, read).await.map_err(text)?.map_err(text)
}

/// Least, median and largest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    [at(0), at(values.len() / 2), at(values.len().saturating_sub(1))]
}

/// All rounds, and whether every pairing is fast enough; prints what `json` says, progress on a terminal only.
///
/// # Errors
/// A run that did not end, or not with all its bytes.
pub async fn run(
    upstream: Arc<Upstream>,
    plan: Plan,
    pairings: &[Pairing],
    json: bool,
) -> Result<bool, String> {
    let opener = Arc::new(Upstream::start(b"an opener's reset key").map_err(text)?);
    let bench = Bench { opener, acceptor: upstream };
    let mut runs: [Vec<Run>; 4] = Default::default();
    for round in 0..=plan.rounds {
        for (index, pairing) in Pairing::ALL.into_iter().enumerate() {
            if !pairings.contains(&pairing) {
                continue;
            }
            let bytes = if round == 0 { WARM_UP } else { plan.bytes };
            let run = bench.run(pairing, bytes).await?;
            if round > 0 {
                runs[index].push(run);
            }
            if std::io::stderr().is_terminal() {
                let progress = format!(
                    "round {round} of {}: {:.2} Gbit/s {}",
                    plan.rounds,
                    run.gigabits,
                    pairing.name()
                );
                let _ = write!(std::io::stderr(), "\r\x1b[K{progress}");
            }
        }
    }
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    Ok(tell(&runs, plan, json))
}

fn tell(runs: &[Vec<Run>; 4], plan: Plan, json: bool) -> bool {
    let of = |pairing: Pairing| -> &[Run] {
        Pairing::ALL.iter().zip(runs).find(|(one, _)| **one == pairing).map_or(&[], |(_, runs)| runs)
    };
    let theirs = of(Pairing::TheirsToTheirs);
    let mut ok = true;
    let mut objects = Vec::new();
    for pairing in Pairing::ALL {
        let runs = of(pairing);
        if runs.is_empty() {
            continue;
        }
        let [least, median, most] = spread(runs.iter().map(|run| run.gigabits).collect());
        let [_, cpu, _] = spread(runs.iter().map(|run| run.cpu_seconds_per_gigabyte).collect());
        // Runs of one round are neighbours in time: what slows one slows the other.
        let [low, ratio, high] =
            spread(runs.iter().zip(theirs).map(|(run, theirs)| run.gigabits / theirs.gigabits).collect());
        let enough = theirs.is_empty() || ratio >= pairing.floor();
        ok &= enough;
        let name = pairing.name();
        if json {
            let all: Vec<String> = runs.iter().map(|run| format!("{:.3}", run.gigabits)).collect();
            let mut object =
                format!("{{\"pairing\":\"{name}\",\"gigabits\":[{}],\"median\":{median:.3}", all.join(","));
            let _ = write!(object, ",\"cpuSecondsPerGigabyte\":{cpu:.2}");
            if !theirs.is_empty() {
                let floor = pairing.floor();
                let _ =
                    write!(object, ",\"ratio\":{ratio:.3},\"ratios\":[{low:.3},{high:.3}],\"floor\":{floor}");
            }
            objects.push(object + &format!(",\"ok\":{enough}}}"));
        } else {
            let verdict = if enough { "ok    " } else { "FAILED" };
            println!(
                "{verdict} {name:16} {median:5.2} Gbit/s [{least:.2}–{most:.2}], {ratio:.2} × theirs to theirs [{low:.2}–{high:.2}], at least {}; {cpu:.2} CPU s/GB",
                pairing.floor()
            );
        }
    }
    if json {
        println!(
            "{{\"rounds\":{},\"bytesPerRun\":{},\"mtu\":{MTU},\"pairings\":[{}],\"ok\":{ok}}}",
            plan.rounds,
            plan.bytes,
            objects.join(",")
        );
    }
    ok
}

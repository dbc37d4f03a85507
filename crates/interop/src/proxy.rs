//! A network that loses, repeats, overtakes and remembers datagrams, between two real sockets.

use crate::{Rng, case::Faults};
use socket2::SockRef;
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::UdpSocket, task::JoinSet};

const SOCKET_BUFFER: usize = 4 << 20;
const MAX_DATAGRAM: usize = 65_535;
/// Sockets towards the target: one for each source.
const MAX_SOURCES: usize = 64;
/// Datagrams that a tape holds; a row that has more is a row that needs none of them.
const MAX_TAPE: usize = 100_000;
const MAX_HOLD_US: u64 = 5_000;

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the target.
    There,
    /// From the target, to whoever sends there.
    Back,
}

/// What was done one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams that came.
    pub seen: u64,
    /// Lost.
    pub lost: u64,
    /// Held back.
    pub reordered: u64,
    /// Delivered twice.
    pub duplicated: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.seen += other.seen;
        self.lost += other.lost;
        self.reordered += other.reordered;
        self.duplicated += other.duplicated;
    }
}

#[derive(Debug, Default)]
struct Tally {
    seen: AtomicU64,
    lost: AtomicU64,
    reordered: AtomicU64,
    duplicated: AtomicU64,
}

/// Every datagram that came, in order.
#[derive(Debug, Default)]
pub struct Tape(Mutex<Vec<(Way, Vec<u8>)>>);

impl Tape {
    fn lock(&self) -> MutexGuard<'_, Vec<(Way, Vec<u8>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What went that way so far.
    #[must_use]
    pub fn all(&self, way: Way) -> Vec<Vec<u8>> {
        self.lock().iter().filter(|(went, _)| *went == way).map(|(_, datagram)| datagram.clone()).collect()
    }

    /// How many went that way so far.
    #[must_use]
    pub fn count(&self, way: Way) -> usize {
        self.lock().iter().filter(|(went, _)| *went == way).count()
    }

    /// Bytes that went that way so far.
    #[must_use]
    pub fn bytes(&self, way: Way) -> u64 {
        let tape = self.lock();
        tape.iter().filter(|(went, _)| *went == way).map(|(_, datagram)| datagram.len() as u64).sum()
    }

    fn add(&self, way: Way, datagram: &[u8]) {
        let mut tape = self.lock();
        if tape.len() < MAX_TAPE {
            tape.push((way, datagram.to_vec()));
        }
    }
}

/// What is delivered instead of a datagram, now: itself, nothing, something else, or something from before, too.
pub type Script = Box<dyn FnMut(Way, &[u8]) -> Vec<Vec<u8>> + Send>;

/// Everything sent to `address` goes to the target, and answers back to where it came from; both ways with faults.
pub struct Proxy {
    /// Where to send to.
    pub address: SocketAddr,
    target: SocketAddr,
    network: Arc<Network>,
    // Ends with the proxy.
    _tasks: JoinSet<()>,
}

struct Network {
    faults: Faults,
    rng: Mutex<Rng>,
    tallies: [Tally; 2],
    tape: Option<Tape>,
    script: Option<Mutex<Script>>,
    /// A socket towards the target for each source.
    sources: Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>,
}

async fn bind() -> io::Result<Arc<UdpSocket>> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
    let options = SockRef::from(&socket);
    options.set_recv_buffer_size(SOCKET_BUFFER)?;
    options.set_send_buffer_size(SOCKET_BUFFER)?;
    Ok(Arc::new(socket))
}

impl Proxy {
    /// In front of `target`, with faults of that seed.
    ///
    /// # Errors
    /// A socket is refused.
    pub async fn start(target: SocketAddr, faults: Faults, seed: u64) -> io::Result<Self> {
        Self::run(target, faults, seed, None, None).await
    }

    /// In front of `target`: changes nothing, remembers everything.
    ///
    /// # Errors
    /// A socket is refused.
    pub async fn recording(target: SocketAddr) -> io::Result<Self> {
        Self::run(target, Faults::default(), 0, Some(Tape::default()), None).await
    }

    /// In front of `target`: does what `script` says, and remembers what came.
    ///
    /// # Errors
    /// A socket is refused.
    pub async fn scripted(target: SocketAddr, script: Script) -> io::Result<Self> {
        Self::run(target, Faults::default(), 0, Some(Tape::default()), Some(Mutex::new(script))).await
    }

    async fn run(
        target: SocketAddr,
        faults: Faults,
        seed: u64,
        tape: Option<Tape>,
        script: Option<Mutex<Script>>,
    ) -> io::Result<Self> {
        let front = bind().await?;
        let address = front.local_addr()?;
        let network = Arc::new(Network {
            faults,
            rng: Mutex::new(Rng::new(seed)),
            tallies: Default::default(),
            tape,
            script,
            sources: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(carry_all(front, target, Arc::clone(&network)));
        Ok(Self { address, target, network, _tasks: tasks })
    }

    /// What happened so far on one way.
    #[must_use]
    pub fn counts(&self, way: Way) -> Counts {
        let Tally { seen, lost, reordered, duplicated } = &self.network.tallies[way as usize];
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            seen: read(seen),
            lost: read(lost),
            reordered: read(reordered),
            duplicated: read(duplicated),
        }
    }

    /// What it remembers, if it does.
    #[must_use]
    pub fn tape(&self) -> Option<&Tape> {
        self.network.tape.as_ref()
    }

    /// Sends `datagram` to the target from where every source's datagrams come from. Returns how many that were.
    ///
    /// # Errors
    /// The socket says so.
    pub async fn repeat(&self, datagram: &[u8]) -> io::Result<usize> {
        let sockets: Vec<_> = self.network.sources().values().cloned().collect();
        for socket in &sockets {
            socket.send_to(datagram, self.target).await?;
        }
        Ok(sockets.len())
    }
}

async fn carry_all(front: Arc<UdpSocket>, target: SocketAddr, network: Arc<Network>) {
    let mut returns = JoinSet::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let Ok((len, from)) = front.recv_from(&mut buffer).await else { continue };
        let known = network.sources().get(&from).cloned();
        let back = match known {
            Some(back) => back,
            None if network.sources().len() >= MAX_SOURCES => continue,
            None => {
                let Ok(back) = bind().await else { continue };
                network.sources().insert(from, Arc::clone(&back));
                returns.spawn(carry_back(Arc::clone(&back), Arc::clone(&front), from, Arc::clone(&network)));
                back
            }
        };
        network.carry(Way::There, &buffer[..len], &back, target).await;
    }
}

async fn carry_back(back: Arc<UdpSocket>, front: Arc<UdpSocket>, source: SocketAddr, network: Arc<Network>) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let Ok((len, _)) = back.recv_from(&mut buffer).await else { continue };
        network.carry(Way::Back, &buffer[..len], &front, source).await;
    }
}

impl Network {
    fn sources(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<UdpSocket>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn carry(&self, way: Way, datagram: &[u8], socket: &Arc<UdpSocket>, to: SocketAddr) {
        if let Some(tape) = &self.tape {
            tape.add(way, datagram);
        }
        let tally = &self.tallies[way as usize];
        tally.seen.fetch_add(1, Ordering::Relaxed);
        if let Some(script) = &self.script {
            let instead = script.lock().unwrap_or_else(PoisonError::into_inner)(way, datagram);
            for datagram in instead {
                let _ = socket.send_to(&datagram, to).await;
            }
            return;
        }
        let (lost, hold_us, twice) = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            let mut happens = |ppm: u32| rng.below(1_000_000) < u64::from(ppm);
            let (lost, held, twice) =
                (happens(self.faults.loss), happens(self.faults.reorder), happens(self.faults.duplicate));
            (lost, held.then(|| 200 + rng.below(MAX_HOLD_US)), twice)
        };
        if lost {
            tally.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if twice {
            tally.duplicated.fetch_add(1, Ordering::Relaxed);
            let _ = socket.send_to(datagram, to).await;
        }
        match hold_us {
            None => {
                let _ = socket.send_to(datagram, to).await;
            }
            Some(hold_us) => {
                tally.reordered.fetch_add(1, Ordering::Relaxed);
                let (socket, datagram) = (Arc::clone(socket), datagram.to_vec());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_micros(hold_us)).await;
                    let _ = socket.send_to(&datagram, to).await;
                });
            }
        }
    }
}

//! A network that loses, repeats and overtakes datagrams, between two real sockets.

use crate::{Rng, case::Faults};
use socket2::SockRef;
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::UdpSocket, task::JoinSet};

const SOCKET_BUFFER: usize = 4 << 20;
const MAX_DATAGRAM: usize = 65_535;
/// Sockets towards the target: one for each source.
const MAX_SOURCES: usize = 64;
const MAX_HOLD_US: u64 = 5_000;

/// What was done.
#[derive(Debug, Default)]
pub struct Counts {
    /// Datagrams that came.
    pub seen: AtomicU64,
    /// Lost.
    pub lost: AtomicU64,
    /// Held back.
    pub reordered: AtomicU64,
    /// Delivered twice.
    pub duplicated: AtomicU64,
}

/// Everything sent to `address` goes to the target, and answers back to where it came from; both ways with faults.
pub struct Proxy {
    /// Where to send to.
    pub address: SocketAddr,
    /// What happened so far.
    pub counts: Arc<Counts>,
    // Ends with the proxy.
    _tasks: JoinSet<()>,
}

struct Network {
    faults: Faults,
    rng: Mutex<Rng>,
    counts: Arc<Counts>,
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
        let front = bind().await?;
        let address = front.local_addr()?;
        let counts = Arc::new(Counts::default());
        let network =
            Arc::new(Network { faults, rng: Mutex::new(Rng::new(seed)), counts: Arc::clone(&counts) });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
            let mut returns = JoinSet::new();
            let mut buffer = vec![0; MAX_DATAGRAM];
            loop {
                let Ok((len, from)) = front.recv_from(&mut buffer).await else { continue };
                let back = match backs.get(&from) {
                    Some(back) => Arc::clone(back),
                    None if backs.len() >= MAX_SOURCES => continue,
                    None => {
                        let Ok(back) = bind().await else { continue };
                        backs.insert(from, Arc::clone(&back));
                        let (front, back_too) = (Arc::clone(&front), Arc::clone(&back));
                        let network = Arc::clone(&network);
                        returns.spawn(async move {
                            let mut buffer = vec![0; MAX_DATAGRAM];
                            loop {
                                let Ok((len, _)) = back_too.recv_from(&mut buffer).await else { continue };
                                network.carry(&buffer[..len], &front, from).await;
                            }
                        });
                        back
                    }
                };
                network.carry(&buffer[..len], &back, target).await;
            }
        });
        Ok(Self { address, counts, _tasks: tasks })
    }
}

impl Network {
    async fn carry(&self, datagram: &[u8], socket: &Arc<UdpSocket>, to: SocketAddr) {
        let (lost, hold_us, twice) = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            let mut happens = |ppm: u32| rng.below(1_000_000) < u64::from(ppm);
            let (lost, held, twice) =
                (happens(self.faults.loss), happens(self.faults.reorder), happens(self.faults.duplicate));
            (lost, held.then(|| 200 + rng.below(MAX_HOLD_US)), twice)
        };
        self.counts.seen.fetch_add(1, Ordering::Relaxed);
        if lost {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if twice {
            self.counts.duplicated.fetch_add(1, Ordering::Relaxed);
            let _ = socket.send_to(datagram, to).await;
        }
        match hold_us {
            None => {
                let _ = socket.send_to(datagram, to).await;
            }
            Some(hold_us) => {
                self.counts.reordered.fetch_add(1, Ordering::Relaxed);
                let (socket, datagram) = (Arc::clone(socket), datagram.to_vec());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_micros(hold_us)).await;
                    let _ = socket.send_to(&datagram, to).await;
                });
            }
        }
    }
}

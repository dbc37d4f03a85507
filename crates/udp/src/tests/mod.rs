//! Real loopback sockets; faults come from a link that is wrapped around them.

mod arrivals;
mod departures;
mod faults;
mod lifecycle;
mod probe;
mod waiting;

use crate::{
    counters::{Counters, Tally},
    environment::Socket,
    errno::Errno,
    link::{Arrival, Link, LinkOptions, Outgoing, StartError},
    linux::LinuxLink,
};
use paceline_transport::{
    Backpressure, Completion, Ecn, Environment, Kind, Owner, Received, Transmission,
    pool::{self, Pool, Purpose, Segments},
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Both implementations, so that each test runs over whatever was built.
pub(crate) trait Bind: Link + Sized {
    fn bind(options: &LinkOptions) -> Result<Self, StartError>;
}

impl Bind for LinuxLink {
    fn bind(options: &LinkOptions) -> Result<Self, StartError> {
        Self::bind(options)
    }
}

#[cfg(feature = "portable")]
impl Bind for crate::portable::PortableLink {
    fn bind(options: &LinkOptions) -> Result<Self, StartError> {
        Self::bind(options)
    }
}

/// Makes a module of tests per link out of functions that are generic over it.
macro_rules! over_every_link {
    ($($test:ident),* $(,)?) => {
        mod linux {
            $(#[test] fn $test() { super::$test::<crate::linux::LinuxLink>() })*
        }
        #[cfg(feature = "portable")]
        mod portable {
            $(#[test] fn $test() { super::$test::<crate::portable::PortableLink>() })*
        }
    };
}
pub(crate) use over_every_link;

/// What may be waited for, whoever else uses the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const V4: &str = "127.0.0.1:0";
pub(crate) const V6: &str = "[::1]:0";

pub(crate) fn options(bind: &str) -> LinkOptions {
    LinkOptions {
        bind: bind.parse().unwrap(),
        disable_gso: false,
        disable_gro: false,
        send_buffer: 4 << 20,
        receive_buffer: 4 << 20,
    }
}

pub(crate) fn pool() -> Arc<Pool> {
    Pool::new(pool::Config { capacity_bytes: 64 << 20, reserve_bytes: 1 << 20 }).unwrap()
}

/// A socket with everything around it, for tests.
pub(crate) struct End<L> {
    pub(crate) socket: Socket<Faulty<L>>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) address: SocketAddr,
}

impl<L: Bind> End<L> {
    pub(crate) fn new(options: &LinkOptions) -> Self {
        let link = Faulty::new(L::bind(options).unwrap());
        let address = link.socket().local_addr().unwrap();
        let (tally, pool) = (Arc::<Tally>::default(), pool());
        Self { socket: Socket::new(link, pool.clone(), tally.clone()), tally, pool, address }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.tally.read()
    }

    /// Datagrams that have arrived.
    pub(crate) fn arrived(&mut self) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        while let Some(burst) = self.socket.receive(1) {
            datagrams.extend(burst.segments.iter().map(<[u8]>::to_vec));
        }
        datagrams
    }

    /// So many at least, and whatever else is there. Mostly they are when the call that sent them returns, but a kernel that is
    /// busy with other packets delivers from a thread of its own.
    pub(crate) fn arrivals(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut datagrams = self.arrived();
        let deadline = Instant::now() + PATIENCE;
        while datagrams.len() < count && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
            datagrams.extend(self.arrived());
        }
        datagrams
    }

    /// Receives until that is so, and nothing but empty datagrams.
    pub(crate) fn until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "not so after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(1));
            assert!(self.arrived().is_empty());
        }
    }

    /// The next burst.
    pub(crate) fn arrival(&mut self, now_ns: u64) -> Received {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(burst) = self.socket.receive(now_ns) {
                return burst;
            }
            assert!(Instant::now() < deadline, "nothing arrives");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Submits until nothing is left, with the clock moved on as asked.
    pub(crate) fn send_all(&mut self, due: Vec<Transmission>) -> Vec<Completion> {
        self.send_all_at(1, due.into())
    }

    pub(crate) fn send_all_at(
        &mut self,
        mut now_ns: u64,
        mut due: VecDeque<Transmission>,
    ) -> Vec<Completion> {
        let mut results = Vec::new();
        for _ in 0..10_000 {
            let pressure = self.socket.submit(now_ns, &mut due);
            self.socket.poll_results(&mut results);
            match pressure {
                Backpressure::None => {
                    assert!(due.is_empty());
                    return results;
                }
                Backpressure::UntilWritable => {}
                Backpressure::Until(time_ns) => now_ns = time_ns,
            }
        }
        panic!("never done: {} left", due.len());
    }
}

/// Errno for the nth send (from 1), if it is to fail.
pub(crate) type SendFault = Box<dyn FnMut(usize, &Outgoing<'_>) -> Option<i32> + Send>;

/// Makes chosen calls fail, and counts.
pub(crate) struct Faulty<L> {
    pub(crate) link: L,
    pub(crate) sends: usize,
    pub(crate) receives: usize,
    pub(crate) injected: usize,
    pub(crate) send_fault: SendFault,
    pub(crate) receive_fault: Box<dyn FnMut(usize) -> Option<i32> + Send>,
    /// Receive buffers are cut to this.
    pub(crate) buffer_len: usize,
}

impl<L> Faulty<L> {
    fn new(link: L) -> Self {
        Self {
            link,
            sends: 0,
            receives: 0,
            injected: 0,
            send_fault: Box::new(|_, _| None),
            receive_fault: Box::new(|_| None),
            buffer_len: usize::MAX,
        }
    }
}

impl<L: Link> Link for Faulty<L> {
    fn max_segments(&self) -> usize {
        self.link.max_segments()
    }

    fn gathers(&self) -> bool {
        self.link.gathers()
    }

    fn send(&mut self, outgoing: &Outgoing<'_>) -> Result<(), Errno> {
        self.sends += 1;
        if let Some(errno) = (self.send_fault)(self.sends, outgoing) {
            self.injected += 1;
            return Err(Errno(errno));
        }
        self.link.send(outgoing)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Arrival, Errno> {
        self.receives += 1;
        if let Some(errno) = (self.receive_fault)(self.receives) {
            self.injected += 1;
            return Err(Errno(errno));
        }
        let len = buffer.len().min(self.buffer_len);
        self.link.receive(&mut buffer[..len])
    }

    fn socket(&self) -> &UdpSocket {
        self.link.socket()
    }

    fn granted_buffers(&self) -> (usize, usize) {
        self.link.granted_buffers()
    }
}

/// Makes transmissions whose datagrams are numbered and known byte for byte.
pub(crate) struct Maker {
    pool: Arc<Pool>,
    pub(crate) next_id: u32,
}

impl Maker {
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        Self { pool: pool.clone(), next_id: 0 }
    }

    /// `total_len` bytes cut every `segment_len`. `stream` is the number of the first datagram.
    pub(crate) fn burst(&mut self, remote: SocketAddr, segment_len: usize, total_len: usize) -> Transmission {
        let mut descriptor = self.pool.take(total_len, Purpose::Data).unwrap();
        let stream = self.next_id;
        for segment in descriptor.buffer()[..total_len].chunks_mut(segment_len) {
            segment.copy_from_slice(&datagram(self.next_id, segment.len()));
            self.next_id += 1;
        }
        Transmission {
            kind: Kind::Control,
            remote,
            local: None,
            ecn: Ecn::Ect0,
            priority: 0,
            segments: Segments::new(descriptor.fill(total_len), segment_len),
            infos: Vec::new(),
            scheduled_ns: 0,
            path: None,
            stream,
            key: None,
            owner: Owner::Endpoint,
            recorded: false,
        }
    }
}

/// Numbers of the datagrams in a transmission made here.
pub(crate) fn ids(transmission: &Transmission) -> std::ops::Range<u32> {
    transmission.stream..transmission.stream + transmission.segments.count() as u32
}

/// The datagram with this number and length (at least 4).
pub(crate) fn datagram(id: u32, len: usize) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend((4..len).map(|at| (id as usize).wrapping_mul(31).wrapping_add(at) as u8));
    bytes
}

/// Number of an intact datagram.
pub(crate) fn id_of(bytes: &[u8]) -> u32 {
    let id = u32::from_be_bytes(*bytes.first_chunk().unwrap());
    assert_eq!(bytes, datagram(id, bytes.len()), "datagram {id} came damaged");
    id
}

/// How often each number came.
pub(crate) fn tallied(datagrams: &[Vec<u8>]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for bytes in datagrams {
        *counts.entry(id_of(bytes)).or_default() += 1;
    }
    counts
}

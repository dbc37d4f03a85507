//! The environment made of a real socket.

use crate::{
    clock,
    counters::Tally,
    link::Link,
    receive::{Attempt, Receiver},
    send::Sender,
    wait::{Interest, Waker},
};
use paceline_transport::{
    Backpressure, BurstLimits, Completion, Environment, Received, Step, Transmission, pool::Pool,
};
use std::{collections::VecDeque, net::SocketAddr, sync::Arc, thread, time::Duration};

#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub(crate) use crate::linux::LinuxLink as NativeLink;
#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
pub(crate) use crate::portable::PortableLink as NativeLink;

/// How long a socket that cannot be received from, or not be sent through, is left alone, in ns: a pacing quantum.
const STUCK_NS: u64 = 1_000_000;
/// Whether a short sleep is one: elsewhere it may take a millisecond.
const COALESCE: bool = cfg!(all(target_os = "linux", not(feature = "portable"), not(loom)));

/// A socket, its clock and the operating system's randomness. Belongs to one thread.
#[derive(Debug)]
pub struct UdpEnvironment(Socket<NativeLink>);

impl UdpEnvironment {
    pub(crate) fn new(link: NativeLink, pool: Arc<Pool>, tally: Arc<Tally>) -> Self {
        Self(Socket::new(link, pool, tally))
    }

    /// Waits after the step of `now_ns` until there is something to do.
    pub(crate) fn wait(&mut self, now_ns: u64, waker: &Waker, step: &Step, has_work: impl FnOnce() -> bool) {
        self.0.wait(now_ns, waker, step, has_work);
    }
}

impl Environment for UdpEnvironment {
    fn submit(&mut self, now_ns: u64, due: &mut VecDeque<Transmission>) -> Backpressure {
        self.0.submit(now_ns, due)
    }

    fn poll_results(&mut self, results: &mut Vec<Completion>) {
        self.0.poll_results(results);
    }

    fn receive(&mut self, now_ns: u64) -> Option<Received> {
        self.0.receive(now_ns)
    }

    fn random(&mut self, out: &mut [u8]) {
        self.0.random(out);
    }

    fn burst_limits(&self, remote: &SocketAddr) -> BurstLimits {
        self.0.burst_limits(remote)
    }
}

/// The same over any link.
#[derive(Debug)]
pub(crate) struct Socket<L> {
    sender: Sender<L>,
    receiver: Receiver,
    results: Vec<Completion>,
    /// What the last send came up against.
    pressure: Backpressure,
    /// Not before this time is the socket received from again.
    stuck_until_ns: u64,
    /// Time of the latest step.
    now_ns: u64,
}

impl<L: Link> Socket<L> {
    pub(crate) fn new(link: L, pool: Arc<Pool>, tally: Arc<Tally>) -> Self {
        Self {
            sender: Sender::new(link, tally.clone()),
            receiver: Receiver::new(pool, tally),
            results: Vec::new(),
            pressure: Backpressure::None,
            stuck_until_ns: 0,
            now_ns: 0,
        }
    }

    #[cfg(test)]
    pub(crate) fn link(&self) -> &L {
        self.sender.link()
    }

    #[cfg(test)]
    pub(crate) fn link_mut(&mut self) -> &mut L {
        self.sender.link_mut()
    }

    #[cfg(test)]
    pub(crate) fn has_started(&self) -> bool {
        self.sender.has_started()
    }

    /// What to poll the socket for, and until when at the latest.
    pub(crate) fn wants(&self, next_wake_ns: Option<u64>) -> (Interest, Option<u64>) {
        let stuck = (self.stuck_until_ns > self.now_ns).then_some(self.stuck_until_ns);
        let resume = match self.pressure {
            Backpressure::Until(time_ns) if time_ns > self.now_ns => Some(time_ns),
            _ => None,
        };
        let interest =
            Interest { readable: stuck.is_none(), writable: self.pressure == Backpressure::UntilWritable };
        // Everything due was offered a moment ago. What could not leave keeps its time in the past, which must not make the
        // thread spin until it can; nor may it hide a later timer for long.
        let next_wake_ns = next_wake_ns.map(|time_ns| match (resume, interest.writable) {
            (None, false) => time_ns,
            _ if time_ns > self.now_ns => time_ns,
            _ => self.now_ns.saturating_add(STUCK_NS),
        });
        (interest, [next_wake_ns, stuck, resume].into_iter().flatten().min())
    }

    fn wait(&mut self, now_ns: u64, waker: &Waker, step: &Step, has_work: impl FnOnce() -> bool) {
        self.now_ns = now_ns;
        let (mut interest, deadline_ns) = self.wants(step.next_wake_ns);
        interest.readable &= !step.nap;
        if deadline_ns.is_some_and(|deadline_ns| deadline_ns <= now_ns) {
            return;
        }
        if COALESCE
            && let Some(until_ns) = step.coalesce_until_ns
            && !interest.writable
        {
            // Nobody rings meanwhile, either.
            let until_ns = deadline_ns.map_or(until_ns, |deadline_ns| deadline_ns.min(until_ns));
            thread::sleep(Duration::from_nanos(until_ns.saturating_sub(clock::now_ns())));
            return;
        }
        waker.park(self.sender.link().socket(), interest, deadline_ns, has_work);
        if interest.writable {
            // Asked once: the next send finds out. A worker that has nothing to send any more must not spin on an empty socket.
            self.pressure = Backpressure::None;
        }
    }
}

impl<L: Link> Environment for Socket<L> {
    fn submit(&mut self, now_ns: u64, due: &mut VecDeque<Transmission>) -> Backpressure {
        self.now_ns = now_ns;
        if let Backpressure::Until(time_ns) = self.pressure
            && now_ns < time_ns
        {
            return self.pressure;
        }
        self.pressure = self.sender.submit(now_ns, due, &mut self.results);
        self.pressure
    }

    fn poll_results(&mut self, results: &mut Vec<Completion>) {
        // The worker need not submit anything more for a half-sent transmission to get out.
        if self.sender.has_started() {
            let _ = self.submit(self.now_ns, &mut VecDeque::new());
        }
        results.append(&mut self.results);
    }

    fn receive(&mut self, now_ns: u64) -> Option<Received> {
        self.now_ns = now_ns;
        if now_ns < self.stuck_until_ns {
            return None;
        }
        match self.receiver.receive(self.sender.link_mut()) {
            Attempt::Burst(received) => Some(received),
            Attempt::Empty => None,
            Attempt::Stuck => {
                self.stuck_until_ns = now_ns.saturating_add(STUCK_NS);
                None
            }
        }
    }

    fn random(&mut self, out: &mut [u8]) {
        random(out);
    }

    fn burst_limits(&self, remote: &SocketAddr) -> BurstLimits {
        self.sender.burst_limits(remote, self.now_ns)
    }
}

/// The operating system's random source.
///
/// # Panics
/// If there is none: keys made without it would be worse than no endpoint. The runtime reports the end of its worker.
#[cfg(target_os = "linux")]
fn random(mut out: &mut [u8]) {
    while !out.is_empty() {
        match crate::sys::random(out) {
            Ok(filled) => out = &mut out[filled..],
            Err(errno) if errno.meaning() == crate::errno::Meaning::Interrupted => {}
            Err(errno) => panic!("getrandom: errno {}", errno.0),
        }
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn random(out: &mut [u8]) {
    use std::{fs::File, io::Read};
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(out)).expect("/dev/urandom")
}

#[cfg(windows)]
fn random(out: &mut [u8]) {
    #[link(name = "bcryptprimitives", kind = "raw-dylib")]
    unsafe extern "system" {
        fn ProcessPrng(out: *mut u8, len: usize) -> i32;
    }
    // SAFETY: pointer and length describe `out`. Documented never to fail.
    unsafe { ProcessPrng(out.as_mut_ptr(), out.len()) };
}

//! The environment of one node: the network of the world, its clock, randomness from the seed, and its own faults.

use crate::{
    faults::{FaultKind, SendFault, SendFaults},
    log::Log,
    network::Network,
    observe::{Observed, ObservedMail, Observer},
    rng::Rng,
    world::NodeId,
};
use paceline_transport::{
    Backpressure, BurstLimits, Completion, Environment, MS, Outcome, Received, SendError, Transmission,
    pool::{MAX_LEN, Pool, Purpose, Segments},
};
use std::{cell::RefCell, collections::VecDeque, net::SocketAddr, rc::Rc, sync::Arc};

/// A full device is tried again after this, as `udp` does.
const NO_BUFFERS_NS: u64 = MS;
/// A full socket is writable again after at least this.
const MIN_WRITABLE_NS: u64 = MS / 10;
/// Without memory for a burst the socket is left alone for this long, as `udp` does.
const STUCK_NS: u64 = MS;
/// A receive that failed is tried again after this.
const RECEIVE_RETRY_NS: u64 = MS / 10;

/// What the nodes of a world share.
#[derive(Debug)]
pub(crate) struct Wires {
    pub(crate) network: Network,
    pub(crate) log: Log,
    pub(crate) observer: Option<Box<Observer>>,
    /// Transmissions of all nodes so far.
    pub(crate) transmissions: u64,
}

/// The world as one node sees it.
#[derive(Debug)]
pub struct SimEnvironment {
    node: NodeId,
    incarnation: u32,
    pool: Arc<Pool>,
    wires: Rc<RefCell<Wires>>,
    rng: Rng,
    /// Apart from `rng`, so that a fault does not change what the worker draws.
    faults: Rng,
    results: Vec<Completion>,
    pub(crate) limits: BurstLimits,
    /// Virtual time of the step.
    now_ns: u64,
    /// What the node's clock reads then.
    reading_ns: u64,
    pub(crate) send_faults: Option<SendFaults>,
    /// Transmissions offered since `send_faults` was set.
    pub(crate) offered: u32,
    /// The socket is full until then, virtual time.
    pub(crate) writable_ns: Option<u64>,
    /// Datagrams of stream data that the worker handed over, whatever became of them.
    pub(crate) handed: u64,
    /// Chance that a receive fails, and until when.
    pub(crate) receive_faults: Option<(u32, u64)>,
    /// Mail is left alone until then, virtual time.
    pub(crate) receive_retry_ns: u64,
}

impl SimEnvironment {
    pub(crate) fn new(
        node: NodeId,
        incarnation: u32,
        pool: Arc<Pool>,
        wires: Rc<RefCell<Wires>>,
        rng: Rng,
    ) -> Self {
        let faults = rng.clone().fork();
        Self {
            node,
            incarnation,
            pool,
            wires,
            rng,
            faults,
            results: Vec::new(),
            limits: BurstLimits { max_segments: 64, max_bytes: 65_507 },
            now_ns: 0,
            reading_ns: 0,
            send_faults: None,
            offered: 0,
            writable_ns: None,
            handed: 0,
            receive_faults: None,
            receive_retry_ns: 0,
        }
    }

    /// The step that follows happens at `now_ns`, and the node's clock reads `reading_ns`.
    pub(crate) fn set_time(&mut self, now_ns: u64, reading_ns: u64) {
        self.now_ns = now_ns;
        self.reading_ns = reading_ns;
        if self.writable_ns.is_some_and(|at| at <= now_ns) {
            self.writable_ns = None;
        }
    }

    /// What happens to the next submit, if it fails.
    fn send_fault(&mut self) -> Option<SendFault> {
        let SendFaults { every, error, until_ns } = self.send_faults?;
        if self.now_ns >= until_ns {
            self.send_faults = None;
            return None;
        }
        self.offered = self.offered.wrapping_add(1);
        self.offered.is_multiple_of(every.max(1)).then_some(error)
    }

    fn observed(
        &self,
        number: u64,
        transmission: &Transmission,
        index: usize,
        left: bool,
        bytes: Rc<[u8]>,
    ) -> Observed {
        Observed {
            at_ns: self.now_ns,
            node: self.node,
            incarnation: self.incarnation,
            to: transmission.remote,
            kind: transmission.kind,
            priority: transmission.priority,
            stream: transmission.stream,
            info: transmission.infos.get(index).copied(),
            transmission: number,
            index: index as u32,
            count: transmission.segments.count() as u32,
            scheduled_ns: transmission.scheduled_ns,
            left,
            bytes,
        }
    }

    fn send(&self, wires: &mut Wires, transmission: &Transmission) {
        let node = self.node.index();
        wires.transmissions += 1;
        let Wires { network, log, observer, transmissions } = wires;
        for (index, segment) in transmission.segments.iter().enumerate() {
            let bytes = Rc::from(segment);
            log.sent(self.now_ns, node, transmission, index, segment);
            network.send(log, self.now_ns, node, transmission.remote, transmission.ecn, &bytes);
            if let Some(observer) = observer {
                observer.sent.push(self.observed(*transmissions, transmission, index, true, bytes));
            }
        }
    }

    fn fail(&mut self, wires: &mut Wires, transmission: Transmission, error: SendError) {
        wires.transmissions += 1;
        if let Some(observer) = &mut wires.observer {
            for (index, segment) in transmission.segments.iter().enumerate() {
                let bytes = Rc::from(segment);
                observer.sent.push(self.observed(wires.transmissions, &transmission, index, false, bytes));
            }
        }
        let outcome = Outcome::Failed { error, at_ns: self.reading_ns };
        self.results.push(Completion { transmission, outcome });
    }

    fn note(&self, wires: &mut Wires, kind: FaultKind, n: u64) {
        wires.network.faults.add(kind, n);
        wires.log.node(self.now_ns, kind, self.node.index(), n);
    }
}

impl Environment for SimEnvironment {
    fn submit(&mut self, now_ns: u64, due: &mut VecDeque<Transmission>) -> Backpressure {
        let wires = Rc::clone(&self.wires);
        let wires = &mut *wires.borrow_mut();
        if self.writable_ns.is_some() {
            self.note(wires, FaultKind::SendError, 1);
            return Backpressure::UntilWritable;
        }
        while let Some(front) = due.front() {
            let node = self.node.index();
            let too_large = match wires.network.signalled_mtu(node, front.remote) {
                Some(mtu) => front.segments.iter().filter(|segment| segment.len() > mtu).count(),
                None => 0,
            };
            let fault = self.send_fault();
            if fault.is_some() {
                self.note(wires, FaultKind::SendError, 1);
            }
            match fault {
                Some(SendFault::NoBuffers) => return Backpressure::Until(now_ns + NO_BUFFERS_NS),
                Some(SendFault::WouldBlock) => {
                    let wait_ns = MIN_WRITABLE_NS + self.faults.below(MS - MIN_WRITABLE_NS);
                    self.writable_ns = Some(self.now_ns + wait_ns);
                    return Backpressure::UntilWritable;
                }
                Some(SendFault::Os(_)) | None => {}
            }
            let Some(transmission) = due.pop_front() else { break };
            if transmission.kind.is_stream_data() {
                self.handed += transmission.segments.count() as u64;
            }
            if let Some(SendFault::Os(errno)) = fault {
                self.fail(wires, transmission, SendError::Os(errno));
            } else if too_large > 0 {
                self.note(wires, FaultKind::MtuDrop, too_large as u64);
                self.fail(wires, transmission, SendError::TooLarge);
            } else {
                self.send(wires, &transmission);
                let outcome = Outcome::Sent { at_ns: self.reading_ns };
                self.results.push(Completion { transmission, outcome });
            }
        }
        Backpressure::None
    }

    fn poll_results(&mut self, results: &mut Vec<Completion>) {
        results.append(&mut self.results);
    }

    fn receive(&mut self, _now_ns: u64) -> Option<Received> {
        let wires = Rc::clone(&self.wires);
        let wires = &mut *wires.borrow_mut();
        let node = self.node.index();
        wires.network.oldest_mail(node)?;
        if let Some((ppm, until_ns)) = self.receive_faults {
            if self.now_ns >= until_ns {
                self.receive_faults = None;
            } else if self.faults.chance_ppm(ppm) {
                self.receive_retry_ns = self.now_ns + RECEIVE_RETRY_NS;
                self.note(wires, FaultKind::RecvError, 1);
                return None;
            }
        }
        // As `udp` does: room for the longest burst, whatever is there, and without it nothing is taken from the socket.
        let Ok(mut unfilled) = self.pool.take(MAX_LEN, Purpose::Receive) else {
            self.receive_retry_ns = self.now_ns + STUCK_NS;
            return None;
        };
        let datagram = wires.network.receive(node)?;
        let len = datagram.bytes.len();
        wires.log.received(self.now_ns, node, datagram.from, datagram.sequence, len);
        unfilled.buffer()[..len].copy_from_slice(&datagram.bytes);
        let segments = Segments::new(unfilled.fill(len), len);
        if let Some(observer) = &mut wires.observer {
            observer.received.push(ObservedMail {
                at_ns: self.now_ns,
                arrived_ns: datagram.at_ns,
                node: self.node,
                incarnation: self.incarnation,
                from: datagram.from,
                ecn: datagram.ecn,
                bytes: datagram.bytes,
            });
        }
        Some(Received {
            remote: datagram.from,
            local: None,
            ecn: datagram.ecn,
            segments,
            at_ns: self.reading_ns,
        })
    }

    fn random(&mut self, out: &mut [u8]) {
        self.rng.fill(out);
    }

    fn burst_limits(&self, _remote: &SocketAddr) -> BurstLimits {
        self.limits
    }
}

//! The environment of one node: the network of the world, its clock, and randomness from the seed.

use crate::{log::Log, network::Network, rng::Rng};
use paceline_transport::{
    Backpressure, BurstLimits, Completion, Environment, Outcome, Received, Transmission,
    pool::{Pool, Purpose, Segments},
};
use std::{cell::RefCell, collections::VecDeque, net::SocketAddr, rc::Rc, sync::Arc};

/// What the nodes of a world share.
#[derive(Debug)]
pub(crate) struct Wires {
    pub(crate) network: Network,
    pub(crate) log: Log,
}

/// The world as one node sees it.
#[derive(Debug)]
pub struct SimEnvironment {
    address: SocketAddr,
    pool: Arc<Pool>,
    wires: Rc<RefCell<Wires>>,
    rng: Rng,
    results: Vec<Completion>,
    limits: BurstLimits,
}

impl SimEnvironment {
    pub(crate) fn new(
        address: SocketAddr,
        pool: Arc<Pool>,
        wires: Rc<RefCell<Wires>>,
        rng: Rng,
        limits: BurstLimits,
    ) -> Self {
        Self { address, pool, wires, rng, results: Vec::new(), limits }
    }
}

impl Environment for SimEnvironment {
    fn submit(&mut self, now_ns: u64, due: &mut VecDeque<Transmission>) -> Backpressure {
        let mut wires = self.wires.borrow_mut();
        let Wires { network, log } = &mut *wires;
        for transmission in due.drain(..) {
            for (index, segment) in transmission.segments.iter().enumerate() {
                log.sent(now_ns, self.address, &transmission, index, segment);
                network.send(now_ns, self.address, transmission.remote, transmission.ecn, segment);
            }
            self.results.push(Completion { transmission, outcome: Outcome::Sent { at_ns: now_ns } });
        }
        Backpressure::None
    }

    fn poll_results(&mut self, results: &mut Vec<Completion>) {
        results.append(&mut self.results);
    }

    fn receive(&mut self, _now_ns: u64) -> Option<Received> {
        let mut wires = self.wires.borrow_mut();
        let Wires { network, log } = &mut *wires;
        let datagram = network.receive(self.address)?;
        log.received(datagram.at_ns, self.address, datagram.from, &datagram.bytes);
        // A socket whose process has no memory left drops, too.
        let mut unfilled = self.pool.take(datagram.bytes.len(), Purpose::Reserved).ok()?;
        unfilled.buffer()[..datagram.bytes.len()].copy_from_slice(&datagram.bytes);
        let segments = Segments::new(unfilled.fill(datagram.bytes.len()), datagram.bytes.len());
        Some(Received {
            remote: datagram.from,
            local: None,
            ecn: datagram.ecn,
            segments,
            at_ns: datagram.at_ns,
        })
    }

    fn random(&mut self, out: &mut [u8]) {
        self.rng.fill(out);
    }

    fn burst_limits(&self, _remote: &SocketAddr) -> BurstLimits {
        self.limits
    }
}

//! What a script does to nodes: failing calls, clocks that stall or step back, pools that run dry, restarts.

use super::{NodeId, World, new_pool};
use crate::{
    addresses::address_of,
    environment::SimEnvironment,
    faults::{FaultKind, SendFaults},
    squeeze::Squeeze,
};
use paceline_transport::{BurstLimits, Config, app::Shared};
use std::sync::Arc;

/// One squeeze in so many takes the reserve, too.
const SQUEEZES_OF_THE_RESERVE: u64 = 4;

impl World {
    /// The node's process ends without a word and a new one starts at its address: worker, pool, news and mail of the old one
    /// are gone, its faults too; what is on its way arrives at the new one. Counted as `peerRestart`.
    ///
    /// # Panics
    /// If a descriptor of the old pool did not come home, or the configured pool is impossible.
    pub fn restart(&mut self, node: NodeId, config: Config) {
        self.release_pool(node);
        let (pool, pool_config) = new_pool(&config);
        let shared = Arc::new(Shared::default());
        let incarnation = self.nodes[node.0].incarnation + 1;
        let reading_ns = self.reading_ns(node);
        let worker = self.new_worker(node, incarnation, config, &pool, &shared, reading_ns);
        let now_ns = self.now_ns;
        let old = &mut self.nodes[node.0];
        let old_pool = std::mem::replace(&mut old.pool, pool);
        drop(std::mem::replace(&mut old.worker, worker));
        let lent = old_pool.stats().lent;
        assert_eq!(lent, 0, "{lent} descriptors of {} did not come home at its restart", address_of(node.0));
        old.shared = shared;
        old.pool_config = pool_config;
        old.next_wake_ns = Some(reading_ns);
        old.prompted_ns = None;
        old.stalled = false;
        old.stalled_until_ns = 0;
        old.last_reading_ns = 0;
        old.commands.clear();
        old.incarnation = incarnation;
        old.done = false;
        let mut wires = self.wires.borrow_mut();
        wires.network.close(node.0);
        wires.network.faults.add(FaultKind::PeerRestart, 1);
        wires.log.node(now_ns, FaultKind::PeerRestart, node.0, u64::from(incarnation));
    }

    /// What a burst of this node may look like from now on; 64 packets and 65,507 bytes unless this was called.
    pub fn set_burst_limits(&mut self, node: NodeId, limits: BurstLimits) {
        self.environment(node).limits = limits;
    }

    fn environment(&mut self, node: NodeId) -> &mut SimEnvironment {
        self.nodes[node.0].worker.environment_mut()
    }

    /// Lets submits of a node fail (`sendError`), or none any more.
    pub fn fail_sends(&mut self, node: NodeId, faults: Option<SendFaults>) {
        let environment = self.environment(node);
        environment.send_faults = faults;
        environment.offered = 0;
    }

    /// Lets receives of a node fail although there is mail (`recvError`), with this chance in parts per million; each is
    /// tried again 0.1 ms later.
    pub fn fail_receives(&mut self, node: NodeId, ppm: u32, until_ns: u64) {
        self.environment(node).receive_faults = Some((ppm, until_ns));
    }

    /// The node is not stepped for a while, as when its process is not scheduled: its mail waits, and it wakes late
    /// (`clockStall`, if it had something to do).
    pub fn stall_clock(&mut self, node: NodeId, for_ns: u64) {
        let node = &mut self.nodes[node.0];
        node.stalled_until_ns = node.stalled_until_ns.max(self.now_ns + for_ns);
        node.stalled = true;
    }

    /// The node's clock reads earlier for a while, and right afterwards; steps, arrivals and departures of this node are told
    /// its reading (`clockBackward`, once for each time that a step sees it go back). With `by_ns` the time since its last
    /// step, the same reading comes twice.
    pub fn step_clock_back(&mut self, node: NodeId, by_ns: u64, for_ns: u64) {
        self.nodes[node.0].clock.step_back(by_ns, self.now_ns + for_ns);
    }

    /// The environment takes descriptors away until only `keep_bytes` can be had for data (in one of four squeezes, decided by
    /// the seed, for anything but receiving), and takes again what comes home (`poolExhaustion` for each request refused).
    ///
    /// Really allocates what it takes: give such nodes a small pool.
    pub fn squeeze_pool(&mut self, node: NodeId, keep_bytes: usize, until_ns: u64) {
        self.release_pool(node);
        let reserve = self.rng.below(SQUEEZES_OF_THE_RESERVE) == 0;
        let node = &mut self.nodes[node.0];
        let mut squeeze = Squeeze::new(&node.pool, &node.pool_config, keep_bytes, reserve, until_ns);
        squeeze.press(&node.pool);
        node.squeeze = Some(squeeze);
    }

    /// Ends a squeeze and counts what it did.
    pub(super) fn release_pool(&mut self, node: NodeId) {
        let index = node.0;
        let node = &mut self.nodes[index];
        if let Some(squeeze) = node.squeeze.take() {
            let refused = squeeze.refused(&node.pool);
            let mut wires = self.wires.borrow_mut();
            wires.network.faults.add(FaultKind::PoolExhaustion, refused);
            wires.log.node(self.now_ns, FaultKind::PoolExhaustion, index, refused);
        }
    }

    /// Counts what a script did (a reader that pauses).
    pub fn note_fault(&mut self, kind: FaultKind, n: u64) {
        self.wires.borrow_mut().network.faults.add(kind, n);
    }
}

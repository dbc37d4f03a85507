//! Faults on time: the links as they are now, and what befalls nodes.

use super::{Event, Run};
use crate::{FaultKind, FaultPlan, Link, SendFault, SendFaults, Target};
use paceline_transport::MS;

/// A time that no world reaches.
const NEVER_NS: u64 = u64::MAX / 4;

/// What a send may fail with: transient ones first, then errno numbers of Linux (R16).
const SEND_FAULTS: [SendFault; 12] = [
    SendFault::NoBuffers,
    SendFault::NoBuffers,
    SendFault::WouldBlock,
    SendFault::WouldBlock,
    SendFault::Os(5),
    SendFault::Os(22),
    SendFault::Os(1),
    SendFault::Os(111),
    SendFault::Os(101),
    SendFault::Os(113),
    SendFault::Os(13),
    SendFault::Os(9),
];

/// The send error that a fault's second size stands for.
pub(super) fn send_fault(extra: u64) -> SendFault {
    SEND_FAULTS[(extra % SEND_FAULTS.len() as u64) as usize]
}

/// A link while a fault lasts.
fn apply(link: &mut Link, fault: &FaultPlan) {
    let ppm = u32::try_from(fault.amount).unwrap_or(u32::MAX).min(1_000_000);
    match fault.kind {
        FaultKind::Loss => link.loss_ppm = ppm,
        FaultKind::BurstLoss => {
            link.burst_loss_ppm = ppm;
            link.burst_loss_len = fault.extra as u32;
        }
        FaultKind::Duplication => link.duplicate_ppm = ppm,
        FaultKind::Reorder => {
            link.reorder_ppm = ppm;
            link.reorder_ns = fault.extra;
        }
        FaultKind::Delay => {
            link.delay_ppm = ppm;
            link.delay_spike_ns = fault.extra;
        }
        FaultKind::Corruption => link.corrupt_ppm = ppm,
        FaultKind::Truncation => link.truncate_ppm = ppm,
        FaultKind::Replay => {
            link.replay_ppm = ppm;
            link.replay_after_ns = fault.extra;
        }
        FaultKind::MtuDrop => {
            link.max_datagram = Some(fault.amount as usize);
            link.mtu_signal = fault.extra == 1;
        }
        FaultKind::Blackhole | FaultKind::OneWayPartition => link.up = false,
        FaultKind::SendError
        | FaultKind::RecvError
        | FaultKind::ClockStall
        | FaultKind::ClockBackward
        | FaultKind::PeerRestart
        | FaultKind::ReaderPause
        | FaultKind::PoolExhaustion => {}
    }
}

impl Run<'_> {
    /// The pair's links as its active faults make them.
    pub(super) fn set_links(&mut self, index: usize) {
        let plan = &self.scenario.pairs[index];
        let (mut there, mut back) = (plan.there.clone(), plan.back.clone());
        for (fault, active) in self.scenario.faults.iter().zip(&self.active) {
            if let Target::Pair { pair, there: strikes_there, back: strikes_back } = fault.target
                && pair == index
                && *active
            {
                if strikes_there {
                    apply(&mut there, fault);
                }
                if strikes_back {
                    apply(&mut back, fault);
                }
            }
        }
        let (server, client) = (self.nodes[0].id, self.nodes[index + 1].id);
        self.world.link_one_way(client, server, &there);
        self.world.link_one_way(server, client, &back);
    }

    pub(super) fn begin_fault(&mut self, index: usize) -> Result<(), String> {
        let fault = self.scenario.faults[index];
        let now_ns = self.world.now_ns();
        let until_ns = now_ns.saturating_add(fault.for_ns).min(NEVER_NS);
        self.active[index] = true;
        match fault.target {
            Target::Pair { pair, .. } => self.set_links(pair),
            Target::Node(node) => self.strike_node(node, &fault, until_ns)?,
        }
        if fault.for_ns > 0 {
            self.at_time(until_ns, Event::FaultEnds(index));
        }
        if let Some(every_ns) = fault.every_ns {
            self.at_time(now_ns.saturating_add(every_ns.max(MS)), Event::FaultBegins(index));
        }
        Ok(())
    }

    pub(super) fn end_fault(&mut self, index: usize) {
        self.active[index] = false;
        if let Target::Pair { pair, .. } = self.scenario.faults[index].target {
            self.set_links(pair);
        }
    }

    fn strike_node(&mut self, node: usize, fault: &FaultPlan, until_ns: u64) -> Result<(), String> {
        let id = self.nodes[node].id;
        match fault.kind {
            FaultKind::SendError => {
                let every = u32::try_from(fault.amount).unwrap_or(u32::MAX).max(1);
                let faults = SendFaults { every, error: send_fault(fault.extra), until_ns };
                self.world.fail_sends(id, Some(faults));
            }
            FaultKind::RecvError => self.world.fail_receives(id, fault.amount as u32, until_ns),
            FaultKind::ClockStall => self.world.stall_clock(id, fault.for_ns),
            FaultKind::ClockBackward => self.world.step_clock_back(id, fault.amount, fault.for_ns),
            FaultKind::PoolExhaustion => self.world.squeeze_pool(id, fault.amount as usize, until_ns),
            FaultKind::ReaderPause => {
                let paused = &mut self.nodes[node].readers_paused_until_ns;
                *paused = (*paused).max(until_ns);
                self.at_time(until_ns, Event::ReadersGoOn(node));
            }
            FaultKind::PeerRestart => self.restart(node)?,
            _ => {}
        }
        Ok(())
    }
}

//! What must hold in every world (reliability.md, below the table of section 2), looked at after every step.
//!
//! `packets` looks at what leaves the nodes, `figures` at what the workers say of themselves. What applications see (bytes,
//! ends, completions) is checked where the scripts are played, in [`run`](crate::run).

mod figures;
mod packets;

use crate::{NodeId, Observed, ObservedMail, World};
use figures::Figures;
use paceline_transport::Kind;
use packets::Packets;
use std::net::SocketAddr;

/// The checkers of a world, and how often they looked.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    packets: Packets,
    figures: Figures,
    /// Comparisons made, by all checkers and by the scripts.
    pub(crate) checked: u64,
    /// The longest queue seen: transmissions in a wheel.
    pub(crate) longest_wheel: u64,
}

impl Checker {
    /// By node: transmissions of a stream that the configuration allows, and the rate cap, bytes per second, where departures
    /// follow it to the byte.
    pub(crate) fn new(max_in_flight: Vec<u32>, max_rate: Vec<Option<u64>>) -> Self {
        let mut checker = Self::default();
        checker.figures.configure(max_in_flight);
        checker.packets.configure(max_rate);
        checker
    }

    /// `node` begins a handshake with `to`: it may send there first.
    pub(crate) fn may_send(&mut self, node: NodeId, to: SocketAddr) {
        self.packets.validate(node, to);
    }

    /// `node` has heard something authentic from `to`.
    pub(crate) fn validated(&mut self, node: NodeId, to: SocketAddr) {
        self.packets.validate(node, to);
    }

    /// A node was restarted: what it knew is gone.
    pub(crate) fn restarted(&mut self, node: NodeId) {
        self.packets.restarted(node);
        self.figures.restarted(node);
    }

    /// Everything received, then everything sent since the last call.
    pub(crate) fn packets(&mut self, received: &[ObservedMail], sent: &[Observed]) -> Result<(), String> {
        for mail in received {
            self.packets.received(mail);
        }
        for packet in sent {
            if packet.kind == Kind::Probe && packet.left {
                self.figures.probe_left(packet.node, packet.to, packet.bytes.len() as u64);
            }
            self.checked += self.packets.sent(packet)?;
        }
        Ok(())
    }

    /// A node's figures, recomputed. Costs O(streams + packets in flight).
    pub(crate) fn audit(&mut self, world: &World, node: NodeId) -> Result<(), String> {
        let (checked, wheel) = self.figures.audit(world, node)?;
        self.checked += checked;
        self.longest_wheel = self.longest_wheel.max(wheel);
        Ok(())
    }
}

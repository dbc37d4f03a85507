//! What an observer at a node's socket sees, for checkers; nothing is kept unless `World::observe` asked for it.

use crate::world::NodeId;
use paceline_transport::{
    Ecn, Info, Kind,
    inspect::{self, Inspected},
};
use std::{net::SocketAddr, rc::Rc};

/// A packet that a worker handed to its environment.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Virtual time, ns.
    pub at_ns: u64,
    /// Who handed it over.
    pub node: NodeId,
    /// How often that node had been restarted.
    pub incarnation: u32,
    /// Destination.
    pub to: SocketAddr,
    /// Why its transmission exists.
    pub kind: Kind,
    /// 0 is control.
    pub priority: u8,
    /// As the application names it, 0 without one. Odd numbers were opened here, so this says whose key id it is.
    pub stream: u32,
    /// What the worker says of it; `None` for control and handshake.
    pub info: Option<Info>,
    /// Counts the transmissions of all nodes.
    pub transmission: u64,
    /// Place in its transmission.
    pub index: u32,
    /// Packets of its transmission.
    pub count: u32,
    /// Planned departure on the worker's clock, which never reads more than virtual time, ns.
    pub scheduled_ns: u64,
    /// Whether it left; `false` when the submit failed for good.
    pub left: bool,
    /// The datagram.
    pub bytes: Rc<[u8]>,
}

impl Observed {
    /// What its plain header says.
    pub fn inspect(&self) -> Inspected {
        inspect::inspect(&self.bytes)
    }
}

/// A datagram that a worker was given.
#[derive(Clone, Debug)]
pub struct ObservedMail {
    /// Virtual time, ns.
    pub at_ns: u64,
    /// When it arrived at the node's socket, ns.
    pub arrived_ns: u64,
    /// Who got it.
    pub node: NodeId,
    /// How often that node had been restarted.
    pub incarnation: u32,
    /// Its source, which an attacker may have made up.
    pub from: SocketAddr,
    /// As it arrived.
    pub ecn: Ecn,
    /// The datagram, as it arrived.
    pub bytes: Rc<[u8]>,
}

/// What was seen since the last look.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    pub(crate) sent: Vec<Observed>,
    pub(crate) received: Vec<ObservedMail>,
}

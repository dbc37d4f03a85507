//! The kinds of faults a world knows, and how often each really happened.

use std::fmt;

/// The 18 kinds of reliability.md R1, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// A datagram was dropped by chance.
    Loss,
    /// A datagram was dropped as one of several in a row.
    BurstLoss,
    /// A second copy of a datagram arrived.
    Duplication,
    /// A datagram was held back, and a younger one arrived first.
    Reorder,
    /// A datagram, and what followed it, arrived a spike later.
    Delay,
    /// A datagram had one bit flipped.
    Corruption,
    /// A datagram was cut short.
    Truncation,
    /// An old datagram arrived once more, much later.
    Replay,
    /// A datagram larger than the path takes vanished, or was refused where the path says so.
    MtuDrop,
    /// A datagram was sent while both directions were down.
    Blackhole,
    /// A datagram was sent while its direction was down and the other was not.
    OneWayPartition,
    /// A submit was refused: by a socket or device that is full, or with an errno.
    SendError,
    /// A receive failed although there was mail.
    RecvError,
    /// A node that had something to do was stepped late.
    ClockStall,
    /// A step saw a clock that read no later than in an earlier step.
    ClockBackward,
    /// A process was replaced by a new one at the same address.
    PeerRestart,
    /// An application stopped reading for a while.
    ReaderPause,
    /// The pool refused a descriptor because the environment had taken too many.
    PoolExhaustion,
}

impl FaultKind {
    /// How many there are.
    pub const COUNT: usize = 18;

    /// In the order of reliability.md R1.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Loss,
        Self::BurstLoss,
        Self::Duplication,
        Self::Reorder,
        Self::Delay,
        Self::Corruption,
        Self::Truncation,
        Self::Replay,
        Self::MtuDrop,
        Self::Blackhole,
        Self::OneWayPartition,
        Self::SendError,
        Self::RecvError,
        Self::ClockStall,
        Self::ClockBackward,
        Self::PeerRestart,
        Self::ReaderPause,
        Self::PoolExhaustion,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::BurstLoss => "burstLoss",
            Self::Duplication => "duplication",
            Self::Reorder => "reorder",
            Self::Delay => "delay",
            Self::Corruption => "corruption",
            Self::Truncation => "truncation",
            Self::Replay => "replay",
            Self::MtuDrop => "mtuDrop",
            Self::Blackhole => "blackhole",
            Self::OneWayPartition => "oneWayPartition",
            Self::SendError => "sendError",
            Self::RecvError => "recvError",
            Self::ClockStall => "clockStall",
            Self::ClockBackward => "clockBackward",
            Self::PeerRestart => "peerRestart",
            Self::ReaderPause => "readerPause",
            Self::PoolExhaustion => "poolExhaustion",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each kind really happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; FaultKind::COUNT]);

impl FaultCounts {
    /// How often `kind` happened.
    pub const fn get(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }

    /// It happened `n` times more.
    pub const fn add(&mut self, kind: FaultKind, n: u64) {
        self.0[kind as usize] += n;
    }

    /// Adds what happened elsewhere.
    pub fn merge(&mut self, other: &Self) {
        for (kind, n) in other.iter() {
            self.add(kind, n);
        }
    }

    /// All kinds in order, those that never happened too.
    pub fn iter(&self) -> impl Iterator<Item = (FaultKind, u64)> + '_ {
        FaultKind::ALL.into_iter().map(|kind| (kind, self.get(kind)))
    }
}

/// What becomes of a submit that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFault {
    /// ENOBUFS: the transmission stays, to be tried again 1 ms later.
    NoBuffers,
    /// EAGAIN: the transmission stays until the socket is writable again, 0.1 to 1 ms later.
    WouldBlock,
    /// An errno that ends the transmission as failed.
    Os(i32),
}

/// Which submits of a node fail, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendFaults {
    /// Every how manieth transmission offered, 1 for all; 0 counts as 1.
    pub every: u32,
    /// What becomes of it.
    pub error: SendFault,
    /// When they stop, virtual time in ns.
    pub until_ns: u64,
}

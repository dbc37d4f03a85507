//! One GSO burst on its way out, and the news that comes back about it.

use crate::completion;
use paceline_pool::Segments;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Weak,
};

/// Explicit congestion notification codepoint (RFC 3168), as it stands in the IP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Ecn {
    /// Not ECN-capable.
    #[default]
    NotEct = 0b00,
    /// ECT(1).
    Ect1 = 0b01,
    /// ECT(0): what paceline sends.
    Ect0 = 0b10,
    /// Congestion experienced.
    Ce = 0b11,
}

impl Ecn {
    /// The codepoint in the two low bits of a TOS or traffic-class byte.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            0b11 => Self::Ce,
            _ => Self::NotEct,
        }
    }
}

/// Packet-number space of a dcQUIC stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// First transmissions.
    Stream,
    /// Retransmissions and probes.
    Recovery,
}

/// Why a transmission exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// First transmission of stream data.
    Data,
    /// Copy of one lost packet.
    Retransmission,
    /// Asks the peer for an acknowledgement, or carries a close.
    Probe,
    /// Acknowledgements, window updates, secret control.
    Control,
    /// Handshake message.
    Handshake,
}

impl Kind {
    /// Whether the application sees this transmission in `completions()`; the others are counted in `stats()`.
    pub const fn is_stream_data(self) -> bool {
        matches!(self, Self::Data | Self::Retransmission | Self::Probe)
    }
}

/// One packet of a transmission.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// Packet number in `space`.
    pub number: u64,
    /// Which numbers `number` counts in.
    pub space: Space,
    /// Whole UDP payload, in bytes.
    pub packet_len: u16,
    /// Where this packet's payload begins in the stream, in bytes.
    pub stream_offset: u64,
    /// Stream bytes in this packet.
    pub payload_len: u16,
    /// The payload ends at the final offset, which the packet names.
    pub included_fin: bool,
    /// The packet is a patched copy of an earlier one.
    pub retransmission: bool,
}

/// Names a slot of the worker's stream table for as long as its occupant lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamKey {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Names a slot of the worker's path table for as long as its occupant lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathKey {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Who has to be told what became of a transmission.
#[derive(Clone, Debug)]
pub enum Owner {
    /// A stream: through its completion queue. When the queue is gone, the transmission is cancelled.
    Stream(Weak<completion::Queue>),
    /// The endpoint (handshake, replies without a stream): nobody waits for it.
    Endpoint,
}

/// One GSO burst: a filled descriptor, one [`Info`] per packet, a departure time, and who waits for it.
///
/// Handed to an [`Environment`](crate::Environment) whole and comes back whole, as a [`Completion`].
#[derive(Debug)]
pub struct Transmission {
    /// Why it exists.
    pub kind: Kind,
    /// Where it goes.
    pub remote: SocketAddr,
    /// The local address to send from, where the socket is bound to a wildcard and the peer expects one.
    pub local: Option<IpAddr>,
    /// ECN codepoint of every packet.
    pub ecn: Ecn,
    /// 0 is control and leaves first; 1 to 7 are stream priorities.
    pub priority: u8,
    /// The packets: equal segments, the last may be shorter.
    pub segments: Segments,
    /// One entry per segment; empty for control and handshake.
    pub infos: Vec<Info>,
    /// When it may leave, on the worker's clock, in ns.
    pub scheduled_ns: u64,
    /// The path it is charged to; `None` before there is one.
    pub path: Option<PathKey>,
    /// The stream as the application names it (0 without one).
    pub stream: u32,
    /// The stream's slot in the worker.
    pub key: Option<StreamKey>,
    /// Who is told.
    pub owner: Owner,
    /// The application wants a record of its completion.
    pub recorded: bool,
}

/// What became of a transmission; exactly one per transmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole burst was handed to the network.
    Sent {
        /// Read just before the call, on the worker's clock, in ns.
        at_ns: u64,
    },
    /// The network refused it for good.
    Failed {
        /// The verdict.
        error: SendError,
        /// Read just before the call, on the worker's clock, in ns.
        at_ns: u64,
    },
    /// It was taken out of the wheel and not sent.
    Cancelled,
}

/// Why a send failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// EMSGSIZE: larger than the path takes.
    TooLarge,
    /// Any other error, as the operating system numbers it.
    Os(i32),
}

/// A transmission and what became of it.
#[derive(Debug)]
pub struct Completion {
    /// The burst, with its descriptor still held.
    pub transmission: Transmission,
    /// The verdict.
    pub outcome: Outcome,
}

//! Stream packets: a stream's bytes on their first transmission, as a retransmission, and probes without any.

mod decode;
mod encode;
mod layout;

pub use decode::{Packet, Space};
pub use encode::{probe, retransmit, seal};
pub use layout::Layout;

use crate::Credentials;

/// First byte of a stream packet: 0x00–0x3f.
mod tag {
    pub(super) const SOURCE_QUEUE_ID: u8 = 0x20;
    pub(super) const RECOVERY: u8 = 0x10;
    pub(super) const CONTROL_DATA: u8 = 0x08;
    pub(super) const FINAL_OFFSET: u8 = 0x04;
    pub(super) const APPLICATION_HEADER: u8 = 0x02;
    pub(super) const KEY_PHASE: u8 = 0x01;
    pub(super) const MAX: u8 = 0x3f;
}

/// Everything in front of a stream packet's control data and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which keys.
    pub credentials: Credentials,
    /// The destination's mailbox; 0 while a server's is not known yet. Below 2^60.
    pub queue_id: u64,
    /// The sender's own mailbox, until the peer is known to have learnt it.
    pub source_queue_id: Option<u64>,
    /// The packet number: in the stream space for [`seal`], in the recovery space for [`probe`].
    pub number: u64,
    /// The largest authenticated control packet number and 1, or 0.
    pub next_expected_control: u64,
    /// Where the payload begins in the stream, in bytes.
    pub offset: u64,
    /// Where the stream ends, in bytes, once that is known.
    pub final_offset: Option<u64>,
    /// The key phase of the sealing key.
    pub key_phase: bool,
}

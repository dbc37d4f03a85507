//! What anybody on the network can read from a datagram: for captures, logs and checkers. The worker does not use it.

use crate::transmission::Space;
use paceline_wire::{
    frame::{Frame, Frames},
    packet::{self, control, stream},
};

/// A datagram's plain header. Nothing in it is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspected {
    /// Stream data, a retransmission or a probe.
    Stream {
        /// Which path secret.
        credential_id: [u8; 16],
        /// Which key of it.
        key_id: u64,
        /// Which numbers `number` counts in.
        space: Space,
        /// As it is acknowledged.
        number: u64,
        /// As it was sealed; a retransmission keeps that of its first transmission.
        original: u64,
        /// Made new in the recovery space; authenticated, with nothing encrypted.
        probe: bool,
        /// Changes with each key update.
        key_phase: bool,
        /// Where the payload begins, bytes.
        offset: u64,
        /// Bytes of it.
        payload_len: usize,
        /// The stream's length, if the packet names it.
        final_offset: Option<u64>,
    },
    /// Acknowledgements and window updates.
    Control {
        /// Which path secret.
        credential_id: [u8; 16],
        /// Which key of it.
        key_id: u64,
        /// Number of the control packet.
        number: u64,
        /// The credit it gives, if it gives any, as an offset.
        max_data: Option<u64>,
        /// The code of the close it carries, if it carries one.
        close: Option<u64>,
    },
    /// News about a path secret.
    SecretControl,
    /// A handshake message.
    Handshake,
    /// None of these, or malformed.
    Other,
}

/// Reads a datagram's plain header.
pub fn inspect(datagram: &[u8]) -> Inspected {
    let Some(first) = datagram.first() else { return Inspected::Other };
    match packet::classify(*first) {
        packet::Kind::Stream => stream::Packet::decode(datagram).map_or(Inspected::Other, |packet| {
            let credentials = packet.credentials();
            Inspected::Stream {
                credential_id: credentials.id.0,
                key_id: credentials.key_id,
                space: match packet.space() {
                    stream::Space::Stream => Space::Stream,
                    stream::Space::Recovery => Space::Recovery,
                },
                number: packet.number(),
                original: packet.original_number(),
                probe: packet.is_probe(),
                key_phase: packet.key_phase(),
                offset: packet.offset(),
                payload_len: packet.payload_len(),
                final_offset: packet.final_offset(),
            }
        }),
        packet::Kind::Control => control::Packet::decode(datagram).map_or(Inspected::Other, |packet| {
            let credentials = packet.credentials();
            Inspected::Control {
                credential_id: credentials.id.0,
                key_id: credentials.key_id,
                number: packet.number(),
                max_data: Frames::new(packet.control_data()).find_map(|frame| match frame {
                    Ok(Frame::MaxData(limit)) => Some(limit),
                    _ => None,
                }),
                close: Frames::new(packet.control_data()).find_map(|frame| match frame {
                    Ok(Frame::ConnectionClose { code, .. }) => Some(code),
                    _ => None,
                }),
            }
        }),
        packet::Kind::SecretControl => Inspected::SecretControl,
        packet::Kind::Handshake => Inspected::Handshake,
        packet::Kind::Datagram | packet::Kind::Invalid => Inspected::Other,
    }
}

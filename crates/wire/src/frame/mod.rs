//! Control data: QUIC version 1 frames (RFC 9000 §19) in control packets and probes.

mod ack;
mod encode;

pub use ack::{Ack, AckRanges, EcnCounts};
pub use encode::{ack, connection_close, max_data};

use crate::DecodeError;
use crate::codec::Reader;
use crate::varint;

/// Frame types of RFC 9000 §19 that paceline reads or writes.
mod kind {
    pub(super) const PADDING: u64 = 0x00;
    pub(super) const PING: u64 = 0x01;
    pub(super) const ACK: u64 = 0x02;
    pub(super) const ACK_ECN: u64 = 0x03;
    pub(super) const MAX_DATA: u64 = 0x10;
    pub(super) const CLOSE_TRANSPORT: u64 = 0x1c;
    pub(super) const CLOSE_APPLICATION: u64 = 0x1d;
}

/// A frame. What paceline has no use for is [`Other`](Self::Other).
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// That many padding bytes in a row.
    Padding(usize),
    /// PING.
    Ping,
    /// ACK: with ECN counts it acknowledges the stream space, without the recovery space.
    Ack(Ack<'a>),
    /// MAX_DATA: the sender may send up to that offset of the stream, in bytes.
    MaxData(u64),
    /// CONNECTION_CLOSE: ends the stream.
    ConnectionClose {
        /// 0x1c, a code of QUIC itself; otherwise 0x1d, one of the application.
        transport: bool,
        /// The code.
        code: u64,
    },
    /// Another QUIC frame, skipped.
    Other,
}

/// Iterates over the frames of control data. After an error it ends: what follows cannot be told apart.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    reader: Reader<'a>,
}

impl<'a> Frames<'a> {
    /// Over the control data of a packet.
    #[must_use]
    pub const fn new(control_data: &'a [u8]) -> Self {
        Self { reader: Reader::new(control_data) }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let frame = decode(&mut self.reader);
        if frame.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(frame)
    }
}

fn decode<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, DecodeError> {
    let before = reader.rest().len();
    let kind = reader.varint()?;
    if before.saturating_sub(reader.rest().len()) != varint::size(kind) {
        return Err(DecodeError::FrameType);
    }
    match kind {
        kind::PADDING => {
            let more = reader.rest().iter().take_while(|byte| **byte == 0).count();
            reader.slice(more as u64)?;
            return Ok(Frame::Padding(more.saturating_add(1)));
        }
        kind::PING => return Ok(Frame::Ping),
        kind::ACK | kind::ACK_ECN => return Ack::decode(reader, kind == kind::ACK_ECN).map(Frame::Ack),
        kind::MAX_DATA => return reader.varint().map(Frame::MaxData),
        kind::CLOSE_TRANSPORT | kind::CLOSE_APPLICATION => {
            let transport = kind == kind::CLOSE_TRANSPORT;
            let code = reader.varint()?;
            if transport {
                // The type of the frame that was at fault.
                reader.varint()?;
            }
            let reason = reader.varint()?;
            reader.slice(reason)?;
            return Ok(Frame::ConnectionClose { transport, code });
        }
        _ => {}
    }
    skip(reader, kind)?;
    Ok(Frame::Other)
}

/// Skips the fields of a frame that paceline has no use for.
fn skip(reader: &mut Reader<'_>, kind: u64) -> Result<(), DecodeError> {
    match kind {
        // MAX_STREAMS, DATA_BLOCKED, STREAMS_BLOCKED, RETIRE_CONNECTION_ID
        0x12 | 0x13 | 0x14 | 0x16 | 0x17 | 0x19 => skip_varints(reader, 1),
        // STOP_SENDING, MAX_STREAM_DATA, STREAM_DATA_BLOCKED
        0x05 | 0x11 | 0x15 => skip_varints(reader, 2),
        // RESET_STREAM
        0x04 => skip_varints(reader, 3),
        // CRYPTO
        0x06 => {
            let offset = reader.varint()?;
            skip_data(reader, offset)
        }
        // NEW_TOKEN, which may not be empty
        0x07 => match reader.varint()? {
            0 => Err(DecodeError::FrameField),
            len => reader.slice(len).map(drop),
        },
        // STREAM: bits for offset, length and end
        0x08..=0x0f => {
            reader.varint()?;
            let offset = if kind & 0x04 != 0 { reader.varint()? } else { 0 };
            if kind & 0x02 != 0 { skip_data(reader, offset) } else { skip_rest(reader, offset) }
        }
        // NEW_CONNECTION_ID: its own number, what it retires, the id, a reset token
        0x18 => {
            let sequence_number = reader.varint()?;
            let retire_prior_to = reader.varint()?;
            let len = reader.u8()?;
            if retire_prior_to > sequence_number || !(1..=20).contains(&len) {
                return Err(DecodeError::FrameField);
            }
            reader.slice(len.into())?;
            reader.array::<16>().map(drop)
        }
        // PATH_CHALLENGE, PATH_RESPONSE
        0x1a | 0x1b => reader.array::<8>().map(drop),
        // HANDSHAKE_DONE
        0x1e => Ok(()),
        // DATAGRAM (RFC 9221 §4), to the end or with a length
        0x30 => skip_rest(reader, 0),
        0x31 => skip_data(reader, 0),
        // DC_STATELESS_RESET_TOKENS: 1 to 4092 of them
        0xdc_0000 => match reader.varint()? {
            count @ 1..=4092 => reader.slice(count.saturating_mul(16)).map(drop),
            _ => Err(DecodeError::FrameField),
        },
        // MTU_PROBING_COMPLETE
        0xdc_0002 => reader.u16().map(drop),
        _ => Err(DecodeError::FrameType),
    }
}

fn skip_varints(reader: &mut Reader<'_>, count: usize) -> Result<(), DecodeError> {
    for _ in 0..count {
        reader.varint()?;
    }
    Ok(())
}

/// A length, and as many bytes of a stream from that offset on.
fn skip_data(reader: &mut Reader<'_>, offset: u64) -> Result<(), DecodeError> {
    let len = reader.varint()?;
    if offset.saturating_add(len) > varint::MAX {
        return Err(DecodeError::Overflow);
    }
    reader.slice(len).map(drop)
}

fn skip_rest(reader: &mut Reader<'_>, offset: u64) -> Result<(), DecodeError> {
    let len = reader.rest().len() as u64;
    if offset.saturating_add(len) > varint::MAX {
        return Err(DecodeError::Overflow);
    }
    reader.slice(len).map(drop)
}

#[cfg(test)]
mod tests;

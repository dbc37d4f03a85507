//! Reading stream packets.

use super::encode::mask;
use super::tag;
use crate::codec::Reader;
use crate::packet::{BIDIRECTIONAL, RELIABLE};
use crate::{AuthError, ControlKey, Credentials, DecodeError, OpenKey, SealKey, varint};

/// Headers of retransmissions are restored in a buffer of this size before they are authenticated; longer ones,
/// which paceline never sends, in an allocation.
const RESTORED_HEADER: usize = 512;

/// Which of a stream's two number spaces a packet is acknowledged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// First transmissions.
    Stream,
    /// Retransmissions and probes.
    Recovery,
}

/// A decoded stream packet. Nothing in it is authentic before [`open`](Self::open).
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    header: &'a [u8],
    payload: &'a [u8],
    auth_tag: &'a [u8; 16],
    credentials: Credentials,
    stream_id: u64,
    source_queue_id: Option<u64>,
    original_number: u64,
    retransmission: u32,
    retransmission_at: Option<usize>,
    next_expected_control: u64,
    offset: u64,
    final_offset: Option<u64>,
    control_data: &'a [u8],
    application_header: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Bytes of the datagram.
    #[must_use]
    pub const fn datagram_len(&self) -> usize {
        self.header.len().saturating_add(self.payload.len()).saturating_add(self.auth_tag.len())
    }

    /// Decodes a datagram that holds exactly one stream packet.
    ///
    /// # Errors
    /// See [`DecodeError`]. Also refused: sums above 2^62 − 1 of original number and retransmission offset, or
    /// of stream offset and payload length.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8()?;
        if first > tag::MAX {
            return Err(DecodeError::Kind);
        }
        let has = |bit| first & bit != 0;
        let credentials = Credentials::decode(&mut reader)?;
        reader.version()?;
        // Formerly a port; authenticated like the rest, and ignored.
        reader.u16()?;
        let stream_id = reader.varint()?;
        let source_queue_id = has(tag::SOURCE_QUEUE_ID).then(|| reader.varint()).transpose()?;
        let original_number = reader.varint()?;
        let retransmission_at =
            (stream_id & RELIABLE != 0).then_some(bytes.len().saturating_sub(reader.rest().len()));
        let retransmission = if retransmission_at.is_some() { reader.u32()? } else { 0 };
        let next_expected_control = reader.varint()?;
        let offset = reader.varint()?;
        let final_offset = has(tag::FINAL_OFFSET).then(|| reader.varint()).transpose()?;
        let control_data_len = if has(tag::CONTROL_DATA) { reader.varint()? } else { 0 };
        let payload_len = reader.varint()?;
        let application_header_len = if has(tag::APPLICATION_HEADER) { reader.varint()? } else { 0 };
        let application_header = reader.slice(application_header_len)?;
        let control_data = reader.slice(control_data_len)?;
        let header_len = bytes.len().saturating_sub(reader.rest().len());
        let payload = reader.slice(payload_len)?;
        let auth_tag = reader.final_tag()?;

        if original_number.saturating_add(retransmission.into()) > varint::MAX
            || offset.saturating_add(payload_len) > varint::MAX
        {
            return Err(DecodeError::Overflow);
        }
        let probe = has(tag::RECOVERY) && retransmission == 0;
        if (probe && payload_len > 0) || (retransmission > 0 && !has(tag::RECOVERY)) {
            return Err(DecodeError::Retransmission);
        }
        Ok(Self {
            header: bytes.get(..header_len).ok_or(DecodeError::Truncated)?,
            payload,
            auth_tag,
            credentials,
            stream_id,
            source_queue_id,
            original_number,
            retransmission,
            retransmission_at,
            next_expected_control,
            offset,
            final_offset,
            control_data,
            application_header,
        })
    }

    accessors! {
        credentials => credentials,
        source_queue_id => source_queue_id,
        control_data => control_data,
        application_header => application_header,
        payload_len => payload,
    }

    fn has(&self, bit: u8) -> bool {
        self.header.first().is_some_and(|first| first & bit != 0)
    }

    /// The destination's mailbox.
    #[must_use]
    pub const fn queue_id(&self) -> u64 {
        self.stream_id >> 2
    }

    /// Whether lost packets of this stream are retransmitted. paceline has no other streams.
    #[must_use]
    pub const fn is_reliable(&self) -> bool {
        self.stream_id & RELIABLE != 0
    }

    /// Whether both sides send. paceline has no other streams.
    #[must_use]
    pub const fn is_bidirectional(&self) -> bool {
        self.stream_id & BIDIRECTIONAL != 0
    }

    /// The number space of [`number`](Self::number).
    #[must_use]
    pub fn space(&self) -> Space {
        if self.has(tag::RECOVERY) { Space::Recovery } else { Space::Stream }
    }

    /// The number of the first transmission, which made the nonce; of a probe, the same as [`number`](Self::number).
    #[must_use]
    pub const fn original_number(&self) -> u64 {
        self.original_number
    }

    /// The number this packet is acknowledged by, in its [`space`](Self::space).
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.original_number.saturating_add(self.retransmission as u64)
    }

    /// Whether it is a probe: no payload, authenticated by the control key.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.has(tag::RECOVERY) && self.retransmission == 0
    }

    /// The largest control packet number the sender authenticated and 1, or 0. Stale in retransmissions.
    #[must_use]
    pub const fn next_expected_control(&self) -> u64 {
        self.next_expected_control
    }

    /// Where the payload begins in the stream, in bytes.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the payload ends in the stream, in bytes: at most 2^62 − 1.
    #[must_use]
    pub const fn end_offset(&self) -> u64 {
        self.offset.saturating_add(self.payload.len() as u64)
    }

    /// Where the stream ends, in bytes. Not compared with [`end_offset`](Self::end_offset): a violation must be
    /// authentic before it counts.
    #[must_use]
    pub const fn final_offset(&self) -> Option<u64> {
        self.final_offset
    }

    /// The key phase bit.
    #[must_use]
    pub fn key_phase(&self) -> bool {
        self.has(tag::KEY_PHASE)
    }

    /// Where the retransmission offset stands, if the stream is reliable.
    pub(super) const fn retransmission_at(&self) -> Option<usize> {
        self.retransmission_at
    }

    /// Authenticates the packet and decrypts its payload into `out`, which is exactly
    /// [`payload_len`](Self::payload_len) bytes; after an error it is zero. `keys` and `control` are those of the
    /// packet's sender. Call [`OpenKey::opened`] after a success that was no probe.
    ///
    /// # Errors
    /// Not authentic, or `out` has another length.
    pub fn open(&self, keys: &OpenKey, control: &ControlKey, out: &mut [u8]) -> Result<(), AuthError> {
        self.open_with(control, out, |header, auth_tag, out| {
            keys.open(self.key_phase(), self.original_number, header, self.payload, auth_tag, out)
        })
    }

    /// Opens a packet with the key that sealed it, to seal its payload anew; `out` as for [`open`](Self::open).
    ///
    /// # Errors
    /// Not sealed with this key, or in an earlier phase of it, or `out` has another length.
    pub fn reopen(&self, key: &SealKey, control: &ControlKey, out: &mut [u8]) -> Result<(), AuthError> {
        if self.key_phase() != key.phase() {
            return Err(AuthError);
        }
        self.open_with(control, out, |header, auth_tag, out| {
            key.reopen(self.original_number, header, self.payload, auth_tag, out)
        })
    }

    fn open_with(
        &self,
        control: &ControlKey,
        out: &mut [u8],
        aead_open: impl FnOnce(&[u8], &[u8; 16], &mut [u8]) -> Result<(), AuthError>,
    ) -> Result<(), AuthError> {
        if out.len() != self.payload.len() {
            return Err(AuthError);
        }
        if self.is_probe() {
            return control.verify16(&[self.header], self.auth_tag);
        }
        let (true, Some(at)) = (self.retransmission > 0, self.retransmission_at) else {
            return aead_open(self.header, self.auth_tag, out);
        };

        let mut auth_tag = mask(control, self.original_number, self.number());
        auth_tag.iter_mut().zip(self.auth_tag).for_each(|(mask, byte)| *mask ^= byte);
        let mut small = [0; RESTORED_HEADER];
        let mut large = Vec::new();
        let header = match small.get_mut(..self.header.len()) {
            Some(small) => {
                small.copy_from_slice(self.header);
                small
            }
            None => {
                large.extend_from_slice(self.header);
                large.as_mut_slice()
            }
        };
        if let Some(first) = header.first_mut() {
            *first &= !tag::RECOVERY;
        }
        if let Some(field) = header.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *field = [0; 4];
        }
        aead_open(header, &auth_tag, out)
    }
}

//! Control packets: a stream's acknowledgements, credit and close. Authenticated, not encrypted.

use crate::codec::{Reader, Writer};
use crate::packet::stream_id;
use crate::{AuthError, ControlKey, Credentials, DecodeError, EncodeError, TAG_LEN, VERSION, varint};

/// First byte of a control packet.
mod tag {
    pub(super) const BASE: u8 = 0x50;
    pub(super) const SOURCE_QUEUE_ID: u8 = 0x08;
    pub(super) const STREAM_ID: u8 = 0x04;
    pub(super) const APPLICATION_HEADER: u8 = 0x02;
}

/// Everything in front of a control packet's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which keys.
    pub credentials: Credentials,
    /// The destination's mailbox. Streams always have one; below 2^60.
    pub queue_id: Option<u64>,
    /// The sender's own mailbox, until the peer is known to have learnt it.
    pub source_queue_id: Option<u64>,
    /// Counts up from 0 per direction and stream.
    pub number: u64,
}

impl Header {
    /// Bytes of a packet with that header and that much control data.
    #[must_use]
    pub fn packet_len(&self, control_data_len: usize) -> usize {
        let stream_id = self.queue_id.map_or(0, |id| varint::size(id.saturating_mul(4)));
        let source_queue_id = self.source_queue_id.map_or(0, varint::size);
        // Tag, credential id, version, and the tag at the end.
        (1_usize + 16 + 1 + TAG_LEN)
            .saturating_add(varint::size(self.credentials.key_id))
            .saturating_add(stream_id)
            .saturating_add(source_queue_id)
            .saturating_add(varint::size(self.number))
            .saturating_add(varint::size(control_data_len as u64))
            .saturating_add(control_data_len)
    }
}

/// Writes a packet to the front of `out` and returns its length.
///
/// # Errors
/// [`EncodeError::Value`] and [`EncodeError::Space`].
pub fn encode(
    header: &Header,
    control_data: &[u8],
    key: &ControlKey,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    let mut first = tag::BASE;
    if header.source_queue_id.is_some() {
        first |= tag::SOURCE_QUEUE_ID;
    }
    if header.queue_id.is_some() {
        first |= tag::STREAM_ID;
    }
    let mut writer = Writer::new(out);
    writer.u8(first)?;
    header.credentials.encode(&mut writer, varint::size(header.credentials.key_id))?;
    writer.u8(VERSION)?;
    if let Some(id) = header.queue_id {
        writer.varint(stream_id(id)?)?;
    }
    if let Some(id) = header.source_queue_id {
        writer.varint(id)?;
    }
    writer.varint(header.number)?;
    writer.varint(control_data.len() as u64)?;
    writer.bytes(control_data)?;
    writer.finish_with_mac(key)
}

/// A decoded control packet. Nothing in it is authentic before [`verify`](Self::verify).
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    authenticated: &'a [u8],
    auth_tag: &'a [u8; 16],
    header: Header,
    control_data: &'a [u8],
    application_header: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Decodes a datagram that holds exactly one control packet.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8()?;
        if first & 0xf0 != tag::BASE {
            return Err(DecodeError::Kind);
        }
        let has = |bit| first & bit != 0;
        let credentials = Credentials::decode(&mut reader)?;
        reader.version()?;
        let stream_id = has(tag::STREAM_ID).then(|| reader.varint()).transpose()?;
        let source_queue_id = has(tag::SOURCE_QUEUE_ID).then(|| reader.varint()).transpose()?;
        let number = reader.varint()?;
        let control_data_len = reader.varint()?;
        let application_header_len = if has(tag::APPLICATION_HEADER) { reader.varint()? } else { 0 };
        let application_header = reader.slice(application_header_len)?;
        let control_data = reader.slice(control_data_len)?;
        let auth_tag = reader.final_tag()?;
        Ok(Self {
            authenticated: bytes.split_last_chunk::<TAG_LEN>().ok_or(DecodeError::Truncated)?.0,
            auth_tag,
            header: Header { credentials, queue_id: stream_id.map(|id| id >> 2), source_queue_id, number },
            control_data,
            application_header,
        })
    }

    accessors! {
        credentials => header.credentials,
        source_queue_id => header.source_queue_id,
        control_data => control_data,
        application_header => application_header,
    }

    /// Everything in front of the frames.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The destination's mailbox.
    #[must_use]
    pub const fn queue_id(&self) -> Option<u64> {
        self.header.queue_id
    }

    /// Bytes of the datagram.
    #[must_use]
    pub const fn datagram_len(&self) -> usize {
        self.authenticated.len().saturating_add(TAG_LEN)
    }

    /// The packet number, in the control space of its sender.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.header.number
    }

    /// Authenticates the packet with the control key of its sender.
    ///
    /// # Errors
    /// Not authentic.
    pub fn verify(&self, key: &ControlKey) -> Result<(), AuthError> {
        key.verify16(&[self.authenticated], self.auth_tag)
    }
}

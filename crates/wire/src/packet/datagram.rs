//! Datagram packets: one sealed message with a key of its own. paceline's streams do not use them.

use crate::codec::{Reader, Writer};
use crate::{
    AuthError, Credentials, DatagramOpenKey, DatagramSealKey, DecodeError, EncodeError, SealError, TAG_LEN,
    VERSION, varint,
};

/// First byte of a datagram packet.
mod tag {
    pub(super) const BASE: u8 = 0x40;
    pub(super) const ACK_ELICITING: u8 = 0x08;
    pub(super) const CONNECTED: u8 = 0x04;
    pub(super) const APPLICATION_HEADER: u8 = 0x02;
    pub(super) const KEY_PHASE: u8 = 0x01;
}

/// Everything in front of a datagram's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which keys.
    pub credentials: Credentials,
    /// Where control packets would go; 0 if nowhere.
    pub source_control_port: u16,
    /// The packet number, of connected datagrams. Without one the nonce is that of number 0.
    pub number: Option<u64>,
}

impl Header {
    /// Bytes of a packet with that payload.
    #[must_use]
    pub fn packet_len(&self, payload_len: usize) -> usize {
        self.header_len(payload_len).saturating_add(payload_len).saturating_add(TAG_LEN)
    }

    fn header_len(&self, payload_len: usize) -> usize {
        // Tag, credential id, version, port.
        (1_usize + 16 + 1 + 2)
            .saturating_add(varint::size(self.credentials.key_id))
            .saturating_add(self.number.map_or(0, varint::size))
            .saturating_add(varint::size(payload_len as u64))
    }

    fn encode(&self, writer: &mut Writer<'_>, payload_len: usize) -> Result<(), EncodeError> {
        writer.u8(if self.number.is_some() { tag::BASE | tag::CONNECTED } else { tag::BASE })?;
        self.credentials.encode(writer, varint::size(self.credentials.key_id))?;
        writer.u8(VERSION)?;
        writer.array(self.source_control_port.to_be_bytes())?;
        if let Some(number) = self.number {
            writer.varint(number)?;
        }
        writer.varint(payload_len as u64)
    }
}

/// Writes a datagram to the front of `out`, sealed straight from `payload`, and returns its length. It takes the
/// key: one key id, one packet.
///
/// # Errors
/// See [`SealError`].
pub fn seal(
    header: &Header,
    key: DatagramSealKey,
    payload: &[u8],
    out: &mut [u8],
) -> Result<usize, SealError> {
    let header_len = header.header_len(payload.len());
    let (aad, rest) = out.split_at_mut_checked(header_len).ok_or(EncodeError::Space)?;
    let (ciphertext, rest) = rest.split_at_mut_checked(payload.len()).ok_or(EncodeError::Space)?;
    let tag = rest.first_chunk_mut().ok_or(EncodeError::Space)?;
    header.encode(&mut Writer::new(aad), payload.len())?;
    key.seal(header.number.unwrap_or(0), aad, payload, ciphertext, tag)?;
    Ok(header.packet_len(payload.len()))
}

/// A decoded datagram packet. Nothing in it is authentic before [`open`](Self::open).
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    header_bytes: &'a [u8],
    payload: &'a [u8],
    auth_tag: &'a [u8; 16],
    header: Header,
    next_expected_control: Option<u64>,
    control_data: &'a [u8],
    application_header: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Decodes a UDP payload that holds exactly one datagram packet.
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
        let source_control_port = reader.u16()?;
        let number = has(tag::CONNECTED | tag::ACK_ELICITING).then(|| reader.varint()).transpose()?;
        let payload_len = reader.varint()?;
        let (next_expected_control, control_data_len) =
            if has(tag::ACK_ELICITING) { (Some(reader.varint()?), reader.varint()?) } else { (None, 0) };
        let application_header_len = if has(tag::APPLICATION_HEADER) { reader.varint()? } else { 0 };
        let application_header = reader.slice(application_header_len)?;
        let control_data = reader.slice(control_data_len)?;
        let header_len = bytes.len().saturating_sub(reader.rest().len());
        let payload = reader.slice(payload_len)?;
        let auth_tag = reader.final_tag()?;
        Ok(Self {
            header_bytes: bytes.get(..header_len).ok_or(DecodeError::Truncated)?,
            payload,
            auth_tag,
            header: Header { credentials, source_control_port, number },
            next_expected_control,
            control_data,
            application_header,
        })
    }

    accessors! {
        credentials => header.credentials,
        control_data => control_data,
        application_header => application_header,
        payload_len => payload,
    }

    /// Everything in front of the payload that paceline writes.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Of ack-eliciting datagrams: the largest authenticated control packet number and 1, or 0.
    #[must_use]
    pub const fn next_expected_control(&self) -> Option<u64> {
        self.next_expected_control
    }

    /// The key phase bit; single-use keys have no phases.
    #[must_use]
    pub fn key_phase(&self) -> bool {
        self.header_bytes.first().is_some_and(|first| first & tag::KEY_PHASE != 0)
    }

    /// Authenticates the packet and decrypts its payload into `out`, which is exactly
    /// [`payload_len`](Self::payload_len) bytes; after an error it is zero.
    ///
    /// # Errors
    /// Not authentic, or `out` has another length.
    pub fn open(&self, key: &DatagramOpenKey, out: &mut [u8]) -> Result<(), AuthError> {
        let number = self.header.number.unwrap_or(0);
        key.open(number, self.header_bytes, self.payload, self.auth_tag, out)
    }
}

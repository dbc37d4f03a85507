//! Writing stream packets.

use super::{Header, Layout, Packet, tag};
use crate::codec::Writer;
use crate::packet::stream_id;
use crate::{ControlKey, EncodeError, RetransmitError, SealError, SealKey, VERSION};

fn encode_header(
    writer: &mut Writer<'_>,
    header: &Header,
    layout: &Layout,
    space: u8,
    control_data: &[u8],
    payload_len: usize,
) -> Result<(), EncodeError> {
    let mut first = space;
    if header.source_queue_id.is_some() {
        first |= tag::SOURCE_QUEUE_ID;
    }
    if !control_data.is_empty() {
        first |= tag::CONTROL_DATA;
    }
    if header.final_offset.is_some() {
        first |= tag::FINAL_OFFSET;
    }
    if header.key_phase {
        first |= tag::KEY_PHASE;
    }
    writer.u8(first)?;
    header.credentials.encode(writer, layout.key_id.into())?;
    // The version, and a field that is no longer used.
    writer.array([VERSION, 0, 0])?;
    writer.varint_with(stream_id(header.queue_id)?, layout.stream_id.into())?;
    if let Some(id) = header.source_queue_id {
        writer.varint_with(id, layout.source_queue_id.into())?;
    }
    writer.varint_with(header.number, layout.number.into())?;
    writer.array([0; 4])?;
    writer.varint_with(header.next_expected_control, layout.next_expected_control.into())?;
    writer.varint_with(header.offset, layout.offset.into())?;
    if let Some(offset) = header.final_offset {
        writer.varint_with(offset, layout.final_offset.into())?;
    }
    if !control_data.is_empty() {
        writer.varint_with(control_data.len() as u64, layout.length_width(control_data.len()))?;
    }
    writer.varint_with(payload_len as u64, layout.length_width(payload_len))?;
    writer.bytes(control_data)
}

/// Writes a first transmission to the front of `out`, sealed straight from `payload`, and returns its length,
/// [`Layout::packet_len`].
///
/// # Errors
/// See [`SealError`]. After one, `out` holds nothing of use; a number is used up only by [`SealError::Cipher`].
pub fn seal(
    header: &Header,
    layout: &Layout,
    key: &mut SealKey,
    payload: &[u8],
    out: &mut [u8],
) -> Result<usize, SealError> {
    if header.source_queue_id.is_some() != (layout.source_queue_id > 0)
        || header.final_offset.is_some() != (layout.final_offset > 0)
    {
        return Err(SealError::Layout);
    }
    if header.key_phase != key.phase() {
        return Err(SealError::KeyPhase);
    }
    key.check(header.number)?;
    if header.offset.saturating_add(payload.len() as u64) > crate::varint::MAX {
        return Err(EncodeError::Value.into());
    }
    let header_len = layout.header_len_for(0, payload.len());
    let (aad, rest) = out.split_at_mut_checked(header_len).ok_or(EncodeError::Space)?;
    let (ciphertext, rest) = rest.split_at_mut_checked(payload.len()).ok_or(EncodeError::Space)?;
    let tag = rest.first_chunk_mut().ok_or(EncodeError::Space)?;
    encode_header(&mut Writer::new(aad), header, layout, 0, &[], payload.len())?;
    key.seal(header.number, aad, payload, ciphertext, tag)?;
    Ok(layout.packet_len(payload.len()))
}

/// Writes a probe to the front of `out` and returns its length: no payload, a number of the recovery space, and
/// control data if there is any.
///
/// # Errors
/// [`EncodeError::Value`] and [`EncodeError::Space`].
pub fn probe(
    header: &Header,
    control_data: &[u8],
    key: &ControlKey,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    let mut writer = Writer::new(out);
    encode_header(&mut writer, header, &Layout::minimal(header), tag::RECOVERY, control_data, 0)?;
    writer.finish_with_mac(key)
}

/// Patches a stored first transmission in place so that it is a retransmission with a number of the recovery
/// space. A former patch is undone first, so it may be called again and again.
///
/// Nothing else may change: the rest of the header stays that of the first transmission, even if it is stale.
///
/// # Errors
/// See [`RetransmitError`]; the packet is then unchanged.
pub fn retransmit(packet: &mut [u8], new_number: u64, key: &ControlKey) -> Result<(), RetransmitError> {
    let decoded = Packet::decode(packet)?;
    let original = decoded.original_number();
    let former = decoded.number();
    let Some(at) = decoded.retransmission_at().filter(|_| !decoded.is_probe()) else {
        return Err(RetransmitError::NotRetransmittable);
    };
    let offset = new_number
        .checked_sub(original)
        .and_then(|offset| u32::try_from(offset).ok())
        .filter(|offset| *offset > 0 && new_number <= crate::varint::MAX)
        .ok_or(RetransmitError::Number)?;

    let mut mask = mask(key, original, new_number);
    if former != original {
        let former = self::mask(key, original, former);
        mask.iter_mut().zip(former).for_each(|(mask, former)| *mask ^= former);
    }
    if let Some(first) = packet.first_mut() {
        *first |= tag::RECOVERY;
    }
    if let Some(field) = packet.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *field = offset.to_be_bytes();
    }
    if let Some(tag) = packet.last_chunk_mut::<16>() {
        tag.iter_mut().zip(mask).for_each(|(tag, mask)| *tag ^= mask);
    }
    Ok(())
}

/// What a retransmission's tag is XORed with: proof that somebody with the control key chose its number.
pub(super) fn mask(key: &ControlKey, original: u64, effective: u64) -> [u8; 16] {
    key.tag16(&[&original.to_be_bytes(), &effective.to_be_bytes()])
}

//! A packet that has become larger than its path takes: opened with our own key and sealed anew in smaller pieces, under new
//! numbers of the stream space.

use super::{
    Stream,
    burst::PAYLOAD_ALIGN,
    packets::{Made, Turn, header},
};
use crate::{
    error::Failure,
    path::Path,
    transmission::{Info, Kind, Space},
};
use paceline_pool::{Pool, Purpose, Segments};
use paceline_wire::{TAG_LEN, packet::stream};
use std::sync::Arc;

/// Sends the oldest lost packet again in pieces that fit.
pub(super) fn make_resealed(
    stream: &mut Stream,
    path: &Path,
    pool: &Arc<Pool>,
    purpose: Purpose,
    kind: Kind,
    mut infos: Vec<Info>,
) -> Turn {
    let Some(lost) = stream.send.lost.front() else { return Turn::Nothing };
    let (offset, fin) = (lost.offset, lost.fin);
    let Ok(packet) = stream::Packet::decode(lost.retained.bytes()) else { return Turn::Nothing };
    let number = stream.send.next_number;
    let end = offset.saturating_add(u64::from(lost.payload));
    let final_offset = fin.then_some(end);
    let Some(mut header) = header(stream, number, offset, final_offset) else { return Turn::Nothing };
    // A packet of at most 64 KiB is never more than 256 pieces of an MTU of 1200.
    let layout = stream::Layout::for_burst(&header, number.saturating_add(256), end);
    let space = usize::from(path.mtu).saturating_sub(layout.header_len(0)).saturating_sub(TAG_LEN);
    let space = space & !(PAYLOAD_ALIGN - 1);
    let payload = usize::from(lost.payload);
    if space == 0 {
        return Turn::Nothing;
    }
    // Equal pieces but for the last, so that they are one burst.
    let piece =
        payload.div_ceil(payload.div_ceil(space).max(1)).next_multiple_of(PAYLOAD_ALIGN).max(PAYLOAD_ALIGN);
    let whole = if planted!(stream.send, ResealLosesTheTail) {
        payload.saturating_sub(piece.saturating_sub(1))
    } else {
        payload
    };
    let pieces = whole.div_ceil(piece).max(1);
    let Some(keys) = stream.keys.as_deref_mut() else { return Turn::Nothing };
    if keys.seal.remaining() < pieces as u64 {
        return Turn::Failed(Failure::KeyLimit);
    }
    let mut plain = vec![0; payload];
    if packet.reopen(&keys.seal, &keys.control_seal, &mut plain).is_err() {
        // Sealed in a phase that is over: then it was acknowledged, too.
        return Turn::Failed(Failure::KeyLimit);
    }
    let bytes = layout.packet_len(piece).saturating_mul(pieces);
    let Ok(mut unfilled) = pool.take_on(&path.account, bytes, purpose) else { return Turn::Pool };
    let buffer = unfilled.buffer();
    let mut written = 0usize;
    for index in 0..pieces {
        let from = index.saturating_mul(piece);
        let part = plain.get(from..from.saturating_add(piece).min(payload)).unwrap_or(&[]);
        let Some(out) = buffer.get_mut(written..) else { return Turn::Nothing };
        let Ok(len) = stream::seal(&header, &layout, &mut keys.seal, part, out) else {
            return Turn::Failed(Failure::KeyLimit);
        };
        infos.push(Info {
            number: header.number,
            space: Space::Stream,
            packet_len: u16::try_from(len).unwrap_or(u16::MAX),
            stream_offset: header.offset,
            payload_len: u16::try_from(part.len()).unwrap_or(u16::MAX),
            included_fin: fin && index.saturating_add(1) == pieces,
            retransmission: true,
        });
        header.number = header.number.saturating_add(1);
        header.offset = header.offset.saturating_add(part.len() as u64);
        written = written.saturating_add(len);
    }
    stream.send.next_number = header.number;
    stream.send.pop_lost();
    let filled = unfilled.fill(written);
    stream.send.retain(&filled, &infos);
    let segment_len = infos.first().map_or(written, |info| usize::from(info.packet_len));
    Turn::Made(Made { kind, segments: Segments::new(filled, segment_len), infos })
}

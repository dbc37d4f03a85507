//! A burst of new data: sealed straight from the send buffer into one contiguous descriptor, equal segments, one `Info` each.

use super::{
    Stream, fresh,
    packets::{Made, Turn, header},
    send::Fin,
};
use crate::{
    error::Failure,
    path::Path,
    transmission::{Info, Kind, Space},
};
use paceline_pool::{Pool, Purpose, Segments, Unfilled};
use paceline_wire::{TAG_LEN, packet::stream};
use std::sync::Arc;

/// Payloads are multiples of the AES block: 11 % less AEAD time a packet (reference/limits.md).
pub(super) const PAYLOAD_ALIGN: usize = 16;

#[allow(clippy::too_many_arguments, reason = "split borrows of the endpoint")]
pub(crate) fn make_burst(
    stream: &mut Stream,
    path: &mut Path,
    pool: &Arc<Pool>,
    pool_bytes: usize,
    burst_packets: usize,
    burst_bytes: u64,
    infos: &mut Vec<Info>,
    entropy: &mut Entropy,
) -> Turn {
    if !stream.has_new_data() || !stream.key_allows() {
        return Turn::Nothing;
    }
    let Some(packets) = packets_allowed(stream, path, burst_packets, burst_bytes) else {
        return Turn::Window;
    };
    let Some(keys) = stream.keys.as_mut() else { return Turn::Nothing };
    if fresh(keys) == 0 {
        keys.seal.update();
        stream.send.end_key_phase();
    }
    let packets = packets.min(usize::try_from(fresh(keys)).unwrap_or(usize::MAX));
    skip_a_number(stream, path, entropy);
    let Some(plan) = Plan::new(stream, path, packets) else { return Turn::Nothing };
    if !path.may_hold(plan.bytes, pool_bytes) {
        return Turn::Pool;
    }
    let Ok(unfilled) = pool.take_on(&path.account, plan.bytes, Purpose::Data) else { return Turn::Pool };
    plan.seal(stream, unfilled, std::mem::take(infos))
}

/// How many packets the window leaves for a burst; `None`: wait.
///
/// When there is room for less than a burst and more than half of the window is in flight, an ACK is near: a whole burst
/// then is cheaper than two halves now.
fn packets_allowed(stream: &Stream, path: &Path, burst_packets: usize, burst_bytes: u64) -> Option<usize> {
    let wanted = stream.send.sealable().saturating_add(u64::from(path.mtu)).min(burst_bytes);
    let room = path.pacer.window_room(&path.controller, path.scheduled_bytes, wanted);
    let packets = room
        .checked_div(u64::from(path.mtu))
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(0)
        .min(burst_packets);
    if packets > 0 {
        return Some(packets);
    }
    path.is_quiet().then_some(1)
}

/// Random bytes from the environment, drawn ahead of a fill.
#[derive(Debug, Default)]
pub(crate) struct Entropy {
    bytes: [u8; 32],
    left: usize,
}

impl Entropy {
    /// Draws anew if there is not enough for a few more bursts.
    pub(crate) fn refill(&mut self, random: impl FnOnce(&mut [u8])) {
        if self.left < self.bytes.len() / 2 {
            random(&mut self.bytes);
            self.left = self.bytes.len();
        }
    }

    fn next(&mut self) -> Option<u32> {
        let left = self.left.checked_sub(4)?;
        let bytes = self.bytes.get(left..self.left)?.first_chunk()?;
        self.left = left;
        Some(u32::from_le_bytes(*bytes))
    }
}

/// A skipped number is at most this far from the last, however small the window.
const MIN_SKIP_DISTANCE: u64 = 8;

/// Leaves out a packet number now and then, so that a peer who acknowledges what it never received is found out (RFC 9000
/// §21.4): one in every window, so that nobody gains more than that; not oftener, because each leaves a gap that every ACK names
/// (four a window made a narrow way back three times slower). Always before a burst, whose numbers stay contiguous.
fn skip_a_number(stream: &mut Stream, path: &Path, entropy: &mut Entropy) {
    let send = &mut stream.send;
    if send.skip_at.is_some_and(|at| send.next_number < at) {
        return;
    }
    // Without randomness the skip waits: a predictable one would protect from nobody.
    let Some(random) = entropy.next() else { return };
    if send.skip_at.is_some() {
        send.next_number = send.next_number.saturating_add(1);
    }
    let window = path.controller.congestion_window().checked_div(u64::from(path.mtu)).unwrap_or(0);
    let half = window.max(MIN_SKIP_DISTANCE) / 2;
    let wait = (u64::from(random).saturating_mul(half) >> 32).saturating_add(half).max(1);
    send.skip_at = Some(send.next_number.saturating_add(wait));
}

/// The packets of a burst, before they are sealed.
struct Plan {
    header: stream::Header,
    layout: stream::Layout,
    packets: usize,
    payload_max: usize,
    /// Stream bytes in all.
    payload: u64,
    fin: bool,
    /// Bytes of all packets.
    bytes: usize,
}

impl Plan {
    fn new(stream: &Stream, path: &Path, packets: usize) -> Option<Self> {
        let send = &stream.send;
        let first_number = send.next_number;
        let last_number = first_number.saturating_add(packets as u64);
        let with_final = |final_offset| -> Option<(stream::Header, stream::Layout, usize)> {
            let header = header(stream, first_number, send.next_offset, final_offset)?;
            let last_offset = send.next_offset.saturating_add(send.sealable());
            let layout = stream::Layout::for_burst(&header, last_number, last_offset);
            let space =
                usize::from(path.datagram_limit()).checked_sub(layout.header_len(0))?.checked_sub(TAG_LEN)?;
            Some((header, layout, space & !(PAYLOAD_ALIGN - 1)))
        };
        // The final offset is named by every packet of the burst that reaches it, so that all are equally long.
        let (mut header, mut layout, mut payload_max) = with_final(None)?;
        let mut fin = false;
        if send.fin_due() {
            let (final_header, final_layout, final_max) = with_final(send.final_offset())?;
            if send.buffer.len() <= (final_max as u64).saturating_mul(packets as u64) {
                (header, layout, payload_max) = (final_header, final_layout, final_max);
                fin = true;
            }
        }
        if payload_max == 0 {
            return None;
        }
        let payload = send.sealable().min((payload_max as u64).saturating_mul(packets as u64));
        let packets = usize::try_from(payload.div_ceil(payload_max as u64)).ok()?.max(1);
        let last = usize::try_from(
            payload.saturating_sub((payload_max as u64).saturating_mul(packets.saturating_sub(1) as u64)),
        )
        .ok()?;
        let bytes = layout
            .packet_len(payload_max)
            .saturating_mul(packets.saturating_sub(1))
            .saturating_add(layout.packet_len(last));
        Some(Self { header, layout, packets, payload_max, payload, fin, bytes })
    }

    fn seal(mut self, stream: &mut Stream, mut unfilled: Unfilled, mut infos: Vec<Info>) -> Turn {
        let Some(keys) = stream.keys.as_mut() else { return Turn::Nothing };
        let send = &mut stream.send;
        let buffer = unfilled.buffer();
        let mut written = 0usize;
        let mut left = usize::try_from(self.payload).unwrap_or(usize::MAX);
        for index in 0..self.packets {
            let payload = send.buffer.peek(left.min(self.payload_max));
            let Some(out) = buffer.get_mut(written..) else { return Turn::Nothing };
            let Ok(len) = stream::seal(&self.header, &self.layout, &mut keys.seal, payload, out) else {
                return Turn::Failed(Failure::KeyLimit);
            };
            let payload_len = payload.len();
            let last = index.saturating_add(1) == self.packets;
            infos.push(Info {
                number: self.header.number,
                space: Space::Stream,
                packet_len: u16::try_from(len).unwrap_or(u16::MAX),
                stream_offset: self.header.offset,
                payload_len: u16::try_from(payload_len).unwrap_or(u16::MAX),
                included_fin: self.fin && last,
                retransmission: false,
            });
            send.buffer.advance(payload_len, &mut send.spent);
            send.next_offset = send.next_offset.saturating_add(payload_len as u64);
            self.header.number = self.header.number.saturating_add(1);
            self.header.offset = send.next_offset;
            written = written.saturating_add(len);
            left = left.saturating_sub(payload_len);
        }
        send.next_number = self.header.number;
        if self.fin {
            send.fin = Fin::Sealed;
        }
        stream.announce = false;
        let filled = unfilled.fill(written);
        stream.send.retain(&filled, &infos);
        let segment_len = infos.first().map_or(written, |info| usize::from(info.packet_len));
        Turn::Made(Made { kind: Kind::Data, segments: Segments::new(filled, segment_len), infos })
    }
}

#[cfg(test)]
mod tests;

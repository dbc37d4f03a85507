//! The packets a stream makes one at a time: lost ones again, probes, closes.

use super::{
    Phase, Stream,
    burst::{Entropy, make_burst},
    recovery::{Retained, Sent, State},
    reseal::make_resealed,
    send::LostPacket,
};
use crate::{
    error::Failure,
    path::Path,
    transmission::{Info, Kind, Space},
};
use paceline_pool::{Pool, Purpose, Segments};
use paceline_wire::{frame, packet::stream};
use std::sync::Arc;

/// A probe's header, a close and the tag.
const PROBE_BYTES: usize = 256;

/// What a turn came to.
pub(crate) enum Turn {
    /// A transmission of this many bytes was made.
    Made(Made),
    /// The stream has nothing to send now.
    Nothing,
    /// The window is full: an ACK brings the path back.
    Window,
    /// The pool is empty for this purpose, or the path holds its share.
    Pool,
    /// The stream cannot go on.
    Failed(Failure),
}

pub(crate) struct Made {
    pub(crate) kind: Kind,
    pub(crate) segments: Segments,
    pub(crate) infos: Vec<Info>,
}

pub(crate) fn retransmit_if_room(
    stream: &mut Stream,
    path: &Path,
    pool: &Arc<Pool>,
    infos: &mut Vec<Info>,
) -> Turn {
    let Some(lost) = stream.send.next_lost() else { return Turn::Nothing };
    if path.address.room() < u64::from(lost.retained.len) {
        return Turn::Window;
    }
    let room = path.window_room();
    // RFC 9002 §7.3.2: one packet when recovery begins, whatever the window says. The controller hears of it when it leaves.
    let fast = path.controller.requires_fast_retransmission() && path.scheduled_bytes == 0;
    if room < u64::from(lost.retained.len) && !path.is_quiet() && !fast {
        return Turn::Window;
    }
    make_again(stream, path, pool, Kind::Retransmission, std::mem::take(infos))
}

/// Sends the oldest lost packet again: as a patched copy, or, where the path has become too narrow for it, sealed anew in pieces.
fn make_again(stream: &mut Stream, path: &Path, pool: &Arc<Pool>, kind: Kind, infos: Vec<Info>) -> Turn {
    let Some(lost) = stream.send.lost.front() else { return Turn::Nothing };
    // What brings as much home as it takes is never refused, nor is the one packet whose acknowledgement a quiet path needs to go on:
    // or copies that were lost again would hold all there is for good.
    let needed = !lost.retained.filled.is_shared() || path.is_quiet();
    let purpose = if needed { Purpose::Control } else { Purpose::Retransmission };
    if lost.retained.len > path.mtu {
        return make_resealed(stream, path, pool, purpose, kind, infos);
    }
    make_retransmission(stream, path, pool, purpose, kind, infos)
}

pub(crate) fn make_probe(
    stream: &mut Stream,
    path: &mut Path,
    pool: &Arc<Pool>,
    max_in_flight: u32,
    mut infos: Vec<Info>,
) -> Turn {
    let closing = matches!(stream.phase, Phase::Closing { .. });
    // To an unproven address only the smallest probe: its acknowledgement proves the address.
    if !closing && path.address.is_validated() && !std::mem::take(&mut stream.small_probe) {
        // Without memory for a copy an empty probe asks just as well.
        let is_lost = stream.send.next_lost().is_some();
        if is_lost || copy_first(stream) {
            match make_again(stream, path, pool, Kind::Probe, std::mem::take(&mut infos)) {
                Turn::Pool if is_lost => {}
                Turn::Pool => stream.send.pop_lost(),
                turn => {
                    stream.probes_owed = 0;
                    if !is_lost {
                        note_probe(stream, path, &turn);
                    }
                    return turn;
                }
            }
        }
        let mtu = u64::from(path.mtu);
        if stream.has_new_data()
            && stream.key_allows()
            && stream.pending < max_in_flight
            && path.window_room() >= mtu
        {
            // New data asks for an acknowledgement just as well. What stops it does not stop a probe.
            let mut no_skip = Entropy::default();
            match make_burst(stream, path, pool, usize::MAX, 1, mtu, &mut infos, &mut no_skip) {
                Turn::Window | Turn::Pool => {}
                turn => {
                    stream.probes_owed = 0;
                    return turn;
                }
            }
        }
    }
    let made = make_empty_probe(stream, path, pool, infos);
    note_probe(stream, path, &made);
    made
}

/// A probe that is in flight for long makes room for its successor.
fn note_probe(stream: &mut Stream, path: &mut Path, made: &Turn) {
    let Turn::Made(made) = made else { return };
    let Some(info) = made.infos.first().filter(|info| info.space == Space::Recovery) else { return };
    if let Some((number, sent_ns)) = stream.send.note_probe(info.number, &mut path.controller) {
        path.recovery.forget(stream.key, number, sent_ns);
    }
}

/// Puts a copy of a packet in flight in front of the retransmissions, if one has data: of the one that comes first in the
/// stream. A receiver with too many gaps takes nothing else, and the oldest packet may lie behind them all.
fn copy_first(stream: &mut Stream) -> bool {
    let first = [&stream.send.stream_space, &stream.send.recovery_space]
        .into_iter()
        .filter_map(|map| map.first_in_stream())
        .min_by_key(|sent| sent.offset);
    let Some(sent) = first else { return false };
    let Some(retained) = sent.retained.clone() else { return false };
    let copy = LostPacket {
        original: sent.original,
        offset: sent.offset,
        payload: sent.payload,
        fin: sent.fin,
        retained,
    };
    stream.send.held_bytes = stream.send.held_bytes.saturating_add(u64::from(copy.retained.len));
    stream.send.lost.push_front(copy);
    // What next_lost would drop as acknowledged cannot be in flight.
    true
}

pub(crate) fn header(
    stream: &Stream,
    number: u64,
    offset: u64,
    final_offset: Option<u64>,
) -> Option<stream::Header> {
    Some(stream::Header {
        credentials: stream.credentials?,
        queue_id: stream.peer_queue_id,
        source_queue_id: stream.announce_queue.then_some(stream.queue_id),
        number,
        next_expected_control: stream.next_expected_control,
        offset,
        final_offset,
        key_phase: stream.keys.as_ref()?.seal.phase(),
    })
}

fn make_empty_probe(stream: &mut Stream, path: &Path, pool: &Arc<Pool>, mut infos: Vec<Info>) -> Turn {
    let number = stream.send.next_recovery;
    let sealed_all = stream.send.buffer.is_empty();
    // A close gives up what was written: the end it leaves is not the stream's.
    let final_offset = stream.send.final_offset().filter(|_| {
        sealed_all && stream.phase == Phase::Active && !planted!(stream.send, LostFinIsForgotten)
    });
    let offset = stream.send.next_offset;
    let Some(header) = header(stream, number, offset, final_offset) else { return Turn::Nothing };
    let Some(keys) = stream.keys.as_deref() else { return Turn::Nothing };
    let mut frames = [0u8; 32];
    let mut writer = paceline_wire::Writer::new(&mut frames);
    if let Phase::Closing { close, number: named, attempts } = &mut stream.phase {
        if frame::connection_close(&mut writer, close.transport, close.code).is_err() {
            return Turn::Nothing;
        }
        *named = Some(number);
        *attempts = attempts.saturating_add(1);
    }
    let frames_len = writer.len();
    let Ok(mut unfilled) = pool.take_on(&path.account, PROBE_BYTES, Purpose::Control) else {
        return Turn::Pool;
    };
    let frames = frames.get(..frames_len).unwrap_or(&[]);
    let Ok(len) = stream::probe(&header, frames, &keys.control_seal, unfilled.buffer()) else {
        return Turn::Nothing;
    };
    stream.probes_owed = stream.probes_owed.saturating_sub(1);
    stream.send.next_recovery = number.saturating_add(1);
    let packet_len = u16::try_from(len).unwrap_or(u16::MAX);
    stream.send.insert(
        Space::Recovery,
        Sent {
            number,
            original: number,
            offset,
            payload: 0,
            packet_len,
            fin: final_offset.is_some(),
            state: State::Scheduled,
            sent_ns: 0,
            info: None,
            retained: None,
        },
    );
    infos.push(Info {
        number,
        space: Space::Recovery,
        packet_len,
        stream_offset: offset,
        payload_len: 0,
        included_fin: final_offset.is_some(),
        retransmission: false,
    });
    Turn::Made(Made { kind: Kind::Probe, segments: Segments::new(unfilled.fill(len), len), infos })
}

/// Copies the oldest lost packet into a descriptor of its own and patches it; its old descriptor is let go.
pub(crate) fn make_retransmission(
    stream: &mut Stream,
    path: &Path,
    pool: &Arc<Pool>,
    purpose: Purpose,
    kind: Kind,
    mut infos: Vec<Info>,
) -> Turn {
    let Some(keys) = stream.keys.as_deref() else { return Turn::Nothing };
    let next_recovery = stream.send.next_recovery;
    let Some(lost) = stream.send.lost.front() else { return Turn::Nothing };
    let len = usize::from(lost.retained.len);
    let Ok(mut unfilled) = pool.take_on(&path.account, len, purpose) else { return Turn::Pool };
    let Some(out) = unfilled.buffer().get_mut(..len) else { return Turn::Pool };
    let source = lost.retained.bytes();
    if source.len() != len {
        return Turn::Nothing;
    }
    out.copy_from_slice(source);
    // The offset on the wire is new − original and must be at least 1.
    let number = next_recovery.max(lost.original.saturating_add(1));
    if stream::retransmit(out, number, &keys.control_seal).is_err() {
        // A u32 offset is used up only after 2^32 packets between the two: the key is at its limit long before.
        return Turn::Failed(Failure::KeyLimit);
    }
    let filled = unfilled.fill(len);
    let packet_len = lost.retained.len;
    let sent = Sent {
        number,
        original: lost.original,
        offset: lost.offset,
        payload: lost.payload,
        packet_len,
        fin: lost.fin,
        state: State::Scheduled,
        sent_ns: 0,
        info: None,
        retained: Some(Retained { filled: filled.clone(), start: 0, len: packet_len }),
    };
    infos.push(Info {
        number,
        space: Space::Recovery,
        packet_len,
        stream_offset: sent.offset,
        payload_len: sent.payload,
        included_fin: sent.fin,
        retransmission: true,
    });
    stream.send.next_recovery = number.saturating_add(1);
    stream.send.pop_lost();
    stream.send.insert(Space::Recovery, sent);
    Turn::Made(Made { kind, segments: Segments::new(filled, len), infos })
}

//! One batch of news on its way to JavaScript: `Event` in `packages/paceline/src/driver.ts`.

use crate::{
    clock::Line,
    peers::Peers,
    ring::{Event, Full, Ring},
};
use bytes::{Buf, Bytes};
use paceline_transport::{
    Failure, Info, Outcome, SendError, Space,
    app::{Outbox, Record, StreamId, StreamUpdate},
};
use std::{collections::HashSet, error::Error, fmt};

/// Elements of the largest event: a completion of 64 packets. A ring without room for it could stop the news for ever.
pub(crate) const MIN_RING_ELEMENTS: usize = 7 + 4 * 64;

/// Where a drain writes to.
#[derive(Debug)]
pub(crate) struct Drain<'a> {
    pub(crate) ring: Ring<'a>,
    pub(crate) slab: &'a mut [u8],
    /// Where free room of `slab` begins, in bytes.
    pub(crate) slab_at: usize,
    pub(crate) line: Line,
}

/// The caller gave room for not even one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The ring has fewer elements than the next event.
    Ring,
    /// The slab has no byte left.
    Slab,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring => write!(f, "the array of events must have at least {MIN_RING_ELEMENTS} elements"),
            Self::Slab => f.write_str("there is news and the slab has no room left"),
        }
    }
}

impl Error for NoRoom {}

/// The batch being told, and how far it was told.
///
/// What needs no slab goes first, so that a full slab holds up nothing but bytes and what must come behind them:
///
/// ```text
///  peers that opened ─► streams: accepted, progress, skipped ─► records
///     ─► streams: data ─► end ─► failed ─► closed ─► peers that closed ─► drained
/// ```
/// An update's field is cleared when its event is written. So stopping anywhere and starting again needs no more than `at`.
#[derive(Debug, Default)]
pub(crate) struct News {
    outbox: Outbox,
    stage: Stage,
    /// Index within the stage.
    at: usize,
    peers: Peers,
    /// Streams whose failure was told; every later update repeats it. Emptied by their `Closed`.
    failed: HashSet<StreamId>,
    /// Chunks that were copied, on their way back to the worker.
    spent: Vec<Bytes>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing is left.
    #[default]
    Told,
    PeersOpen,
    Streams,
    Records,
    Bytes,
    PeersClosed,
    Drained,
}

impl News {
    /// Whether a new batch can be taken.
    pub(crate) fn is_told(&self) -> bool {
        self.stage == Stage::Told
    }

    /// Takes a batch: `take` swaps it with an empty one and returns whether there was any.
    pub(crate) fn take(&mut self, take: impl FnOnce(&mut Outbox) -> bool) -> bool {
        debug_assert!(self.is_told());
        let taken = take(&mut self.outbox);
        if taken {
            self.stage = Stage::PeersOpen;
            self.at = 0;
        }
        taken
    }

    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    pub(crate) fn peers_mut(&mut self) -> &mut Peers {
        &mut self.peers
    }

    /// Chunks that were copied since they were last taken from here.
    pub(crate) fn spent(&mut self) -> &mut Vec<Bytes> {
        &mut self.spent
    }

    /// Writes as many events as there is room for.
    pub(crate) fn tell(&mut self, drain: &mut Drain<'_>) -> Result<(), NoRoom> {
        let before = drain.ring.written();
        match self.tell_all(drain) {
            Err(no_room) if drain.ring.written() == before => Err(no_room),
            _ => Ok(()),
        }
    }

    fn tell_all(&mut self, drain: &mut Drain<'_>) -> Result<(), NoRoom> {
        let ring = |Full| NoRoom::Ring;
        loop {
            match self.stage {
                Stage::PeersOpen => {
                    while let Some(update) = self.outbox.peers.get(self.at) {
                        if self.peers.opens(update) {
                            let accepted = flag(update.accepted);
                            drain
                                .ring
                                .push(Event::PeerOpen, [f64::from(update.peer), accepted])
                                .map_err(ring)?;
                        }
                        self.peers.update(update);
                        self.at += 1;
                    }
                    self.next(Stage::Streams);
                }
                Stage::Streams => {
                    while let Some(update) = self.outbox.streams.get_mut(self.at) {
                        tell_state(update, &mut drain.ring).map_err(ring)?;
                        self.at += 1;
                    }
                    self.next(Stage::Records);
                }
                Stage::Records => {
                    while let Some(record) = self.outbox.records.get(self.at) {
                        tell_record(record, drain.line, &mut drain.ring).map_err(ring)?;
                        self.at += 1;
                    }
                    self.outbox.records.clear();
                    self.next(Stage::Bytes);
                }
                Stage::Bytes => {
                    while let Some(update) = self.outbox.streams.get_mut(self.at) {
                        tell_bytes(update, &mut self.spent, drain)?;
                        tell_ending(update, &mut self.failed, &mut drain.ring).map_err(ring)?;
                        self.at += 1;
                    }
                    self.outbox.clear_streams();
                    self.next(Stage::PeersClosed);
                }
                Stage::PeersClosed => {
                    while let Some(update) = self.outbox.peers.get(self.at) {
                        if let Some(closed) = update.closed {
                            let [failure, detail] = closed.err().map_or([0.0; 2], failure);
                            let values = [f64::from(update.peer), failure, detail];
                            drain.ring.push(Event::PeerClosed, values).map_err(ring)?;
                            self.peers.closed(update.peer);
                        }
                        self.at += 1;
                    }
                    self.outbox.peers.clear();
                    self.next(Stage::Drained);
                }
                Stage::Drained => {
                    if self.outbox.drained {
                        drain.ring.push(Event::Drained, []).map_err(ring)?;
                        self.outbox.drained = false;
                    }
                    self.next(Stage::Told);
                }
                Stage::Told => return Ok(()),
            }
        }
    }

    fn next(&mut self, stage: Stage) {
        self.stage = stage;
        self.at = 0;
    }
}

/// Tells, once, how many bursts segmentation offload has refused so far; at the next drain where there is no room for it.
pub(crate) fn tell_fallbacks(told: &mut u64, fallbacks: u64, ring: &mut Ring<'_>) {
    if fallbacks != *told && ring.push(Event::Offload, [fallbacks as f64]).is_ok() {
        *told = fallbacks;
    }
}

/// What needs no slab and comes before the bytes.
fn tell_state(update: &mut StreamUpdate, ring: &mut Ring<'_>) -> Result<(), Full> {
    let stream = f64::from(update.stream);
    if let Some(peer) = update.accepted_from {
        ring.push(Event::StreamAccepted, [stream, f64::from(peer)])?;
        update.accepted_from = None;
    }
    if update.skipped > 0 {
        ring.push(Event::Skipped, [stream, update.skipped as f64])?;
        update.skipped = 0;
    }
    // A stream that sent nothing yet has made no progress.
    if update.sealed > 0 || update.fin_acknowledged {
        let finished = flag(update.fin_acknowledged);
        let values = [
            stream,
            update.sealed as f64,
            update.acknowledged as f64,
            finished,
            update.transmissions as f64,
            update.packets as f64,
            update.packets_retransmitted as f64,
            update.bytes_retransmitted as f64,
            update.packets_lost as f64,
        ];
        ring.push(Event::Progress, values)?;
    }
    Ok(())
}

/// Chunks that lie one behind the other in the slab are one event. What does not fit stays for the next drain.
fn tell_bytes(
    update: &mut StreamUpdate,
    spent: &mut Vec<Bytes>,
    drain: &mut Drain<'_>,
) -> Result<(), NoRoom> {
    let mut chunks = update.readable.iter_mut().filter(|chunk| !chunk.is_empty()).peekable();
    if chunks.peek().is_none() {
        return Ok(());
    }
    let free = drain.slab.get_mut(drain.slab_at..).unwrap_or_default();
    if free.is_empty() {
        return Err(NoRoom::Slab);
    }
    let available: usize = chunks.map(|chunk| chunk.len()).sum();
    let length = available.min(free.len());
    let values = [f64::from(update.stream), drain.slab_at as f64, length as f64];
    drain.ring.push(Event::Data, values).map_err(|Full| NoRoom::Ring)?;
    let mut free = &mut free[..length];
    for chunk in &mut update.readable {
        let part = chunk.len().min(free.len());
        let (into, rest) = free.split_at_mut(part);
        into.copy_from_slice(&chunk[..part]);
        free = rest;
        if part == chunk.len() {
            // Its memory goes now, not with the batch.
            spent.push(std::mem::take(chunk));
        } else {
            chunk.advance(part);
        }
    }
    drain.slab_at += length;
    if length < available { Err(NoRoom::Slab) } else { Ok(()) }
}

/// What comes behind all bytes.
fn tell_ending(
    update: &mut StreamUpdate,
    failed: &mut HashSet<StreamId>,
    ring: &mut Ring<'_>,
) -> Result<(), Full> {
    let stream = f64::from(update.stream);
    if update.end {
        ring.push(Event::End, [stream])?;
        update.end = false;
    }
    if let Some(why) = update.failure {
        if !failed.contains(&update.stream) {
            let [failure, detail] = failure(why);
            ring.push(Event::Failed, [stream, failure, detail])?;
            failed.insert(update.stream);
        }
        update.failure = None;
    }
    if update.closed {
        let totals = [update.transmissions, update.unrecorded, update.acknowledged].map(|total| total as f64);
        ring.push(Event::Closed, [stream, totals[0], totals[1], totals[2]])?;
        update.closed = false;
        failed.remove(&update.stream);
    }
    Ok(())
}

fn tell_record(record: &Record, line: Line, ring: &mut Ring<'_>) -> Result<(), Full> {
    let (outcome, sent_at, errno) = match record.outcome {
        Outcome::Sent { at_ns } => (0.0, line.ms(at_ns), 0.0),
        Outcome::Failed { error, at_ns } => (1.0, line.ms(at_ns), f64::from(errno(error))),
        Outcome::Cancelled => (2.0, f64::NAN, 0.0),
    };
    let values = [f64::from(record.stream), outcome, line.ms(record.scheduled_ns), sent_at, errno];
    ring.push_with(Event::Completion, values, record.packets.iter().map(packet))
}

fn packet(info: &Info) -> [f64; 4] {
    const FIN: u32 = 1;
    const RETRANSMISSION: u32 = 2;
    const RECOVERY: u32 = 4;
    // What may be recorded is stream data, and that leaves as ECT(0) only; the record does not say.
    const ECT0: u32 = 8;
    let mut flags = ECT0 | u32::from(info.packet_len) << 16;
    if info.included_fin {
        flags |= FIN;
    }
    if info.retransmission {
        flags |= RETRANSMISSION;
    }
    if info.space == Space::Recovery {
        flags |= RECOVERY;
    }
    [info.number as f64, info.stream_offset as f64, f64::from(info.payload_len), f64::from(flags)]
}

/// `EMSGSIZE` has become a verdict of its own on its way here.
fn errno(error: SendError) -> i32 {
    const EMSGSIZE: i32 = if cfg!(windows) {
        10_040
    } else if cfg!(any(target_os = "linux", target_os = "android")) {
        90
    } else {
        40
    };
    match error {
        SendError::TooLarge => EMSGSIZE,
        SendError::Os(errno) => errno,
    }
}

fn failure(failure: Failure) -> [f64; 2] {
    [f64::from(failure.number()), failure.detail() as f64]
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

#[cfg(test)]
mod tests;

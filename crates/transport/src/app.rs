//! The two batched queues between the application's thread and the worker.
//!
//! Commands go in through [`Inbox`], news comes out through [`Outbox`]; both are swapped whole under one short lock.
//! Every item of the outbox is a *dirty flag with the newest state*: a stream or peer stands in it at most once, so it
//! cannot overflow. Completion records are bounded and count what they skip.

use crate::{
    error::Failure,
    stats::{EndpointStats, PathStats, Stats},
    sync::{Mutex, MutexGuard},
    transmission::Outcome,
};
use bytes::{Bytes, BytesMut};
use paceline_handshake::{Counters, InjectedPath, Secret};
use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError},
};

/// A peer as the application names it. The application picks odd numbers for those it connects to, the worker even ones.
pub type PeerId = u32;
/// A stream as the application names it. The application picks odd numbers for those it opens, the worker even ones.
pub type StreamId = u32;

/// What the application asks of the worker. Unknown ids are ignored: the object may have ended a moment ago.
#[derive(Debug)]
pub enum Command {
    /// Start a handshake with `remote`, or use the path there is.
    Connect {
        /// An unused odd number.
        peer: PeerId,
        /// Where.
        remote: SocketAddr,
        /// The first opens, all are accepted.
        secrets: Arc<[Secret]>,
        /// `ERR_PACELINE_HANDSHAKE_TIMEOUT` after this time, in ns.
        handshake_timeout_ns: u64,
        /// Cap on the path's rate, in bytes per second.
        max_rate: Option<u64>,
    },
    /// Be a peer's path without a handshake. Streams the peer opens come from `peer`, too.
    ///
    /// The path's secret must be new for this process: [`InjectedPath`] says why. `paceline_udp::Runtime::inject` sees to it.
    /// A secret that this worker has already, or no room, fails the peer with `HandshakeLimit`.
    Inject {
        /// An unused odd number.
        peer: PeerId,
        /// The secret and what belongs to it.
        path: Box<InjectedPath>,
        /// Cap on the path's rate, in bytes per second.
        max_rate: Option<u64>,
    },
    /// Open a stream. It may be written to at once; nothing leaves before the peer's handshake is usable.
    Open {
        /// An unused odd number.
        stream: StreamId,
        /// An open or opening peer.
        peer: PeerId,
        /// 1 (first) to 7.
        priority: u8,
    },
    /// Append to the send buffer. The application keeps the sum of unsealed bytes within the configured bound.
    Write {
        /// Which stream.
        stream: StreamId,
        /// What to send.
        data: Bytes,
    },
    /// No more writes: send FIN after what was written.
    Finish(StreamId),
    /// End both halves with an application error code.
    Reset {
        /// Which stream.
        stream: StreamId,
        /// 0 ≤ code < 2^62.
        code: u64,
    },
    /// Drop what arrives from now on; the sending half goes on.
    StopReading(StreamId),
    /// The application has taken this many more bytes: the window may grow.
    Consume {
        /// Which stream.
        stream: StreamId,
        /// How many bytes more.
        bytes: u64,
    },
    /// Tell (once) when at most this many bytes are unsealed.
    WantRoom {
        /// Which stream.
        stream: StreamId,
        /// Level of the send buffer, in bytes.
        level: u64,
    },
    /// Tell (once) when everything up to this offset is acknowledged.
    WantAcknowledged {
        /// Which stream.
        stream: StreamId,
        /// Stream offset, in bytes; `u64::MAX` means everything and the FIN.
        offset: u64,
    },
    /// Start recording completions of data, retransmissions and probes.
    Record(StreamId),
    /// Change the priority; applies when the wheel holds nothing of the stream.
    SetPriority {
        /// Which stream.
        stream: StreamId,
        /// 1 (first) to 7.
        priority: u8,
    },
    /// Cap on the rate of the peer's path, in bytes per second.
    SetMaxRate {
        /// Which peer.
        peer: PeerId,
        /// `None` for no cap.
        max_rate: Option<u64>,
    },
    /// How many streams each peer may have open; 0 refuses.
    AcceptStreams(u32),
    /// Forget the peer; its streams are reset with code 0.
    ClosePeer(PeerId),
    /// Reset every stream, refuse new ones, and report [`Update::Drained`] when the wheel is empty.
    Shutdown,
}

/// One completed transmission, as recorded for the application.
#[derive(Debug)]
pub struct Record {
    /// Whose.
    pub stream: StreamId,
    /// What became of it.
    pub outcome: Outcome,
    /// Planned departure, in ns on the worker's clock.
    pub scheduled_ns: u64,
    /// Packets, in the order they stand in the burst.
    pub packets: Vec<crate::transmission::Info>,
}

/// The newest state of a stream. Totals never go back.
#[derive(Clone, Debug, Default)]
pub struct StreamUpdate {
    /// Which stream.
    pub stream: StreamId,
    /// Set once: the peer opened this stream.
    pub accepted_from: Option<PeerId>,
    /// New bytes in order; together never more than the receive window.
    pub readable: Vec<Bytes>,
    /// All bytes up to the FIN are in this or an earlier update.
    pub end: bool,
    /// Bytes taken out of the send buffer so far.
    pub sealed: u64,
    /// Bytes acknowledged without a gap so far.
    pub acknowledged: u64,
    /// The FIN is acknowledged.
    pub fin_acknowledged: bool,
    /// The sending half failed, or both did.
    pub failure: Option<Failure>,
    /// Nothing more will come but records: both halves are over and the worker has forgotten the stream.
    pub closed: bool,
    /// Data, retransmission and probe transmissions put into the wheel so far.
    pub transmissions: u64,
    /// Their packets.
    pub packets: u64,
    /// Of them, copies of earlier ones.
    pub packets_retransmitted: u64,
    /// UDP payload bytes of the copies.
    pub bytes_retransmitted: u64,
    /// Packets declared lost so far.
    pub packets_lost: u64,
    /// Those of them that completed before recording started: they have no record.
    pub unrecorded: u64,
    /// Records dropped because the application did not take them, since the last update.
    pub skipped: u64,
}

/// The newest state of a peer.
#[derive(Debug)]
pub struct PeerUpdate {
    /// Which peer.
    pub peer: PeerId,
    /// The peer came to us.
    pub accepted: bool,
    /// Its address now.
    pub remote: SocketAddr,
    /// Streams can be opened; for a connecting peer, the handshake's answer came.
    pub open: bool,
    /// It is over; `Ok` when it was closed here.
    pub closed: Option<Result<(), Failure>>,
    /// Slot of its path in [`Stats::paths`], once it has one.
    pub path: Option<u32>,
}

/// News for the application.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Counts the swaps; lets the worker know whether a stream's update is still here.
    pub epoch: u64,
    /// At most one per stream.
    pub streams: Vec<StreamUpdate>,
    /// In order; at most a handful per peer.
    pub peers: Vec<PeerUpdate>,
    /// Bounded by `Config::max_records`.
    pub records: Vec<Record>,
    /// The answer to [`Command::Shutdown`].
    pub drained: bool,
    /// Emptied [`StreamUpdate::readable`] on their way back to the worker.
    pub spare: Vec<Vec<Bytes>>,
}

impl Outbox {
    /// Most vectors kept: as many streams have news between two looks of the application before one has to be allocated.
    const MAX_SPARE: usize = 64;

    /// Application: forgets the streams' updates. Their vectors go back to the worker with the next [`Shared::take_news`].
    pub fn clear_streams(&mut self) {
        for update in self.streams.drain(..) {
            let mut readable = update.readable;
            if readable.capacity() > 0 && self.spare.len() < Self::MAX_SPARE {
                readable.clear();
                self.spare.push(readable);
            }
        }
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.peers.is_empty() && self.records.is_empty() && !self.drained
    }
}

/// Memory of one size on its way back to where it is filled: received chunks to the worker, sent ones to the application.
///
/// A fresh 64 KiB allocation costs 16 page faults, about a tenth of all CPU of a bulk transfer (perf, 2 cores). Bounded; what
/// does not fit, or is still shared, is simply freed.
#[derive(Debug, Default)]
pub struct Recycler(Mutex<Vec<BytesMut>>);

impl Recycler {
    /// Bytes of a recycled buffer.
    pub const CHUNK: usize = 64 << 10;
    /// Buffers kept: 2 MiB.
    const MAX: usize = 32;

    /// Takes back what nobody needs any more, leaving `spent` empty.
    pub fn give(&self, spent: &mut Vec<Bytes>) {
        if spent.is_empty() {
            return;
        }
        let mut free = lock(&self.0);
        for bytes in spent.drain(..) {
            if free.len() >= Self::MAX {
                break;
            }
            // Only the last holder of a chunk gets its memory; `try_reclaim` then winds it back to its beginning.
            if let Ok(mut chunk) = bytes.try_into_mut() {
                chunk.clear();
                if chunk.try_reclaim(Self::CHUNK) {
                    free.push(chunk);
                }
            }
        }
        drop(free);
        spent.clear();
    }

    /// An empty buffer with room for [`CHUNK`](Self::CHUNK) bytes, recycled if there is one.
    pub fn take(&self) -> BytesMut {
        self.take_recycled().unwrap_or_else(|| BytesMut::with_capacity(Self::CHUNK))
    }

    pub(crate) fn take_recycled(&self) -> Option<BytesMut> {
        lock(&self.0).pop()
    }
}

/// What the application's thread and the worker share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Chunks of [`StreamUpdate::readable`] that the application has copied: give them back here.
    pub received: Recycler,
    /// Memory for [`Command::Write`]: take it here, and it comes back when it is sealed.
    pub written: Recycler,
    inbox: Mutex<Vec<Command>>,
    outbox: Mutex<Outbox>,
    stats: Mutex<Stats>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Application: appends commands, leaving `commands` empty. Wake the worker afterwards if it is parked.
    pub fn submit(&self, commands: &mut Vec<Command>) {
        lock(&self.inbox).append(commands);
    }

    /// Application: swaps the news with `into`, which must be empty. Returns whether there was any.
    pub fn take_news(&self, into: &mut Outbox) -> bool {
        debug_assert!(into.is_empty());
        let mut outbox = lock(&self.outbox);
        into.epoch = outbox.epoch.wrapping_add(1);
        std::mem::swap(&mut *outbox, into);
        !into.is_empty()
    }

    /// Application: a copy of the newest counters.
    pub fn stats(&self) -> Stats {
        lock(&self.stats).clone()
    }

    /// Application: the newest counters, without those of the paths.
    pub fn endpoint_stats(&self) -> (EndpointStats, Counters) {
        let stats = lock(&self.stats);
        (stats.endpoint.clone(), stats.handshake)
    }

    /// Application: the newest measurements of the path in `slot` (see [`PeerUpdate::path`]).
    pub fn path_stats(&self, slot: u32) -> Option<PathStats> {
        lock(&self.stats).paths.get(slot as usize).copied()
    }

    /// Worker: swaps the commands with `into`, which must be empty.
    pub(crate) fn take_commands(&self, into: &mut Vec<Command>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut *lock(&self.inbox), into);
    }

    /// Whether commands wait; for a worker about to park.
    pub fn has_commands(&self) -> bool {
        !lock(&self.inbox).is_empty()
    }

    pub(crate) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        lock(&self.outbox)
    }

    pub(crate) fn stats_mut(&self) -> MutexGuard<'_, Stats> {
        lock(&self.stats)
    }
}

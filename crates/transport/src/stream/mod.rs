//! One reliable byte stream each way: puts its halves together and remembers how far it has come.

pub(crate) mod burst;
mod eagerness;
pub(crate) mod flow;
pub(crate) mod inflow;
pub(crate) mod packets;
pub(crate) mod recovery;
pub(crate) mod recv;
mod reseal;
pub(crate) mod send;

use crate::{
    app::{PeerId, StreamId},
    completion::{Queue, Ready},
    error::Failure,
    path::Destination,
    transmission::{PathKey, StreamKey},
};
use inflow::Inflow;
use paceline_wire::{Credentials, Opener, StreamKeys};
use recv::{Close, Recv};
use send::Send;
use std::sync::Arc;

/// A close is repeated this often without an answer.
pub(crate) const MAX_CLOSE_ATTEMPTS: u32 = 3;

/// Packets of a key that are no new data's: those in flight may have to be sealed anew in pieces, because their path became narrower,
/// and they belong to their phase (sim seed 10). A window of 16 MiB in pieces of 600 bytes are 28,000.
pub(crate) const RESEAL_RESERVE: u64 = 1 << 15;

/// How far a stream has come. Table of transitions: ARCHITECTURE.md, "A stream's life".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Opened here; waits for a path, a key id or the peer's stream limit.
    Waiting,
    /// Has keys; bytes may flow.
    Active,
    /// Ended by a reset here: the close is repeated until it is acknowledged.
    Closing {
        /// What is sent.
        close: Close,
        /// Recovery number of its newest probe.
        number: Option<u64>,
        /// Probes sent.
        attempts: u32,
    },
    /// Over; waits for what is left in the wheel.
    Draining,
}

/// Packets of new data that the key still seals.
pub(crate) fn fresh(keys: &StreamKeys) -> u64 {
    keys.seal.remaining().saturating_sub(RESEAL_RESERVE)
}

/// What the application has to be told; the newest state wins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct News {
    /// On the worker's list of streams with news.
    pub(crate) listed: bool,
    pub(crate) accepted: bool,
    pub(crate) progress: bool,
    pub(crate) closed: bool,
}

/// A stream stands on each of its path's lists at most once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Listed {
    pub(crate) probe: bool,
    pub(crate) recovery: bool,
    pub(crate) data: bool,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) key: StreamKey,
    /// Ours, as the peer names us: generation and slot.
    pub(crate) queue_id: u64,
    /// The peer's, 0 until it told us.
    pub(crate) peer_queue_id: u64,
    /// The largest authentic control packet number and 1.
    pub(crate) next_expected_control: u64,
    /// The peer may not know our queue id yet.
    pub(crate) announce_queue: bool,
    pub(crate) peer: PeerId,
    pub(crate) path: Option<PathKey>,
    /// Where its packets go, if not where the path's do.
    pub(crate) answer_to: Option<Destination>,
    pub(crate) opener: Opener,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) keys: Option<Box<StreamKeys>>,
    pub(crate) phase: Phase,
    pub(crate) send: Send,
    pub(crate) recv: Recv,
    pub(crate) inflow: Inflow,
    pub(crate) priority: u8,
    /// Takes the place of `priority` when the wheel holds nothing of the stream.
    pub(crate) next_priority: Option<u8>,
    pub(crate) completions: Arc<Queue>,
    /// Data, retransmission and probe transmissions in the wheel or at the socket.
    pub(crate) pending: u32,
    /// Of those, retransmissions and probes.
    pub(crate) pending_recovery: u32,
    /// On which of the path's lists it stands.
    pub(crate) listed: Listed,
    /// Deficit round robin, bytes.
    pub(crate) deficit: u64,
    /// An empty packet is owed, so that the peer learns of the stream.
    pub(crate) announce: bool,
    /// A probe is owed (PTO, keep-alive, blocked).
    pub(crate) probes_owed: u8,
    /// The next probe carries no data: small enough for every path.
    pub(crate) small_probe: bool,
    /// The peer has answered with something authentic.
    pub(crate) answered: bool,
    pub(crate) last_heard_ns: u64,
    /// A packet of it has left.
    pub(crate) departed: bool,
    /// When the first packet since then left: the peer cannot have gone before it was asked.
    pub(crate) asked_ns: Option<u64>,
    /// When the next probe of an otherwise silent stream leaves.
    pub(crate) next_probe_ns: u64,
    /// Doublings of the interval between probes while the peer's window blocks.
    pub(crate) blocked_probes: u32,
    /// On the worker's list of streams that owe an acknowledgement.
    pub(crate) control_listed: bool,
    /// The close that ended it here, for time-wait.
    pub(crate) closed_with: Option<Close>,
    pub(crate) news: News,
    /// Epoch and index of the update in the outbox.
    pub(crate) update: Option<(u64, usize)>,
    pub(crate) failure: Option<Failure>,
    /// Level of unsealed bytes the application waits for.
    pub(crate) wants_room: Option<u64>,
    /// Offset whose acknowledgement the application waits for.
    pub(crate) wants_acknowledged: Option<u64>,
    pub(crate) recording: bool,
    pub(crate) transmissions: u64,
    pub(crate) packets: u64,
    pub(crate) packets_retransmitted: u64,
    pub(crate) bytes_retransmitted: u64,
    pub(crate) unrecorded: u64,
    pub(crate) skipped: u64,
    /// Same errno since this time.
    pub(crate) send_error: Option<SendTrouble>,
}

/// A socket error that repeats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendTrouble {
    pub(crate) errno: i32,
    pub(crate) since_ns: u64,
    /// When it came last.
    pub(crate) newest_ns: u64,
    pub(crate) exponent: u32,
}

impl Stream {
    #[allow(clippy::too_many_arguments, reason = "one caller per role, both in endpoint/streams.rs")]
    pub(crate) fn new(
        id: StreamId,
        key: StreamKey,
        queue_id: u64,
        peer: PeerId,
        opener: Opener,
        priority: u8,
        send: Send,
        recv: Recv,
        ready: Arc<Ready>,
        now_ns: u64,
    ) -> Self {
        Self {
            id,
            key,
            queue_id,
            peer_queue_id: 0,
            next_expected_control: 0,
            announce_queue: true,
            peer,
            path: None,
            answer_to: None,
            opener,
            credentials: None,
            keys: None,
            phase: Phase::Waiting,
            send,
            recv,
            priority,
            next_priority: None,
            completions: Queue::new(key, ready),
            pending: 0,
            pending_recovery: 0,
            listed: Listed::default(),
            deficit: 0,
            announce: false,
            probes_owed: 0,
            small_probe: false,
            answered: false,
            last_heard_ns: now_ns,
            departed: false,
            asked_ns: None,
            next_probe_ns: u64::MAX,
            blocked_probes: 0,
            control_listed: false,
            closed_with: None,
            news: News::default(),
            update: None,
            failure: None,
            wants_room: None,
            wants_acknowledged: None,
            recording: false,
            transmissions: 0,
            packets: 0,
            packets_retransmitted: 0,
            bytes_retransmitted: 0,
            unrecorded: 0,
            inflow: Inflow::default(),
            skipped: 0,
            send_error: None,
        }
    }

    /// Nothing was heard for a while: what is kept for the next burst goes back, so that an idle stream costs 4 KiB at most.
    pub(crate) fn let_go_of_spare_memory(&mut self) {
        self.recv.buffer.let_go_if_read();
        self.send.stream_space.shrink();
        self.send.recovery_space.shrink();
        self.send.lost.shrink_to_fit();
        self.send.spent.shrink_to_fit();
        self.completions.shrink();
    }

    /// Whether the wheel may hold something of this stream now.
    fn may_send(&self, now_ns: u64) -> bool {
        self.keys.is_some() && self.send.retry_at_ns <= now_ns
    }

    /// When the silence began that ends with the idle timeout (RFC 9000 §10.1): with what was heard last, or with the first question
    /// since.
    pub(crate) fn idle_since(&self) -> u64 {
        self.last_heard_ns.max(self.asked_ns.unwrap_or(0))
    }

    /// Whether a probe is owed, be it for a close.
    pub(crate) fn wants_probe(&self, now_ns: u64) -> bool {
        self.probes_owed > 0
            && self.may_send(now_ns)
            && matches!(self.phase, Phase::Active | Phase::Closing { .. })
    }

    /// Whether a lost packet is to be sent again.
    pub(crate) fn wants_recovery(&mut self, now_ns: u64) -> bool {
        self.phase == Phase::Active && self.may_send(now_ns) && self.send.next_lost().is_some()
    }

    /// Whether new data may go into the wheel.
    pub(crate) fn wants_data(&self, now_ns: u64, max_in_flight: u32) -> bool {
        self.phase == Phase::Active
            && self.may_send(now_ns)
            && self.pending < max_in_flight
            && !(self.next_priority.is_some() && self.pending > 0)
            && self.has_new_data()
            && self.key_allows()
    }

    /// Whether the key seals another packet, or may give way to the next one: the peer drops a phase's key with the first
    /// packet of the next, so everything of the phase must have arrived.
    pub(crate) fn key_allows(&self) -> bool {
        self.keys.as_ref().is_some_and(|keys| fresh(keys) > 0) || self.send.is_all_acknowledged()
    }

    /// Whether a first transmission is due: data with credit, a FIN, or the announcement of a silent stream.
    pub(crate) fn has_new_data(&self) -> bool {
        self.send.sealable() > 0 || self.send.fin_due() || self.announce
    }

    /// Whether the peer can know of the stream.
    pub(crate) fn has_sent(&self) -> bool {
        self.answered || self.departed
    }

    /// Whether both halves have come to their end.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Active && self.send.is_finished() && self.recv.finished
    }

    /// Whether the application waits for something that has come true.
    pub(crate) fn has_awaited_progress(&mut self) -> bool {
        let mut any = false;
        if self.wants_room.is_some_and(|level| self.send.buffer.len() <= level) {
            self.wants_room = None;
            any = true;
        }
        let acknowledged = match self.wants_acknowledged {
            None => false,
            Some(u64::MAX) => self.send.is_finished(),
            Some(offset) => self.send.acknowledged.prefix() >= offset,
        };
        if acknowledged {
            self.wants_acknowledged = None;
            any = true;
        }
        any
    }
}

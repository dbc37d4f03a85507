//! Recomputes from scratch what a worker keeps account of, for simulation and tests: every sum beside its addends.
//!
//! Nothing here changes anything, and no step calls it.

use super::{Alarm, Endpoint};
use crate::{
    app::StreamId,
    environment::Environment,
    path::Path,
    stream::{
        Phase, Stream,
        recovery::{Retained, Sent, State},
    },
    transmission::{PathKey, StreamKey, Transmission},
};
use paceline_pool::{Filled, Stats as PoolStats};
use std::{collections::BTreeMap, net::SocketAddr};

/// Everything at one moment between two steps.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// By slot.
    pub paths: Vec<PathAudit>,
    /// By slot.
    pub streams: Vec<StreamAudit>,
    /// The pool, with whatever others have taken from it.
    pub pool: PoolStats,
    /// Transmissions in the wheel, control too.
    pub wheel_len: usize,
    /// Of stream data, retransmissions and probes: packets in the wheel, in a path's line or taken out and not yet handed over.
    pub packets_waiting: u64,
    /// Taken out of the wheel; the environment would not have them yet.
    pub due_len: usize,
    /// Entries of the timer wheel.
    pub timers: usize,
    /// Slots that streams have had: each keeps its entries.
    pub timer_slots: usize,
    /// Timers that could not be armed because the wheel was full, so far.
    pub timers_refused: u64,
    /// When the wheel says that the next transmission may leave, ns.
    pub next_departure_ns: Option<u64>,
    /// The least departure time of what is in the wheel, ns.
    pub next_departure_recomputed: Option<u64>,
    /// When the timer wheel says that the next timer fires, ns.
    pub next_timer_ns: Option<u64>,
    /// The least time for which a path or a stream is armed, ns. A stale entry may fire earlier.
    pub next_timer_recomputed: Option<u64>,
    /// Streams in the table.
    pub streams_len: usize,
    /// Streams as `stats()` counts them.
    pub streams_counted: u64,
    /// Streams by the application's name.
    pub streams_named: usize,
    /// Streams that are over and remembered.
    pub time_wait: usize,
    /// Handshakes of peers that have not proved themselves.
    pub half_open: usize,
    /// Peers by the application's name.
    pub peers: usize,
    /// What is left of the budget for receive windows, bytes.
    pub window_budget_left: u64,
    /// What it should be: the configured budget less what streams have borrowed.
    pub window_budget_recomputed: u64,
}

/// Timers of streams and paths that are gone, and forgotten ones: deadlines that come earlier and earlier, as when a clock steps
/// back or an RTT falls, leave one each until its time (sim seed 6894: 144 entries for 7 slots and 2 paths).
const STRAY_TIMERS: usize = 256;

impl Audit {
    /// Entries of the timer wheel at most: a near one and a far one for each slot and for each of a path's four purposes, and an
    /// acknowledgement that has time for each stream.
    pub fn timers_bound(&self) -> usize {
        let streams = self.timer_slots.saturating_mul(2).saturating_add(self.streams_len);
        streams.saturating_add(self.paths.len().saturating_mul(8)).saturating_add(STRAY_TIMERS)
    }
}

/// A path: what it keeps account of, and what that should be.
#[derive(Clone, Debug)]
pub struct PathAudit {
    /// Names it among the transmissions' paths.
    pub key: PathKey,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The controller's count, bytes.
    pub bytes_in_flight: u64,
    /// Sum of the packets in flight of all its streams, bytes.
    pub in_flight_recomputed: u64,
    /// The controller's window, bytes.
    pub congestion_window: u64,
    /// The controller's rate, bytes per second.
    pub rate: u64,
    /// Stream data scheduled and not sent, as counted, bytes.
    pub scheduled_bytes: u64,
    /// The same, summed over the wheel, the line and what is due.
    pub scheduled_recomputed: u64,
    /// Of that, retransmissions and probes, which no limit on scheduling ahead stops, bytes.
    pub scheduled_recovery: u64,
    /// What may be scheduled ahead now, bytes.
    pub schedule_limit: u64,
    /// What could be scheduled ahead when something last was, bytes.
    pub schedule_granted: u64,
    /// A burst now, bytes.
    pub burst_bytes: u64,
    /// Descriptors of its stream data that are not home, as counted, bytes.
    pub held_bytes: u64,
    /// The same, each once, summed over what its streams retain and what waits to leave.
    pub held_recomputed: u64,
    /// Held back in its line, transmissions.
    pub line_len: usize,
    /// A UDP payload at most, bytes.
    pub mtu: u16,
    /// Bursts in the order of departure, some of them without a packet that waits for its verdict.
    pub order_len: usize,
    /// Streams opened here and not over, as counted.
    pub opened: u32,
    /// The same, counted now.
    pub opened_recomputed: u32,
    /// Streams accepted and not over, as counted.
    pub incoming: u32,
    /// The same, counted now.
    pub incoming_recomputed: u32,
    /// Key ids of the peer that stand for something.
    pub accepted: usize,
    /// ACK news that was not told to the controller; `false` between steps.
    pub unsettled: bool,
}

/// A stream: what it keeps account of, and what that should be.
#[derive(Clone, Debug)]
pub struct StreamAudit {
    /// As the application names it.
    pub id: StreamId,
    /// Names it among the transmissions' streams.
    pub key: StreamKey,
    /// Its path, once it has one.
    pub path: Option<PathKey>,
    /// `waiting`, `active`, `closing` or `draining`.
    pub phase: &'static str,
    /// 1 to 7.
    pub priority: u8,
    /// Data, retransmissions and probes in the wheel or at the socket, as counted.
    pub pending: u32,
    /// The same, counted now.
    pub pending_recomputed: u32,
    /// Of those, retransmissions and probes, as counted.
    pub pending_recovery: u32,
    /// The same, counted now.
    pub pending_recovery_recomputed: u32,
    /// Control packets in the wheel or at the socket, as counted.
    pub control_out: u8,
    /// The same, counted now.
    pub control_out_recomputed: u32,
    /// Packets in flight, as counted.
    pub packets_in_flight: u32,
    /// The same, counted now.
    pub packets_in_flight_recomputed: u32,
    /// Bytes that wait for a packet.
    pub send_buffer: u64,
    /// Next offset to seal, bytes.
    pub next_offset: u64,
    /// Acknowledged without a gap, bytes.
    pub acknowledged: u64,
    /// What the peer allows beyond `next_offset`, bytes.
    pub window_left: u64,
    /// Packets retained, as counted, bytes.
    pub retained: u64,
    /// The same, summed over its packets.
    pub retained_recomputed: u64,
    /// Sent packets remembered, in both spaces.
    pub sent_len: usize,
    /// Sent packets looked at for acknowledgements so far.
    pub sent_visits: u64,
    /// Lost packets that wait.
    pub lost_len: usize,
    /// Memory of what arrived and was not read, bytes.
    pub receive_memory: u64,
    /// Offset up to which the peer may send, bytes.
    pub receive_max_data: u64,
    /// Offset up to which the application was given everything, bytes.
    pub receive_read: u64,
}

/// Stream data of one owner in the wheel, in a line or due.
#[derive(Clone, Copy, Default)]
struct Waiting {
    bytes: u64,
    recovery_bytes: u64,
    transmissions: u32,
    recovery: u32,
    control: u32,
}

impl Waiting {
    fn add(&mut self, transmission: &Transmission) {
        let bytes = transmission.segments.total_len() as u64;
        if !transmission.kind.is_stream_data() {
            self.control = self.control.saturating_add(1);
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.transmissions = self.transmissions.saturating_add(1);
        if transmission.kind != crate::transmission::Kind::Data {
            self.recovery = self.recovery.saturating_add(1);
            self.recovery_bytes = self.recovery_bytes.saturating_add(bytes);
        }
    }
}

/// Descriptors (path, address, bytes) by who pays for them: each may be held by many packets, most of them neighbours.
#[derive(Default)]
struct Held(Vec<(PathKey, usize, usize)>);

impl Held {
    fn add(&mut self, path: PathKey, filled: &Filled) {
        let one = (path, filled.bytes().as_ptr().addr(), filled.capacity_bytes());
        if self.0.last() != Some(&one) {
            self.0.push(one);
        }
    }

    /// By path, bytes.
    fn sum(mut self) -> BTreeMap<PathKey, u64> {
        self.0.sort_unstable();
        self.0.dedup();
        let mut sums = BTreeMap::<PathKey, u64>::new();
        for (path, _, bytes) in self.0 {
            let sum = sums.entry(path).or_default();
            *sum = sum.saturating_add(bytes as u64);
        }
        sums
    }
}

/// What a path's streams add up to.
#[derive(Clone, Copy, Default)]
struct Sums {
    in_flight: u64,
    opened: u32,
    incoming: u32,
}

fn sent_packets(stream: &Stream) -> impl Iterator<Item = &Sent> {
    stream.send.stream_space.iter().chain(stream.send.recovery_space.iter())
}

/// Packets of a stream that keep a descriptor.
fn retained(stream: &Stream) -> impl Iterator<Item = &Retained> {
    let sent = sent_packets(stream).filter_map(|sent| sent.retained.as_ref());
    sent.chain(stream.send.lost.iter().map(|lost| &lost.retained))
}

impl Endpoint {
    pub(crate) fn audit<E: Environment>(&self, environment: &E) -> Audit {
        let mut by_path: BTreeMap<PathKey, Waiting> = BTreeMap::new();
        let mut by_stream: BTreeMap<StreamKey, Waiting> = BTreeMap::new();
        let mut packets_waiting = 0u64;
        let mut held = Held::default();
        let paths = self.paths.keys();
        let lines = paths.iter().filter_map(|key| self.paths.get(*key)).flat_map(|path| path.line.iter());
        for transmission in self.wheel.values().chain(self.due.iter()).chain(lines) {
            if let Some(key) = transmission.path {
                by_path.entry(key).or_default().add(transmission);
            }
            if let Some(key) = transmission.key {
                by_stream.entry(key).or_default().add(transmission);
            }
            if transmission.kind.is_stream_data() {
                if let Some(path) = transmission.path {
                    held.add(path, transmission.segments.filled());
                }
                packets_waiting = packets_waiting.saturating_add(transmission.infos.len() as u64);
            }
        }
        let mut sums: BTreeMap<PathKey, Sums> = BTreeMap::new();
        let mut streams = Vec::new();
        let mut borrowed = 0u64;
        for key in self.streams.keys() {
            let Some(stream) = self.streams.get(key) else { continue };
            borrowed = borrowed.saturating_add(stream.recv.window.borrowed());
            let audit = audit_stream(stream, by_stream.get(&key).copied().unwrap_or_default());
            if let Some(path) = stream.path {
                let sum = sums.entry(path).or_default();
                let in_flight = sent_packets(stream).filter(|sent| sent.state == State::InFlight);
                let in_flight: u64 = in_flight.map(|sent| u64::from(sent.packet_len)).sum();
                sum.in_flight = sum.in_flight.saturating_add(in_flight);
                retained(stream).for_each(|retained| held.add(path, &retained.filled));
                let count = match stream.opener {
                    paceline_wire::Opener::Local => &mut sum.opened,
                    paceline_wire::Opener::Remote => &mut sum.incoming,
                };
                *count = count.saturating_add(1);
            }
            streams.push(audit);
        }
        let held = held.sum();
        let paths = paths.iter().filter_map(|key| {
            let path = self.paths.get(*key)?;
            let waiting = by_path.get(key).copied().unwrap_or_default();
            let sums = sums.get(key).copied().unwrap_or_default();
            Some(self.audit_path(environment, *key, path, waiting, sums, held.get(key).copied().unwrap_or(0)))
        });
        Audit {
            paths: paths.collect(),
            streams,
            pool: self.pool.stats(),
            wheel_len: self.wheel.len(),
            packets_waiting,
            due_len: self.due.len(),
            timers: self.timers.len(),
            timer_slots: self.stream_timers.len(),
            timers_refused: self.timers.refused(),
            next_departure_ns: self.wheel.next_expiry(),
            next_departure_recomputed: self.wheel.values().map(|value| value.scheduled_ns).min(),
            next_timer_ns: self.timers.next_expiry(),
            next_timer_recomputed: self.armed().min(),
            streams_len: self.streams.len(),
            streams_counted: self.stats.streams,
            streams_named: self.by_id.len(),
            time_wait: self.time_wait.len(),
            half_open: self.half_open.len(),
            peers: self.peers.len(),
            window_budget_left: self.budget.left(),
            window_budget_recomputed: self.config.window_budget.saturating_sub(borrowed),
        }
    }

    /// The times for which something is armed.
    fn armed(&self) -> impl Iterator<Item = u64> + '_ {
        let paths = self.paths.keys().into_iter().filter_map(|key| self.paths.get(key));
        let of_paths =
            paths.flat_map(|path| [path.loss_timer, path.pto_timer, path.fill_timer, path.life.timer]);
        of_paths.chain(self.stream_timers.iter().copied()).filter_map(Alarm::at_ns)
    }

    fn audit_path<E: Environment>(
        &self,
        environment: &E,
        key: PathKey,
        path: &Path,
        waiting: Waiting,
        sums: Sums,
        held: u64,
    ) -> PathAudit {
        let limits = environment.burst_limits(&path.remote);
        let packets = path
            .pacer
            .burst_packets(&path.controller, path.mtu, limits.max_segments, limits.max_bytes)
            .max(1);
        let burst_bytes = (packets as u64).saturating_mul(u64::from(path.mtu));
        PathAudit {
            key,
            remote: path.remote,
            bytes_in_flight: path.controller.bytes_in_flight(),
            in_flight_recomputed: sums.in_flight,
            congestion_window: path.controller.congestion_window(),
            rate: path.controller.rate(),
            scheduled_bytes: path.scheduled_bytes,
            scheduled_recomputed: waiting.bytes,
            scheduled_recovery: waiting.recovery_bytes,
            schedule_limit: path.schedule_limit(self.config.max_schedule_ahead_ns, burst_bytes),
            schedule_granted: path.schedule_granted,
            burst_bytes,
            held_bytes: path.account.lent_bytes() as u64,
            held_recomputed: held,
            line_len: path.line.len(),
            mtu: path.mtu,
            order_len: path.recovery.order.len(),
            opened: path.opened,
            opened_recomputed: sums.opened,
            incoming: path.incoming,
            incoming_recomputed: sums.incoming,
            accepted: path.accepted.len(),
            unsettled: !path.recovery.batch.is_empty(),
        }
    }
}

fn audit_stream(stream: &Stream, waiting: Waiting) -> StreamAudit {
    let in_flight = sent_packets(stream).filter(|sent| sent.state == State::InFlight).count();
    StreamAudit {
        id: stream.id,
        key: stream.key,
        path: stream.path,
        phase: match stream.phase {
            Phase::Waiting => "waiting",
            Phase::Active => "active",
            Phase::Closing { .. } => "closing",
            Phase::Draining => "draining",
        },
        priority: stream.priority,
        pending: stream.pending,
        pending_recomputed: waiting.transmissions,
        pending_recovery: stream.pending_recovery,
        pending_recovery_recomputed: waiting.recovery,
        control_out: stream.recv.control_out,
        control_out_recomputed: waiting.control,
        packets_in_flight: stream.send.in_flight,
        packets_in_flight_recomputed: u32::try_from(in_flight).unwrap_or(u32::MAX),
        send_buffer: stream.send.buffer.len(),
        next_offset: stream.send.next_offset,
        acknowledged: stream.send.acknowledged.prefix(),
        window_left: stream.send.max_data.saturating_sub(stream.send.next_offset),
        retained: stream.send.held_bytes,
        retained_recomputed: retained(stream).map(|retained| u64::from(retained.len)).sum(),
        sent_len: sent_packets(stream).count(),
        sent_visits: stream.send.stream_space.visits().saturating_add(stream.send.recovery_space.visits()),
        lost_len: stream.send.lost.len(),
        receive_memory: stream.recv.buffer.allocated_bytes(),
        receive_max_data: stream.recv.window.max_data(),
        receive_read: stream.recv.buffer.read_offset(),
    }
}

//! What workers keep account of, beside what it should be.

use crate::{NodeId, World};
use paceline_transport::{Audit, PathAudit, PathKey, StreamAudit, pool::MAX_LEN, stats::EndpointStats};
use std::{collections::BTreeMap, net::SocketAddr};

/// Received bytes lie in chunks of 64 KiB, of which the first and the last may be used in part.
const CHUNK_SLACK: u64 = 2 * (64 << 10);
/// Control packets of a stream that are out (ARCHITECTURE.md, "Bounds and defaults").
const CONTROL_OUT: u8 = 2;
/// Time-wait entries (ARCHITECTURE.md, "Bounds and defaults").
const TIME_WAIT: usize = 65_536;
/// The wheel's tick, in which values are first in, first out.
const TICK_NS: u64 = 1_024;
/// Half-open handshakes: 1,000 a second for 10 s and 1,000 at once (handshake.md section 9).
const HALF_OPEN: usize = 11_000;

/// The highest limits of a path since it last stood below them: a limit that falls takes nothing back, nor what is scheduled.
#[derive(Clone, Copy, Debug, Default)]
struct Crest {
    window: u64,
    /// Bytes of probes that had left by then.
    probes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Figures {
    crests: BTreeMap<(usize, PathKey), Crest>,
    /// Bytes of probes that left, by node and destination.
    probes: BTreeMap<(usize, SocketAddr), u64>,
    /// Most transmissions of a stream that the configuration allows, by node.
    max_in_flight: Vec<u32>,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, counted: T, recomputed: T) -> Result<(), String> {
    if counted == recomputed {
        Ok(())
    } else {
        Err(format!("{what}: {counted:?} counted, {recomputed:?} recomputed"))
    }
}

fn at_most<T: PartialOrd + std::fmt::Debug>(what: &str, value: T, limit: T) -> Result<(), String> {
    if value <= limit { Ok(()) } else { Err(format!("{what}: {value:?}, more than {limit:?}")) }
}

impl Figures {
    pub(super) fn configure(&mut self, max_in_flight: Vec<u32>) {
        self.max_in_flight = max_in_flight;
    }

    /// A probe left. RFC 9002 §7.5: probes are sent whatever the window says, and count as in flight.
    pub(super) fn probe_left(&mut self, node: NodeId, to: SocketAddr, bytes: u64) {
        *self.probes.entry((node.index(), to)).or_default() += bytes;
    }

    pub(super) fn restarted(&mut self, node: NodeId) {
        self.crests.retain(|(of, _), _| *of != node.index());
    }

    /// Returns how many comparisons were made, and the length of the wheel.
    pub(super) fn audit(&mut self, world: &World, node: NodeId) -> Result<(u64, u64), String> {
        let audit = world.audit(node);
        let stats = world.stats(node).endpoint;
        self.check(node, &audit, &stats, world.handed(node))
            .map_err(|what| format!("node {}: {what}", node.index()))
            .map(|checked| (checked, audit.wheel_len as u64))
    }

    fn check(
        &mut self,
        node: NodeId,
        audit: &Audit,
        stats: &EndpointStats,
        handed: u64,
    ) -> Result<u64, String> {
        same("streams", audit.streams_counted, audit.streams_len as u64)?;
        same("named streams", audit.streams_named, audit.streams_len)?;
        same("window budget", audit.window_budget_left, audit.window_budget_recomputed)?;
        at_most("pool: lent bytes", audit.pool.lent_bytes, audit.pool.allocated_bytes)?;
        at_most("pool: allocated bytes", audit.pool.allocated_bytes, audit.pool.capacity_bytes)?;
        // Between two steps nothing that arrived is held: the next burst finds its descriptor.
        at_most(
            "pool: lent bytes, and a receive",
            audit.pool.lent_bytes + MAX_LEN,
            audit.pool.capacity_bytes,
        )?;
        at_most("timers", audit.timers, audit.timers_bound())?;
        same("timers refused", audit.timers_refused, 0)?;
        at_most("time-wait", audit.time_wait, TIME_WAIT)?;
        at_most("half-open", audit.half_open, HALF_OPEN)?;
        // What went into the wheel and did not come out with a verdict is still in it.
        let open = stats.transmissions - stats.sent - stats.failed - stats.cancelled;
        let waiting: u64 = audit.streams.iter().map(|stream| u64::from(stream.pending_recomputed)).sum();
        same("transmissions without a verdict", open, waiting)?;
        // Packet by packet, too: sealed, and neither cancelled nor handed to the environment.
        let sealed = stats.packets - stats.packets_cancelled;
        same("packets in the wheel", sealed, audit.packets_waiting + handed)?;
        // A worker that sleeps past what it has to do is late without anybody noticing: streams recover, slowly.
        let wakes = [
            ("next departure", audit.next_departure_ns, audit.next_departure_recomputed),
            ("next timer", audit.next_timer_ns, audit.next_timer_recomputed),
        ];
        for (what, expiry_ns, least_ns) in wakes {
            if let Some(least_ns) = least_ns {
                at_most(what, expiry_ns.unwrap_or(u64::MAX), least_ns + TICK_NS)?;
            }
        }
        for path in &audit.paths {
            self.check_path(node, path).map_err(|what| format!("path to {}: {what}", path.remote))?;
        }
        let max_in_flight = self.max_in_flight.get(node.index()).copied().unwrap_or(u32::MAX);
        for stream in &audit.streams {
            check_stream(stream, max_in_flight).map_err(|what| format!("stream {}: {what}", stream.id))?;
        }
        Ok(14 + 7 * audit.paths.len() as u64 + 8 * audit.streams.len() as u64)
    }

    fn check_path(&mut self, node: NodeId, path: &PathAudit) -> Result<(), String> {
        same("bytes in flight", path.bytes_in_flight, path.in_flight_recomputed)?;
        same("scheduled bytes", path.scheduled_bytes, path.scheduled_recomputed)?;
        same("held bytes", path.held_bytes, path.held_recomputed)?;
        same("streams opened", path.opened, path.opened_recomputed)?;
        same("streams accepted", path.incoming, path.incoming_recomputed)?;
        same("unsettled ACK news", path.unsettled, false)?;
        let crest = self.crests.entry((node.index(), path.key)).or_default();
        let probes = self.probes.get(&(node.index(), path.remote)).copied().unwrap_or(0);
        let window = path.congestion_window + path.burst_bytes;
        if path.bytes_in_flight + path.scheduled_bytes <= path.congestion_window {
            (crest.window, crest.probes) = (window, probes);
        } else {
            crest.window = crest.window.max(window);
        }
        // RFC 9002 §7.3.2: one packet when recovery begins.
        let allowed = crest.window + (probes - crest.probes) + u64::from(path.mtu);
        at_most("bytes in flight", path.bytes_in_flight, allowed)?;
        // The limit falls with the rate; it counts when something is scheduled.
        at_most("scheduled bytes", path.scheduled_bytes, path.schedule_granted)
    }
}

fn check_stream(stream: &StreamAudit, max_in_flight: u32) -> Result<(), String> {
    same("pending", stream.pending, stream.pending_recomputed)?;
    same("pending recovery", stream.pending_recovery, stream.pending_recovery_recomputed)?;
    same("control out", u32::from(stream.control_out), stream.control_out_recomputed)?;
    same("packets in flight", stream.packets_in_flight, stream.packets_in_flight_recomputed)?;
    same("retained bytes", stream.retained, stream.retained_recomputed)?;
    at_most("pending data", stream.pending - stream.pending_recovery, max_in_flight)?;
    at_most("control out", stream.control_out, CONTROL_OUT)?;
    let window = stream.receive_max_data.saturating_sub(stream.receive_read);
    at_most("receive memory", stream.receive_memory, window + CHUNK_SLACK)
}

//! What has to happen at a time of its own: loss by time, PTO, keep-alive, idle timeout, repeated closes.
//!
//! One entry per purpose stands in the wheel; a deadline that moves later is noticed when the entry fires, one that moves
//! earlier gets a second entry, and the first is recognised as stale.

use super::Endpoint;
use crate::{
    error::Failure,
    path::{Path, recovery::MAX_PTO_EXPONENT},
    stream::{MAX_CLOSE_ATTEMPTS, Phase, Stream},
    table::Key,
    transmission::{PathKey, StreamKey},
};
use paceline_wheel::{Due, Wheel};

/// Bursts looked at for streams to probe, so that a PTO costs the same with 10 and 10,000 in flight.
pub(super) const PROBE_SCAN: usize = 256;

#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    Loss(PathKey),
    Pto(PathKey),
    /// The next burst's departure is near enough to be decided.
    Fill(PathKey),
    /// Re-handshake, old age, the end of a retired path.
    Life(PathKey),
    /// An acknowledgement that had time; at most one per stream.
    Ack(StreamKey),
    /// A slot, not a key: a slot's next occupant inherits the entry, so that short streams leave none behind.
    Stream(u32),
}

/// When the newest entry of one purpose fires, if there is one; every other entry of it is stale.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Alarm(Option<u64>);

impl Alarm {
    pub(super) fn at_ns(self) -> Option<u64> {
        self.0
    }

    /// Fires by `at_ns` at the latest. Returns whether it will: a full wheel leaves it unarmed, and the next event of its
    /// purpose tries again.
    pub(super) fn arm(&mut self, timers: &mut Wheel<Timer>, at_ns: u64, timer: Timer) -> bool {
        if self.0.is_none_or(|armed| at_ns < armed) {
            self.0 = timers.insert(at_ns, timer).is_ok().then_some(at_ns);
        }
        self.0.is_some()
    }

    /// Whether the entry of `at_ns` is the newest. Then none is left.
    pub(super) fn fires(&mut self, at_ns: u64) -> bool {
        let newest = self.0 == Some(at_ns);
        if newest {
            self.0 = None;
        }
        newest
    }
}

impl Endpoint {
    /// Brings the path's two timers up to date.
    pub(super) fn arm_path(&mut self, key: PathKey, now_ns: u64) {
        let Some(path) = self.paths.get_mut(key) else { return };
        if let Some(at_ns) = path.recovery.loss_deadline(path.loss_delay()) {
            path.loss_timer.arm(&mut self.timers, at_ns.max(now_ns), Timer::Loss(key));
        }
        if let Some(at_ns) = path.recovery.pto_deadline(path.controller.pto()) {
            path.pto_timer.arm(&mut self.timers, at_ns.max(now_ns), Timer::Pto(key));
        }
    }

    /// Makes sure the stream is looked at by `at_ns`.
    pub(super) fn arm_stream_at(&mut self, key: StreamKey, at_ns: u64) {
        let slot = key.slot() as usize;
        if self.stream_timers.len() <= slot {
            self.stream_timers.resize(slot.saturating_add(1), Alarm::default());
        }
        if let Some(alarm) = self.stream_timers.get_mut(slot) {
            alarm.arm(&mut self.timers, at_ns, Timer::Stream(key.slot()));
        }
    }

    pub(super) fn arm_stream(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(key) else { return };
        let idle = stream.path.and_then(|path| self.paths.get(path)).map_or(u64::MAX, Path::idle_timeout);
        if let Some(at) = Self::stream_deadline(stream, idle) {
            self.arm_stream_at(key, at);
        }
    }

    fn stream_deadline(stream: &Stream, idle_timeout_ns: u64) -> Option<u64> {
        let retry = if stream.send.retry_at_ns > 0 { stream.send.retry_at_ns } else { u64::MAX };
        let at = match stream.phase {
            Phase::Waiting | Phase::Draining => return None,
            Phase::Active => {
                let idle = stream.idle_since().saturating_add(idle_timeout_ns);
                idle.min(stream.next_probe_ns).min(retry)
            }
            Phase::Closing { .. } => stream.next_probe_ns,
        };
        (at < u64::MAX).then_some(at)
    }

    pub(super) fn run_timers(&mut self, now_ns: u64) {
        while let Some(Due { at_ns, value }) = self.timers.pop(now_ns) {
            match value {
                Timer::Loss(key) => self.on_loss_timer(key, at_ns, now_ns),
                Timer::Pto(key) => self.on_pto_timer(key, at_ns, now_ns),
                Timer::Fill(key) => self.on_fill_timer(key, at_ns),
                Timer::Life(key) => self.on_life_timer(key, at_ns, now_ns),
                Timer::Ack(key) => self.on_ack_timer(key),
                Timer::Stream(slot) => self.on_stream_timer(slot, at_ns, now_ns),
            }
        }
        while let Some(entry) = self.time_wait.pop_expired(now_ns) {
            self.forget_time_wait(&entry);
        }
    }

    fn on_loss_timer(&mut self, key: PathKey, at_ns: u64, now_ns: u64) {
        let Some(path) = self.paths.get_mut(key) else { return };
        if !path.loss_timer.fires(at_ns) {
            return;
        }
        path.recovery.batch.at_ns = path.recovery.batch.at_ns.max(now_ns);
        self.list_for_settling(key);
        self.settle_paths(now_ns);
    }

    fn on_pto_timer(&mut self, key: PathKey, at_ns: u64, now_ns: u64) {
        let Some(path) = self.paths.get_mut(key) else { return };
        if !path.pto_timer.fires(at_ns) {
            return;
        }
        self.detect_overtaken(key, now_ns);
        self.list_for_settling(key);
        self.settle_paths(now_ns);
        let Some(path) = self.paths.get(key) else { return };
        if let Some(deadline) = path.recovery.pto_deadline(path.controller.pto())
            && deadline <= now_ns
        {
            self.probe_path(key, now_ns);
        }
        self.arm_path(key, now_ns);
    }

    /// Brings the path back at `at_ns`. Returns whether it will be.
    pub(super) fn arm_fill(&mut self, key: PathKey, at_ns: u64) -> bool {
        let Some(path) = self.paths.get_mut(key) else { return false };
        path.fill_timer.arm(&mut self.timers, at_ns, Timer::Fill(key))
    }

    fn on_fill_timer(&mut self, key: PathKey, at_ns: u64) {
        let Some(path) = self.paths.get_mut(key) else { return };
        if path.fill_timer.fires(at_ns) {
            self.activate(key);
        }
    }

    fn on_stream_timer(&mut self, slot: u32, at_ns: u64, now_ns: u64) {
        if !self.stream_timers.get_mut(slot as usize).is_some_and(|alarm| alarm.fires(at_ns)) {
            return;
        }
        let Some(stream) = self.streams.at_slot(slot) else { return };
        let key = stream.key;
        self.look_at_stream(key, now_ns);
        self.arm_stream(key);
    }

    fn look_at_stream(&mut self, key: StreamKey, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(path) = stream.path.and_then(|path| self.paths.get_mut(path)) else { return };
        let idle = path.idle_timeout();
        let pto = path.controller.pto();
        let busy = !path.is_quiet() || path.recovery.last_sent_ns.saturating_add(idle) > now_ns;
        match stream.phase {
            Phase::Waiting | Phase::Draining => {}
            Phase::Closing { attempts, .. } => {
                if now_ns < stream.next_probe_ns {
                    return;
                }
                let spent = attempts >= MAX_CLOSE_ATTEMPTS || planted!(self.config, CloseIsSaidOnce);
                if spent || !path.address.has_room() {
                    self.drain_stream(key, now_ns);
                    return;
                }
                stream.probes_owed = 1;
                stream.next_probe_ns = now_ns.saturating_add(pto);
            }
            Phase::Active => {
                if stream.idle_since().saturating_add(idle) <= now_ns && !stream.has_sent() && busy {
                    // Nobody can answer what waits here behind other streams: the clock starts with the first packet. On a
                    // quiet path it waits for nobody (sim seed 8278: an address that proved nothing and may get no more).
                    stream.last_heard_ns = now_ns;
                }
                if stream.idle_since().saturating_add(idle) <= now_ns {
                    self.fail_stream(key, Failure::IdleTimeout, now_ns);
                    return;
                }
                if stream.send.retry_at_ns <= now_ns {
                    stream.send.retry_at_ns = 0;
                }
                if stream.next_probe_ns <= now_ns {
                    stream.let_go_of_spare_memory();
                    // While something is in flight, the path's PTO asks.
                    let wanted = stream.send.is_blocked() || self.config.keep_alive;
                    if wanted && stream.pending_recovery == 0 && stream.send.in_flight == 0 {
                        stream.probes_owed = 1;
                    }
                    stream.next_probe_ns = if stream.send.is_blocked() {
                        // A lost MAX_DATA must not stall a stream for a third of the idle timeout.
                        stream.blocked_probes = stream.blocked_probes.saturating_add(1);
                        let exponent = stream.blocked_probes.min(MAX_PTO_EXPONENT.saturating_add(4));
                        let wait = pto.saturating_mul(1u64.wrapping_shl(exponent)).min(idle / 3);
                        now_ns.saturating_add(wait)
                    } else if self.config.keep_alive {
                        now_ns.saturating_add(idle / 3)
                    } else {
                        u64::MAX
                    };
                }
            }
        }
        self.make_ready(key, now_ns);
    }
}

//! What has to happen at a time of its own: loss by time, PTO, keep-alive, idle timeout, repeated closes.
//!
//! A deadline that moves later is noticed when its entry fires. One that moves earlier gets a second entry; the first, which
//! nobody can take out of the wheel, is remembered and serves the next deadline that is not before it.

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

/// The wheel, and how often it was full.
#[derive(Debug)]
pub(super) struct Timers {
    wheel: Wheel<Timer>,
    refused: u64,
}

impl Timers {
    pub(super) fn new(now_ns: u64, max_entries: usize) -> Self {
        Self { wheel: Wheel::new(now_ns, max_entries), refused: 0 }
    }

    /// Returns whether there was room.
    pub(super) fn insert(&mut self, at_ns: u64, timer: Timer) -> bool {
        let inserted = self.wheel.insert(at_ns, timer).is_ok();
        self.refused = self.refused.saturating_add(u64::from(!inserted));
        inserted
    }

    pub(super) fn next_expiry(&self) -> Option<u64> {
        self.wheel.next_expiry()
    }

    pub(super) fn len(&self) -> usize {
        self.wheel.len()
    }

    /// Insertions that a full wheel refused; for audits.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

/// No entry.
const NONE: u64 = u64::MAX;

/// The entries of one purpose that stand in the wheel: when the first of them fires, and when another, later one does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm {
    near_ns: u64,
    far_ns: u64,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { near_ns: NONE, far_ns: NONE }
    }
}

impl Alarm {
    pub(super) fn at_ns(self) -> Option<u64> {
        (self.near_ns != NONE).then_some(self.near_ns)
    }

    /// Fires by `at_ns` at the latest. Returns whether it will: a full wheel leaves it as it was, and the next event of its
    /// purpose tries again.
    pub(super) fn arm(&mut self, timers: &mut Timers, at_ns: u64, timer: Timer) -> bool {
        if self.near_ns <= at_ns {
            return true;
        }
        if !timers.insert(at_ns, timer) {
            return false;
        }
        // Of three, the one in the middle is forgotten: it fires soon, and in vain.
        if self.far_ns == NONE {
            self.far_ns = self.near_ns;
        }
        self.near_ns = at_ns;
        true
    }

    /// Whether the entry of `at_ns` is the first of them. Then the other one is.
    pub(super) fn fires(&mut self, at_ns: u64) -> bool {
        let first = self.near_ns == at_ns;
        if first {
            *self = Self { near_ns: self.far_ns, far_ns: NONE };
        } else if self.far_ns == at_ns {
            // Within a tick the wheel is first in, first out.
            self.far_ns = NONE;
        }
        first
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
        while let Some(Due { at_ns, value }) = self.timers.wheel.pop(now_ns) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Fires what is due, and says how often that was news.
    fn run(timers: &mut Timers, alarm: &mut Alarm, now_ns: u64) -> usize {
        std::iter::from_fn(|| timers.wheel.pop(now_ns)).filter(|due| alarm.fires(due.at_ns)).count()
    }

    #[test]
    fn the_far_entry_serves_what_comes_after_the_near_one() {
        let (mut timers, mut alarm) = (Timers::new(0, 100), Alarm::default());
        for round in 1..=1_000 {
            assert!(alarm.arm(&mut timers, 10_000_000, Timer::Stream(0)));
            assert!(alarm.arm(&mut timers, round * 2_000, Timer::Stream(0)));
            assert_eq!((timers.len(), alarm.at_ns()), (2, Some(round * 2_000)));
            assert_eq!(run(&mut timers, &mut alarm, round * 2_000), 1);
        }
        assert_eq!((run(&mut timers, &mut alarm, 10_000_000), alarm.at_ns(), timers.len()), (1, None, 0));
    }

    /// Within a tick the far one may come first; it must not be waited for when it is gone.
    #[test]
    fn two_entries_in_a_tick() {
        let (mut timers, mut alarm) = (Timers::new(0, 100), Alarm::default());
        assert!(alarm.arm(&mut timers, 1_023, Timer::Stream(0)));
        assert!(alarm.arm(&mut timers, 1_000, Timer::Stream(0)));
        assert_eq!((run(&mut timers, &mut alarm, 2_000), alarm.at_ns(), timers.len()), (1, None, 0));
        assert!(alarm.arm(&mut timers, 3_000, Timer::Stream(0)));
        assert_eq!(timers.len(), 1);
    }

    #[test]
    fn a_full_wheel_is_counted_and_leaves_the_alarm_as_it_was() {
        let (mut timers, mut alarm) = (Timers::new(0, 1), Alarm::default());
        assert!(alarm.arm(&mut timers, 2_000, Timer::Stream(0)));
        assert!(!alarm.arm(&mut timers, 1_000, Timer::Stream(0)));
        assert_eq!((timers.refused(), alarm.at_ns()), (1, Some(2_000)));
    }
}

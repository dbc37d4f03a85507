//! ACK news of one step, path by path: losses first, then the acknowledgement, as one event for the controller.

use super::{Endpoint, timers::PROBE_SCAN};
use crate::{
    path::{
        Path,
        recovery::{PROBES_PER_PTO, Recovery},
        silence::BASE_MTU,
    },
    stats::{EndpointStats, add},
    transmission::{PathKey, StreamKey},
};
use paceline_pacer::AckEvent;

/// Lost packets are waited for this many PTOs (a late ACK makes the loss spurious), then forgotten.
const FORGET_AFTER_PTOS: u64 = 3;
/// RFC 9002 §7.6.1, kPersistentCongestionThreshold.
const PERSISTENT_PTOS: u64 = 3;
/// From the third PTO in a row on, one packet of each is small: if it is answered, it was not the path but the size.
const SMALL_PROBE_EXPONENT: u32 = 2;

impl Endpoint {
    /// Puts the path on the list of those whose ACK news is to be settled in this step.
    pub(super) fn list_for_settling(&mut self, key: PathKey) {
        if let Some(path) = self.paths.get_mut(key)
            && !path.recovery.listed
        {
            path.recovery.listed = true;
            self.settle.push(key);
        }
    }

    pub(super) fn settle_paths(&mut self, now_ns: u64) {
        let mut settle = std::mem::take(&mut self.settle);
        for key in settle.drain(..) {
            self.settle_path(key, now_ns);
        }
        self.settle = settle;
    }

    fn settle_path(&mut self, key: PathKey, now_ns: u64) {
        let Some(path) = self.paths.get_mut(key) else { return };
        path.recovery.listed = false;
        let newest = path.recovery.batch.newest_sent_ns();
        let is_newest = newest > path.recovery.largest_acknowledged_sent_ns;
        if is_newest {
            path.recovery.largest_acknowledged_sent_ns = newest;
        }
        // Nothing at all arrived for a PTO: what was lost meanwhile fell into a silence. Or nobody looked: we were stalled (sim seed 1411).
        let overdue = path.recovery.pto_deadline(path.controller.pto()).is_some_and(|at| at <= now_ns);
        let silence = path.recovery.pto_exponent > 0 || overdue;
        if !path.recovery.batch.departures.is_empty() {
            path.recovery.pto_exponent = 0;
        }
        self.detect_overtaken(key, now_ns);
        let Some(path) = self.paths.get_mut(key) else { return };
        if !path.recovery.batch.is_empty() {
            let persistent_congestion = Self::judge_losses(path, &mut self.stats, now_ns);
            let sample = newest.filter(|_| is_newest).map(|sent_ns| {
                // Whose ACK was lost in an outage is acknowledged when the peer next has something to say: a sample as long as the
                // outage would make the next PTO as long, too. A path that really became that long shows it again and again.
                let longest = path.controller.pto().saturating_mul(PERSISTENT_PTOS);
                let capped = silence && path.controller.has_rtt();
                (if capped { sent_ns.max(now_ns.saturating_sub(longest)) } else { sent_ns }, 0)
            });
            let batch = &mut path.recovery.batch;
            if is_newest && path.recovery.first_rtt_ns.is_none() {
                path.recovery.first_rtt_ns = Some(now_ns);
            }
            path.controller.on_ack_event(&AckEvent {
                now_ns: batch.at_ns.max(1),
                // No delay is taken off: s2n-quic-dc's field is 0, and what ours hold back (a sixteenth of a round trip at
                // most, see eagerness) is to count, or a PTO would be too short for it.
                rtt_sample: sample,
                lost: &batch.lost,
                acked: batch.acked(),
                persistent_congestion,
                ecn_ce: batch.ecn_ce,
            });
            batch.clear();
        }
        self.touch_path(key);
        self.arm_path(key, now_ns);
        self.activate(key);
    }

    /// What the losses and late packets of a batch say of the path. Returns whether they are persistent congestion.
    fn judge_losses(path: &mut Path, stats: &mut EndpointStats, now_ns: u64) -> bool {
        let Path { recovery, controller, tally, .. } = path;
        let Recovery { batch, thresholds, lost_run, first_rtt_ns, silence, .. } = recovery;
        batch.lost.sort_by_key(|lost| lost.sent_ns);
        batch.departures.sort_unstable();
        let (lost, late) = (batch.lost.len() as u64, batch.late.packets);
        let lost_bytes = batch.lost.iter().fold(0u64, |sum, lost| sum.saturating_add(u64::from(lost.bytes)));
        let (acknowledged, ce) = (batch.acknowledged_bytes, batch.ecn_ce);
        add([&mut tally.packets_lost, &mut stats.packets_lost], lost);
        add([&mut tally.bytes_lost, &mut stats.bytes_lost], lost_bytes);
        add([&mut tally.bytes_acknowledged, &mut stats.bytes_acknowledged], acknowledged);
        add([&mut tally.ecn_ce_reported, &mut stats.ecn_ce_reported], ce);
        add([&mut tally.packets_spuriously_lost, &mut stats.packets_spuriously_lost], late);
        if let Some(sent_ns) = batch.late.sent_ns {
            thresholds.on_late(batch.late.distance, sent_ns, now_ns, controller.loss_delay());
        }
        if let Some(newest) = batch.lost.last() {
            thresholds.on_losses(newest.sent_ns, now_ns);
        }
        silence.on_answer(batch.large_acknowledged, batch.small_acknowledged);
        let narrow = match (batch.lost.first(), batch.lost.last()) {
            (Some(_), Some(newest)) if batch.lost.iter().all(|lost| lost.bytes > u32::from(BASE_MTU)) => {
                silence.on_silence(newest.sent_ns, now_ns)
            }
            _ => false,
        };
        // RFC 9002 §7.6.2: only packets sent after the first RTT sample count.
        let since = first_rtt_ns.unwrap_or(u64::MAX);
        let lost = batch.lost.iter().map(|lost| lost.sent_ns).filter(|sent_ns| *sent_ns > since);
        let run = lost_run.settle(&batch.departures, lost);
        let persistent = run > controller.pto().saturating_mul(PERSISTENT_PTOS);
        if persistent {
            lost_run.clear();
            add([&mut tally.persistent_congestions, &mut stats.persistent_congestions], 1);
        }
        if narrow {
            path.lower_mtu_to_base();
        }
        persistent
    }

    /// RFC 9002 §6.1.2 over all streams of the path: what left 9/8 RTT before something acknowledged is lost.
    pub(super) fn detect_overtaken(&mut self, key: PathKey, now_ns: u64) {
        loop {
            let Some(path) = self.paths.get_mut(key) else { return };
            let Some(mut burst) = path.recovery.order.front().copied() else { return };
            let Some(stream) = self.streams.get_mut(burst.stream) else {
                path.recovery.order.pop_front();
                continue;
            };
            let Some(unsettled) = stream.send.first_unsettled(burst.space, burst.first, burst.last) else {
                path.recovery.order.pop_front();
                continue;
            };
            // Where the next look begins.
            burst.first = unsettled;
            if let Some(front) = path.recovery.order.front_mut() {
                front.first = unsettled;
            }
            let lost_at = burst.sent_ns.saturating_add(path.loss_delay());
            let overtaken =
                path.recovery.largest_acknowledged_sent_ns.is_some_and(|newest| burst.sent_ns < newest);
            if !overtaken || lost_at > now_ns {
                return;
            }
            path.recovery.order.pop_front();
            path.recovery.batch.at_ns = path.recovery.batch.at_ns.max(now_ns);
            for number in burst.first..=burst.last {
                stream.send.on_overtaken(burst.space, number, &mut path.recovery.batch);
            }
            self.make_ready(burst.stream, now_ns);
        }
    }

    /// Forgets verdicts that nobody needs any more.
    pub(super) fn trim_stream(&mut self, key: StreamKey, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(path) = stream.path.and_then(|path| self.paths.get(path)) else { return };
        let keep = path.controller.pto().saturating_mul(FORGET_AFTER_PTOS);
        stream.send.trim(now_ns.saturating_sub(keep));
    }

    /// A PTO expired: up to two streams with something in flight send a probe, in turn.
    pub(super) fn probe_path(&mut self, key: PathKey, now_ns: u64) {
        let Some(path) = self.paths.get_mut(key) else { return };
        let mut candidates: Vec<StreamKey> = Vec::new();
        for burst in path.recovery.order.iter().take(PROBE_SCAN) {
            if candidates.contains(&burst.stream) {
                continue;
            }
            if let Some(stream) = self.streams.get_mut(burst.stream)
                && stream.send.first_unsettled(burst.space, burst.first, burst.last).is_some()
            {
                candidates.push(burst.stream);
            }
        }
        let Some(path) = self.paths.get_mut(key) else { return };
        if candidates.is_empty() {
            path.recovery.order.clear();
            return;
        }
        // The one probed last goes to the back, so that no stream waits for another's fate.
        if let Some(last) = path.recovery.probed
            && let Some(index) = candidates.iter().position(|candidate| *candidate == last)
        {
            let len = candidates.len();
            candidates.rotate_left(index.saturating_add(1).min(len));
        }
        candidates.truncate(PROBES_PER_PTO);
        path.recovery.probed = candidates.last().copied();
        let exponent = path.recovery.pto_exponent;
        if planted!(self.config, OneProbeTimeout) && exponent > 0 {
            candidates.clear();
        }
        // A lone stream alternates.
        let with_small =
            exponent >= SMALL_PROBE_EXPONENT && (candidates.len() > 1 || exponent.is_multiple_of(2));
        let small = candidates.last().copied().filter(|_| with_small && path.mtu > BASE_MTU);
        let streams = &self.streams;
        let large = |key: &StreamKey| streams.get(*key).is_some_and(|stream| stream.send.probe_is_large());
        if path.mtu > BASE_MTU
            && candidates.iter().any(large)
            && path.recovery.silence.on_silence(path.recovery.last_sent_ns, now_ns)
        {
            path.lower_mtu_to_base();
        }
        path.recovery.pto_exponent = exponent.saturating_add(1);
        add([&mut path.tally.probe_timeouts, &mut self.stats.probe_timeouts], 1);
        path.ecn.on_ptos(path.recovery.pto_exponent);
        // Counted from now, in case the probes cannot leave.
        path.recovery.last_sent_ns = path.recovery.last_sent_ns.max(now_ns);
        for stream_key in candidates {
            if let Some(stream) = self.streams.get_mut(stream_key) {
                // Numbers of the recovery space must not overtake each other in the wheel.
                if stream.pending_recovery == 0 {
                    stream.probes_owed = 1;
                    stream.small_probe = small == Some(stream_key);
                }
            }
            self.make_ready(stream_key, now_ns);
        }
    }
}

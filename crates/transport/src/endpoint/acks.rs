//! ACK news of one step, path by path: losses first, then the acknowledgement, as one event for the controller.

use super::{Endpoint, timers::PROBE_SCAN};
use crate::{
    path::recovery::PROBES_PER_PTO,
    transmission::{PathKey, StreamKey},
};
use paceline_pacer::AckEvent;

/// Lost packets are waited for this many PTOs (a late ACK makes the loss spurious), then forgotten.
const FORGET_AFTER_PTOS: u64 = 3;

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
        if newest.is_some() {
            path.recovery.pto_exponent = 0;
        }
        self.detect_overtaken(key, now_ns);
        let Some(path) = self.paths.get_mut(key) else { return };
        let batch = &mut path.recovery.batch;
        if !batch.is_empty() {
            batch.lost.sort_by_key(|lost| lost.sent_ns);
            path.packets_lost = path.packets_lost.saturating_add(batch.lost.len() as u64);
            self.stats.packets_lost = self.stats.packets_lost.saturating_add(batch.lost.len() as u64);
            path.controller.on_ack_event(&AckEvent {
                now_ns: batch.at_ns.max(1),
                // Peers acknowledge every batch at once and put 0 into the delay field.
                rtt_sample: newest.filter(|_| is_newest).map(|sent_ns| (sent_ns, 0)),
                lost: &batch.lost,
                acked: batch.acked(),
                persistent_congestion: false,
                ecn_ce: batch.ecn_ce,
            });
            batch.clear();
        }
        self.touch_path(key);
        self.arm_path(key, now_ns);
        self.activate(key);
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
            let lost_at = burst.sent_ns.saturating_add(path.controller.loss_delay());
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
            Self::charge_held(path, stream);
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
        path.recovery.pto_exponent = path.recovery.pto_exponent.saturating_add(1);
        // Counted from now, in case the probes cannot leave.
        path.recovery.last_sent_ns = path.recovery.last_sent_ns.max(now_ns);
        for stream_key in candidates {
            if let Some(stream) = self.streams.get_mut(stream_key) {
                // Numbers of the recovery space must not overtake each other in the wheel.
                if stream.pending_recovery == 0 {
                    stream.probes_owed = 1;
                }
            }
            self.make_ready(stream_key, now_ns);
        }
    }
}

//! The socket worker: takes what is due from the wheels, sends it, and sees to it that every transmission completes once.

use super::{Endpoint, MAX_SPARE_INFOS};
use crate::{
    environment::{Backpressure, Environment},
    path::Path,
    stats::count,
    transmission::{Completion, Kind, Outcome, Owner, Transmission},
};
use paceline_pacer::TokenBucket;

/// Transmissions handed to the environment at once.
const MAX_BATCH: usize = 64;
/// Depth of the endpoint's token bucket: the largest burst, twice.
const BUCKET_BYTES: u64 = 128 << 10;
/// A descriptor of the largest class.
const MAX_BURST_BYTES: usize = 64 << 10;

/// Whether nobody waits for it any more.
fn is_orphan(transmission: &Transmission) -> bool {
    matches!(&transmission.owner, Owner::Stream(queue) if queue.upgrade().is_none())
}

/// Not now.
struct Refused {
    /// When to ask again, ns.
    until_ns: u64,
    /// By the endpoint's rate cap rather than by the path's pacer.
    capped: bool,
}

/// Whether `bytes` of a path may leave now, or when to ask again: the endpoint's rate cap, and the path's train after a late
/// wake.
fn admit(
    path: &mut Path,
    mut bucket: Option<&mut TokenBucket>,
    bytes: u64,
    now_ns: u64,
) -> Result<(), Refused> {
    if let Some(bucket) = &mut bucket {
        bucket.take(now_ns, bytes).map_err(|until_ns| Refused { until_ns, capped: true })?;
    }
    let rate = path.controller.rate();
    let burst = path.pacer.burst_packets(&path.controller, path.mtu, usize::MAX, MAX_BURST_BYTES);
    let burst = (burst as u64).saturating_mul(u64::from(path.mtu));
    let verdict = path.pacer.admit(now_ns, bytes, rate, path.controller.smoothed_rtt(), burst);
    if verdict.is_err()
        && let Some(bucket) = bucket
    {
        bucket.refund(bytes);
    }
    verdict.map_err(|until_ns| Refused { until_ns, capped: false })
}

pub(super) fn token_bucket(rate: u64, now_ns: u64) -> TokenBucket {
    TokenBucket::new(rate, BUCKET_BYTES, now_ns)
}

impl Endpoint {
    /// Moves what is due from the wheel to the environment, lowest priority number first.
    pub(super) fn release<E: Environment>(&mut self, environment: &mut E, now_ns: u64) {
        if let Backpressure::Until(time) = self.backpressure
            && time > now_ns
        {
            return;
        }
        self.cancel_due_orphans();
        self.release_held(now_ns);
        loop {
            while self.due.len() < MAX_BATCH {
                let Some((priority, due)) = self.wheel.pop(now_ns) else { break };
                self.release_one(priority, due.value, now_ns);
            }
            let full = self.due.len() >= MAX_BATCH;
            if self.due.is_empty() {
                self.backpressure = Backpressure::None;
                return;
            }
            self.note_handed();
            self.backpressure = environment.submit(now_ns, &mut self.due);
            if self.backpressure != Backpressure::None {
                return;
            }
            if full {
                // The rest waits for the next step, so that what arrives is served in between.
                self.busy = true;
                return;
            }
        }
    }

    /// What the socket did not take may have lost its owner since.
    fn cancel_due_orphans(&mut self) {
        for _ in 0..self.due.len() {
            let Some(transmission) = self.due.pop_front() else { return };
            if !is_orphan(&transmission) {
                self.due.push_back(transmission);
                continue;
            }
            if transmission.priority > 0
                && let Some(bucket) = &mut self.bucket
            {
                bucket.refund(transmission.segments.total_len() as u64);
            }
            self.cancel(transmission);
        }
    }

    /// A transmission that is due: cancelled if its owner is gone, sent, or put at the end of its path's line.
    fn release_one(&mut self, priority: usize, transmission: Transmission, now_ns: u64) {
        if is_orphan(&transmission) {
            self.cancel(transmission);
            return;
        }
        let bytes = transmission.segments.total_len() as u64;
        if priority == 0 {
            // Control is never delayed, only accounted for: an ACK that waits costs more than it saves.
            if let Some(bucket) = &mut self.bucket {
                let _ = bucket.take(now_ns, bytes);
            }
            self.due.push_back(transmission);
            return;
        }
        let Some(key) = transmission.path else { return self.due.push_back(transmission) };
        let capped_until_ns = self.capped_until_ns();
        let Some(path) = self.paths.get_mut(key) else { return self.due.push_back(transmission) };
        // Whoever comes while somebody waits goes behind him, or packets of one number space would overtake each other.
        let verdict = if !path.line.is_empty() {
            Err(Refused { until_ns: path.line_until_ns, capped: path.line_capped })
        } else if let Some(until_ns) = capped_until_ns {
            Err(Refused { until_ns, capped: true })
        } else {
            admit(path, self.bucket.as_mut(), bytes, now_ns)
        };
        match verdict {
            Ok(()) => self.due.push_back(transmission),
            Err(Refused { .. }) if planted!(self.config, RefusedIsDropped) => {}
            Err(Refused { until_ns, .. }) if planted!(self.config, HeldGoesBack) => {
                let again = Transmission { scheduled_ns: until_ns, ..transmission };
                let _ = self.wheel.insert(priority, until_ns, again);
            }
            Err(Refused { until_ns, capped }) => {
                if path.line.is_empty() {
                    self.held.push(key);
                }
                path.line_until_ns = until_ns;
                path.line_capped = capped;
                path.line.push_back(transmission);
            }
        }
    }

    /// Until when the rate cap's tokens are spoken for: a path with a large burst would wait for ever behind small ones.
    fn capped_until_ns(&self) -> Option<u64> {
        self.bucket.as_ref()?;
        let mut paths = self.held.iter().filter_map(|key| self.paths.get(*key));
        paths.find(|path| path.line_capped && !path.line.is_empty()).map(|path| path.line_until_ns)
    }

    /// Lets go of what was held back after a late wake or by the rate cap, in order, as far as it may leave now. Paths take
    /// turns: who waits for the rate cap is served before those behind him, and goes to the end when he was.
    fn release_held(&mut self, now_ns: u64) {
        let mut held = std::mem::take(&mut self.held);
        let mut served = Vec::new();
        let mut capped_until_ns = None;
        held.retain(|key| {
            let mut any = false;
            while let Some(path) = self.paths.get_mut(*key)
                && let Some(front) = path.line.front()
            {
                if path.line_until_ns > now_ns {
                    if path.line_capped && capped_until_ns.is_none() {
                        capped_until_ns = Some(path.line_until_ns);
                    }
                    break;
                }
                if is_orphan(front) {
                    if let Some(transmission) = path.line.pop_front() {
                        self.cancel(transmission);
                    }
                    continue;
                }
                if let Some(until_ns) = capped_until_ns {
                    (path.line_until_ns, path.line_capped) = (until_ns, true);
                    break;
                }
                let bytes = front.segments.total_len() as u64;
                match admit(
                    path,
                    self.bucket.as_mut().filter(|_| !planted!(self.config, HeldIsNotCharged)),
                    bytes,
                    now_ns,
                ) {
                    Ok(()) => {
                        self.due.extend(path.line.pop_front());
                        any = true;
                    }
                    Err(Refused { until_ns, capped }) => {
                        (path.line_until_ns, path.line_capped) = (until_ns, capped);
                    }
                }
            }
            let waits = self.paths.get(*key).is_some_and(|path| !path.line.is_empty());
            if waits && any {
                served.push(*key);
            }
            waits && !any
        });
        held.append(&mut served);
        held.append(&mut self.held);
        self.held = held;
    }

    /// When the first of the held paths may go on.
    pub(super) fn next_held(&self) -> Option<u64> {
        self.held.iter().filter_map(|key| self.paths.get(*key)).map(|path| path.line_until_ns).min()
    }

    /// Puts a transmission into the wheel.
    pub(super) fn schedule(&mut self, transmission: Transmission, at_ns: u64) {
        if let Some(path) = transmission.path.and_then(|key| self.paths.get_mut(key)) {
            path.address.on_scheduled(transmission.segments.total_len() as u64);
        }
        let priority = usize::from(transmission.priority);
        if let Err(full) = self.wheel.insert(priority, at_ns, transmission) {
            // Cannot happen while each transmission holds a descriptor; if it does, it completes like any other.
            self.complete(Completion { transmission: full.0, outcome: Outcome::Cancelled });
        }
    }

    /// The environment's verdicts go to the streams' queues.
    pub(super) fn collect_results<E: Environment>(&mut self, environment: &mut E) {
        let mut results = std::mem::take(&mut self.results);
        environment.poll_results(&mut results);
        for completion in results.drain(..) {
            self.complete(completion);
        }
        self.results = results;
    }

    /// A transmission has its outcome. Counts it, and tells its owner if that one still lives.
    pub(super) fn complete(&mut self, completion: Completion) {
        let Completion { transmission, outcome } = &completion;
        self.count_outcome(transmission, outcome);
        let owner = match &transmission.owner {
            Owner::Stream(queue) => queue.upgrade(),
            Owner::Endpoint => None,
        };
        match owner {
            Some(queue) => queue.push(completion),
            None => self.forget(completion),
        }
    }

    fn count_outcome(&mut self, transmission: &Transmission, outcome: &Outcome) {
        let bytes = transmission.segments.total_len() as u64;
        if transmission.kind.is_stream_data()
            && !(planted!(self.config, CancelledKeepsCredit) && *outcome == Outcome::Cancelled)
            && let Some(path) = transmission.path.and_then(|key| self.paths.get_mut(key))
        {
            path.scheduled_bytes = path.scheduled_bytes.saturating_sub(bytes);
        }
        let data = transmission.kind.is_stream_data();
        let stats = &mut self.stats;
        match outcome {
            Outcome::Sent { at_ns } => {
                stats.bytes_sent = stats.bytes_sent.saturating_add(bytes);
                if data {
                    count(&mut stats.sent);
                    stats.departure_error_ns.record(at_ns.saturating_sub(transmission.scheduled_ns));
                    stats.segments.record(transmission.infos.len() as u64);
                    if let Some(path) = transmission.path.and_then(|key| self.paths.get_mut(key)) {
                        let rate = path.controller.rate();
                        if let Some(train) = path.tally.on_sent(transmission, *at_ns, rate) {
                            stats.trains.record(train);
                        }
                    }
                }
            }
            Outcome::Failed { .. } if data => count(&mut stats.failed),
            Outcome::Cancelled if data => {
                count(&mut stats.cancelled);
                let packets = transmission.infos.len() as u64;
                stats.packets_cancelled = stats.packets_cancelled.saturating_add(packets);
            }
            Outcome::Failed { .. } | Outcome::Cancelled => {}
        }
    }

    /// Taken out of the wheel unsent, because its stream let go of it: time and tokens are given back.
    fn cancel(&mut self, transmission: Transmission) {
        if planted!(self.config, CancelledKeepsDescriptor) {
            std::mem::forget(transmission.segments.clone());
        }
        let bytes = transmission.segments.total_len() as u64;
        if let Some(path) = transmission.path.and_then(|key| self.paths.get_mut(key)) {
            // Its own time is over by now. Given back although others are scheduled behind it, it would let the next bursts
            // pile up on the departure of the last one, and cost their path as much again (item 2's test, 86 of 96 ms).
            if path.scheduled_bytes <= bytes {
                let rate = path.controller.rate();
                path.pacer.refund(bytes, rate);
            }
        }
        self.complete(Completion { transmission, outcome: Outcome::Cancelled });
    }

    /// The owner is gone. A stream that only drains still counts what comes home; the application gets its record.
    fn forget(&mut self, completion: Completion) {
        let Completion { transmission, outcome } = completion;
        self.record(&transmission, outcome);
        let path = transmission.path;
        if let Some(key) = transmission.key
            && let Some(stream) = self.streams.get_mut(key)
        {
            if transmission.kind.is_stream_data() {
                stream.pending = stream.pending.saturating_sub(1);
                if transmission.kind != Kind::Data {
                    stream.pending_recovery = stream.pending_recovery.saturating_sub(1);
                }
            } else {
                stream.recv.control_out = stream.recv.control_out.saturating_sub(1);
            }
            self.announce(key);
        }
        self.recycle(transmission);
        if let Some(path) = path {
            self.activate(path);
        }
    }

    /// Lets go of a transmission's descriptor and keeps its vector.
    pub(super) fn recycle(&mut self, transmission: Transmission) {
        let mut infos = transmission.infos;
        if infos.capacity() > 0 && self.spare_infos.len() < MAX_SPARE_INFOS {
            infos.clear();
            self.spare_infos.push(infos);
        }
    }
}

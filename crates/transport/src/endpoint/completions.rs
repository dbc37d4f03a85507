//! What became of transmissions: the stream learns it, the controller hears of departures, credit comes back.

use super::Endpoint;
use crate::{
    app::Record,
    config::{MS, SECOND},
    error::Failure,
    path::recovery::SentBurst,
    stream::SendTrouble,
    transmission::{Completion, Kind, Outcome, SendError, StreamKey, Transmission},
};

/// The same errno for this long with nothing sent ends a stream.
const SEND_PATIENCE_NS: u64 = 3 * SECOND;
/// EMSGSIZE on Linux; environments report it as [`SendError::TooLarge`].
const EMSGSIZE: i32 = 90;
/// A failed send is tried again after at least this long.
const MIN_SEND_RETRY_NS: u64 = MS;
/// … and at most this.
const MAX_SEND_RETRY_NS: u64 = SECOND / 4;
const MAX_SEND_RETRY_EXPONENT: u32 = 8;

impl Endpoint {
    pub(super) fn apply_completions(&mut self, now_ns: u64) {
        let mut ready = std::mem::take(&mut self.completed);
        self.completions_ready.take(&mut ready);
        for key in ready.drain(..) {
            let mut batch = std::mem::take(&mut self.results);
            if let Some(stream) = self.streams.get(key) {
                stream.completions.take(&mut batch);
            }
            for completion in batch.drain(..) {
                self.on_completion(key, completion, now_ns);
            }
            self.results = batch;
            self.after_completions(key, now_ns);
        }
        self.completed = ready;
    }

    /// What is due goes to the environment.
    pub(super) fn note_handed(&mut self) {
        for transmission in &self.due {
            if let (Some(key), Some(last)) = (transmission.key, transmission.infos.last())
                && let Some(stream) = self.streams.get_mut(key)
            {
                stream.send.space_mut(last.space).note_handed(last.number);
            }
        }
    }

    fn on_completion(&mut self, key: StreamKey, completion: Completion, now_ns: u64) {
        let Completion { transmission, outcome } = completion;
        let Some(stream) = self.streams.get_mut(key) else {
            self.recycle(transmission);
            return;
        };
        if !transmission.kind.is_stream_data() {
            stream.recv.control_out = stream.recv.control_out.saturating_sub(1);
            self.recycle(transmission);
            return;
        }
        stream.pending = stream.pending.saturating_sub(1);
        if transmission.kind != Kind::Data {
            stream.pending_recovery = stream.pending_recovery.saturating_sub(1);
        }
        let path = transmission.path.and_then(|path| self.paths.get_mut(path));
        match (outcome, path) {
            (Outcome::Sent { at_ns }, Some(path)) => {
                stream.send_error = None;
                if !stream.has_sent() {
                    // What waited here until now could not be answered: the idle clock starts (sim seed 5842).
                    stream.last_heard_ns = stream.last_heard_ns.max(at_ns);
                }
                stream.departed = true;
                // With something in flight it was asked already, and our own keep-alive must not keep a dead peer alive.
                let asks = transmission.kind == Kind::Data && stream.send.in_flight == 0;
                if asks && stream.asked_ns.is_none() {
                    stream.asked_ns = Some(at_ns);
                }
                // App-limited is decided now, not when the packet was built: nothing is left that could have used the window.
                let app_limited = path.schedule.is_empty()
                    && path.scheduled_bytes == 0
                    && !(stream.has_new_data() && stream.key_allows());
                for info in &transmission.infos {
                    stream.send.on_sent(info.space, info.number, at_ns, app_limited, &mut path.controller);
                }
                if let (Some(first), Some(last)) = (transmission.infos.first(), transmission.infos.last()) {
                    path.recovery.order.push_back(SentBurst {
                        stream: key,
                        space: first.space,
                        first: first.number,
                        last: last.number,
                        sent_ns: at_ns,
                    });
                    path.recovery.last_sent_ns = path.recovery.last_sent_ns.max(at_ns);
                }
                if let Some(path) = transmission.path {
                    self.arm_path(path, now_ns);
                }
            }
            (Outcome::Failed { error, .. }, _) => self.on_send_failed(key, &transmission, error, now_ns),
            (Outcome::Cancelled, _) | (Outcome::Sent { .. }, None) => {
                for info in &transmission.infos {
                    stream.send.on_unsent(info.space, info.number);
                }
            }
        }
        self.record(&transmission, outcome);
        if planted!(self.config, FailureIsToldTwice) && matches!(outcome, Outcome::Failed { .. }) {
            self.record(&transmission, outcome);
        }
        self.recycle(transmission);
    }

    /// Not retried at once: a firewall that answers EPERM would cost a core.
    fn on_send_failed(&mut self, key: StreamKey, transmission: &Transmission, error: SendError, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        for info in &transmission.infos {
            stream.send.on_unsent(info.space, info.number);
        }
        if error == SendError::TooLarge
            && let Some(path) = transmission.path.and_then(|path| self.paths.get_mut(path))
            && let Some(len) = transmission.infos.iter().map(|info| info.packet_len).max()
            && (path.lower_mtu(len) || len > path.mtu)
        {
            // Sealed anew in pieces that fit, and at once: the next attempt is not the same.
            return;
        }
        let errno = match error {
            SendError::TooLarge => EMSGSIZE,
            SendError::Os(errno) => errno,
        };
        let trouble = match stream.send_error {
            // After a pause as long it is another trouble. Of an empty probe that failed nothing is sent again, so nothing shows
            // that the socket has recovered.
            Some(trouble)
                if trouble.errno == errno && now_ns.saturating_sub(trouble.newest_ns) < SEND_PATIENCE_NS =>
            {
                SendTrouble {
                    newest_ns: now_ns,
                    exponent: trouble.exponent.saturating_add(1).min(MAX_SEND_RETRY_EXPONENT),
                    ..trouble
                }
            }
            _ => SendTrouble { errno, since_ns: now_ns, newest_ns: now_ns, exponent: 0 },
        };
        stream.send_error = Some(trouble);
        if now_ns.saturating_sub(trouble.since_ns) >= SEND_PATIENCE_NS {
            self.fail_stream(key, Failure::Send(errno), now_ns);
            return;
        }
        let pto = stream.path.and_then(|path| self.paths.get(path)).map_or(0, |path| path.controller.pto());
        let wait = (pto / 4).max(MIN_SEND_RETRY_NS).saturating_mul(1u64.wrapping_shl(trouble.exponent));
        // `wait` doubles up to 250 ms, so the patience above is spent in about a dozen attempts.
        let retry_at_ns = now_ns.saturating_add(wait.min(MAX_SEND_RETRY_NS));
        stream.send.retry_at_ns = retry_at_ns;
        self.arm_stream_at(key, retry_at_ns);
    }

    fn after_completions(&mut self, key: StreamKey, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.pending == 0
            && let Some(priority) = stream.next_priority.take()
        {
            stream.priority = priority;
        }
        if stream.recv.ack_due {
            self.owe_control(key);
        }
        let path = self.streams.get(key).and_then(|stream| stream.path);
        self.make_ready(key, now_ns);
        if let Some(path) = path {
            self.touch_path(path);
            self.activate(path);
        }
        self.finish_if_over(key, now_ns);
    }

    /// Tells the application, if it asked for completions.
    pub(super) fn record(&mut self, transmission: &Transmission, outcome: Outcome) {
        if !transmission.recorded || !transmission.kind.is_stream_data() {
            return;
        }
        let waiting = self.shared.outbox().records.len().saturating_add(self.outbox.records.len());
        if waiting >= self.config.max_records {
            if let Some(key) = transmission.key
                && let Some(stream) = self.streams.get_mut(key)
            {
                stream.skipped = stream.skipped.saturating_add(1);
                self.announce(key);
            }
            return;
        }
        self.outbox.records.push(Record {
            stream: transmission.stream,
            outcome,
            scheduled_ns: transmission.scheduled_ns,
            packets: transmission.infos.clone(),
        });
    }
}

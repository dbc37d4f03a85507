//! What may be heard of a stream, and how it may end.

use super::{
    Run,
    application::{Side, StreamRun},
};
use crate::{FaultKind, Mode};
use paceline_transport::{Failure, SendError, app::StreamUpdate};
use std::fmt::Write;

/// What a stream ends with that never said so.
const CODE_GENERIC: u64 = 1;

impl StreamRun {
    /// Totals only grow, and stay within what was asked for. Returns how many comparisons were made.
    pub(super) fn check(&self, stream: usize, index: usize, update: &StreamUpdate) -> Result<u64, String> {
        let side = &self.sides[index];
        let broken =
            |what: &str| Err(format!("stream {stream}, side {index}: {what}: {update:?} after {side:?}"));
        if side.closed {
            return broken("news after closed");
        }
        if update.sealed < side.sealed || update.acknowledged < side.acknowledged {
            return broken("a total goes back");
        }
        if update.transmissions < side.transmissions || (side.fin_acknowledged && !update.fin_acknowledged) {
            return broken("a total goes back");
        }
        if update.sealed > side.written || update.acknowledged > update.sealed {
            return broken("more than was written");
        }
        if update.fin_acknowledged && (!side.finished || update.acknowledged != side.written) {
            return broken("a FIN is acknowledged too early");
        }
        if update.end && side.ended {
            return broken("ended twice");
        }
        if update.closed && update.failure.is_none() && side.failure.is_none() {
            let all = update.fin_acknowledged && (update.end || side.ended || side.stopped);
            if !all {
                return broken("closed without a failure, but not finished");
            }
        }
        Ok(7)
    }

    /// The FIN comes after the last byte.
    pub(super) fn check_end(&self, stream: usize, index: usize) -> Result<(), String> {
        let (side, other) = (&self.sides[index], &self.sides[1 - index]);
        if !other.finished || side.read != other.written {
            return Err(format!("stream {stream}, side {index} ended at {} of {other:?}", side.read));
        }
        Ok(())
    }

    /// What is read was written, and what is acknowledged was read: an acknowledgement is not a completion.
    pub(super) fn check_against_other(&self, stream: usize, index: usize) -> Result<(), String> {
        let (side, other) = (&self.sides[index], &self.sides[1 - index]);
        if side.read > other.written {
            return Err(format!("stream {stream}, side {index} read {} of {}", side.read, other.written));
        }
        let listens = other.id.is_some() && !other.gone && !other.stopped && other.failure.is_none();
        if listens && side.acknowledged > other.read {
            return Err(format!(
                "stream {stream}, side {index}: {} bytes acknowledged, {} delivered",
                side.acknowledged, other.read
            ));
        }
        if listens && side.fin_acknowledged && !other.ended {
            return Err(format!("stream {stream}, side {index}: FIN acknowledged, but not delivered"));
        }
        Ok(())
    }
}

impl Run<'_> {
    fn has_fault(&self, kind: FaultKind) -> bool {
        self.scenario.faults.iter().any(|fault| fault.kind == kind)
    }

    pub(super) fn check_send_error(&mut self, stream: usize, error: SendError) -> Result<(), String> {
        self.checker.checked += 1;
        let kind = match error {
            SendError::TooLarge => FaultKind::MtuDrop,
            SendError::Os(_) => FaultKind::SendError,
        };
        if self.world.faults().get(kind) == 0 {
            return Err(format!("stream {stream}: {error:?} without a {kind}"));
        }
        Ok(())
    }

    pub(super) fn check_peer_failure(&mut self, pair: usize, failure: Failure) -> Result<(), String> {
        self.checker.checked += 1;
        let may = match failure {
            Failure::HandshakeTimeout | Failure::IdleTimeout => {
                self.scenario.mode == Mode::Safety || self.excuses[pair].is_some()
            }
            // A peer that closed the path, or gave up its handshake, has forgotten its keys as one that restarted.
            Failure::PeerRestarted => {
                self.scenario.mode == Mode::Safety
                    || self.excuses[pair].is_some()
                    || self.is_pair_closed(pair)
            }
            Failure::HandshakeRefused(_) => self.has_fault(FaultKind::PeerRestart),
            _ => false,
        };
        if may { Ok(()) } else { Err(format!("pair {pair}: the peer failed: {failure}")) }
    }

    /// Every failure needs its reason; in an honest world there is none for a violation.
    pub(super) fn check_failure(
        &mut self,
        stream: usize,
        index: usize,
        failure: Failure,
    ) -> Result<(), String> {
        self.checker.checked += 1;
        let run = &self.streams[stream];
        let (side, other) = (&run.sides[index], &run.sides[1 - index]);
        let pair = run.plan.pair;
        let faulty = self.scenario.mode == Mode::Safety || self.excuses[pair].is_some();
        let closed = self.is_closed_by_plan(stream);
        let may = match failure {
            Failure::LocalReset(code) => {
                let planned = run.writes(index).reset_at.is_some_and(|(_, planned)| planned == code);
                (side.reset && planned) || (side.stopped && code <= CODE_GENERIC)
            }
            Failure::PeerReset(code) => {
                let planned = run.writes(1 - index).reset_at.is_some_and(|(_, planned)| planned == code);
                (other.reset && planned)
                    || (other.stopped && code <= CODE_GENERIC)
                    || (code == 0 && closed)
                    || (code == CODE_GENERIC && (other.failure.is_some() || other.gone))
            }
            // A close is repeated three times, and from time-wait whenever somebody asks.
            Failure::IdleTimeout => faulty || closed,
            Failure::HandshakeTimeout => faulty,
            Failure::Send(_) => {
                faulty && (self.has_fault(FaultKind::SendError) || self.has_fault(FaultKind::MtuDrop))
            }
            Failure::PeerRestarted => faulty || self.is_pair_closed(pair),
            Failure::Closed | Failure::StreamRefused => closed,
            _ => false,
        };
        if may {
            return Ok(());
        }
        let excuse = self.excuses[pair].as_deref().unwrap_or("none");
        Err(format!("stream {stream}, side {index} failed: {failure} (excuse: {excuse}); {}", run.describe()))
    }

    /// Whether a connection of the pair was closed by a script.
    fn is_pair_closed(&self, pair: usize) -> bool {
        let now_ns = self.world.now_ns() - self.start_ns;
        self.scenario.closes.iter().any(|close| close.pair == pair && close.at_ns <= now_ns)
    }

    pub(super) fn is_closed_by_plan(&self, stream: usize) -> bool {
        let plan = &self.streams[stream].plan;
        let now_ns = self.world.now_ns() - self.start_ns;
        self.scenario
            .closes
            .iter()
            .any(|close| close.pair == plan.pair && close.reversed == plan.reversed && close.at_ns <= now_ns)
    }

    /// After the last stream: who had no reason to fail has all its data.
    pub(super) fn check_ends(&mut self) -> Result<(), String> {
        for stream in 0..self.streams.len() {
            let run = &self.streams[stream];
            let excused = self.excuses[run.plan.pair].is_some() || self.scenario.mode == Mode::Safety;
            if excused || run.plan.is_cut_short() || self.is_closed_by_plan(stream) {
                continue;
            }
            self.checker.checked += 1;
            let whole = |side: &Side, reads: u64, writes: u64| {
                side.closed
                    && side.failure.is_none()
                    && side.ended
                    && side.read == reads
                    && side.written == writes
            };
            let (there, back) = (run.plan.there.bytes, run.plan.back.bytes);
            if run.abandoned || !whole(&run.sides[0], back, there) || !whole(&run.sides[1], there, back) {
                return Err(format!("stream {stream} is not whole, without an excuse; {}", run.describe()));
            }
        }
        Ok(())
    }

    /// Where the world stands: what is open, and what the workers say of it.
    pub(super) fn hangs(&self, what: &str) -> String {
        let mut text = what.to_owned();
        for (index, run) in self.streams.iter().enumerate().filter(|(_, run)| !run.is_over()).take(4) {
            let excuse = self.excuses[run.plan.pair].as_deref().unwrap_or("none");
            let _ = write!(text, "\n  stream {index} ({}; excuse: {excuse}): {}", run.plan, run.describe());
            for side in &run.sides {
                let audit = self.world.audit(self.nodes[side.node].id);
                if let Some(found) = audit.streams.iter().find(|found| Some(found.id) == side.id) {
                    let _ = write!(text, "\n    node {}: {found:?}", side.node);
                }
            }
        }
        for node in &self.nodes {
            let audit = self.world.audit(node.id);
            let _ = write!(text, "\n  {}: paths {:?}", node.address, audit.paths);
        }
        text
    }
}

impl StreamRun {
    pub(super) fn describe(&self) -> String {
        let side = |side: &Side| {
            format!(
                "node {}{}: wrote {} (sealed {}, acknowledged {}{}{}), read {}{}{}{}{}",
                side.node,
                if side.id.is_none() { " (does not have it)" } else { "" },
                side.written,
                side.sealed,
                side.acknowledged,
                if side.finished { ", finished" } else { "" },
                if side.fin_acknowledged { " and acknowledged" } else { "" },
                side.read,
                if side.ended { " to the end" } else { "" },
                side.failure.map_or(String::new(), |failure| format!(", failed: {failure}")),
                if side.closed { ", closed" } else { "" },
                if side.gone { ", gone" } else { "" },
            )
        };
        format!("{} | {}", side(&self.sides[0]), side(&self.sides[1]))
    }
}

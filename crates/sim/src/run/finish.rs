//! Everybody goes home: every transmission completed once, every descriptor returned, and then silence.

use super::Run;
use paceline_transport::{SECOND, app::Command};

/// A close is repeated three times, a PTO apart, and a PTO is backed off to 16 of them at most.
const DRAIN_NS: u64 = 300 * SECOND;
/// How long a silent world is listened to.
const SILENCE_NS: u64 = 120 * SECOND;

impl Run<'_> {
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.audit()?;
        self.check_ends()?;
        self.check_completions()?;
        // What is still to come of scripts and faults is called off; faults that last go on lasting.
        self.events.clear();
        self.play_back()?;
        for node in 0..self.nodes.len() {
            self.world.fail_sends(self.nodes[node].id, None);
            self.command(node, Command::Shutdown);
        }
        let end_ns = self.world.now_ns() + DRAIN_NS;
        while !self.nodes.iter().all(|node| self.world.is_done(node.id)) {
            if !self.world.advance(end_ns) && self.world.now_ns() >= end_ns {
                break;
            }
            self.drop_news();
        }
        self.world.run_until(self.world.now_ns() + SECOND);
        for index in 0..self.nodes.len() {
            self.check_home(index)?;
        }
        // Datagrams that the network still holds may arrive and be answered once; then nobody has anything to say.
        self.world.run_until(self.world.now_ns() + SILENCE_NS);
        let datagrams = self.world.datagrams().0;
        self.world.run_until(self.world.now_ns() + SILENCE_NS);
        self.checker.checked += 1;
        if self.world.datagrams().0 != datagrams {
            return Err("the world does not fall silent".to_owned());
        }
        for index in 0..self.nodes.len() {
            let id = self.nodes[index].id;
            let lent = self.world.pool(id).lent - self.world.squeezed(id);
            self.checker.checked += 1;
            if lent != 0 {
                return Err(format!("node {index}: {lent} descriptors are still out after the silence"));
            }
            if self.world.squeezed(id) == 0 && !self.world.lends_everything(id) {
                return Err(format!(
                    "node {index}: everything is at home, but the pool lends it not in every size"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn drop_news(&mut self) {
        for node in &self.nodes {
            let mut news = std::mem::take(&mut self.news);
            self.world.take_news(node.id, &mut news);
            news.peers.clear();
            news.streams.clear();
            news.records.clear();
            news.drained = false;
            self.news = news;
        }
        self.sent.clear();
        self.received.clear();
        self.world.take_sent(&mut self.sent);
        self.world.take_received(&mut self.received);
    }

    /// Each transmission completed exactly once.
    fn check_completions(&mut self) -> Result<(), String> {
        for (stream, run) in self.streams.iter().enumerate() {
            for side in run.sides.iter().filter(|side| side.closed && !side.gone) {
                self.checker.checked += 1;
                if side.records + side.skipped + side.unrecorded != side.transmissions {
                    return Err(format!(
                        "stream {stream}, node {}: {} records, {} skipped, {} unrecorded of {} transmissions",
                        side.node, side.records, side.skipped, side.unrecorded, side.transmissions
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_home(&mut self, index: usize) -> Result<(), String> {
        let id = self.nodes[index].id;
        let stats = self.world.stats(id).endpoint;
        self.checker.checked += 2;
        if !self.world.is_done(id) {
            return Err(format!("node {index} does not drain: {stats:?}, {:?}", self.world.audit(id)));
        }
        if stats.sent + stats.failed + stats.cancelled != stats.transmissions {
            return Err(format!("node {index}: transmissions without an outcome: {stats:?}"));
        }
        Ok(())
    }
}

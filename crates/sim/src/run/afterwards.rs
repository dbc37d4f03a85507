//! What comes when its stream is over: soon afterwards it is answered, and later it opens nothing.

use super::{ATTACKER, Run};
use crate::{FaultPlan, Observed, ObservedMail, Target};
use paceline_transport::{
    Failure, SECOND, Space,
    app::Outbox,
    inspect::{Inspected, inspect},
};
use std::{collections::BTreeMap, net::SocketAddr, rc::Rc};

/// First packets that are kept; more than a world has streams, as each may be probed before its first data.
const MOST_OPENINGS: usize = 64;

/// The first packet of a stream.
#[derive(Debug)]
pub(super) struct Opening {
    stream: usize,
    to: SocketAddr,
    bytes: Rc<[u8]>,
}

/// Whose packets a node got, and how far their numbers went.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// By its bytes: the stream that a packet belongs to, and the side that sent it.
    sent: BTreeMap<Rc<[u8]>, (usize, usize)>,
    /// By stream, side that got them, and whether it is the recovery space: the highest number that arrived.
    highest: BTreeMap<(usize, usize, bool), u64>,
}

impl Run<'_> {
    /// Who is done goes on answering for an idle timeout, as its peer may have missed everything it said: to each packet that is
    /// younger than all before it with an acknowledgement, or with the close that the stream ended with.
    pub(super) fn check_late(&mut self, received: &[ObservedMail], sent: &[Observed]) -> Result<(), String> {
        for packet in sent.iter().filter(|packet| packet.left && packet.kind.is_stream_data()) {
            if let Some((stream, side)) = self.nodes[packet.node.index()].streams.get(&packet.stream) {
                self.arrivals.sent.insert(Rc::clone(&packet.bytes), (*stream, *side));
            }
        }
        for mail in received {
            let Some((stream, sender)) = self.arrivals.sent.get(&mail.bytes).copied() else { continue };
            let Inspected::Stream { credential_id, key_id, space, number, .. } = inspect(&mail.bytes) else {
                continue;
            };
            let place = (stream, 1 - sender, space == Space::Recovery);
            let highest = self.arrivals.highest.insert(place, number);
            if let Some(highest) = highest.filter(|highest| *highest >= number) {
                self.arrivals.highest.insert(place, highest);
                continue;
            }
            let Some(close) = self.answer_due(stream, 1 - sender, mail) else { continue };
            self.checker.checked += 1;
            let answers = sent.iter().filter(|packet| packet.node == mail.node && packet.at_ns == mail.at_ns);
            let closes: Vec<Option<u64>> = answers
                .filter_map(|packet| match packet.inspect() {
                    Inspected::Control { credential_id: id, key_id: key, close, .. } => {
                        ((id, key) == (credential_id, key_id)).then_some(close)
                    }
                    _ => None,
                })
                .collect();
            if !closes.contains(&close) {
                let failure = self.streams[stream].sides[1 - sender].failure;
                return Err(format!(
                    "stream {stream} is over ({failure:?}): {space:?} {number} is answered with {closes:?}, not {close:?}"
                ));
            }
        }
        Ok(())
    }

    /// What a late packet is answered with for certain, by a node that nothing disturbs: the code of a close, or none.
    fn answer_due(&self, stream: usize, side: usize, mail: &ObservedMail) -> Option<Option<u64>> {
        let run = &self.streams[stream];
        let side = &run.sides[side];
        let closed_ns = side.closed_ns.filter(|_| !side.gone)?;
        // The entry goes an idle timeout after the stream, of which the application may have heard a little later.
        let kept_ns = self.scenario.nodes[0].idle_timeout_ns * 9 / 10;
        let strikes = |fault: &FaultPlan| matches!(fault.target, Target::Node(node) if node == side.node);
        if mail.at_ns <= closed_ns
            || mail.at_ns >= closed_ns + kept_ns
            || self.scenario.faults.iter().any(strikes)
            || self.scenario.closes.iter().any(|close| close.pair == run.plan.pair)
        {
            return None;
        }
        match side.failure {
            None => Some(None),
            Some(Failure::LocalReset(code)) => Some(Some(code)),
            Some(_) => None,
        }
    }

    /// Keeps what opens a stream.
    pub(super) fn note_opening(&mut self, packet: &Observed) {
        let opens = !packet.stream.is_multiple_of(2) && packet.info.is_some_and(|info| info.number == 0);
        if opens
            && self.openings.len() < MOST_OPENINGS
            && let Some((stream, _)) = self.nodes[packet.node.index()].streams.get(&packet.stream)
        {
            let opening = Opening { stream: *stream, to: packet.to, bytes: packet.bytes.clone() };
            self.openings.push(opening);
        }
    }

    /// What opened a stream opens no other when its time-wait is over.
    pub(super) fn play_back(&mut self) -> Result<(), String> {
        if self.scenario.attacker_one_in == 0 || self.openings.is_empty() {
            return Ok(());
        }
        let forgotten_ns = self.world.now_ns() + 2 * self.scenario.nodes[0].idle_timeout_ns + SECOND;
        self.world.run_until(forgotten_ns);
        self.drop_news();
        for Opening { stream, to, bytes } in std::mem::take(&mut self.openings) {
            // What never arrived is late, not played back.
            if self.streams[stream].sides[1].id.is_some() {
                self.world.inject(ATTACKER, to, &bytes);
            }
        }
        self.world.run_until(forgotten_ns + SECOND);
        for index in 0..self.nodes.len() {
            let mut news = Outbox::default();
            self.world.take_news(self.nodes[index].id, &mut news);
            self.checker.checked += 1;
            if let Some(update) = news.streams.iter().find(|update| update.accepted_from.is_some()) {
                return Err(format!("node {index}: what was played back opens stream {}", update.stream));
            }
        }
        self.drop_news();
        Ok(())
    }
}

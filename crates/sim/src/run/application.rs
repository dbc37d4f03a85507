//! The applications of a world: what they write, read and end, and what they hear.

use super::{ATTACKER, Event, HANDSHAKE_TIMEOUT_NS, Run, content};
use crate::{FaultKind, HalfPlan, ReaderPlan, StreamPlan, Target};
use paceline_transport::{
    Failure, MS, Outcome,
    app::{Command, PeerUpdate, Record, StreamUpdate},
};
use std::sync::Arc;

/// A reader with a rate takes this much at once, bytes.
const SIP: u64 = 16 << 10;

/// A peer as a node knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) id: u32,
    pub(super) open: bool,
    pub(super) closed: bool,
}

/// One end of a stream.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) node: usize,
    pub(super) id: Option<u32>,
    pub(super) written: u64,
    pub(super) sealed: u64,
    pub(super) acknowledged: u64,
    pub(super) finished: bool,
    pub(super) fin_acknowledged: bool,
    pub(super) reset: bool,
    reprioritized: bool,
    next_write_ns: u64,
    pub(super) read: u64,
    /// Read and not yet consumed.
    owed: u64,
    consumed: u64,
    reading_since_ns: Option<u64>,
    paused: bool,
    paused_until_ns: u64,
    pub(super) stopped: bool,
    pub(super) ended: bool,
    pub(super) failure: Option<Failure>,
    pub(super) closed: bool,
    pub(super) closed_ns: Option<u64>,
    /// Its process was restarted: nothing more will be heard of it.
    pub(super) gone: bool,
    pub(super) transmissions: u64,
    pub(super) unrecorded: u64,
    pub(super) records: u64,
    pub(super) skipped: u64,
    pub(super) wake_ns: Option<u64>,
}

impl Side {
    pub(super) fn is_over(&self) -> bool {
        self.closed || self.gone
    }
}

/// A stream while it is played. Side 0 is the opener.
#[derive(Debug)]
pub(super) struct StreamRun {
    pub(super) plan: StreamPlan,
    pub(super) sides: [Side; 2],
    pub(super) opened_ns: Option<u64>,
    /// Its time came before its peer did.
    waiting: bool,
    /// There is no peer to open it to.
    pub(super) abandoned: bool,
}

impl StreamRun {
    pub(super) fn new(plan: &StreamPlan) -> Self {
        let side = |node| Side { node, ..Side::default() };
        let sides = [side(plan.opener()), side(plan.acceptor())];
        Self { plan: plan.clone(), sides, opened_ns: None, waiting: false, abandoned: false }
    }

    /// Whether both ends have come to their end, as far as they came to be.
    pub(super) fn is_over(&self) -> bool {
        let [opener, acceptor] = &self.sides;
        self.abandoned || (opener.is_over() && (acceptor.id.is_none() || acceptor.is_over()))
    }

    /// What a side writes.
    pub(super) const fn writes(&self, side: usize) -> &HalfPlan {
        if side == 0 { &self.plan.there } else { &self.plan.back }
    }

    const fn reads(&self, side: usize) -> &ReaderPlan {
        if side == 0 { &self.plan.back.reader } else { &self.plan.there.reader }
    }
}

/// Names what a side writes.
const fn content_name(stream: usize, side: usize) -> u64 {
    stream as u64 * 2 + side as u64 + 1
}

impl Run<'_> {
    pub(super) fn connect(&mut self, pair: usize, reversed: bool) {
        let (from, to) = if reversed { (0, pair + 1) } else { (pair + 1, 0) };
        let remote = self.nodes[to].address;
        let node = &mut self.nodes[from];
        let peer = node.next_peer;
        node.next_peer += 2;
        node.peers.insert((pair, reversed), Peer { id: peer, open: false, closed: false });
        self.checker.may_send(node.id, remote);
        let secrets = Arc::clone(&self.secrets);
        let connect = Command::Connect {
            peer,
            remote,
            secrets,
            handshake_timeout_ns: HANDSHAKE_TIMEOUT_NS,
            max_rate: None,
        };
        self.command(from, connect);
        self.open_waiting(pair, reversed, from);
    }

    /// Streams of a connection that waited for their peer.
    fn open_waiting(&mut self, pair: usize, reversed: bool, node: usize) {
        for stream in 0..self.streams.len() {
            let StreamRun { plan, waiting, .. } = &self.streams[stream];
            if *waiting && plan.pair == pair && plan.reversed == reversed && plan.opener() == node {
                self.open(stream);
            }
        }
    }

    pub(super) fn open(&mut self, stream: usize) {
        let StreamRun { plan, opened_ns, abandoned, .. } = &self.streams[stream];
        let (pair, reversed, node, priority) = (plan.pair, plan.reversed, plan.opener(), plan.priority);
        if opened_ns.is_some() || *abandoned {
            return;
        }
        let connects = !plan.by_acceptor;
        let peer = self.nodes[node].peers.get(&(pair, reversed)).copied();
        match peer {
            Some(Peer { closed: false, id, .. }) => {
                let now_ns = self.world.now_ns();
                let name = self.nodes[node].next_stream;
                self.nodes[node].next_stream += 2;
                self.nodes[node].streams.insert(name, (stream, 0));
                let run = &mut self.streams[stream];
                run.waiting = false;
                run.opened_ns = Some(now_ns);
                run.sides[0].id = Some(name);
                self.command(node, Command::Open { stream: name, peer: id, priority });
                self.command(node, Command::Record(name));
                self.play_side(stream, 0);
            }
            Some(_) if !connects => self.streams[stream].abandoned = true,
            Some(_) | None => self.streams[stream].waiting = true,
        }
    }

    pub(super) fn close_peer(&mut self, index: usize) {
        let close = self.scenario.closes[index];
        let node = if close.reversed == close.by_acceptor { close.pair + 1 } else { 0 };
        if let Some(peer) = self.nodes[node].peers.get_mut(&(close.pair, close.reversed)) {
            peer.closed = true;
            let id = peer.id;
            self.command(node, Command::ClosePeer(id));
        }
        self.abandon(close.pair, close.reversed);
    }

    /// The connection is over: what was not opened on it will not be.
    fn abandon(&mut self, pair: usize, reversed: bool) {
        for run in &mut self.streams {
            if run.plan.pair == pair && run.plan.reversed == reversed && run.opened_ns.is_none() {
                run.abandoned = true;
            }
        }
    }

    /// A new process at the old address. Its application connects again; the others' notice and do so, too.
    pub(super) fn restart(&mut self, node: usize) -> Result<(), String> {
        let id = self.nodes[node].id;
        self.world.restart(id, (self.adjust)(self.scenario.nodes[node].config(&self.secrets)));
        self.checker.restarted(id);
        let now_ns = self.world.now_ns();
        self.credentials.retain(|(of, _), _| *of != node);
        let state = &mut self.nodes[node];
        state.streams.clear();
        state.nameless.clear();
        state.peers.clear();
        (state.next_stream, state.next_peer) = (1, 1);
        state.restarted_at_ns = Some(now_ns);
        for side in self.streams.iter_mut().flat_map(|stream| &mut stream.sides) {
            side.gone |= side.node == node && side.id.is_some() && !side.closed;
        }
        for pair in 0..self.scenario.pairs.len() {
            if node != 0 && node != pair + 1 {
                continue;
            }
            for reversed in [false, true] {
                if reversed && !self.scenario.pairs[pair].both_roles {
                    continue;
                }
                let connector = if reversed { 0 } else { pair + 1 };
                let wait_ns = if connector == node { MS } else { 100 * MS };
                self.at_time(now_ns + wait_ns, Event::Connect { pair, reversed });
            }
        }
        Ok(())
    }

    pub(super) fn take_news(&mut self, node: usize) -> Result<(), String> {
        let mut news = std::mem::take(&mut self.news);
        let any = self.world.take_news(self.nodes[node].id, &mut news);
        if any {
            for peer in news.peers.drain(..) {
                self.on_peer(node, &peer)?;
            }
            for update in news.streams.drain(..) {
                self.on_update(node, update)?;
            }
            for record in news.records.drain(..) {
                self.on_record(node, &record)?;
            }
            news.drained = false;
        }
        self.news = news;
        if !self.nodes[node].nameless.is_empty() {
            self.name_streams(node)?;
        }
        Ok(())
    }

    fn on_peer(&mut self, node: usize, update: &PeerUpdate) -> Result<(), String> {
        let other = self.nodes.iter().position(|other| other.address == update.remote);
        let (pair, reversed) = match other {
            Some(other) if node == 0 => (other - 1, !update.accepted),
            Some(_) => (node - 1, update.accepted),
            // A Confirm that an observer repeated came before its sender's own: the path is where it came from until its peer is
            // heard (handshake.md section 6). Whose it is tells the connection that nobody has come by yet.
            None if update.remote == ATTACKER && node == 0 => {
                let mut pairs = 0..self.scenario.pairs.len();
                let vacant = pairs.find(|pair| !self.nodes[0].peers.contains_key(&(*pair, !update.accepted)));
                (vacant.unwrap_or(0), !update.accepted)
            }
            None if update.remote == ATTACKER => (node - 1, update.accepted),
            None => return Err(format!("node {node} has a peer at {}", update.remote)),
        };
        self.moved(pair);
        self.checker.checked += 1;
        if update.open && update.remote != ATTACKER {
            let id = self.nodes[node].id;
            self.checker.validated(id, update.remote);
        }
        let peers = &mut self.nodes[node].peers;
        if update.accepted && update.open {
            peers.insert((pair, reversed), Peer { id: update.peer, open: true, closed: false });
            self.open_waiting(pair, reversed, node);
            return Ok(());
        }
        if let Some(peer) = peers.get_mut(&(pair, reversed))
            && peer.id == update.peer
        {
            peer.open |= update.open;
            peer.closed |= update.closed.is_some();
            if peer.closed {
                self.abandon(pair, reversed);
            }
        }
        match update.closed {
            Some(Err(failure)) => self.check_peer_failure(pair, failure),
            _ => Ok(()),
        }
    }

    fn on_record(&mut self, node: usize, record: &Record) -> Result<(), String> {
        let Some((stream, side)) = self.nodes[node].streams.get(&record.stream).copied() else {
            return Err(format!("node {node}: a record of stream {}, which is unknown", record.stream));
        };
        self.checker.checked += 1;
        match record.outcome {
            // A clock that steps back stamps departures earlier than the worker's own time, which does not.
            Outcome::Sent { at_ns } if at_ns < record.scheduled_ns && !self.steps_back(node) => {
                return Err(format!("stream {stream}: left {} ns early", record.scheduled_ns - at_ns));
            }
            Outcome::Failed { error, .. } => self.check_send_error(stream, error)?,
            Outcome::Sent { .. } | Outcome::Cancelled => {}
        }
        self.side(stream, side).records += 1;
        Ok(())
    }

    fn steps_back(&self, node: usize) -> bool {
        let mut faults = self.scenario.faults.iter();
        faults.any(|fault| fault.kind == FaultKind::ClockBackward && fault.target == Target::Node(node))
    }

    /// Which planned stream an accepted one is: its packets name the same key.
    fn name_streams(&mut self, node: usize) -> Result<(), String> {
        let names: Vec<u32> = self.nodes[node].nameless.keys().copied().collect();
        for name in names {
            let Some(credentials) = self.credentials.get(&(node, name)) else { continue };
            let Some(stream) = self.names.get(&(*credentials, node != 0)).copied() else {
                return Err(format!("node {node} accepted stream {name}, which nobody opened"));
            };
            if self.streams[stream].sides[1].id.is_some() || self.streams[stream].plan.acceptor() != node {
                return Err(format!("stream {stream} is accepted twice, or by node {node}"));
            }
            self.checker.checked += 1;
            self.side(stream, 1).id = Some(name);
            self.nodes[node].streams.insert(name, (stream, 1));
            self.command(node, Command::Record(name));
            for update in self.nodes[node].nameless.remove(&name).unwrap_or_default() {
                self.on_update(node, update)?;
            }
            self.play_side(stream, 1);
        }
        Ok(())
    }

    fn on_update(&mut self, node: usize, update: StreamUpdate) -> Result<(), String> {
        let Some((stream, index)) = self.nodes[node].streams.get(&update.stream).copied() else {
            let nameless = &mut self.nodes[node].nameless;
            if update.accepted_from.is_none() && !nameless.contains_key(&update.stream) {
                return Err(format!("node {node}: news of stream {}, which is unknown", update.stream));
            }
            nameless.entry(update.stream).or_default().push(update);
            return Ok(());
        };
        self.moved(self.streams[stream].plan.pair);
        let checked = self.streams[stream].check(stream, index, &update)?;
        self.checker.checked += checked;
        let now_ns = self.world.now_ns();
        let run = &mut self.streams[stream];
        let side = &mut run.sides[index];
        for bytes in &update.readable {
            if let Some(at) = content::differs(content_name(stream, 1 - index), side.read, bytes) {
                return Err(format!("stream {stream}: side {index} reads another byte at {at}"));
            }
            let len = bytes.len() as u64;
            side.read += len;
            side.owed += len;
            self.delivered += len;
        }
        side.sealed = update.sealed;
        side.acknowledged = update.acknowledged;
        side.fin_acknowledged = update.fin_acknowledged;
        side.transmissions = update.transmissions;
        side.unrecorded = update.unrecorded;
        side.skipped += update.skipped;
        side.ended |= update.end;
        side.closed |= update.closed;
        side.closed_ns = side.closed_ns.or(update.closed.then_some(now_ns));
        let fresh_failure = update.failure.filter(|_| side.failure.is_none());
        side.failure = side.failure.or(update.failure);
        if update.closed
            && let Some(opened_ns) = run.opened_ns
        {
            self.longest_stream_ns = self.longest_stream_ns.max(now_ns - opened_ns);
        }
        if update.end {
            self.streams[stream].check_end(stream, index)?;
        }
        self.streams[stream].check_against_other(stream, index)?;
        if let Some(failure) = fresh_failure {
            self.check_failure(stream, index, failure)?;
        }
        self.play_side(stream, index);
        Ok(())
    }

    /// Everything a side can do now.
    pub(super) fn play_side(&mut self, stream: usize, index: usize) {
        let side = &self.streams[stream].sides[index];
        if side.closed || side.gone || side.id.is_none() {
            return;
        }
        self.read(stream, index);
        self.write(stream, index);
    }

    fn wake(&mut self, stream: usize, index: usize, at_ns: u64) {
        let side = &mut self.streams[stream].sides[index];
        if side.wake_ns.is_none_or(|wake_ns| at_ns < wake_ns) {
            side.wake_ns = Some(at_ns);
            self.at_time(at_ns, Event::Wake(stream, index));
        }
    }

    fn read(&mut self, stream: usize, index: usize) {
        let now_ns = self.world.now_ns();
        let plan = *self.streams[stream].reads(index);
        let side = &mut self.streams[stream].sides[index];
        let (node, Some(id)) = (side.node, side.id) else { return };
        if side.stopped || side.failure.is_some() {
            return;
        }
        if plan.stop_at.is_some_and(|at| side.read >= at) && !side.ended {
            side.stopped = true;
            side.owed = 0;
            self.command(node, Command::StopReading(id));
            return;
        }
        if let Some((at, ns)) = plan.pause
            && side.read >= at
            && !side.paused
        {
            side.paused = true;
            side.paused_until_ns = now_ns + ns;
        }
        if side.owed == 0 {
            return;
        }
        let since_ns = *side.reading_since_ns.get_or_insert(now_ns);
        let node_until_ns = self.nodes[node].readers_paused_until_ns;
        let until_ns = side.paused_until_ns.max(node_until_ns);
        if until_ns > now_ns {
            // Counted once per pause and stream, when it really keeps something back.
            if side.wake_ns != Some(until_ns) {
                self.world.note_fault(FaultKind::ReaderPause, 1);
            }
            self.wake(stream, index, until_ns);
            return;
        }
        let may = plan.rate.map_or(u64::MAX, |rate| {
            let elapsed = u128::from(now_ns - since_ns) * u128::from(rate) / 1_000_000_000;
            (elapsed as u64 + SIP).saturating_sub(side.consumed)
        });
        let sip = side.owed.min(SIP);
        let bytes = if may < sip { 0 } else { side.owed.min(may) };
        side.owed -= bytes;
        side.consumed += bytes;
        let left = side.owed;
        if bytes > 0 {
            self.command(node, Command::Consume { stream: id, bytes });
        }
        if left > 0
            && let Some(rate) = plan.rate
        {
            let wait_ns = (u128::from(left.min(SIP)) * 1_000_000_000 / u128::from(rate.max(1))) as u64;
            self.wake(stream, index, now_ns + wait_ns.max(MS / 10));
        }
    }

    fn write(&mut self, stream: usize, index: usize) {
        let now_ns = self.world.now_ns();
        let plan = *self.streams[stream].writes(index);
        let limit = self.scenario.nodes[self.streams[stream].sides[index].node].send_buffer_bytes;
        let chunk = plan.chunk.min(limit).max(1);
        loop {
            let side = &mut self.streams[stream].sides[index];
            let (node, Some(id)) = (side.node, side.id) else { return };
            if side.finished || side.reset || side.failure.is_some() {
                return;
            }
            if let Some((at, code)) = plan.reset_at
                && side.written >= at
            {
                side.reset = true;
                self.command(node, Command::Reset { stream: id, code });
                return;
            }
            if let Some((at, priority)) = plan.priority_at
                && side.written >= at
                && !side.reprioritized
            {
                side.reprioritized = true;
                self.command(node, Command::SetPriority { stream: id, priority });
                continue;
            }
            // An echo that stops reading cannot go on; nor can one whose source has ended early.
            let total = if plan.echo && (side.ended || side.stopped) {
                plan.bytes.min(side.read)
            } else {
                plan.bytes
            };
            if side.written >= total {
                side.finished = true;
                self.command(node, Command::Finish(id));
                self.command(node, Command::WantAcknowledged { stream: id, offset: u64::MAX });
                return;
            }
            if side.next_write_ns > now_ns {
                let at_ns = side.next_write_ns;
                self.wake(stream, index, at_ns);
                return;
            }
            let ready = if plan.echo { total.min(side.read) } else { total };
            let len = chunk.min(ready.saturating_sub(side.written));
            if len == 0 {
                return;
            }
            if limit.saturating_sub(side.written - side.sealed) < len {
                self.command(node, Command::WantRoom { stream: id, level: limit.saturating_sub(len) });
                return;
            }
            let data = content::make(content_name(stream, index), side.written, len as usize);
            side.written += len;
            if plan.pause_ns > 0 {
                side.next_write_ns = now_ns + plan.pause_ns;
            }
            self.command(node, Command::Write { stream: id, data: data.into() });
        }
    }

    pub(super) fn readers_go_on(&mut self, node: usize) {
        for stream in 0..self.streams.len() {
            for index in 0..2 {
                if self.streams[stream].sides[index].node == node {
                    self.play_side(stream, index);
                }
            }
        }
    }
}

//! What the application asks, carried out in order.

use super::{Endpoint, Random};
use crate::{app::Command, error::Failure, transmission::StreamKey};

/// dcQUIC and RFC 9000 codes are varints.
const MAX_CODE: u64 = (1 << 62) - 1;
/// Lowest and highest stream priority; 0 is control.
const PRIORITIES: std::ops::RangeInclusive<u8> = 1..=7;

impl Endpoint {
    pub(super) fn take_commands(&mut self, now_ns: u64, random: Random<'_>) {
        let mut commands = std::mem::take(&mut self.commands);
        self.shared.take_commands(&mut commands);
        for command in commands.drain(..) {
            self.carry_out(command, now_ns, random);
        }
        self.commands = commands;
    }

    fn carry_out(&mut self, command: Command, now_ns: u64, random: Random<'_>) {
        match command {
            Command::Connect { peer, remote, secrets, handshake_timeout_ns, max_rate } => {
                self.connect(peer, remote, &secrets, handshake_timeout_ns, max_rate, now_ns, random);
            }
            Command::Inject { peer, path, max_rate } => self.inject(peer, &path, max_rate, now_ns, random),
            Command::Open { stream, peer, priority } => {
                let priority = priority.clamp(*PRIORITIES.start(), *PRIORITIES.end());
                self.open_stream(stream, peer, priority, now_ns);
            }
            Command::Write { stream, data } => self.with_stream(stream, now_ns, |endpoint, key| {
                if let Some(stream) = endpoint.streams.get_mut(key) {
                    stream.send.push(data);
                }
            }),
            Command::Finish(stream) => self.with_stream(stream, now_ns, |endpoint, key| {
                if let Some(stream) = endpoint.streams.get_mut(key) {
                    stream.send.finish();
                }
            }),
            Command::Reset { stream, code } => self.with_stream(stream, now_ns, |endpoint, key| {
                endpoint.fail_stream(key, Failure::LocalReset(code.min(MAX_CODE)), now_ns);
            }),
            Command::StopReading(stream) => self.with_stream(stream, now_ns, |endpoint, key| {
                endpoint.stop_reading(key, now_ns);
            }),
            Command::Consume { stream, bytes } => self.with_stream(stream, now_ns, |endpoint, key| {
                endpoint.consume(key, bytes, now_ns);
            }),
            Command::WantRoom { stream, level } => self.with_stream(stream, now_ns, |endpoint, key| {
                if let Some(stream) = endpoint.streams.get_mut(key) {
                    stream.wants_room = Some(level);
                    stream.news.progress |= stream.has_awaited_progress();
                }
                endpoint.announce_progress(key);
            }),
            Command::WantAcknowledged { stream, offset } => {
                self.with_stream(stream, now_ns, |endpoint, key| {
                    if let Some(stream) = endpoint.streams.get_mut(key) {
                        stream.wants_acknowledged = Some(offset);
                        stream.news.progress |= stream.has_awaited_progress();
                    }
                    endpoint.announce_progress(key);
                })
            }
            Command::Record(stream) => self.with_stream(stream, now_ns, |endpoint, key| {
                if let Some(stream) = endpoint.streams.get_mut(key) {
                    stream.recording = true;
                }
            }),
            Command::SetPriority { stream, priority } => self.with_stream(stream, now_ns, |endpoint, key| {
                if let Some(stream) = endpoint.streams.get_mut(key) {
                    let priority = priority.clamp(*PRIORITIES.start(), *PRIORITIES.end());
                    // What is in the wheel or on the ready list keeps its place: order within a number space matters.
                    if stream.pending == 0 && !stream.listed.data && !stream.listed.recovery {
                        stream.priority = priority;
                        stream.next_priority = None;
                    } else {
                        stream.next_priority = Some(priority);
                    }
                }
            }),
            Command::SetMaxRate { peer, max_rate } => self.set_max_rate(peer, max_rate),
            Command::AcceptStreams(limit) => self.config.max_incoming_streams = limit,
            Command::ClosePeer(peer) => self.close_peer(peer, now_ns),
            Command::Shutdown => self.shut_down(now_ns),
        }
    }

    fn with_stream(&mut self, id: u32, now_ns: u64, act: impl FnOnce(&mut Self, StreamKey)) {
        if let Some(key) = self.by_id.get(&id).copied() {
            act(self, key);
            self.make_ready(key, now_ns);
        }
    }

    pub(super) fn announce_progress(&mut self, key: StreamKey) {
        if self.streams.get(key).is_some_and(|stream| stream.news.progress) {
            self.announce(key);
        }
    }
}

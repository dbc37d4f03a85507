//! News for the application: dirty flags become updates, updates are merged into the shared outbox once per step.

use super::Endpoint;
use crate::{
    app::{Outbox, StreamUpdate},
    stats::PathStats,
    transmission::StreamKey,
};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// So many small pieces in a row are put together. An application that looks once a step or once a millisecond never leaves
/// that many; one that stands still would otherwise be charged 32 bytes for every byte of a hostile peer.
const MAX_CRUMBS: usize = 64;
/// Smaller pieces are crumbs.
const CRUMB_BYTES: usize = 4 << 10;

/// Copies the crumbs at the end of `pieces` together, if there are many. Each byte is copied a bounded number of times: what
/// comes out is no crumb, or too few of them.
fn gather_crumbs(pieces: &mut Vec<Bytes>) {
    let crumbs = pieces.iter().rev().take(MAX_CRUMBS).take_while(|piece| piece.len() < CRUMB_BYTES).count();
    if crumbs < MAX_CRUMBS {
        return;
    }
    let tail = pieces.split_off(pieces.len().saturating_sub(crumbs));
    let mut rest = tail.as_slice();
    while !rest.is_empty() {
        let mut len = 0usize;
        let group = rest
            .iter()
            .take_while(|piece| {
                let room = len < CRUMB_BYTES;
                len = len.saturating_add(if room { piece.len() } else { 0 });
                room
            })
            .count();
        let mut gathered = BytesMut::with_capacity(len);
        rest.iter().take(group).for_each(|piece| gathered.extend_from_slice(piece));
        pieces.push(gathered.freeze());
        rest = rest.get(group..).unwrap_or_default();
    }
}

impl Endpoint {
    /// Writes the newest state of everything that has news into the shared outbox.
    pub(super) fn publish(&mut self, now_ns: u64) {
        let mut news = std::mem::take(&mut self.news);
        for key in news.drain(..) {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.news.listed = false;
                self.write_update(key, now_ns);
                self.finish_if_over(key, now_ns);
            }
        }
        if self.news.is_empty() {
            self.news = news;
        }
        if !self.drained && self.is_drained() {
            self.drained = true;
            self.outbox.drained = true;
        }
        if !self.outbox.is_empty() {
            let urgent =
                !self.outbox.peers.is_empty() || !self.outbox.streams.is_empty() || self.outbox.drained;
            if urgent {
                self.doorbell.urgent();
            }
            if !self.outbox.records.is_empty() {
                self.doorbell.records();
            }
            let shared = Arc::clone(&self.shared);
            let mut outbox = shared.outbox();
            outbox.peers.append(&mut self.outbox.peers);
            outbox.records.append(&mut self.outbox.records);
            outbox.streams.append(&mut self.outbox.streams);
            outbox.drained |= self.outbox.drained;
            self.outbox.drained = false;
        }
        self.publish_stats();
    }

    /// Merges a stream's newest state into its update in the shared outbox, which it has at most one of.
    pub(super) fn write_update(&mut self, key: StreamKey, now_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let shared = Arc::clone(&self.shared);
        let mut outbox = shared.outbox();
        // A peer is told of before its streams, whenever the application looks.
        outbox.peers.append(&mut self.outbox.peers);
        let Outbox { epoch, streams, spare, .. } = &mut *outbox;
        let index = match stream.update {
            Some((at, index))
                if at == *epoch && streams.get(index).is_some_and(|update| update.stream == stream.id) =>
            {
                index
            }
            _ => {
                let readable = spare.pop().unwrap_or_default();
                streams.push(StreamUpdate { stream: stream.id, readable, ..StreamUpdate::default() });
                streams.len().saturating_sub(1)
            }
        };
        stream.update = Some((*epoch, index));
        let Some(update) = streams.get_mut(index) else { return };
        let mut urgent = stream.news.progress || stream.news.closed;
        if std::mem::take(&mut stream.news.accepted) {
            update.accepted_from = Some(stream.peer);
            urgent = true;
        }
        if !stream.recv.stopped && stream.failure.is_none() {
            let bytes = stream.recv.buffer.read(&mut update.readable);
            let bulk = bytes > 0 && stream.inflow.note(bytes, now_ns);
            self.doorbell.readable(bytes, bulk);
            gather_crumbs(&mut update.readable);
            if stream.recv.buffer.is_finished() && !stream.recv.finished {
                stream.recv.finished = true;
                update.end = true;
                urgent = true;
            }
        }
        stream.news.progress = false;
        update.sealed = stream.send.next_offset;
        update.acknowledged = stream.send.acknowledged.prefix();
        update.fin_acknowledged = stream.send.is_finished();
        update.failure = stream.failure;
        update.closed |= stream.news.closed;
        update.transmissions = stream.transmissions;
        update.packets = stream.packets;
        update.packets_retransmitted = stream.packets_retransmitted;
        update.bytes_retransmitted = stream.bytes_retransmitted;
        update.packets_lost = stream.send.packets_lost;
        update.unrecorded = stream.unrecorded;
        update.skipped = update.skipped.saturating_add(std::mem::take(&mut stream.skipped));
        if urgent {
            self.doorbell.urgent();
        }
    }

    fn publish_stats(&mut self) {
        let pool = self.pool.stats();
        self.stats.pool_lent = pool.lent as u64;
        self.stats.pool_lent_bytes = pool.lent_bytes as u64;
        self.stats.pool_peak_bytes = pool.peak_bytes as u64;
        self.stats.pool_capacity_bytes = pool.capacity_bytes as u64;
        let mut stats = self.shared.stats_mut();
        stats.endpoint.clone_from(&self.stats);
        stats.handshake = *self.handshake.counters();
        for key in self.touched_paths.drain(..) {
            let slot = key.slot as usize;
            if stats.paths.len() <= slot {
                stats.paths.resize(slot.saturating_add(1), PathStats::default());
            }
            if let Some(entry) = stats.paths.get_mut(slot) {
                *entry = self.paths.get(key).map(|path| path.stats(key.generation)).unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_are_gathered_and_nothing_is_lost() {
        let mut pieces: Vec<Bytes> = vec![Bytes::from(vec![1; 60_000])];
        let mut expected = vec![1; 60_000];
        for n in 0..100_000u32 {
            pieces.push(Bytes::from(vec![n as u8]));
            expected.push(n as u8);
            gather_crumbs(&mut pieces);
        }
        let total: usize = pieces.iter().map(Bytes::len).sum();
        assert_eq!(total, expected.len());
        assert!(pieces.iter().flat_map(|piece| piece.iter()).eq(&expected));
        assert!(pieces.len() < 3 * MAX_CRUMBS, "{}", pieces.len());
        assert_eq!(pieces[0].len(), 60_000, "what is no crumb stays where it is");
    }
}

//! What happened, in order: always as a hash, as text on request.

use crate::{addresses::address_of, faults::FaultKind};
use paceline_transport::Transmission;
use std::{fmt::Write, net::SocketAddr};

/// The event log of a world.
#[derive(Debug)]
pub struct Log {
    hash: u64,
    events: u64,
    text: Option<String>,
    pub(crate) labels: Labels,
}

/// What the text calls nodes and times.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    /// Where the nodes are, if they chose.
    pub(crate) nodes: Vec<SocketAddr>,
    /// When its time begins, in ns.
    pub(crate) origin_ns: u64,
}

impl Labels {
    fn node(&self, node: usize) -> SocketAddr {
        self.nodes.get(node).copied().unwrap_or_else(|| address_of(node))
    }

    fn us(&self, now_ns: u64) -> f64 {
        now_ns.saturating_sub(self.origin_ns) as f64 / 1e3
    }
}

/// From the golden ratio, as in SplitMix64: odd, and every bit of a word reaches the upper half.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl Log {
    pub(crate) fn new(keep_text: bool) -> Self {
        Self { hash: 0, events: 0, text: keep_text.then(String::new), labels: Labels::default() }
    }

    /// The log is compared with itself, not with an adversary; a byte at a time, hashing would cost more than sealing.
    fn mix(&mut self, word: u64) {
        let mixed = (self.hash ^ word).wrapping_mul(MULTIPLIER);
        self.hash = mixed ^ (mixed >> 29);
    }

    /// Four lanes, because one multiplication waits for the last.
    fn mix_bytes(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        let (blocks, tail) = words.as_chunks::<4>();
        let mut lanes = [1u64, 2, 3, 4];
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block) {
                let mixed = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(MULTIPLIER);
                *lane = mixed ^ (mixed >> 29);
            }
        }
        for lane in lanes {
            self.mix(lane);
        }
        for word in tail {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last));
    }

    pub(crate) fn sent(
        &mut self,
        now_ns: u64,
        from: usize,
        transmission: &Transmission,
        index: usize,
        bytes: &[u8],
    ) {
        self.events += 1;
        self.mix(now_ns);
        self.mix(from as u64);
        self.mix_bytes(bytes);
        let Self { text, labels, .. } = self;
        if let Some(text) = text {
            let _ = write!(
                text,
                "{:>12.3} µs {} → {} {:?} {} B",
                labels.us(now_ns),
                labels.node(from),
                transmission.remote,
                transmission.kind,
                bytes.len()
            );
            let _ = match transmission.infos.get(index) {
                Some(info) => writeln!(
                    text,
                    " stream {} {:?} {} [{}, +{}){}",
                    transmission.stream,
                    info.space,
                    info.number,
                    info.stream_offset,
                    info.payload_len,
                    if info.included_fin { " FIN" } else { "" }
                ),
                None => writeln!(text),
            };
        }
    }

    /// `sequence` names what was sent, and a damaged datagram was logged when it was damaged.
    pub(crate) fn received(&mut self, now_ns: u64, to: usize, from: SocketAddr, sequence: u64, len: usize) {
        self.events += 1;
        self.mix(now_ns);
        self.mix(to as u64);
        self.mix(sequence);
        self.mix(len as u64);
        let Self { text, labels, .. } = self;
        if let Some(text) = text {
            let _ = writeln!(text, "{:>12.3} µs {} ← {from} {len} B", labels.us(now_ns), labels.node(to));
        }
    }

    /// Something happened to a datagram on its way; `detail` is its length, or which bit was flipped.
    pub(crate) fn fault(&mut self, now_ns: u64, kind: FaultKind, from: usize, to: usize, detail: usize) {
        self.mix(now_ns);
        self.mix((kind as u64) << 32 | detail as u64);
        let Self { text, labels, .. } = self;
        if let Some(text) = text {
            let from = if from == usize::MAX { "somewhere".into() } else { labels.node(from).to_string() };
            let _ =
                writeln!(text, "{:>12.3} µs {from} ✗ {} {kind} {detail}", labels.us(now_ns), labels.node(to));
        }
    }

    pub(crate) fn overflow(&mut self, now_ns: u64, from: usize, to: usize, len: usize) {
        self.mix(now_ns);
        let Self { text, labels, .. } = self;
        if let Some(text) = text {
            let (from, to) = (labels.node(from), labels.node(to));
            let _ = writeln!(text, "{:>12.3} µs {from} ✗ {to} queue full, {len} B", labels.us(now_ns));
        }
    }

    /// Something happened to a node; `detail` is a time, an errno or how often.
    pub(crate) fn node(&mut self, now_ns: u64, kind: FaultKind, node: usize, detail: u64) {
        self.mix(now_ns);
        self.mix((kind as u64) << 32 | node as u64);
        self.mix(detail);
        let Self { text, labels, .. } = self;
        if let Some(text) = text {
            let _ = writeln!(text, "{:>12.3} µs {} ! {kind} {detail}", labels.us(now_ns), labels.node(node));
        }
    }

    /// Of everything so far: equal logs have equal hashes.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Datagrams sent and received.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The log as text, if it was kept.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_every_length_counts() {
        for len in 0..100 {
            let hash = |bytes: &[u8]| {
                let mut log = Log::new(false);
                log.mix_bytes(bytes);
                log.hash()
            };
            let mut bytes = vec![0; len];
            let mut seen = vec![hash(&bytes)];
            for bit in 0..len * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                seen.push(hash(&bytes));
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            bytes.push(0);
            seen.push(hash(&bytes));
            let all = seen.len();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), all, "{len} bytes");
        }
    }
}

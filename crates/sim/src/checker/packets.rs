//! What leaves a node: numbers, order, nonces, credit, amplification.

use crate::{NodeId, Observed, ObservedMail};
use paceline_transport::{
    Space,
    inspect::{Inspected, inspect},
};
use std::{collections::BTreeMap, net::SocketAddr};

/// RFC 9000 §8.1: bytes sent to an address that proved nothing, for each byte that came from it.
const AMPLIFICATION: u64 = 3;

/// Depth of a node's token bucket (ARCHITECTURE.md, "One byte's way"): the largest burst, twice.
const BUCKET_BYTES: u64 = 128 << 10;
const SECOND: u128 = 1_000_000_000;

/// What a node with a rate cap has sent: a bucket that leaks at its rate, and may hold a full token bucket's worth.
#[derive(Clone, Copy, Debug)]
struct Cap {
    rate: u64,
    /// Bytes × 10⁹.
    level: u128,
    at_ns: u64,
}

/// Control packets of a stream, and what called for them.
#[derive(Debug, Default)]
struct Answers {
    /// Stream packets that arrived, genuine or not.
    asked: u64,
    /// Control packets that give no new credit.
    given: u64,
}

/// One direction of a stream, as its packets name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Direction {
    credential_id: [u8; 16],
    key_id: u64,
    node: usize,
    /// Key ids are counted by each opener: the two sides' streams may have the same.
    opened_here: bool,
}

/// What a direction has sent.
#[derive(Debug, Default)]
struct Numbers {
    /// Newest number that left, per space.
    newest: [Option<u64>; 2],
    /// What was sealed, by original number: a hash of header fields, ciphertext and tag-free payload.
    sealed: Vec<Option<u64>>,
    /// Newest control packet and the credit it gave.
    control: Option<(u64, u64)>,
}

/// What one address was sent and has sent.
#[derive(Debug, Default)]
struct Balance {
    received: u64,
    sent: u64,
    validated: bool,
}

#[derive(Debug, Default)]
pub(super) struct Packets {
    directions: BTreeMap<Direction, Numbers>,
    balances: BTreeMap<(usize, SocketAddr), Balance>,
    /// By node and credentials, both openers together: an arriving packet does not say who opened its stream.
    answers: BTreeMap<(usize, [u8; 16], u64), Answers>,
    /// Planned departure of the newest stream data, by node, path secret and priority.
    departures: BTreeMap<(usize, [u8; 16], u8), u64>,
    /// By node.
    caps: Vec<Option<Cap>>,
}

fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    for byte in chunks.remainder() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

impl Packets {
    pub(super) fn configure(&mut self, max_rate: Vec<Option<u64>>) {
        let cap = |rate: Option<u64>| rate.map(|rate| Cap { rate, level: 0, at_ns: 0 });
        self.caps = max_rate.into_iter().map(cap).collect();
    }

    pub(super) fn validate(&mut self, node: NodeId, to: SocketAddr) {
        self.balances.entry((node.index(), to)).or_default().validated = true;
    }

    pub(super) fn restarted(&mut self, node: NodeId) {
        self.balances.retain(|(of, _), _| *of != node.index());
        if let Some(Some(cap)) = self.caps.get_mut(node.index()) {
            cap.level = 0;
        }
    }

    pub(super) fn received(&mut self, mail: &ObservedMail) {
        self.balances.entry((mail.node.index(), mail.from)).or_default().received += mail.bytes.len() as u64;
        if let Inspected::Stream { credential_id, key_id, .. } = inspect(&mail.bytes) {
            self.answers.entry((mail.node.index(), credential_id, key_id)).or_default().asked += 1;
        }
    }

    /// Returns how many comparisons were made.
    pub(super) fn sent(&mut self, packet: &Observed) -> Result<u64, String> {
        if packet.at_ns < packet.scheduled_ns {
            return Err(format!("{:?} left {} ns early", packet.kind, packet.scheduled_ns - packet.at_ns));
        }
        let mut checked = 1;
        if packet.left {
            checked += self.amplification(packet)?;
            checked += self.cap(packet)?;
        }
        if packet.stream == 0 {
            return Ok(checked);
        }
        match packet.inspect() {
            Inspected::Stream {
                credential_id,
                key_id,
                space,
                number,
                original,
                probe,
                offset,
                payload_len,
                final_offset,
                ..
            } => {
                self.in_order(packet, credential_id)?;
                let numbers = self.direction(packet, credential_id, key_id);
                let index = usize::from(space == Space::Recovery);
                if numbers.newest[index].is_some_and(|newest| newest >= number) {
                    return Err(format!(
                        "stream {}: {space:?} {number} leaves after {:?}",
                        packet.stream, numbers.newest[index]
                    ));
                }
                numbers.newest[index] = Some(number);
                if let Some(info) = packet.info
                    && (info.number, info.space, usize::from(info.packet_len))
                        != (number, space, packet.bytes.len())
                {
                    return Err(format!("stream {}: {info:?} describes {number} {space:?}", packet.stream));
                }
                checked += 3;
                if !probe {
                    let first = number == original && space == Space::Stream;
                    let end = packet.bytes.len().saturating_sub(16);
                    let payload = packet.bytes.get(end.saturating_sub(payload_len)..end).unwrap_or(&[]);
                    let seed = offset ^ final_offset.map_or(0, |end| end.rotate_left(32) ^ 1);
                    numbers.note_sealed(original, hash(seed, payload), first).map_err(|what| {
                        format!("stream {} {:?} {space:?} {number}: {what}", packet.stream, packet.kind)
                    })?;
                    checked += 1;
                }
            }
            Inspected::Control { credential_id, key_id, number, max_data, .. } => {
                let stream = packet.stream;
                if max_data.is_none() {
                    return Err(format!("stream {stream}: control packet {number} names no credit"));
                }
                let numbers = self.direction(packet, credential_id, key_id);
                if let (Some((newest, credit)), Some(max_data)) = (numbers.control, max_data)
                    && number > newest
                    && max_data < credit
                {
                    return Err(format!("stream {stream}: MAX_DATA goes back from {credit} to {max_data}"));
                }
                let credit = max_data.filter(|max| numbers.control.is_none_or(|(_, before)| *max > before));
                if let Some(max_data) = max_data
                    && numbers.control.is_none_or(|(newest, _)| number > newest)
                {
                    numbers.control = Some((number, max_data));
                }
                if packet.left && credit.is_none() {
                    self.answered(packet, credential_id, key_id)?;
                }
                checked += 2;
            }
            Inspected::SecretControl | Inspected::Handshake => {}
            Inspected::Other => {
                return Err(format!("{:?} of stream {} does not parse", packet.kind, packet.stream));
            }
        }
        Ok(checked)
    }

    fn direction(&mut self, packet: &Observed, credential_id: [u8; 16], key_id: u64) -> &mut Numbers {
        let opened_here = !packet.stream.is_multiple_of(2);
        let direction = Direction { credential_id, key_id, node: packet.node.index(), opened_here };
        self.directions.entry(direction).or_default()
    }

    /// Departure times of a path never decrease, and the wheel is first in, first out.
    fn in_order(&mut self, packet: &Observed, credential_id: [u8; 16]) -> Result<(), String> {
        let key = (packet.node.index(), credential_id, packet.priority);
        let newest_ns = self.departures.entry(key).or_default();
        if packet.scheduled_ns < *newest_ns {
            return Err(format!(
                "stream {}: planned for {} ns before what left earlier",
                packet.stream,
                *newest_ns - packet.scheduled_ns
            ));
        }
        *newest_ns = packet.scheduled_ns;
        Ok(())
    }

    /// Who has nothing new to say only answers (RFC 9000 §13.2.1: an ACK is not acknowledged), or two would go on for ever.
    fn answered(&mut self, packet: &Observed, credential_id: [u8; 16], key_id: u64) -> Result<(), String> {
        let answers = self.answers.entry((packet.node.index(), credential_id, key_id)).or_default();
        answers.given += 1;
        if answers.given > answers.asked {
            return Err(format!(
                "stream {}: {} control packets for {} that arrived",
                packet.stream, answers.given, answers.asked
            ));
        }
        Ok(())
    }

    /// Data leaves a node with a rate cap at that rate, after a token bucket's worth at once.
    fn cap(&mut self, packet: &Observed) -> Result<u64, String> {
        let cap = self.caps.get_mut(packet.node.index()).and_then(Option::as_mut);
        let Some(cap) = cap.filter(|_| packet.kind.is_stream_data()) else { return Ok(0) };
        let leaked = u128::from(packet.at_ns - cap.at_ns) * u128::from(cap.rate);
        cap.level = cap.level.saturating_sub(leaked) + packet.bytes.len() as u128 * SECOND;
        cap.at_ns = packet.at_ns;
        if cap.level > u128::from(BUCKET_BYTES) * SECOND {
            let over = cap.level / SECOND - u128::from(BUCKET_BYTES);
            return Err(format!("rate cap: {over} bytes more than {} a second allow", cap.rate));
        }
        Ok(1)
    }

    fn amplification(&mut self, packet: &Observed) -> Result<u64, String> {
        let balance = self.balances.entry((packet.node.index(), packet.to)).or_default();
        if balance.validated {
            return Ok(0);
        }
        balance.sent += packet.bytes.len() as u64;
        if balance.sent > balance.received * AMPLIFICATION {
            return Err(format!(
                "{:?}: {} bytes to {}, which proved nothing and sent {}",
                packet.kind, balance.sent, packet.to, balance.received
            ));
        }
        Ok(1)
    }
}

impl Numbers {
    /// A nonce seals one plaintext, once. A retransmission repeats it, patched; it may come first where the first
    /// transmission failed.
    fn note_sealed(&mut self, original: u64, hash: u64, first: bool) -> Result<(), String> {
        let index = usize::try_from(original).map_err(|_| "a number out of range".to_owned())?;
        if index >= self.sealed.len() {
            if index > self.sealed.len() + (1 << 20) {
                return Err("numbers jump".to_owned());
            }
            self.sealed.resize(index + 1, None);
        }
        match self.sealed[index] {
            Some(_) if first => Err(format!("number {original} is sealed twice")),
            Some(before) if before != hash => Err(format!("nonce {original} is used for two payloads")),
            _ => {
                self.sealed[index] = Some(hash);
                Ok(())
            }
        }
    }
}

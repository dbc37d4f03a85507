//! No key and packet number twice, as an observer sees it.
//!
//! Numbers never restart, not even at a key update, so for one sender and stream a number of the stream space stands for one
//! ciphertext. A sender that sealed two texts under one number would show two.

use super::Datagram;
use paceline_transport::wire::packet::{self, stream};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
};

/// A sender's half of a stream: address, credential id, key id.
type Half = (SocketAddr, [u8; 16], u64);

/// What was seen of one half.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Of each number, ciphertext and authenticated fields.
    sealed: BTreeMap<u64, u64>,
    /// First number and count of packets of each key phase.
    pub phases: Vec<(u64, u64)>,
    phase_bit: bool,
    /// Copies of packets of an earlier phase, sent after the first of a later one.
    pub late_copies: u64,
}

impl Numbers {
    /// Numbers between the first and the last that were not used.
    pub fn left_out(&self) -> u64 {
        self.sealed.last_key_value().map_or(0, |(last, _)| last + 1) - self.sealed.len() as u64
    }

    pub fn packets(&self) -> u64 {
        self.sealed.len() as u64
    }

    /// Most packets of one phase.
    pub fn largest_phase(&self) -> u64 {
        self.phases.iter().map(|(_, count)| *count).max().unwrap_or(0)
    }
}

#[derive(Debug, Default)]
pub struct KeyChecker {
    pub halves: BTreeMap<Half, Numbers>,
    /// Look at nothing: for floods.
    pub off: bool,
}

impl KeyChecker {
    pub fn see(&mut self, datagram: &Datagram) {
        if self.off || packet::classify(datagram.bytes[0]) != packet::Kind::Stream {
            return;
        }
        let packet = stream::Packet::decode(&datagram.bytes).expect("our own packets decode");
        if packet.is_probe() {
            return;
        }
        let credentials = packet.credentials();
        let half = self.halves.entry((datagram.from, credentials.id.0, credentials.key_id)).or_default();
        let payload_at = datagram.bytes.len() - 16 - packet.payload_len();
        let mut hasher = DefaultHasher::new();
        datagram.bytes[payload_at..datagram.bytes.len() - 16].hash(&mut hasher);
        (packet.offset(), packet.final_offset(), packet.key_phase(), packet.queue_id()).hash(&mut hasher);
        (packet.source_queue_id(), packet.next_expected_control(), payload_at).hash(&mut hasher);
        let (number, hash) = (packet.original_number(), hasher.finish());
        match half.sealed.get(&number) {
            Some(known) => {
                assert_eq!(*known, hash, "number {number} of {half:?} sealed two packets");
                let newest = half.phases.last().map_or(0, |(first, _)| *first);
                half.late_copies += u64::from(number < newest);
            }
            None => {
                let last = half.sealed.last_key_value().map(|(last, _)| *last);
                assert!(last.is_none_or(|last| last < number), "number {number} after {last:?}");
                half.sealed.insert(number, hash);
                if half.phases.is_empty() || half.phase_bit != packet.key_phase() {
                    half.phase_bit = packet.key_phase();
                    half.phases.push((number, 0));
                }
                half.phases.last_mut().expect("one was pushed").1 += 1;
            }
        }
    }

    /// The half of this sender with most packets.
    pub fn half(&self, from: SocketAddr) -> &Numbers {
        let halves = self.halves.iter().filter(|((sender, ..), _)| *sender == from);
        halves.map(|(_, numbers)| numbers).max_by_key(|numbers| numbers.packets()).expect("it sent something")
    }
}

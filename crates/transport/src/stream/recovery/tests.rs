//! The sent map against an ordered map: every lookup, every loss, over random sends, ACKs and trims.

use super::*;
use crate::buffer::testing::Random;
use std::collections::BTreeMap;

fn sent(number: u64, sent_ns: u64) -> Sent {
    Sent {
        number,
        original: number,
        offset: number,
        payload: 1,
        packet_len: 1,
        fin: false,
        state: State::Scheduled,
        sent_ns,
        info: None,
        retained: None,
    }
}

/// RFC 9002 §6.1.1, kPacketThreshold.
const PACKET_THRESHOLD: usize = 3;

/// What the map must be: number to state and time, and the newest acknowledged number.
#[derive(Default)]
struct Model {
    packets: BTreeMap<u64, (State, u64)>,
    largest: Option<u64>,
}

impl Model {
    /// In flight and at least three packets (not numbers) older than the newest acknowledged one.
    fn reordered(&self) -> Vec<u64> {
        let Some(largest) = self.largest else { return Vec::new() };
        // What was dropped from the front has its verdict, and so has everything before it.
        let older: Vec<u64> = self.packets.range(..=largest).map(|(number, _)| *number).collect();
        let newest_known = older.last() == Some(&largest);
        let count = if newest_known {
            older.len().saturating_sub(PACKET_THRESHOLD)
        } else {
            older.len().saturating_sub(PACKET_THRESHOLD - 1 + 1)
        };
        older[..count].iter().copied().filter(|number| self.packets[number].0 == State::InFlight).collect()
    }
}

#[derive(Debug, Default)]
struct Met {
    operations: u64,
    acknowledged: u64,
    lost: u64,
    spurious: u64,
    jumps: u64,
    forgotten: u64,
    late_departures: u64,
}

fn run(seed: u64, operations: u64, met: &mut Met) {
    let mut random = Random::new(seed);
    let (mut map, mut model) = (SentMap::default(), Model::default());
    let (mut next, mut now) = (0_u64, 1_000_u64);
    let end = met.operations + operations;
    // How far apart numbers lie, as in the recovery space.
    let jumpy = seed % 2 == 1;
    let known = |model: &Model, random: &mut Random| {
        let (first, last) = (*model.packets.first_key_value()?.0, *model.packets.last_key_value()?.0);
        Some(first + random.below(last - first + 1))
    };
    while met.operations < end {
        met.operations += 1;
        now += random.below(10);
        match random.below(16) {
            // A burst is sealed.
            0..=4 if model.packets.len() < 300 => {
                for _ in 0..1 + random.below(8) {
                    if jumpy && random.one_in(4) {
                        next += 1 + random.below(100);
                        met.jumps += 1;
                    }
                    map.insert(sent(next, 0));
                    model.packets.insert(next, (State::Scheduled, 0));
                    next += 1;
                }
            }
            // The oldest few that are scheduled leave; now and then a younger one does first.
            0..=8 => {
                let scheduled: Vec<u64> = model
                    .packets
                    .iter()
                    .filter(|(_, (state, _))| *state == State::Scheduled)
                    .map(|(number, _)| *number)
                    .take(12)
                    .collect();
                let skip = if random.one_in(8) { random.below(3) as usize } else { 0 };
                met.late_departures += u64::from(skip > 0 && scheduled.len() > skip);
                for number in scheduled.into_iter().skip(skip) {
                    map.note_in_flight(number);
                    let packet = map.get_mut(number).expect("known");
                    (packet.state, packet.sent_ns) = (State::InFlight, now);
                    model.packets.insert(number, (State::InFlight, now));
                }
            }
            // An ACK of a range, its losses, and what can be dropped afterwards.
            9..=13 => {
                let Some(first) = known(&model, &mut random) else { continue };
                let last = (first + random.below(20)).min(next - 1);
                let mut seen = Vec::new();
                map.for_each_in(first, last, |packet| {
                    seen.push(packet.number);
                    packet.state = State::Acknowledged;
                });
                let expected: Vec<u64> =
                    model.packets.range(first..=last).map(|(number, _)| *number).collect();
                assert_eq!(seen, expected, "seed {seed}");
                for number in &expected {
                    let packet = model.packets.get_mut(number).expect("in the range");
                    met.spurious += u64::from(packet.0 == State::Lost);
                    packet.0 = State::Acknowledged;
                    met.acknowledged += 1;
                }
                if let Some(largest) = expected.last() {
                    map.note_largest_acknowledged(*largest);
                    model.largest = model.largest.max(Some(*largest));
                }
                let expected = model.reordered();
                let mut lost = Vec::new();
                map.detect_reordered(PACKET_THRESHOLD, |packet| {
                    packet.state = State::Lost;
                    lost.push(packet.number);
                });
                assert_eq!(lost, expected, "seed {seed}, operation {}", met.operations);
                for number in lost {
                    model.packets.get_mut(&number).expect("known").0 = State::Lost;
                    met.lost += 1;
                }
                let before_ns = now.saturating_sub(100);
                map.trim(before_ns, |_| true);
                while let Some(entry) = model.packets.first_entry() {
                    let (state, sent_ns) = *entry.get();
                    if state == State::Acknowledged || (state == State::Lost && sent_ns < before_ns) {
                        met.forgotten += u64::from(state == State::Lost);
                        entry.remove();
                    } else {
                        break;
                    }
                }
            }
            _ => {
                let number = if random.one_in(4) {
                    random.below(next + 3)
                } else {
                    known(&model, &mut random).unwrap_or(0)
                };
                let found = map.get_mut(number).map(|packet| (packet.state, packet.sent_ns));
                assert_eq!(found, model.packets.get(&number).copied(), "seed {seed}");
            }
        }
        assert_eq!(map.ring.len(), model.packets.len());
    }
    let left: Vec<u64> = map.drain().map(|packet| packet.number).collect();
    assert_eq!(left, model.packets.into_keys().collect::<Vec<_>>());
}

#[test]
fn equals_an_ordered_map() {
    let mut met = Met::default();
    for seed in 0..40 {
        run(seed, 25_000, &mut met);
    }
    println!("{met:?}");
    assert!(met.operations >= 1_000_000);
    let counts = [met.acknowledged, met.lost, met.spurious, met.jumps, met.forgotten, met.late_departures];
    assert!(counts.iter().all(|count| *count > 5_000), "{met:?}");
}

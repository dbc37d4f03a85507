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

/// A packet without an acknowledgement.
#[derive(Clone, Copy)]
struct Known {
    state: State,
    sent_ns: u64,
    ordinal: usize,
    /// Lost and not waited for any more: the map may have forgotten it.
    over: bool,
}

/// What the map must be.
#[derive(Default)]
struct Model {
    packets: BTreeMap<u64, Known>,
    sealed: usize,
    /// Ordinal of the newest packet that was acknowledged.
    largest: Option<usize>,
}

impl Model {
    /// In flight and at least three packets (not numbers) older than the newest acknowledged one.
    fn reordered(&self) -> Vec<u64> {
        let Some(largest) = self.largest else { return Vec::new() };
        let overtaken = |packet: &Known| packet.ordinal + PACKET_THRESHOLD <= largest;
        let lost =
            self.packets.iter().filter(|(_, packet)| packet.state == State::InFlight && overtaken(packet));
        lost.map(|(number, _)| *number).collect()
    }

    /// Packets that the map must have.
    fn waiting(&self) -> impl Iterator<Item = u64> + '_ {
        self.packets.iter().filter(|(_, packet)| !packet.over).map(|(number, _)| *number)
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
    swept: u64,
    late_departures: u64,
}

fn run(seed: u64, operations: u64, met: &mut Met) {
    let mut random = Random::new(seed);
    let (mut map, mut model) = (SentMap::default(), Model::default());
    let (mut next, mut now) = (0_u64, 1_000_u64);
    let end = met.operations + operations;
    // How far apart numbers lie, as in the recovery space.
    let jumpy = seed % 2 == 1;
    // Of what is never settled: it stays until it is acknowledged, and more and more lies behind it.
    let settled = |sent: &Sent| !sent.number.is_multiple_of(64);
    let known = |model: &Model, random: &mut Random| {
        let (first, last) = (*model.packets.first_key_value()?.0, *model.packets.last_key_value()?.0);
        Some(first + random.below(last - first + 1))
    };
    let mut most = 0;
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
                    let ordinal = model.sealed;
                    model
                        .packets
                        .insert(next, Known { state: State::Scheduled, sent_ns: 0, ordinal, over: false });
                    model.sealed += 1;
                    next += 1;
                }
            }
            // The oldest few that are scheduled leave; now and then a younger one does first.
            0..=8 => {
                let scheduled: Vec<u64> = model
                    .packets
                    .iter()
                    .filter(|(_, packet)| packet.state == State::Scheduled)
                    .map(|(number, _)| *number)
                    .take(12)
                    .collect();
                let skip = if random.one_in(8) { random.below(3) as usize } else { 0 };
                met.late_departures += u64::from(skip > 0 && scheduled.len() > skip);
                for number in scheduled.into_iter().skip(skip) {
                    map.note_in_flight(number);
                    let packet = map.get_mut(number).expect("known");
                    (packet.state, packet.sent_ns) = (State::InFlight, now);
                    let known = model.packets.get_mut(&number).expect("known");
                    (known.state, known.sent_ns) = (State::InFlight, now);
                }
            }
            // An ACK of a range, its losses, and what can be dropped afterwards.
            9..=13 => {
                let Some(first) = known(&model, &mut random) else { continue };
                let last = (first + random.below(20)).min(next - 1);
                let mut seen = Vec::new();
                map.acknowledge(first, last, |packet| seen.push((packet.number, packet.state)));
                let mut rest = model.packets.split_off(&first);
                let mut behind = rest.split_off(&(last + 1));
                for (number, packet) in rest {
                    if seen.first() != Some(&(number, packet.state)) {
                        assert!(packet.over, "seed {seed}: {number}");
                        continue;
                    }
                    seen.remove(0);
                    met.spurious += u64::from(packet.state == State::Lost);
                    met.acknowledged += 1;
                    model.largest = model.largest.max(Some(packet.ordinal));
                }
                model.packets.append(&mut behind);
                assert_eq!(seen, [], "seed {seed}");
                let expected = model.reordered();
                let mut lost = Vec::new();
                map.detect_reordered(PACKET_THRESHOLD, |packet| {
                    packet.state = State::Lost;
                    lost.push(packet.number);
                });
                assert_eq!(lost, expected, "seed {seed}, operation {}", met.operations);
                for number in lost {
                    model.packets.get_mut(&number).expect("known").state = State::Lost;
                    met.lost += 1;
                }
                let before_ns = now.saturating_sub(100);
                let len = map.ring.len();
                let gone =
                    map.ring.iter().take_while(|placed| placed.sent.state == State::Acknowledged).count();
                map.trim(before_ns, settled);
                met.swept += u64::from(map.ring.len() < len - gone && map.sweep_at == 2 * map.ring.len());
                for (number, packet) in &mut model.packets {
                    let lost = packet.state == State::Lost && packet.sent_ns < before_ns;
                    packet.over |= lost && settled(&sent(*number, 0));
                }
                while let Some(entry) = model.packets.first_entry().filter(|entry| entry.get().over) {
                    met.forgotten += 1;
                    entry.remove();
                }
                most = most.max(model.packets.len());
                assert!(map.ring.len() <= MIN_SWEPT.max(2 * most), "{} of {most}", map.ring.len());
            }
            _ => {
                let number = if random.one_in(4) {
                    random.below(next + 3)
                } else {
                    known(&model, &mut random).unwrap_or(0)
                };
                let found = map.get_mut(number).filter(|packet| packet.state != State::Acknowledged);
                let found = found.map(|packet| (packet.state, packet.sent_ns));
                match model.packets.get(&number) {
                    Some(packet) if !packet.over || found.is_some() => {
                        assert_eq!(found, Some((packet.state, packet.sent_ns)), "seed {seed}");
                    }
                    _ => assert_eq!(found, None, "seed {seed}"),
                }
            }
        }
    }
    let left: Vec<u64> = map
        .drain()
        .filter(|packet| packet.state != State::Acknowledged)
        .map(|packet| packet.number)
        .collect();
    assert!(left.iter().all(|number| model.packets.contains_key(number)), "seed {seed}");
    assert!(model.waiting().all(|number| left.contains(&number)), "seed {seed}");
}

#[test]
fn equals_an_ordered_map() {
    let mut met = Met::default();
    for seed in 0..40 {
        run(seed, 25_000, &mut met);
    }
    println!("{met:?}");
    assert!(met.operations >= 1_000_000);
    let counts =
        [met.acknowledged, met.lost, met.spurious, met.jumps, met.forgotten, met.swept, met.late_departures];
    assert!(counts.iter().all(|count| *count > 2_500), "{met:?}");
}

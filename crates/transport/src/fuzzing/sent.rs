//! What a stream has sent, against a list with one state per packet. ACKs are whatever a peer may say.

use super::{Input, Reach};
use crate::{
    path::recovery::AckBatch,
    stream::{
        recovery::{Retained, Sent, State},
        send::Send,
    },
    transmission::Space,
};
use paceline_pacer::{Algorithm, Controller};
use paceline_pool::{Config, Pool, Purpose};
use std::{ops::RangeInclusive, sync::Arc};

/// Bytes of every packet.
const LEN: u16 = 1_200;

struct Packet {
    space: Space,
    number: u64,
    state: State,
}

struct World {
    send: Send,
    pool: Arc<Pool>,
    controller: Controller,
    batch: AckBatch,
    packets: Vec<Packet>,
    /// By space: the number after the newest, and the runs below it that were left out.
    unsealed: [(u64, Vec<RangeInclusive<u64>>); 2],
    /// By space: the number after the newest that may have left.
    handed: [u64; 2],
    now_ns: u64,
}

impl World {
    fn seal(&mut self, space: Space, skip: u64) {
        let next = match space {
            Space::Stream => &mut self.send.next_number,
            Space::Recovery => &mut self.send.next_recovery,
        };
        let number = next.saturating_add(skip);
        *next = number + 1;
        let Ok(unfilled) = self.pool.take(usize::from(LEN), Purpose::Data) else { return };
        let retained = Some(Retained { filled: unfilled.fill(usize::from(LEN)), start: 0, len: LEN });
        let sent = Sent {
            number,
            original: number,
            offset: self.send.next_offset,
            payload: LEN,
            packet_len: LEN,
            fin: false,
            state: State::Scheduled,
            sent_ns: 0,
            info: None,
            retained,
        };
        self.send.next_offset += u64::from(LEN);
        self.send.insert(space, sent);
        let (next, left_out) = &mut self.unsealed[usize::from(space == Space::Recovery)];
        if number > *next {
            left_out.push(*next..=number - 1);
        }
        *next = number + 1;
        self.packets.push(Packet { space, number, state: State::Scheduled });
    }

    fn hand(&mut self, space: Space, number: u64) {
        self.send.space_mut(space).note_handed(number);
        let handed = &mut self.handed[usize::from(space == Space::Recovery)];
        *handed = (number + 1).max(*handed);
    }

    fn acknowledge(&mut self, space: Space, first: u64, last: u64) {
        let (send, controller, batch) = (&mut self.send, &mut self.controller, &mut self.batch);
        let verdict = send.on_acknowledged(space, first, last, self.now_ns, controller, batch);
        // A number to come is a violation for certain; one that was left out may be.
        let index = usize::from(space == Space::Recovery);
        let (next, left_out) = (self.handed[index], &self.unsealed[index].1);
        let lies = last >= next || left_out.iter().any(|run| *run.start() <= last && first <= *run.end());
        assert!(verdict.is_err() || last < next, "{first}..={last}");
        assert!(verdict.is_ok() || lies, "{first}..={last}");
        if verdict.is_ok() {
            for packet in &mut self.packets {
                if packet.space == space && (first..=last).contains(&packet.number) {
                    packet.state = State::Acknowledged;
                }
            }
        }
    }

    /// Every account says what the packets say.
    fn check(&mut self) {
        let mut in_flight = 0;
        let mut held = 0;
        for sent in self.send.stream_space.iter().chain(self.send.recovery_space.iter()) {
            in_flight += u32::from(sent.state == State::InFlight);
            held += sent.retained.as_ref().map_or(0, |_| u64::from(sent.packet_len));
        }
        held += self.send.lost.iter().map(|lost| u64::from(lost.retained.len)).sum::<u64>();
        assert_eq!((self.send.in_flight, self.send.held_bytes), (in_flight, held));
        assert_eq!(
            self.controller.bytes_in_flight(),
            u64::from(in_flight) * u64::from(LEN) + self.unsettled()
        );
        assert_eq!(
            self.pool.stats().lent as u64 * u64::from(LEN),
            held,
            "each held packet has its descriptor"
        );
        for packet in &self.packets {
            let Some(sent) = self.send.space_mut(packet.space).get_mut(packet.number) else { continue };
            // Losses are found by the code under test alone; everything else the model knows.
            assert!(
                sent.state == packet.state || (sent.state == State::Lost && packet.state == State::InFlight)
            );
        }
    }

    /// Bytes with a verdict that the controller was not told yet.
    fn unsettled(&self) -> u64 {
        let lost: u64 = self.batch.lost.iter().map(|lost| u64::from(lost.bytes)).sum();
        lost + self.batch.acknowledged_bytes
    }

    fn settle(&mut self) {
        for lost in self.batch.lost.drain(..) {
            self.controller.on_discarded(lost.bytes);
        }
        self.controller.on_discarded(u32::try_from(self.batch.acknowledged_bytes).unwrap());
        self.batch.clear();
    }
}

/// Seals, sends, fails to send, and acknowledges anything.
pub fn sent_map(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let config = Config { capacity_bytes: 1 << 20, reserve_bytes: 0 };
    let mut world = World {
        send: Send::new(u64::MAX),
        pool: Pool::new(config).expect("large enough"),
        controller: Controller::new(Algorithm::Cubic, LEN, 0),
        batch: AckBatch::default(),
        packets: Vec::new(),
        unsealed: Default::default(),
        handed: [0; 2],
        now_ns: 0,
    };
    let mut acknowledged = false;
    while !input.is_empty() && world.packets.len() < 512 {
        let operation = input.u8();
        let space = if operation & 1 == 0 { Space::Stream } else { Space::Recovery };
        match operation >> 1 & 7 {
            0 => {
                (0..input.below(16)).for_each(|_| world.seal(space, 0));
                if operation & 64 == 0
                    && let Some(last) = world.packets.iter().rfind(|packet| packet.space == space)
                {
                    world.hand(space, last.number);
                }
            }
            1 => world.seal(space, input.varint() >> 32),
            2 | 3 => {
                // The oldest that are scheduled leave, or do not.
                let failed = operation & 64 != 0;
                let count = input.below(16);
                let due = world.packets.iter().enumerate();
                let due = due.filter(|(_, packet)| packet.state == State::Scheduled);
                let due: Vec<usize> = due.map(|(index, _)| index).take(count).collect();
                for index in due {
                    let (space, number) = (world.packets[index].space, world.packets[index].number);
                    world.hand(space, number);
                    world.packets[index].state = if failed {
                        world.send.on_unsent(space, number);
                        State::Lost
                    } else {
                        world.send.on_sent(space, number, world.now_ns, false, &mut world.controller);
                        State::InFlight
                    };
                }
            }
            4 | 5 => {
                let first = input.varint();
                world.acknowledge(space, first, first.saturating_add(u64::from(input.u8())));
                world.send.detect_reordered(space, 3, &mut world.batch);
                acknowledged = true;
            }
            6 => {
                let number = input.varint();
                world.send.on_overtaken(space, number, &mut world.batch);
                world.send.next_lost();
            }
            _ => {
                world.now_ns += input.duration_ns();
                world.send.trim(world.now_ns / 2);
                world.settle();
                if operation & 64 != 0 && world.send.next_lost().is_some() {
                    world.send.pop_lost();
                }
            }
        }
        world.check();
    }
    world.send.abandon(&mut world.controller);
    world.settle();
    assert_eq!((world.pool.stats().lent, world.controller.bytes_in_flight()), (0, 0));
    Reach::of_structure(acknowledged)
}

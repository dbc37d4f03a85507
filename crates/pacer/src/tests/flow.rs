//! One flow of the simulator: endless data, RFC 9002 loss detection, bursts and cumulative pacing as in ARCHITECTURE.md; and its
//! receiver's account.

use super::link::{Event, PACKET, Sender, World};
use crate::{
    AckEvent, Acked, Controller, Lost, Pacer, SentInfo,
    time::{MS, SECOND},
};
use std::collections::VecDeque;

/// `maxScheduleAhead`.
const AHEAD_NS: u64 = 2 * MS;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    InFlight,
    Acked,
    Lost,
}

struct Packet {
    sent_ns: u64,
    info: SentInfo,
    unit: usize,
    fate: Fate,
}

pub(crate) struct Flow {
    controller: Controller,
    pacer: Pacer,
    wheel: VecDeque<(u64, u64)>,
    scheduled: u64,
    packets: Vec<Packet>,
    oldest: usize,
    largest_acked: Option<usize>,
    next_unit: usize,
    lost_units: VecDeque<usize>,
    pto_count: u32,
    timer_generation: u64,
    processed: usize,
    // The receiver.
    log: Vec<usize>,
    units: Vec<bool>,
    received: u64,
    ack_pending: bool,
}

impl Flow {
    pub(crate) fn new(sender: Sender, seed: u64) -> Self {
        Self {
            controller: Controller::with_remedies(sender.algorithm, PACKET as u16, seed, sender.remedies),
            pacer: Pacer::new(),
            wheel: VecDeque::new(),
            scheduled: 0,
            packets: Vec::new(),
            oldest: 0,
            largest_acked: None,
            next_unit: 0,
            lost_units: VecDeque::new(),
            pto_count: 0,
            timer_generation: 0,
            processed: 0,
            log: Vec::new(),
            units: Vec::new(),
            received: 0,
            ack_pending: false,
        }
    }

    /// Payload units that arrived, each once.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn min_rtt(&self) -> u64 {
        self.controller.min_rtt()
    }

    /// A packet arrived; whether an acknowledgement has to be sent that is not already to be.
    pub(crate) fn receive(&mut self, number: usize) -> bool {
        self.log.push(number);
        self.received += u64::from(!std::mem::replace(&mut self.units[self.packets[number].unit], true));
        !std::mem::replace(&mut self.ack_pending, true)
    }

    /// An acknowledgement names every packet that arrived so far: how many.
    pub(crate) fn acknowledge(&mut self) -> usize {
        self.ack_pending = false;
        self.log.len()
    }

    pub(crate) fn is_current(&self, generation: u64) -> bool {
        self.timer_generation == generation
    }

    pub(crate) fn fill(&mut self, me: usize, world: &mut World) {
        loop {
            let rate = self.controller.rate();
            let burst = self.pacer.burst_packets(&self.controller, PACKET as u16, 64, 65_507) as u64 * PACKET;
            let ahead = burst.max(rate * AHEAD_NS / SECOND);
            if self.scheduled > 0 && self.scheduled + burst > ahead {
                return;
            }
            let room = self.pacer.window_room(&self.controller, self.scheduled, burst);
            let mut packets = burst.min(room) / PACKET;
            if packets == 0 && self.scheduled == 0 && self.controller.requires_fast_retransmission() {
                packets = 1;
            }
            if packets == 0 {
                return;
            }
            let at = self.pacer.schedule(world.now_ns, packets * PACKET, rate);
            self.scheduled += packets * PACKET;
            self.wheel.push_back((at, packets));
            let late = world.noise.below(world.path.wake_late_ns + 1);
            world.at(at + late, me, Event::Release);
        }
    }

    pub(crate) fn release(&mut self, me: usize, world: &mut World) {
        while let Some(&(at, packets)) = self.wheel.front() {
            if at > world.now_ns {
                break;
            }
            let rate = self.controller.rate();
            let burst = self.pacer.burst_packets(&self.controller, PACKET as u16, 64, 65_507) as u64 * PACKET;
            let rtt = self.controller.smoothed_rtt();
            if let Err(later) = self.pacer.admit(world.now_ns, packets * PACKET, rate, rtt, burst) {
                assert!(later > world.now_ns, "told to wait for {later} at {}", world.now_ns);
                world.report.held += 1;
                self.wheel[0].0 = later;
                world.at(later, me, Event::Release);
                break;
            }
            self.wheel.pop_front();
            self.scheduled -= packets * PACKET;
            for _ in 0..packets {
                self.send(me, world);
            }
        }
        self.arm(me, world);
    }

    fn send(&mut self, me: usize, world: &mut World) {
        let unit = self.lost_units.pop_front().unwrap_or_else(|| {
            self.next_unit += 1;
            self.units.push(false);
            self.next_unit - 1
        });
        let info = self.controller.on_sent(world.now_ns, PACKET as u32, false);
        let number = self.packets.len();
        self.packets.push(Packet { sent_ns: world.now_ns, info, unit, fate: Fate::InFlight });
        if let Some(arrives_ns) = world.carry() {
            world.at(arrives_ns, me, Event::Arrive { number });
        }
    }

    pub(crate) fn on_ack(&mut self, log: usize, world: &mut World) {
        if log <= self.processed {
            return;
        }
        let (mut bytes, mut newest, mut largest) = (0, None, self.largest_acked);
        for index in self.processed..log {
            let number = self.log[index];
            match self.packets[number].fate {
                Fate::InFlight => {
                    self.packets[number].fate = Fate::Acked;
                    bytes += PACKET;
                    newest = newest.max(Some(number));
                    largest = largest.max(Some(number));
                }
                Fate::Lost => world.report.spurious += 1,
                Fate::Acked => unreachable!("the log names each packet once"),
            }
        }
        self.processed = log;
        let rtt_sample = (largest > self.largest_acked)
            .then(|| self.packets[largest.expect("larger than something")].sent_ns)
            .map(|sent_ns| (sent_ns, 0));
        self.largest_acked = largest;
        if newest.is_some() {
            self.pto_count = 0;
        }
        let lost = self.detect_losses(world.now_ns);
        let acked = newest.map(|number: usize| Acked {
            bytes,
            newest: self.packets[number].info,
            newest_sent_ns: self.packets[number].sent_ns,
        });
        self.report(world.now_ns, rtt_sample, &lost, acked);
    }

    fn report(&mut self, now_ns: u64, rtt_sample: Option<(u64, u64)>, lost: &[Lost], acked: Option<Acked>) {
        if rtt_sample.is_some() || acked.is_some() || !lost.is_empty() {
            let event = AckEvent { now_ns, rtt_sample, lost, acked, persistent_congestion: false, ecn_ce: 0 };
            self.controller.on_ack_event(&event);
        }
    }

    fn detect_losses(&mut self, now_ns: u64) -> Vec<Lost> {
        let mut lost = Vec::new();
        let Some(largest) = self.largest_acked else { return lost };
        let delay = self.controller.loss_delay();
        for number in self.oldest..largest {
            let packet = &self.packets[number];
            if packet.fate == Fate::InFlight && (number + 3 <= largest || packet.sent_ns + delay <= now_ns) {
                let first_of_run = number == 0 || self.packets[number - 1].fate != Fate::Lost;
                let packet = &mut self.packets[number];
                packet.fate = Fate::Lost;
                self.lost_units.push_back(packet.unit);
                lost.push(Lost {
                    bytes: PACKET as u32,
                    info: packet.info,
                    sent_ns: packet.sent_ns,
                    first_of_run,
                });
            }
        }
        while self.oldest < self.packets.len() && self.packets[self.oldest].fate != Fate::InFlight {
            self.oldest += 1;
        }
        lost
    }

    fn deadline(&self) -> Option<(u64, bool)> {
        let oldest = self.packets.get(self.oldest)?;
        if self.largest_acked.is_some_and(|largest| self.oldest < largest) {
            return Some((oldest.sent_ns + self.controller.loss_delay(), true));
        }
        let last = self.packets.last()?;
        Some((last.sent_ns + (self.controller.pto() << self.pto_count.min(4)), false))
    }

    pub(crate) fn arm(&mut self, me: usize, world: &mut World) {
        while self.oldest < self.packets.len() && self.packets[self.oldest].fate != Fate::InFlight {
            self.oldest += 1;
        }
        self.timer_generation += 1;
        if let Some((at, _)) = self.deadline() {
            world.at(at.max(world.now_ns), me, Event::Timer { generation: self.timer_generation });
        }
    }

    pub(crate) fn on_timer(&mut self, me: usize, world: &mut World) {
        match self.deadline() {
            Some((at, true)) if at <= world.now_ns => {
                let lost = self.detect_losses(world.now_ns);
                self.report(world.now_ns, None, &lost, None);
            }
            Some((at, false)) if at <= world.now_ns => {
                self.pto_count += 1;
                self.send(me, world);
                self.send(me, world);
            }
            _ => {}
        }
    }
}

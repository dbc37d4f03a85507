//! A discrete-event simulator: flows with endless data over one bottleneck with a drop-tail queue, random loss each way,
//! RFC 9002 loss detection, bursts and cumulative pacing as in ARCHITECTURE.md.

use super::Noise;
use crate::{
    AckEvent, Acked, Algorithm, Controller, Lost, Pacer, SentInfo,
    remedy::Remedies,
    time::{MS, SECOND},
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// UDP payload of a packet, and what it takes on the wire: dcQUIC's bulk layout over IPv4.
pub(crate) const PACKET: u64 = 1472;
const WIRE: u64 = 1500;
/// A receiver wakes this long after the first packet of a batch (reference/limits.md: 18 to 37 µs).
const RECEIVER_WAKE_NS: u64 = 30_000;
/// `maxScheduleAhead`.
const AHEAD_NS: u64 = 2 * MS;

/// A bottleneck and what is around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    /// Bits per second on the wire.
    pub(crate) bits: u64,
    pub(crate) rtt_ns: u64,
    /// Of the bottleneck, in 1/100 of the bandwidth-delay product.
    pub(crate) buffer_percent: u64,
    /// Random loss each way, parts per million.
    pub(crate) loss_ppm: u64,
    /// The sender's wakes are late by up to this.
    pub(crate) wake_late_ns: u64,
    /// Acknowledgements are late by up to this.
    pub(crate) ack_jitter_ns: u64,
    /// At this time, rate and RTT become these.
    pub(crate) step: Option<(u64, u64, u64)>,
    pub(crate) duration_ns: u64,
}

impl Path {
    pub(crate) const fn new(bits: u64, rtt_ns: u64) -> Self {
        Self {
            bits,
            rtt_ns,
            buffer_percent: 100,
            loss_ppm: 0,
            wake_late_ns: 0,
            ack_jitter_ns: 0,
            step: None,
            duration_ns: 10 * SECOND,
        }
    }

    pub(crate) const fn loss(mut self, ppm: u64) -> Self {
        self.loss_ppm = ppm;
        self
    }
}

/// What one flow runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) algorithm: Algorithm,
    pub(crate) remedies: Remedies,
}

/// What a run measured.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Payload that arrived, each byte once, as a share of what the bottleneck can carry, per flow.
    pub(crate) share: Vec<f64>,
    /// Median queueing delay that packets met, ns.
    pub(crate) queue_p50_ns: u64,
    /// Packets the full queue dropped.
    pub(crate) overflowed: u64,
    /// Packets lost at random on the way out, and acknowledgements on the way back.
    pub(crate) lost: u64,
    pub(crate) lost_acks: u64,
    pub(crate) packets: u64,
    /// Packets declared lost that had arrived.
    pub(crate) spurious: u64,
    /// Bursts told to wait at release.
    pub(crate) held: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Release,
    Arrive { number: usize },
    SendAck,
    AckArrives { log: usize },
    Timer { generation: u64 },
}

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

struct Flow {
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

struct World {
    path: Path,
    noise: Noise,
    now_ns: u64,
    order: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize, Event)>>,
    busy_until_ns: u64,
    queue_ns: Vec<u64>,
    report: Report,
}

impl World {
    fn at(&mut self, time_ns: u64, flow: usize, event: Event) {
        self.order += 1;
        self.events.push(Reverse((time_ns, self.order, flow, event)));
    }

    fn bytes_per_second(&self) -> u64 {
        self.path.bits / 8
    }

    /// One packet through the bottleneck: when it arrives, if it does.
    fn carry(&mut self) -> Option<u64> {
        let rate = self.bytes_per_second();
        let buffer = u128::from(rate) * u128::from(self.path.rtt_ns) / u128::from(SECOND)
            * u128::from(self.path.buffer_percent)
            / 100;
        let queue_ns = self.busy_until_ns.saturating_sub(self.now_ns);
        let queued = u128::from(queue_ns) * u128::from(rate) / u128::from(SECOND);
        self.queue_ns.push(queue_ns);
        self.report.packets += 1;
        if queued + u128::from(WIRE) > buffer.max(u128::from(2 * WIRE)) {
            self.report.overflowed += 1;
            return None;
        }
        self.busy_until_ns = self.busy_until_ns.max(self.now_ns) + WIRE * SECOND / rate;
        if self.noise.happens(self.path.loss_ppm) {
            self.report.lost += 1;
            return None;
        }
        Some(self.busy_until_ns + self.path.rtt_ns / 2)
    }
}

impl Flow {
    fn new(sender: Sender, seed: u64) -> Self {
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

    fn fill(&mut self, me: usize, world: &mut World) {
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

    fn release(&mut self, me: usize, world: &mut World) {
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

    fn on_ack(&mut self, log: usize, world: &World, spurious: &mut u64) {
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
                Fate::Lost => *spurious += 1,
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
            let persistent_congestion = false;
            self.controller.on_ack_event(&AckEvent {
                now_ns,
                rtt_sample,
                lost,
                acked,
                persistent_congestion,
                ecn_ce: 0,
            });
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

    fn arm(&mut self, me: usize, world: &mut World) {
        while self.oldest < self.packets.len() && self.packets[self.oldest].fate != Fate::InFlight {
            self.oldest += 1;
        }
        self.timer_generation += 1;
        if let Some((at, _)) = self.deadline() {
            world.at(at.max(world.now_ns), me, Event::Timer { generation: self.timer_generation });
        }
    }

    fn on_timer(&mut self, me: usize, world: &mut World) {
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

/// Runs `senders` over `path`.
pub(crate) fn run(path: Path, senders: &[Sender], seed: u64) -> Report {
    let mut world = World {
        path,
        noise: Noise::new(seed),
        now_ns: 0,
        order: 0,
        events: BinaryHeap::new(),
        busy_until_ns: 0,
        queue_ns: Vec::new(),
        report: Report {
            share: Vec::new(),
            queue_p50_ns: 0,
            overflowed: 0,
            lost: 0,
            lost_acks: 0,
            packets: 0,
            spurious: 0,
            held: 0,
        },
    };
    let mut flows: Vec<Flow> =
        (0u64..).zip(senders).map(|(i, sender)| Flow::new(*sender, seed * 100 + i)).collect();
    for (me, flow) in flows.iter_mut().enumerate() {
        flow.fill(me, &mut world);
    }
    let mut capacity = 0u128; // In byte-nanoseconds a second, over the steps.
    let mut step = path.step;
    let mut counted_ns = 0;
    while let Some(Reverse((time_ns, _, me, event))) = world.events.pop() {
        if time_ns > path.duration_ns {
            break;
        }
        world.now_ns = time_ns;
        if let Some((at, bits, rtt_ns)) = step.filter(|(at, ..)| *at <= time_ns) {
            capacity += u128::from(world.bytes_per_second()) * u128::from(at - counted_ns);
            counted_ns = at;
            (world.path.bits, world.path.rtt_ns) = (bits, rtt_ns);
            step = None;
        }
        let flow = &mut flows[me];
        match event {
            Event::Release => flow.release(me, &mut world),
            Event::Arrive { number } => {
                flow.log.push(number);
                let unit = flow.packets[number].unit;
                if !std::mem::replace(&mut flow.units[unit], true) {
                    flow.received += 1;
                }
                if !std::mem::replace(&mut flow.ack_pending, true) {
                    world.at(time_ns + RECEIVER_WAKE_NS, me, Event::SendAck);
                }
            }
            Event::SendAck => {
                flow.ack_pending = false;
                if world.noise.happens(path.loss_ppm) {
                    world.report.lost_acks += 1;
                } else {
                    let jitter_ns = world.noise.below(path.ack_jitter_ns + 1);
                    let at = time_ns + world.path.rtt_ns / 2 + jitter_ns;
                    world.at(at, me, Event::AckArrives { log: flow.log.len() });
                }
            }
            Event::AckArrives { log } => {
                let mut spurious = 0;
                flow.on_ack(log, &world, &mut spurious);
                world.report.spurious += spurious;
                flow.arm(me, &mut world);
            }
            Event::Timer { generation } => {
                if generation != flow.timer_generation {
                    continue;
                }
                flow.on_timer(me, &mut world);
                flow.arm(me, &mut world);
            }
        }
        flow.fill(me, &mut world);
    }
    capacity += u128::from(world.bytes_per_second()) * u128::from(path.duration_ns - counted_ns);
    let capacity = capacity as f64 / SECOND as f64;
    let mut report = world.report;
    report.share = flows.iter().map(|flow| (flow.received * WIRE) as f64 / capacity).collect();
    world.queue_ns.sort_unstable();
    report.queue_p50_ns = world.queue_ns.get(world.queue_ns.len() / 2).copied().unwrap_or(0);
    report
}

//! A discrete-event simulator: flows with endless data over one bottleneck with a drop-tail queue, random loss each way,
//! RFC 9002 loss detection, bursts and cumulative pacing as in ARCHITECTURE.md.

use super::{Noise, flow::Flow};
use crate::{Algorithm, remedy::Remedies, time::SECOND};
use std::{cmp::Reverse, collections::BinaryHeap};

/// UDP payload of a packet, and what it takes on the wire: dcQUIC's bulk layout over IPv4.
pub(crate) const PACKET: u64 = 1472;
const WIRE: u64 = 1500;
/// A receiver wakes this long after the first packet of a batch (reference/limits.md: 18 to 37 µs).
const RECEIVER_WAKE_NS: u64 = 30_000;

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
    /// What each flow takes for the minimum RTT at the end, ns.
    pub(crate) min_rtt_ns: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Release,
    Arrive { number: usize },
    SendAck,
    AckArrives { log: usize },
    Timer { generation: u64 },
}

pub(crate) struct World {
    pub(crate) path: Path,
    pub(crate) noise: Noise,
    pub(crate) now_ns: u64,
    order: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize, Event)>>,
    busy_until_ns: u64,
    queue_ns: Vec<u64>,
    pub(crate) report: Report,
}

impl World {
    pub(crate) fn at(&mut self, time_ns: u64, flow: usize, event: Event) {
        self.order += 1;
        self.events.push(Reverse((time_ns, self.order, flow, event)));
    }

    fn bytes_per_second(&self) -> u64 {
        self.path.bits / 8
    }

    /// One packet through the bottleneck: when it arrives, if it does.
    pub(crate) fn carry(&mut self) -> Option<u64> {
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
            min_rtt_ns: Vec::new(),
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
                if flow.receive(number) {
                    world.at(time_ns + RECEIVER_WAKE_NS, me, Event::SendAck);
                }
            }
            Event::SendAck => {
                let log = flow.acknowledge();
                if world.noise.happens(path.loss_ppm) {
                    world.report.lost_acks += 1;
                } else {
                    let jitter_ns = world.noise.below(path.ack_jitter_ns + 1);
                    let at = time_ns + world.path.rtt_ns / 2 + jitter_ns;
                    world.at(at, me, Event::AckArrives { log });
                }
            }
            Event::AckArrives { log } => {
                flow.on_ack(log, &mut world);
                flow.arm(me, &mut world);
            }
            Event::Timer { generation } => {
                if !flow.is_current(generation) {
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
    report.share = flows.iter().map(|flow| (flow.received() * WIRE) as f64 / capacity).collect();
    report.min_rtt_ns = flows.iter().map(Flow::min_rtt).collect();
    world.queue_ns.sort_unstable();
    report.queue_p50_ns = world.queue_ns.get(world.queue_ns.len() / 2).copied().unwrap_or(0);
    report
}

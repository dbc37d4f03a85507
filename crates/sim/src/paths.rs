//! R20: named paths, and how long a transfer over each may take.
//!
//! A ceiling is what theory says, and an allowance: a round trip for the handshake, slow start from ten packets (RFC 9002 §7.2) that
//! doubles every round trip until it has filled the path, the rate less what is lost, a round trip for the end. The allowance is for
//! what BBR pays to find the rate: its startup ends after three rounds without growth, above the rate, and drains. 15 % where nothing
//! happens, more where something is lost or changes meanwhile, twice at 5 % each way, where one startup in ten ends too early.
//! `cargo test -p paceline-sim --test ceilings -- --nocapture` prints the figures.

use crate::{Broken, FaultCounts, Link, Transfer, verdict::faults_json};
use paceline_transport::{Config, MS, SECOND};

/// A path with a name, and what crosses it.
#[derive(Clone, Copy, Debug)]
pub struct NamedPath {
    /// For the command line.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
    /// Bottleneck, Mbit/s, as UDP payload.
    pub mbit: u64,
    /// Round trip, µs.
    pub rtt_us: u64,
    /// Queue in front of the bottleneck, in percent of the bandwidth-delay product; at least 64 KiB unless it is shallow.
    pub queue_percent: u64,
    /// Bytes of the transfer, MiB.
    pub mebibytes: u64,
    /// Longest completion time, percent of the [`ideal`](Self::ideal_ns) one.
    pub allowance_percent: u64,
    /// What else is the matter with it.
    pub shape: Shape,
}

/// What a path does besides being long and narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing.
    Plain,
    /// Loses so many of a million each way.
    Loss(u32),
    /// Loses ten in a row, beginning with so many of a million.
    Bursts(u32),
    /// Flips a bit in so many of a million.
    Corruption(u32),
    /// Overtakes so many of a million, by up to 2 ms.
    Reordering(u32),
    /// Doubles so many of a million.
    Duplicates(u32),
    /// Marks so many of a million.
    CongestionMarks(u32),
    /// Delays by up to so many ns more.
    Jitter(u64),
    /// The way back has one hundredth of the rate.
    NarrowBack,
    /// The queue is as small as it says, without a least size.
    ShallowQueue,
    /// After a second the round trip is four times as long.
    RttStep,
    /// After half a second a quarter of the rate, a second later all of it again.
    RateStep,
    /// Down for two seconds after half a second.
    Stall,
}

const fn path(
    name: &'static str,
    what: &'static str,
    (mbit, rtt_us, queue_percent): (u64, u64, u64),
    shape: Shape,
    mebibytes: u64,
    allowance_percent: u64,
) -> NamedPath {
    NamedPath { name, what, mbit, rtt_us, queue_percent, mebibytes, allowance_percent, shape }
}

/// All of them.
pub const ALL: &[NamedPath] = &[
    path("lan", "1 Gbit/s, 0.2 ms", (1_000, 200, 400), Shape::Plain, 24, 115),
    path("10g-1ms", "10 Gbit/s, 1 ms", (10_000, 1_000, 100), Shape::Plain, 64, 115),
    path("1g-1ms", "1 Gbit/s, 1 ms", (1_000, 1_000, 100), Shape::Plain, 32, 115),
    path("100m-40ms-loss1", "100 Mbit/s, 40 ms, 1 % loss", (100, 40_000, 100), Shape::Loss(10_000), 12, 125),
    path("250m-600ms", "250 Mbit/s, 600 ms", (250, 600_000, 100), Shape::Plain, 32, 115),
    path("10m-200ms-deep", "10 Mbit/s, 200 ms, deep queue", (10, 200_000, 400), Shape::Plain, 3, 115),
    path("200m-20ms", "200 Mbit/s, 20 ms", (200, 20_000, 100), Shape::Plain, 16, 115),
    path(
        "200m-20ms-loss1",
        "200 Mbit/s, 20 ms, 1 % loss each way",
        (200, 20_000, 100),
        Shape::Loss(10_000),
        16,
        130,
    ),
    path(
        "200m-20ms-loss2",
        "200 Mbit/s, 20 ms, 2 % loss each way",
        (200, 20_000, 100),
        Shape::Loss(20_000),
        16,
        130,
    ),
    path(
        "200m-20ms-loss5",
        "200 Mbit/s, 20 ms, 5 % loss each way",
        (200, 20_000, 100),
        Shape::Loss(50_000),
        16,
        200,
    ),
    path("rtt-step", "100 Mbit/s, 20 ms, then 80 ms", (100, 20_000, 100), Shape::RttStep, 24, 140),
    path("rate-step", "200, then 50, then 200 Mbit/s, 20 ms", (200, 20_000, 100), Shape::RateStep, 32, 140),
    path("shallow", "100 Mbit/s, 40 ms, queue of 0.1 BDP", (100, 40_000, 10), Shape::ShallowQueue, 12, 130),
    path("jitter", "100 Mbit/s, 20 ms, 1 ms jitter", (100, 20_000, 100), Shape::Jitter(MS), 12, 115),
    path(
        "reordering",
        "100 Mbit/s, 20 ms, 5 % overtaken",
        (100, 20_000, 100),
        Shape::Reordering(50_000),
        12,
        115,
    ),
    path(
        "duplicates",
        "100 Mbit/s, 20 ms, 5 % doubled",
        (100, 20_000, 100),
        Shape::Duplicates(50_000),
        12,
        115,
    ),
    path(
        "ecn",
        "100 Mbit/s, 20 ms, 0.1 % marked",
        (100, 20_000, 100),
        Shape::CongestionMarks(1_000),
        12,
        130,
    ),
    path(
        "narrow-back",
        "100 Mbit/s there, 1 Mbit/s back, 20 ms",
        (100, 20_000, 100),
        Shape::NarrowBack,
        12,
        115,
    ),
    path("bursts", "100 Mbit/s, 20 ms, 10 lost in a row", (100, 20_000, 100), Shape::Bursts(1_000), 12, 135),
    path("stall", "100 Mbit/s, 20 ms, down for 2 s", (100, 20_000, 100), Shape::Stall, 12, 115),
    path(
        "corruption",
        "100 Mbit/s, 20 ms, 1 % damaged",
        (100, 20_000, 100),
        Shape::Corruption(10_000),
        12,
        115,
    ),
    path("satellite-loss", "50 Mbit/s, 600 ms, 0.5 % loss", (50, 600_000, 100), Shape::Loss(5_000), 16, 150),
];

/// What a transfer over a named path came to.
#[derive(Clone, Debug)]
pub struct PathReport {
    /// Which path.
    pub path: NamedPath,
    /// Which seed.
    pub seed: u64,
    /// From the connect call to the last acknowledgement, ns.
    pub completion_ns: u64,
    /// Of what the bottleneck's rate lets through as payload, from the beginning to the end, percent.
    pub percent_of_limit: f64,
    /// Packets sent by the sender.
    pub packets: u64,
    /// Packets sent again.
    pub retransmitted: u64,
    /// Lost in full queues.
    pub overflowed: u64,
    /// What really happened.
    pub faults: FaultCounts,
}

impl PathReport {
    /// Whether it was fast enough.
    pub fn is_ok(&self) -> bool {
        self.completion_ns <= self.path.ceiling_ns()
    }

    /// One line.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"path\":\"{}\",\"seed\":{},\"bytes\":{},\"completionMs\":{:.1},\"idealMs\":{:.1},\"ceilingMs\":{:.1},\"ok\":{},\"percentOfLimit\":{:.1},\"packets\":{},\"retransmitted\":{},\"overflowed\":{},\"faults\":{}}}",
            self.path.name,
            self.seed,
            self.path.mebibytes << 20,
            self.completion_ns as f64 / 1e6,
            self.path.ideal_ns() as f64 / 1e6,
            self.path.ceiling_ns() as f64 / 1e6,
            self.is_ok(),
            self.percent_of_limit,
            self.packets,
            self.retransmitted,
            self.overflowed,
            faults_json(&self.faults),
        )
    }
}

impl NamedPath {
    const fn rate(&self) -> u64 {
        self.mbit * 125_000
    }

    fn transfer(&self, seed: u64) -> Transfer {
        let rate = self.rate();
        let least = if self.shape == Shape::ShallowQueue { 0 } else { 64 << 10 };
        let base = Link {
            delay_ns: self.rtt_us * 500,
            rate: Some(rate),
            queue_bytes: (rate * self.rtt_us / 1_000_000 * self.queue_percent / 100).max(least),
            ..Link::default()
        };
        let mut link = base.clone();
        let mut back = None;
        let mut changes = Vec::new();
        match self.shape {
            Shape::Plain | Shape::ShallowQueue => {}
            Shape::Loss(ppm) => link.loss_ppm = ppm,
            Shape::Bursts(ppm) => (link.burst_loss_ppm, link.burst_loss_len) = (ppm, 10),
            Shape::Corruption(ppm) => link.corrupt_ppm = ppm,
            Shape::Reordering(ppm) => (link.reorder_ppm, link.reorder_ns) = (ppm, 2 * MS),
            Shape::Duplicates(ppm) => link.duplicate_ppm = ppm,
            Shape::CongestionMarks(ppm) => link.ce_ppm = ppm,
            Shape::Jitter(ns) => link.jitter_ns = ns,
            Shape::NarrowBack => back = Some(Link { rate: Some(rate / 100), ..base.clone() }),
            Shape::RttStep => changes.push((SECOND, Link { delay_ns: base.delay_ns * 4, ..base.clone() })),
            Shape::RateStep => {
                changes.push((SECOND / 2, Link { rate: Some(rate / 4), ..base.clone() }));
                changes.push((SECOND * 3 / 2, base));
            }
            Shape::Stall => {
                changes.push((SECOND / 2, Link { up: false, ..base.clone() }));
                changes.push((SECOND * 5 / 2, base));
            }
        }
        let config = Config { initial_window: 1 << 20, pool_bytes: 128 << 20, ..Config::default() };
        Transfer { seed, link, back, changes, bytes: self.mebibytes << 20, config, ..Transfer::default() }
    }

    /// What a sender would take that doubles its window every round trip until it fills the path, and then keeps to the rate, ns.
    pub fn ideal_ns(&self) -> u64 {
        let rtt_ns = self.rtt_us * 1_000;
        let lost_ppm = match self.shape {
            Shape::Loss(ppm) | Shape::Corruption(ppm) => ppm,
            Shape::Bursts(ppm) => ppm * 10,
            _ => 0,
        };
        // Payload.
        let rate = self.rate() * 1408 / 1472 * u64::from(1_000_000 - lost_ppm) / 1_000_000;
        let mut at_ns = rtt_ns;
        let (mut left, mut window) = (self.mebibytes << 20, 10 * 1408);
        while window < rate * rtt_ns / SECOND && left > window {
            left -= window;
            at_ns += rtt_ns;
            window *= 2;
        }
        let more_ns = match self.shape {
            // What is lost last is sent again.
            Shape::Loss(_) | Shape::Corruption(_) | Shape::Bursts(_) => rtt_ns,
            Shape::RttStep => 4 * rtt_ns,
            // A second at a quarter of the rate.
            Shape::RateStep => SECOND * 3 / 4,
            Shape::Stall => 2 * SECOND,
            _ => 0,
        };
        at_ns + left * 1_000_000 / (rate / 1_000) + rtt_ns + more_ns
    }

    /// Longest completion time, ns of virtual time.
    pub fn ceiling_ns(&self) -> u64 {
        self.ideal_ns() / 100 * self.allowance_percent
    }

    /// Runs a transfer over it.
    ///
    /// # Errors
    /// The first invariant that did not hold.
    pub fn run(&self, seed: u64) -> Result<PathReport, Broken> {
        let transfer = self.transfer(seed);
        let report = transfer.run()?;
        let limit = self.rate() as f64 * 1408.0 / 1472.0;
        let percent = 100.0 * transfer.bytes as f64 / (report.virtual_ns as f64 / 1e9) / limit;
        Ok(PathReport {
            path: *self,
            seed,
            completion_ns: report.virtual_ns,
            percent_of_limit: percent,
            packets: report.packets,
            retransmitted: report.retransmitted,
            overflowed: report.overflowed,
            faults: report.faults,
        })
    }
}

/// Runs a transfer over the path of that name; `None` if there is none.
pub fn run_path(name: &str, seed: u64) -> Option<Result<PathReport, Broken>> {
    ALL.iter().find(|path| path.name == name).map(|path| path.run(seed))
}

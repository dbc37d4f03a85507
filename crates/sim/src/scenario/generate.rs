//! A scenario out of a seed. What can fail is drawn here and nowhere else.

use super::{
    ClosePlan, FaultPlan, HalfPlan, Mode, NodePlan, PairPlan, ReaderPlan, Scenario, StreamPlan, Target,
};
use crate::{FaultKind, Link, Rng};
use paceline_transport::{Config, MS, SECOND};

/// Bytes of all streams together (R1).
const LEAST_BYTES: u64 = 64 << 10;
/// See `LEAST_BYTES`.
const MOST_BYTES: u64 = 4 << 20;
/// R1: streams of a world.
const MOST_STREAMS: u64 = 32;
/// R1: fault kinds of a world, at least and at most.
const KINDS: std::ops::RangeInclusive<u64> = 3..=6;
/// Writes of a stream at most, so that a world's commands stay few.
const MOST_WRITES: u64 = 400;
/// Application error codes begin here (design.md, "Ending a stream").
const FIRST_CODE: u64 = 256;
/// What a datagram may be at most while `mtuDrop` lasts; ours are 1472 bytes, an Initiation 176.
const LOWERED_MTU: (u64, u64) = (600, 1_400);

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len() as u64) as usize]
}

/// From `low` to `high`, each power of two as likely as the next.
fn log_uniform(rng: &mut Rng, low: u64, high: u64) -> u64 {
    let doublings = (high / low.max(1)).max(1).ilog2();
    let base = low << rng.below(u64::from(doublings) + 1);
    (base + rng.below(base.max(1))).clamp(low, high)
}

impl Scenario {
    /// The scenario of a seed; `mode` overrides the one the seed would have.
    pub fn generate(seed: u64, mode: Option<Mode>) -> Self {
        let mut rng = Rng::new(seed ^ 0x7363_656e_6172_696f);
        let drawn = if rng.chance_ppm(500_000) { Mode::Safety } else { Mode::Liveness };
        let mode = mode.unwrap_or(drawn);
        let clients = pick(&mut rng, &[1, 1, 1, 2, 2, 3]);
        let idle_timeout_ns = pick(&mut rng, &[2, 3, 5, 10, 30]) * SECOND;
        let nodes: Vec<NodePlan> = (0..=clients).map(|_| node(&mut rng, idle_timeout_ns)).collect();
        let pairs: Vec<PairPlan> = (0..clients).map(|_| pair(&mut rng)).collect();
        let mut scenario = Self {
            seed,
            mode,
            nodes,
            pairs,
            streams: Vec::new(),
            closes: Vec::new(),
            faults: Vec::new(),
            attacker_one_in: if rng.chance_ppm(200_000) { 20 + rng.below(60) } else { 0 },
        };
        scenario.draw_streams(&mut rng);
        let natural_ns = scenario.natural_ns();
        scenario.draw_closes(&mut rng, natural_ns);
        scenario.draw_faults(&mut rng, natural_ns);
        scenario.draw_key_phases();
        scenario
    }

    /// About how long the streams take without faults, ns.
    pub fn natural_ns(&self) -> u64 {
        let path = |index: usize, pair: &PairPlan| {
            let bytes: u64 = self.streams.iter().filter(|s| s.pair == index).map(bytes_of).sum();
            let caps =
                [pair.there.rate, pair.back.rate, self.nodes[0].max_rate, self.nodes[index + 1].max_rate];
            let rate = caps.into_iter().flatten().min().unwrap_or(1 << 30);
            let rtt = pair.there.delay_ns + pair.back.delay_ns;
            6 * rtt + MS + (u128::from(bytes) * u128::from(SECOND) / u128::from(rate.max(1))) as u64
        };
        let paths = self.pairs.iter().enumerate().map(|(index, pair)| path(index, pair)).max().unwrap_or(0);
        let scripts = self.streams.iter().map(|stream| stream.at_ns + script_ns(stream)).max().unwrap_or(0);
        paths + scripts
    }

    /// Key updates come after 2^23 packets, or much sooner: at every third node. Drawn apart, so that seeds stay what they were.
    fn draw_key_phases(&mut self) {
        let mut rng = Rng::new(self.seed ^ 0x6b65_7973);
        for node in &mut self.nodes {
            if rng.chance_ppm(333_333) {
                node.packets_per_key_phase = log_uniform(&mut rng, 8, 512);
            }
        }
    }

    fn draw_streams(&mut self, rng: &mut Rng) {
        let total = log_uniform(rng, LEAST_BYTES, MOST_BYTES);
        let count = match rng.below(4) {
            0 => 1 + rng.below(3),
            1 => 3 + rng.below(6),
            _ => log_uniform(rng, 4, MOST_STREAMS),
        };
        // Many small ones and few large ones: weights are spread over six powers of two.
        let weights: Vec<u64> = (0..count).map(|_| 1 << rng.below(7)).collect();
        let sum: u64 = weights.iter().sum();
        let mut left = total;
        for (index, weight) in weights.iter().enumerate() {
            let last = index + 1 == weights.len();
            let bytes = if last { left } else { (total * weight / sum).min(left) };
            // Some carry nothing at all; what they would have carried goes to the last.
            let bytes = if !last && rng.chance_ppm(60_000) { 0 } else { bytes };
            left -= bytes;
            let stream = self.stream(rng, bytes);
            self.streams.push(stream);
        }
        self.streams.sort_by_key(|stream| stream.at_ns);
    }

    fn stream(&self, rng: &mut Rng, bytes: u64) -> StreamPlan {
        let pair = rng.below(self.pairs.len() as u64) as usize;
        let reversed = self.pairs[pair].both_roles && rng.chance_ppm(400_000);
        let rtt = self.pairs[pair].there.delay_ns * 2;
        let (there, back) = match rng.below(6) {
            // One way, the other way, the same there and back, both at once.
            0..=2 => (bytes, 0),
            3 => (0, bytes),
            _ => (bytes / 2, bytes - bytes / 2),
        };
        let echo = there == back || (there > 0 && back > 0 && rng.chance_ppm(500_000));
        let there = half(rng, there, false);
        let mut back = half(rng, back, echo);
        // An echo of a part would wait for the rest for ever.
        back.bytes = if echo { back.bytes.min(there.bytes) } else { back.bytes };
        StreamPlan {
            pair,
            reversed,
            by_acceptor: rng.chance_ppm(250_000),
            at_ns: if rng.chance_ppm(600_000) { 0 } else { rng.below(20 * MS + 8 * rtt) },
            priority: 1 + rng.below(7) as u8,
            there,
            back,
        }
    }

    fn draw_closes(&mut self, rng: &mut Rng, natural_ns: u64) {
        if rng.chance_ppm(50_000) {
            let pair = rng.below(self.pairs.len() as u64) as usize;
            self.closes.push(ClosePlan {
                pair,
                reversed: self.pairs[pair].both_roles && rng.chance_ppm(500_000),
                by_acceptor: rng.chance_ppm(500_000),
                at_ns: rng.below(natural_ns * 2),
            });
        }
    }

    fn draw_faults(&mut self, rng: &mut Rng, natural_ns: u64) {
        let count = KINDS.start() + rng.below(KINDS.end() - KINDS.start() + 1);
        let mut kinds: Vec<FaultKind> = Vec::new();
        while (kinds.len() as u64) < count {
            let kind = pick(rng, &FaultKind::ALL);
            // A restart ends everything there is: two of five worlds that draw it draw again.
            let skip = kind == FaultKind::PeerRestart && rng.below(5) < 2;
            if !skip && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        for kind in kinds {
            // A clock that steps back is noticed once a time.
            let times = if kind == FaultKind::ClockBackward { 3 } else { 1 };
            for _ in 0..times {
                let fault = self.fault(rng, kind, natural_ns);
                self.faults.push(fault);
            }
        }
        self.faults.sort_by_key(|fault| fault.at_ns);
    }

    /// One fault of a kind, somewhere in the time that the streams need.
    fn fault(&self, rng: &mut Rng, kind: FaultKind, natural_ns: u64) -> FaultPlan {
        let pair = rng.below(self.pairs.len() as u64) as usize;
        let node = rng.below(self.nodes.len() as u64) as usize;
        let rtt = self.pairs[pair].there.delay_ns + self.pairs[pair].back.delay_ns;
        let idle = self.idle_timeout_ns(pair);
        // Early enough to meet traffic: streams that start at once are over soon on a fast path.
        let at_ns = if rng.chance_ppm(300_000) { 0 } else { rng.below(natural_ns * 3 / 4) };
        let window = (natural_ns / 8).max(2 * rtt).max(2 * MS);
        let lasting = window + rng.below(natural_ns + window);
        // Mostly short, sometimes longer than anybody waits.
        let short = if rng.chance_ppm(100_000) {
            idle / 2 + rng.below(idle)
        } else {
            let longest = (idle * 2 / 5).max(2);
            log_uniform(rng, MS.max(rtt / 2).min(longest - 1), longest)
        };
        let (there, back) = [(true, true), (true, true), (true, false), (false, true)][rng.below(4) as usize];
        let link = Target::Pair { pair, there, back };
        let one_way = Target::Pair { pair, there, back: !there };
        let ppm = |rng: &mut Rng, low: u64, high: u64| log_uniform(rng, low, high);
        let (target, for_ns, amount, extra) = match kind {
            FaultKind::Loss => (link, lasting, ppm(rng, 5_000, 300_000), 0),
            FaultKind::BurstLoss => (link, lasting, ppm(rng, 2_000, 50_000), 2 + rng.below(40)),
            FaultKind::Duplication => (link, lasting, ppm(rng, 10_000, 500_000), 0),
            FaultKind::Reorder => (link, lasting, ppm(rng, 10_000, 500_000), 1 + rng.below(rtt + 5 * MS)),
            FaultKind::Delay => (link, lasting, ppm(rng, 1_000, 30_000), MS + rng.below(2 * rtt + 20 * MS)),
            FaultKind::Corruption | FaultKind::Truncation => (link, lasting, ppm(rng, 10_000, 300_000), 0),
            FaultKind::Replay => (link, lasting, ppm(rng, 10_000, 300_000), rng.below(natural_ns + SECOND)),
            FaultKind::MtuDrop => {
                let (low, high) = LOWERED_MTU;
                // The second size says whether the sender is told (EMSGSIZE).
                (link, short, low + rng.below(high - low), rng.below(2))
            }
            FaultKind::Blackhole => (Target::Pair { pair, there: true, back: true }, short, 0, 0),
            FaultKind::OneWayPartition => (one_way, short, 0, 0),
            FaultKind::SendError => (Target::Node(node), short, 1 + rng.below(50), rng.below(12)),
            FaultKind::RecvError => (Target::Node(node), lasting, ppm(rng, 50_000, 900_000), 0),
            FaultKind::ClockStall => (Target::Node(node), short.min(10 * SECOND), 0, 0),
            FaultKind::ClockBackward => (Target::Node(node), lasting, log_uniform(rng, 1_000, SECOND), 0),
            FaultKind::PeerRestart => (Target::Node(node), 0, 0, 0),
            FaultKind::ReaderPause => (Target::Node(node), short, 0, 0),
            FaultKind::PoolExhaustion => (Target::Node(node), short, rng.below(64) << 10, rng.below(4)),
        };
        let every_ns = (self.mode == Mode::Safety && kind != FaultKind::PeerRestart)
            .then(|| for_ns.saturating_mul(2) + window + rng.below(4 * window));
        FaultPlan { kind, at_ns, for_ns, every_ns, target, amount, extra }
    }
}

fn bytes_of(stream: &StreamPlan) -> u64 {
    stream.there.bytes + stream.back.bytes
}

/// How long a stream's scripts take by themselves, ns.
fn script_ns(stream: &StreamPlan) -> u64 {
    let half = |half: &HalfPlan| {
        let writes = half.bytes / half.chunk.max(1);
        let reading = half.reader.rate.map_or(0, |rate| half.bytes * 1_000 / rate.max(1) * MS);
        writes * half.pause_ns + reading + half.reader.pause.map_or(0, |(_, ns)| ns)
    };
    half(&stream.there) + half(&stream.back)
}

fn node(rng: &mut Rng, idle_timeout_ns: u64) -> NodePlan {
    let (pool_bytes, pool_reserve_bytes) = pick(
        rng,
        &[
            (320 << 10, 128 << 10),
            (768 << 10, 128 << 10),
            (2 << 20, 256 << 10),
            (8 << 20, 512 << 10),
            (32 << 20, 1 << 20),
        ],
    );
    let initial_window = pick(rng, &[16 << 10, 64 << 10, 256 << 10, 256 << 10, 1 << 20]);
    NodePlan {
        pool_bytes,
        pool_reserve_bytes,
        send_buffer_bytes: pick(rng, &[16 << 10, 64 << 10, 256 << 10, 4 << 20]),
        initial_window,
        max_window: if rng.chance_ppm(300_000) { initial_window } else { 16 << 20 },
        max_in_flight_transmissions: pick(rng, &[1, 2, 3, 8, 16, 16, 64, 256]),
        max_schedule_ahead_ns: pick(rng, &[MS / 10, MS / 2, 2 * MS, 2 * MS, 10 * MS]),
        max_rate: rng.chance_ppm(150_000).then(|| log_uniform(rng, 250_000, 50_000_000)),
        cubic: rng.chance_ppm(350_000),
        aes_256: rng.chance_ppm(300_000),
        packets_per_key_phase: Config::default().packets_per_key_phase,
        // Both sides' smaller one counts; a world has one, so that R4's bound is one figure.
        idle_timeout_ns,
        keep_alive: !rng.chance_ppm(100_000),
    }
}

fn pair(rng: &mut Rng) -> PairPlan {
    let delay_ns = log_uniform(rng, 20_000, 150 * MS);
    let rate = pick(rng, &[None, Some(125_000_000), Some(25_000_000), Some(5_000_000), Some(1_250_000)]);
    let bdp =
        rate.map_or(0, |rate| (u128::from(rate) * u128::from(2 * delay_ns) / u128::from(SECOND)) as u64);
    let there = Link {
        delay_ns,
        jitter_ns: rng.below(delay_ns / 4 + 1),
        rate,
        queue_bytes: (bdp * (25 + rng.below(300)) / 100).max(32 << 10),
        ce_ppm: if rng.chance_ppm(200_000) { 1_000 + rng.below(20_000) as u32 } else { 0 },
        ..Link::default()
    };
    let back = if rng.chance_ppm(300_000) {
        // An asymmetric path: the way back is ten times narrower.
        Link {
            rate: rate.map(|rate| rate / 10),
            queue_bytes: (there.queue_bytes / 10).max(32 << 10),
            ..there.clone()
        }
    } else {
        there.clone()
    };
    PairPlan { there, back, both_roles: rng.chance_ppm(250_000) }
}

fn half(rng: &mut Rng, bytes: u64, echo: bool) -> HalfPlan {
    let least = bytes.div_ceil(MOST_WRITES).max(1);
    let chunk =
        if rng.chance_ppm(600_000) { 64 << 10 } else { log_uniform(rng, least.min(65_536), 64 << 10) };
    let chunk = chunk.max(least);
    let writes = bytes / chunk;
    let pause_ns =
        if rng.chance_ppm(200_000) && writes > 0 { rng.below(300 * MS / writes.max(1)) } else { 0 };
    let within = |rng: &mut Rng| rng.below(bytes + 1);
    let cut = rng.below(40);
    HalfPlan {
        bytes,
        chunk,
        pause_ns,
        echo,
        reset_at: (cut == 0).then(|| {
            let code = pick(rng, &[0, FIRST_CODE, FIRST_CODE + 44, (1 << 62) - 1]);
            (within(rng), code)
        }),
        priority_at: rng.chance_ppm(150_000).then(|| (within(rng), 1 + rng.below(7) as u8)),
        reader: ReaderPlan {
            rate: rng.chance_ppm(100_000).then(|| log_uniform(rng, (bytes / 2).max(64 << 10), 16 << 20)),
            pause: rng.chance_ppm(100_000).then(|| (within(rng), MS + rng.below(400 * MS))),
            stop_at: (cut == 1).then(|| within(rng)),
        },
    }
}

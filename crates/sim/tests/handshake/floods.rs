//! Observers that replay, outsiders that make noise.

use super::{
    report,
    town::{INITIATION, PEER, Town, config},
};
use paceline_sim::{Link, Rng};
use paceline_transport::{MS, SECOND};
use std::{collections::BTreeSet, net::SocketAddr};

const RECORDINGS: u32 = 1_000;

/// Initiations that an observer has recorded somewhere: addresses are not part of them.
fn recordings(seed: u64) -> Vec<Vec<u8>> {
    let mut town = Town::empty(seed + 1_000);
    town.seed = seed;
    let node = town.add(config(seed));
    town.world.capture();
    for n in 0..RECORDINGS {
        town.connect_to(node, 1 + 2 * n, SocketAddr::from(([10, 8, (n >> 8) as u8, n as u8], 9)));
    }
    // Only 256 messages leave at once; repeats are the same bytes.
    town.run(900 * MS);
    let recorded: BTreeSet<Vec<u8>> = town.world.captured().into_iter().map(|one| one.bytes).collect();
    assert_eq!(recorded.len(), RECORDINGS as usize);
    assert!(recorded.iter().all(|bytes| bytes[0] == INITIATION));
    recorded.into_iter().collect()
}

/// Who plays them back, from many addresses.
struct Replayer {
    recorded: Vec<Vec<u8>>,
    rng: Rng,
    gap_ns: u64,
    next_ns: u64,
    /// Of a million: with a bit flipped.
    damaged_ppm: u32,
    injected: u64,
    damaged: u64,
}

impl Replayer {
    fn new(seed: u64, per_second: u64, damaged_ppm: u32) -> Self {
        Self {
            recorded: recordings(seed),
            rng: Rng::new(seed),
            gap_ns: SECOND / per_second,
            next_ns: 0,
            damaged_ppm,
            injected: 0,
            damaged: 0,
        }
    }

    /// Runs the town with the noise going on.
    fn run(&mut self, town: &mut Town, to: SocketAddr, ns: u64) {
        let end = town.world.now_ns() + ns;
        self.next_ns = self.next_ns.max(town.world.now_ns());
        while town.world.now_ns() < end {
            while self.next_ns <= town.world.now_ns() {
                self.next_ns += self.gap_ns;
                let mut bytes = self.recorded[self.rng.below(RECORDINGS.into()) as usize].clone();
                if self.rng.chance_ppm(self.damaged_ppm) {
                    // Behind the secret id, so that it costs a MAC.
                    let bit = 16 * 8 + self.rng.below(160 * 8) as usize;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    self.damaged += 1;
                }
                let from = SocketAddr::from(([10, 9, 0, self.rng.below(250) as u8], 1));
                town.world.inject(from, to, &bytes);
                self.injected += 1;
            }
            town.world.advance(self.next_ns.min(end));
            town.listen();
        }
    }
}

#[test]
fn a_thousand_recordings_at_100_000_a_second_cost_genuine_peers_nothing() {
    let seed = 1;
    let delay_ns = 10 * MS;
    let mut town = Town::empty(seed);
    let server = town.add(config(seed));
    let to = town.address(server);
    let mut noise = Replayer::new(seed, 100_000, 0);
    noise.run(&mut town, to, 500 * MS);
    let mut waits_ms = Vec::new();
    for n in 1..=20 {
        let client = town.add(config(seed));
        town.world.link(town.id(client), town.id(server), &Link { delay_ns, ..Link::default() });
        let begin_ns = town.world.now_ns();
        town.connect(client, PEER, server);
        town.open(client, 1, PEER, b"genuine");
        while town.bytes(server, 2 * n).is_empty() {
            noise.run(&mut town, to, MS);
            assert!(town.world.now_ns() - begin_ns < 10 * SECOND, "peer {n} does not get through");
        }
        waits_ms.push((town.world.now_ns() - begin_ns) / MS);
    }
    let counters = town.counters(server);
    report("replays", format_args!("{} replayed, genuine after {waits_ms:?} ms", noise.injected));
    assert!(noise.injected > 100_000);
    // Initiation, Cookie, Initiation, Response, first packet: 5 trips of 10 ms, and no wait for a retransmission.
    assert!(waits_ms.iter().all(|ms| *ms <= 55), "{waits_ms:?}");
    assert_eq!(counters.confirmed, 20);
    // 64 at once and 64 a second without a cookie, and those of the genuine.
    let seconds = town.world.elapsed_ns() / SECOND + 1;
    assert!(counters.half_open <= 64 + 64 * seconds + 20, "{}", counters.half_open);
    assert_eq!(counters.half_open - 20, town.world.audit(town.id(server)).half_open as u64);
    assert!(counters.duplicates_answered > 1_000 && counters.cookies_sent > 1_000, "{counters:?}");
    // Ten seconds after the noise nothing is left of it.
    town.run(11 * SECOND);
    assert_eq!(town.world.audit(town.id(server)).half_open, 0);
    town.go_home();
}

/// Bytes that a flow delivers in two seconds, with noise of so many Initiations a second or without.
fn flow(noise_per_second: u64) -> (u64, u64) {
    let seed = 2;
    let link = Link { delay_ns: 5 * MS, rate: Some(25_000_000), queue_bytes: 250_000, ..Link::default() };
    let mut town = Town::new(seed, 2, &link, &config(seed));
    town.connect(0, PEER, 1);
    town.open(0, 1, PEER, &[]);
    let data = vec![1; 16 << 20];
    for _ in 0..5 {
        town.write(0, 1, &data);
    }
    town.run(SECOND);
    let before = town.bytes(1, 2).len();
    let to = town.address(1);
    let mut noise = Replayer::new(seed, noise_per_second.max(1), 500_000);
    if noise_per_second > 0 {
        noise.run(&mut town, to, 2 * SECOND);
        let counters = town.counters(1);
        assert!(counters.half_open > 100 && counters.dropped_mac + counters.cookies_sent > 10_000);
        assert!(noise.damaged > 10_000);
        // Initiation and Confirm of the flow's own path.
        let waiting = noise.injected + 2 - counters.received();
        assert!(waiting <= 8, "each is counted once: {waiting} are not");
    } else {
        town.run(2 * SECOND);
    }
    assert_eq!(town.failure(0, 1), None);
    ((town.bytes(1, 2).len() - before) as u64, noise.injected)
}

#[test]
fn a_live_flow_keeps_its_rate_while_initiations_pour_in() {
    let (quiet, _) = flow(0);
    let (noisy, injected) = flow(100_000);
    report("flow", format_args!("{quiet} B without, {noisy} B with {injected} Initiations"));
    assert!(quiet > 40_000_000, "{quiet} of 50 MB");
    assert!(injected > 190_000);
    assert!(noisy * 10 >= quiet * 9, "{noisy} of {quiet}");
}

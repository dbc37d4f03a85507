//! What `maxInFlightTransmissions` does, on three paths: throughput, packet memory, reaction. Prints the table of ARCHITECTURE.md.
//!
//! `cargo run -p paceline-sim --release --example sweep`

use bytes::Bytes;
use paceline_sim::{Link, Rng, World};
use paceline_transport::{
    Config, MS, Outcome, Preset, SECOND,
    app::{Command, Outbox},
};
use std::sync::Arc;

struct Path {
    name: &'static str,
    preset: Preset,
    /// Bytes per second.
    rate: u64,
    /// One way.
    delay_ns: u64,
    warm_ns: u64,
    measured_ns: u64,
}

const PATHS: [Path; 3] = [
    Path {
        name: "datacenter, 5 Gbit/s, 1 ms",
        preset: Preset::Datacenter,
        rate: 625_000_000,
        delay_ns: MS / 2,
        warm_ns: 60 * MS,
        measured_ns: 120 * MS,
    },
    Path {
        name: "internet, 100 Mbit/s, 40 ms",
        preset: Preset::Internet,
        rate: 12_500_000,
        delay_ns: 20 * MS,
        warm_ns: 2 * SECOND,
        measured_ns: 4 * SECOND,
    },
    Path {
        name: "satellite, 50 Mbit/s, 600 ms",
        preset: Preset::Satellite,
        rate: 6_250_000,
        delay_ns: 300 * MS,
        warm_ns: 12 * SECOND,
        measured_ns: 8 * SECOND,
    },
];
const LIMITS: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const PEER: u32 = 1;
const BULK: u32 = 1;
const URGENT: u32 = 3;
const CHUNK: u64 = 64 << 10;

struct Figures {
    mbit: f64,
    peak_pool: usize,
    /// From the write of a message on a stream of priority 1 to its departure: the longest of twenty.
    urgent_ns: u64,
    /// After the path's rate is halved: until the smoothed RTT is within a quarter of what it was.
    queue_back_ns: Option<u64>,
}

struct Bulk {
    written: u64,
    sealed: u64,
    read: u64,
    departures: Vec<u64>,
}

/// Runs until `end_ns`, writing and reading as fast as it goes. `look` sees the world at every event.
fn run(
    world: &mut World,
    nodes: [paceline_sim::NodeId; 2],
    bulk: &mut Bulk,
    end_ns: u64,
    mut look: impl FnMut(&World) -> bool,
) -> bool {
    let [a, b] = nodes;
    let level = 8 << 20;
    loop {
        let more = world.advance(end_ns);
        let mut news = Outbox::default();
        if world.take_news(a, &mut news) || bulk.written == 0 {
            for update in news.streams.iter().filter(|update| update.stream == BULK) {
                assert_eq!(update.failure, None);
                bulk.sealed = update.sealed;
            }
            for record in news.records.drain(..).filter(|record| record.stream == URGENT) {
                if let Outcome::Sent { at_ns } = record.outcome {
                    bulk.departures.push(at_ns);
                }
            }
            while bulk.written < bulk.sealed + level {
                world.command(a, Command::Write { stream: BULK, data: Bytes::from(vec![7; CHUNK as usize]) });
                bulk.written += CHUNK;
            }
            world.command(a, Command::WantRoom { stream: BULK, level: level / 2 });
        }
        let mut news = Outbox::default();
        if world.take_news(b, &mut news) {
            for update in news.streams {
                let bytes: u64 = update.readable.iter().map(|bytes| bytes.len() as u64).sum();
                bulk.read += bytes;
                world.command(b, Command::Consume { stream: update.stream, bytes });
            }
        }
        if look(world) {
            return true;
        }
        if !more {
            return false;
        }
    }
}

fn measure(path: &Path, limit: u32) -> Figures {
    let secrets = Rng::new(1).secrets();
    let config = Config { max_in_flight_transmissions: limit, ..Config::preset(path.preset) };
    let mut world = World::new(1, false);
    let a = world.add_node(config.clone());
    let b = world.add_node(Config { secrets: Arc::clone(&secrets), ..config });
    let queue_bytes = (path.rate * 2 * path.delay_ns / SECOND).max(256 << 10);
    let link = Link { delay_ns: path.delay_ns, rate: Some(path.rate), queue_bytes, ..Link::default() };
    world.link(a, b, &link);
    let remote = world.address(b);
    world.command(
        a,
        Command::Connect { peer: PEER, remote, secrets, handshake_timeout_ns: 10 * SECOND, max_rate: None },
    );
    for (stream, priority) in [(BULK, 4), (URGENT, 1)] {
        world.command(a, Command::Open { stream, peer: PEER, priority });
    }
    world.command(a, Command::Record(URGENT));
    let mut bulk = Bulk { written: 0, sealed: 0, read: 0, departures: Vec::new() };
    let nodes = [a, b];
    let mut peak_pool = 0;
    let warm = world.now_ns() + path.warm_ns;
    run(&mut world, nodes, &mut bulk, warm, |_| false);
    let before = bulk.read;
    let end = world.now_ns() + path.measured_ns;
    run(&mut world, nodes, &mut bulk, end, |world| {
        peak_pool = peak_pool.max(world.pool(a).lent_bytes);
        false
    });
    let mbit = (bulk.read - before) as f64 * 8e3 / path.measured_ns as f64;
    let mut urgent_ns = 0;
    for round in 0..20 {
        // At odd moments between two departures.
        let at = world.now_ns() + 3 * MS + round * 137_000;
        run(&mut world, nodes, &mut bulk, at, |_| false);
        bulk.departures.clear();
        let asked_ns = world.now_ns();
        world.command(a, Command::Write { stream: URGENT, data: Bytes::from_static(&[1; 1_000]) });
        let end = asked_ns + SECOND;
        let mut seen = false;
        while !seen && world.now_ns() < end {
            let next = world.now_ns() + MS / 10;
            run(&mut world, nodes, &mut bulk, next, |_| false);
            seen = !bulk.departures.is_empty();
        }
        urgent_ns = urgent_ns.max(bulk.departures.first().map_or(SECOND, |at| at - asked_ns));
    }
    let rtt = |world: &World| world.stats(a).paths.first().map_or(0, |path| path.smoothed_rtt_ns);
    let (usual, halved_ns) = (rtt(&world), world.now_ns());
    world.link(a, b, &Link { rate: Some(path.rate / 2), ..link });
    let mut rose = false;
    let end = halved_ns + 40 * path.delay_ns + 10 * SECOND;
    let back = run(&mut world, nodes, &mut bulk, end.min(halved_ns + 15 * SECOND), |world| {
        let now = rtt(world);
        rose |= now > usual + usual / 4;
        rose && now <= usual + usual / 4
    });
    let queue_back_ns = back.then(|| world.now_ns() - halved_ns);
    Figures { mbit, peak_pool, urgent_ns, queue_back_ns }
}

fn main() {
    println!(
        "| path | limit | Mbit/s | peak pool, MiB | priority 1 leaves within, ms | queue back after half the rate, ms |"
    );
    println!("|---|---|---|---|---|---|");
    for path in &PATHS {
        let mut rows: Vec<(u32, String)> = Vec::new();
        for limit in LIMITS {
            let Figures { mbit, peak_pool, urgent_ns, queue_back_ns } = measure(path, limit);
            let back = queue_back_ns.map_or("never rose by ¼".to_owned(), |ns| (ns / MS).to_string());
            let figures = format!(
                "{mbit:.1} | {:.1} | {:.2} | {back}",
                peak_pool as f64 / f64::from(1 << 20),
                urgent_ns as f64 / 1e6
            );
            rows.push((limit, figures));
        }
        // Neighbours that do not differ share a row.
        let mut at = 0;
        while let Some((first, figures)) = rows.get(at) {
            let same = rows[at..].iter().take_while(|(_, other)| other == figures).count();
            let last = rows[at + same - 1].0;
            let limits = if last == *first { first.to_string() } else { format!("{first} … {last}") };
            println!("| {} | {limits} | {figures} |", path.name);
            at += same;
        }
    }
}

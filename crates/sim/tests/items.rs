//! Work items and goals that need whole worlds: item 1 (everything comes home), item 9 (the limit of transmissions in flight),
//! R27 (a slow reader harms nobody else).

use bytes::Bytes;
use paceline_sim::{FaultKind, Link, NodeId, Rng, Transfer, World};
use paceline_transport::{
    Config, MS, Preset, SECOND,
    app::{Command, Outbox},
    handshake::Secret,
};
use std::{collections::BTreeMap, sync::Arc};

const PEER: u32 = 1;

fn secrets(seed: u64) -> Arc<[Secret]> {
    Rng::new(seed).secrets()
}

/// Two nodes with a path between them.
fn pair(seed: u64, link: &Link, config: &Config) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed, false);
    let a = world.add_node(config.clone());
    let b = world.add_node(Config { secrets: secrets(seed), ..config.clone() });
    world.link(a, b, link);
    let remote = world.address(b);
    let connect = Command::Connect {
        peer: PEER,
        remote,
        secrets: secrets(seed),
        handshake_timeout_ns: 10 * SECOND,
        max_rate: None,
    };
    world.command(a, connect);
    (world, a, b)
}

/// `Transfer::run` ends with both pools asked: nothing lent, every transmission with its one outcome.
#[test]
fn item_1_nothing_is_lent_after_any_run() {
    let mut lost = 0;
    for seed in 0..60 {
        let link = Link {
            delay_ns: (1 + seed % 7) * 3 * MS,
            loss_ppm: 30_000,
            corrupt_ppm: 10_000,
            duplicate_ppm: 10_000,
            ..Link::default()
        };
        let streams = 1 + (seed % 9) as u32;
        let report = Transfer { seed, link, streams, bytes: 100_000, ..Transfer::default() }.run().unwrap();
        assert_eq!(report.delivered, u64::from(streams) * 100_000);
        lost += report.faults.get(FaultKind::Loss);
    }
    assert!(lost > 500, "{lost}");
}

/// Every value there is, over a path that loses.
#[test]
fn item_9_every_limit_of_transmissions_in_flight_works() {
    let mut slowest_ns = 0;
    let mut fastest_ns = u64::MAX;
    for limit in 1..=256 {
        let config = Config { max_in_flight_transmissions: limit, ..Config::default() };
        let link = Link { delay_ns: 2 * MS, loss_ppm: 5_000, rate: Some(25_000_000), ..Link::default() };
        let report = Transfer { seed: 10, link, config, bytes: 300_000, streams: 2, ..Transfer::default() }
            .run()
            .unwrap();
        assert_eq!(report.delivered, 600_000, "limit {limit}");
        slowest_ns = slowest_ns.max(report.virtual_ns);
        fastest_ns = fastest_ns.min(report.virtual_ns);
    }
    println!("{} ms to {} ms", fastest_ns / MS, slowest_ns / MS);
    assert!(slowest_ns < 3 * fastest_ns, "{} ms to {} ms", fastest_ns / MS, slowest_ns / MS);
}

/// Each preset carries a transfer over the path it is named after, and fills most of it.
#[test]
fn item_9_presets_fill_the_paths_they_are_named_after() {
    for (preset, rate, delay_ns, bytes, least) in [
        (Preset::Datacenter, 1_250_000_000_u64, 500_000_u64, 120 << 20, 0.8),
        (Preset::Internet, 12_500_000, 20 * MS, 24 << 20, 0.8),
        (Preset::Satellite, 25_000_000, 300 * MS, 300 << 20, 0.6),
    ] {
        let link = Link {
            delay_ns,
            rate: Some(rate),
            queue_bytes: (rate * 2 * delay_ns / SECOND).max(256 << 10),
            ..Link::default()
        };
        let config = Config::preset(preset);
        let report = Transfer { seed: 3, link, config, bytes, ..Transfer::default() }.run().unwrap();
        let share = bytes as f64 * 1e9 / report.virtual_ns as f64 / (rate as f64 * 1408.0 / 1472.0);
        println!("{preset:?}: {:.1} % of the payload limit, start included", share * 100.0);
        assert!(share > least, "{preset:?}: {share}");
    }
}

/// What R27's receiver read, over a minute, of each of its streams, and most of the slow one's bytes it held.
fn a_minute_beside_a_reader(pauses: bool) -> (u64, u64, u64) {
    const STREAMS: u32 = 6;
    const CHUNK: usize = 32 << 10;
    let link = Link { delay_ns: 10 * MS, rate: Some(1_000_000), queue_bytes: 64 << 10, ..Link::default() };
    let config = Config { max_window: 1 << 20, ..Config::default() };
    let (mut world, a, b) = pair(27, &link, &config);
    let mut unsealed: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for stream in (0..STREAMS).map(|stream| 2 * stream + 1) {
        world.command(a, Command::Open { stream, peer: PEER, priority: 3 });
        unsealed.insert(stream, (0, 0));
    }
    let chunk = Bytes::from(vec![7; CHUNK]);
    let (mut others, mut held, mut most_held) = (0, 0, 0);
    // The first stream that arrives is the slow one.
    let mut slow = None;
    let end = world.now_ns() + 60 * SECOND;
    while world.now_ns() < end {
        let next = (world.now_ns() + 5 * MS).min(end);
        world.run_until(next);
        let mut news = Outbox::default();
        world.take_news(a, &mut news);
        for update in &news.streams {
            assert_eq!(update.failure, None);
            if let Some((_, sealed)) = unsealed.get_mut(&update.stream) {
                *sealed = update.sealed;
            }
        }
        for (stream, (written, sealed)) in &mut unsealed {
            while *written < *sealed + (128 << 10) {
                world.command(a, Command::Write { stream: *stream, data: chunk.clone() });
                *written += CHUNK as u64;
            }
            world.command(a, Command::WantRoom { stream: *stream, level: 96 << 10 });
        }
        let mut news = Outbox::default();
        world.take_news(b, &mut news);
        for update in &news.streams {
            assert_eq!(update.failure, None);
            let bytes: u64 = update.readable.iter().map(|bytes| bytes.len() as u64).sum();
            if bytes == 0 {
                continue;
            }
            if *slow.get_or_insert(update.stream) == update.stream && pauses {
                held += bytes;
                most_held = most_held.max(held);
            } else {
                others += if slow == Some(update.stream) { 0 } else { bytes };
                world.command(b, Command::Consume { stream: update.stream, bytes });
            }
        }
    }
    // The pause ends: the stream goes on from where it stood.
    if let (Some(stream), true) = (slow, pauses) {
        world.command(b, Command::Consume { stream, bytes: held });
        let mut more = 0;
        let end = world.now_ns() + 20 * SECOND;
        while more == 0 && world.now_ns() < end {
            let next = world.now_ns() + 5 * MS;
            world.run_until(next);
            let mut news = Outbox::default();
            world.take_news(b, &mut news);
            for update in &news.streams {
                let bytes: u64 = update.readable.iter().map(|bytes| bytes.len() as u64).sum();
                if update.stream == stream {
                    more += bytes;
                }
                world.command(b, Command::Consume { stream: update.stream, bytes });
            }
        }
        assert!(more > 0, "still blocked after the pause");
    }
    (others, most_held, world.stats(a).endpoint.pool_lent)
}

#[test]
fn r27_a_slow_reader_holds_a_window_and_harms_nobody() {
    let (alone, ..) = a_minute_beside_a_reader(false);
    let (beside, held, _) = a_minute_beside_a_reader(true);
    // Six streams share the path while all read, five while one pauses.
    let fair = alone as f64;
    println!(
        "others: {:.1} MB beside a reader, {:.1} MB beside one that pauses; it holds {held} bytes",
        fair / 1e6,
        beside as f64 / 1e6
    );
    assert!(beside as f64 >= 0.95 * fair);
    // And what the slow one leaves of the path is theirs: at least 95 % of all of it.
    let limit = 1_000_000.0 * 60.0 * 1408.0 / 1472.0;
    assert!(beside as f64 >= 0.90 * limit, "{beside} of {limit}");
    // Its first window, which only a reading application makes grow.
    assert!((1..=256 << 10).contains(&held), "{held} bytes held");
}

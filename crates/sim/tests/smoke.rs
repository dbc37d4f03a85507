//! Shapes of traffic, each over a path that misbehaves in its own way.

use paceline_sim::{FaultKind, Link, Transfer};
use paceline_transport::{Algorithm, Config, MS};

#[test]
fn one_stream_over_a_clean_path() {
    let report = Transfer { seed: 1, ..Transfer::default() }.run().unwrap();
    assert_eq!(report.delivered, 1 << 20);
    assert_eq!((report.retransmitted, report.declared_lost), (0, 0));
    assert!(report.packets / report.transmissions >= 8, "bursts: {report:?}");
}

#[test]
fn an_empty_stream_is_delivered_as_one() {
    for seed in 0..50 {
        let link = Link { loss_ppm: 200_000, ..Link::default() };
        let report = Transfer { seed, link, bytes: 0, ..Transfer::default() }.run().unwrap();
        assert_eq!(report.delivered, 0);
    }
}

#[test]
fn many_streams_share_a_path() {
    let mut corrupted = 0;
    for seed in 0..20 {
        let link = Link { loss_ppm: 10_000, corrupt_ppm: 10_000, jitter_ns: MS, ..Link::default() };
        let report =
            Transfer { seed, link, streams: 32, bytes: 40_000, ..Transfer::default() }.run().unwrap();
        assert_eq!(report.delivered, 32 * 40_000);
        corrupted += report.faults.get(FaultKind::Corruption);
    }
    assert!(corrupted > 100);
}

#[test]
fn more_streams_than_key_ids_may_be_outstanding() {
    // 2,000 at once: more than the 1,024 a peer admits and than the 768 unanswered key ids of the narrow replay window.
    let report = Transfer { seed: 5, streams: 2_000, bytes: 1_000, ..Transfer::default() }.run().unwrap();
    assert_eq!(report.delivered, 2_000_000);
}

#[test]
fn a_slow_reader_slows_the_writer_and_nothing_grows() {
    let bytes = 4 << 20;
    let transfer = Transfer { seed: 6, bytes, read_rate: Some(2_000_000), ..Transfer::default() };
    let report = transfer.run().unwrap();
    assert_eq!(report.delivered, bytes);
    // Two seconds less one window, which is in the reader's hands before it reads.
    assert!(report.virtual_ns > 1_500 * MS, "{} ms", report.virtual_ns / MS);
}

#[test]
fn a_reader_that_pauses_behind_a_lossy_path_never_deadlocks() {
    for seed in 0..50 {
        let link = Link { loss_ppm: 100_000, ..Link::default() };
        let transfer =
            Transfer { seed, link, bytes: 1 << 20, read_rate: Some(1_000_000), ..Transfer::default() };
        let report = transfer.run().unwrap();
        assert!(report.faults.get(FaultKind::Loss) > 0);
    }
}

#[test]
fn thirty_percent_loss_is_survived() {
    for seed in 0..50 {
        let link = Link { loss_ppm: 300_000, ..Link::default() };
        let transfer = Transfer { seed, link, bytes: 100_000, streams: 3, ..Transfer::default() };
        transfer.run().unwrap();
    }
}

#[test]
fn cubic_works_too() {
    let config = Config { congestion_control: Algorithm::Cubic, ..Config::default() };
    let link = Link { loss_ppm: 1_000, ..Link::default() };
    let report = Transfer { seed: 9, link, config, bytes: 4 << 20, ..Transfer::default() }.run().unwrap();
    assert_eq!(report.delivered, 4 << 20);
}

#[test]
fn every_limit_of_transmissions_in_flight_works() {
    for limit in [1, 2, 16, 256] {
        let config = Config { max_in_flight_transmissions: limit, ..Config::default() };
        let link = Link { loss_ppm: 10_000, ..Link::default() };
        let report =
            Transfer { seed: 10, link, config, bytes: 1 << 20, ..Transfer::default() }.run().unwrap();
        assert_eq!(report.delivered, 1 << 20);
    }
}

#[test]
fn aes_256_and_a_small_pool() {
    let config =
        Config { aes_256: true, pool_bytes: 512 << 10, pool_reserve_bytes: 128 << 10, ..Config::default() };
    let link = Link { loss_ppm: 20_000, ..Link::default() };
    let report =
        Transfer { seed: 12, link, config, bytes: 2 << 20, streams: 8, ..Transfer::default() }.run().unwrap();
    assert_eq!(report.delivered, 16 << 20);
}

#[test]
fn a_rate_cap_is_kept_by_the_endpoint() {
    // 2 MB/s on a path that would take 125 MB/s; control is accounted for, too.
    let config = Config { max_rate: Some(2_000_000), ..Config::default() };
    let link = Link { rate: Some(125_000_000), ..Link::default() };
    let report =
        Transfer { seed: 13, link, config, bytes: 4 << 20, streams: 3, ..Transfer::default() }.run().unwrap();
    let rate = report.bytes_sent as f64 / (report.virtual_ns as f64 / 1e9);
    assert!((1_900_000.0..2_100_000.0).contains(&rate), "{rate} B/s");
}

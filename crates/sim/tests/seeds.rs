//! Issue check: many seeds over a bad path. `PACELINE_SIM_SEEDS` sets how many (1,000 by default), `PACELINE_SIM_SEED` runs one.

use paceline_sim::{FaultKind, Link, Transfer};

fn bad_path(seed: u64) -> Transfer {
    let link = Link {
        delay_ns: 5_000_000,
        jitter_ns: 200_000,
        loss_ppm: 20_000,
        duplicate_ppm: 10_000,
        reorder_ppm: 20_000,
        reorder_ns: 3_000_000,
        ..Link::default()
    };
    Transfer { seed, link, ..Transfer::default() }
}

#[test]
fn a_thousand_worlds_with_loss_reordering_and_duplication() {
    let count: u64 = std::env::var("PACELINE_SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000);
    let seeds = match std::env::var("PACELINE_SIM_SEED").ok().and_then(|n| n.parse::<u64>().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    };
    let (mut lost, mut duplicated, mut reordered, mut retransmitted, mut virtual_ns) = (0, 0, 0, 0, 0);
    let mut failures = Vec::new();
    let mut slowest = 0;
    for seed in seeds.clone() {
        match bad_path(seed).run() {
            Ok(report) => {
                assert!(
                    report.faults.get(FaultKind::Loss) > 0,
                    "seed {seed}: nothing was lost, so nothing was shown"
                );
                lost += report.faults.get(FaultKind::Loss);
                duplicated += report.faults.get(FaultKind::Duplication);
                reordered += report.faults.get(FaultKind::Reorder);
                retransmitted += report.retransmitted;
                virtual_ns += report.virtual_ns;
                slowest = slowest.max(report.virtual_ns);
            }
            Err(broken) => failures.push(broken),
        }
    }
    println!(
        "{} seeds, {} s virtual, slowest {} ms, lost {lost}, duplicated {duplicated}, reordered {reordered}, retransmitted {retransmitted}",
        seeds.end - seeds.start,
        virtual_ns / 1_000_000_000,
        slowest / 1_000_000,
    );
    for broken in failures.iter().take(5) {
        println!(
            "{broken}\nreplay: PACELINE_SIM_SEED={} cargo test -p paceline-sim --test seeds",
            broken.seed
        );
    }
    assert!(failures.is_empty(), "{} of {} worlds broke", failures.len(), seeds.end - seeds.start);
    assert!(duplicated > 0 && reordered > 0 && retransmitted > 0);
}

#[test]
fn the_same_seed_gives_the_same_log() {
    let run = |seed| Transfer { trace: true, bytes: 200_000, ..bad_path(seed) }.run().unwrap();
    let (one, two, other) = (run(7), run(7), run(8));
    assert!(one.log.as_ref().is_some_and(|log| log.lines().count() > 300));
    assert_eq!(one.log, two.log);
    assert_ne!(one.log_hash, other.log_hash);
}

/// A stream that is over once kept its last control packet to repeat. Where many ranges were open it did not fit, and the peer
/// sent into silence until its idle timeout.
#[test]
fn late_packets_of_a_stream_that_is_over_are_acknowledged_however_many_ranges_were_open() {
    let mut broken = Vec::new();
    for seed in 0..100 {
        let mut transfer = bad_path(seed);
        transfer.link.loss_ppm = 100_000;
        match transfer.run() {
            Ok(report) => assert!(report.faults.get(FaultKind::Loss) > 0),
            Err(failure) => broken.push(failure.to_string()),
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

//! What a stream that is over answers to packets that come late.

mod support;

use paceline_sim::{FaultKind, Link};
use paceline_transport::{Config, MS, SECOND};
use support::Pair;

/// Both ends hear of a clean end, however late the FIN is and whichever acknowledgement is lost.
fn ends_cleanly(seed: u64, link: &Link, bytes: u64, pause_ns: u64) -> Result<u64, String> {
    let mut pair = Pair::new(seed, link, Config::default());
    pair.open(1, bytes);
    pair.run(pause_ns);
    pair.finish(1);
    pair.run(60 * SECOND);
    for node in 0..2 {
        let stream = pair.heard[node].streams.values().next().cloned().unwrap_or_default();
        if !stream.closed || stream.failure.is_some() {
            return Err(format!("seed {seed}, node {node}: {stream:?}"));
        }
    }
    Ok(pair.world.faults().get(FaultKind::Loss))
}

#[test]
fn a_lost_last_acknowledgement_is_repeated_however_long_it_is() {
    // Many gaps make the last acknowledgement long; half of what comes back is lost.
    let mut failures = Vec::new();
    let mut lost = 0;
    for (bytes, pause_ns) in [(400_000, 0), (400_000, 3 * SECOND), (2_000, 200 * MS)] {
        for seed in 0..200 {
            let link = Link {
                delay_ns: 5 * MS,
                loss_ppm: 200_000,
                reorder_ppm: 50_000,
                reorder_ns: 3 * MS,
                ..Link::default()
            };
            match ends_cleanly(seed, &link, bytes, pause_ns) {
                Ok(n) => lost += n,
                Err(what) => failures.push(what),
            }
        }
    }
    assert!(failures.is_empty(), "{} of 600: {:#?}", failures.len(), &failures[..failures.len().min(3)]);
    assert!(lost > 600 * 10, "{lost} lost");
}

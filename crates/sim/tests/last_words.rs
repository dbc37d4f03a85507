//! What a stream that is over answers to packets that come late.

mod support;

use paceline_sim::{FaultKind, Link};
use paceline_transport::{Config, Kind, MS, SECOND, app::Command};
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

#[test]
fn a_bare_fin_gets_an_answer_that_is_longer_than_itself() {
    let mut failures = Vec::new();
    let mut long = 0;
    for seed in 0..200 {
        let link = Link { delay_ns: 20 * MS, loss_ppm: 200_000, ..Link::default() };
        let mut pair = Pair::new(seed, &link, Config::default());
        pair.world.observe(true);
        pair.open(1, 400_000);
        pair.world.command(pair.a, Command::WantRoom { stream: 1, level: 0 });
        // The FIN goes alone, behind data whose gaps are not settled.
        while pair.stream(0, 1).sealed < 400_000 {
            pair.run(MS);
        }
        pair.finish(1);
        pair.run(60 * SECOND);
        let mut sent = Vec::new();
        pair.world.take_sent(&mut sent);
        let last = sent.iter().rfind(|packet| packet.node == pair.b && packet.kind == Kind::Control);
        long += u64::from(last.is_some_and(|packet| packet.bytes.len() > 72));
        for node in 0..2 {
            let stream = pair.heard[node].streams.values().next().cloned().unwrap_or_default();
            if !stream.closed || stream.failure.is_some() {
                failures.push(format!("seed {seed}, node {node}: {stream:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} of 200: {:#?}", failures.len(), &failures[..failures.len().min(3)]);
    assert!(long > 20, "{long} long ones");
}

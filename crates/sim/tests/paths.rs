//! Goodput over named paths, as a share of what the payload could have.

use paceline_sim::{Link, Transfer};

struct Path {
    name: &'static str,
    mbit: u64,
    rtt_ms: u64,
    loss_ppm: u32,
    megabytes: u64,
    /// Share of the payload limit, start included.
    least: f64,
}

const PATHS: &[Path] = &[
    Path { name: "200 Mbit/s, 20 ms", mbit: 200, rtt_ms: 20, loss_ppm: 0, megabytes: 50, least: 0.90 },
    Path {
        name: "200 Mbit/s, 20 ms, 1 % each way",
        mbit: 200,
        rtt_ms: 20,
        loss_ppm: 10_000,
        megabytes: 50,
        least: 0.88,
    },
    Path {
        name: "200 Mbit/s, 20 ms, 5 % each way",
        mbit: 200,
        rtt_ms: 20,
        loss_ppm: 50_000,
        megabytes: 50,
        least: 0.80,
    },
    Path { name: "1 Gbit/s, 1 ms", mbit: 1_000, rtt_ms: 1, loss_ppm: 0, megabytes: 100, least: 0.92 },
    Path { name: "10 Mbit/s, 40 ms", mbit: 10, rtt_ms: 40, loss_ppm: 0, megabytes: 4, least: 0.85 },
];

#[test]
fn goodput_over_named_paths() {
    let mut slow = Vec::new();
    for path in PATHS {
        let rate = path.mbit * 1_000_000 / 8;
        let link = Link {
            delay_ns: path.rtt_ms * 500_000,
            jitter_ns: 50_000,
            loss_ppm: path.loss_ppm,
            rate: Some(rate),
            queue_bytes: (rate * path.rtt_ms / 1_000).max(128 << 10),
            ..Link::default()
        };
        let bytes = path.megabytes << 20;
        let report = Transfer { seed: 11, link, bytes, ..Transfer::default() }.run().unwrap();
        let limit = rate as f64 * 1408.0 / 1472.0 * (1.0 - f64::from(path.loss_ppm) / 1e6);
        let share = bytes as f64 / (report.virtual_ns as f64 / 1e9) / limit;
        println!(
            "{:34} {:5.1} % of the payload limit, {} packets, {} retransmitted, {} overflowed, srtt {:.1} ms, {} steps",
            path.name,
            share * 100.0,
            report.packets,
            report.retransmitted,
            report.overflowed,
            report.smoothed_rtt_ns as f64 / 1e6,
            report.steps,
        );
        if share < path.least {
            slow.push(path.name);
        }
    }
    assert!(slow.is_empty(), "below their floor: {slow:?}");
}

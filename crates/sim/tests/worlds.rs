//! R1 and R4: real worlds with at least three kinds of faults each, every invariant checked after every step.
//!
//! `PACELINE_SIM_SEEDS` says how many (300), `PACELINE_SIM_FIRST` the first (0), `PACELINE_SIM_SEED` runs one and prints its
//! scenario, its log with `PACELINE_SIM_TRACE`, and the smallest scenario that fails like it.

use paceline_sim::{Campaign, FaultKind, Mode, Options, Scenario, run_scenario, run_seed, shrink};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn worlds_keep_every_invariant() {
    if let Some(seed) = number("PACELINE_SIM_SEED") {
        let trace = number("PACELINE_SIM_TRACE").is_some();
        println!("{}", Scenario::generate(seed, None));
        let verdict = run_seed(seed, Options { trace, ..Options::default() });
        println!("{}{}", verdict.log.clone().unwrap_or_default(), verdict.to_json());
        if let Some(text) = verdict.explain() {
            println!("{text}");
            if let Some(shrunk) = shrink::shrink(seed, Options::default()) {
                if trace {
                    println!("{}", run_scenario(&shrunk.scenario, true).log.unwrap_or_default());
                }
                println!("{shrunk}");
            }
            panic!("seed {seed} fails");
        }
        return;
    }
    let first = number("PACELINE_SIM_FIRST").unwrap_or(0);
    let count = number("PACELINE_SIM_SEEDS").unwrap_or(300);
    let mut campaign = Campaign::default();
    let (mut safety, mut least_bytes, mut most_bytes) = (0, u64::MAX, 0);
    for seed in first..first + count {
        let scenario = Scenario::generate(seed, None);
        safety += u64::from(scenario.mode == Mode::Safety);
        least_bytes = least_bytes.min(scenario.bytes());
        most_bytes = most_bytes.max(scenario.bytes());
        assert!(scenario.faults.len() >= 3 && (1..=32).contains(&scenario.streams.len()), "{scenario}");
        campaign.add(&run_seed(seed, Options::default()));
    }
    println!("{}", campaign.to_json(0.0));
    for (_, text) in campaign.failures.iter().take(100) {
        println!("{text}");
    }
    assert!(campaign.failed == 0, "{} of {count} worlds broke", campaign.failed);
    assert!(campaign.invariants_checked > count * 1_000, "{}", campaign.invariants_checked);
    if count >= 300 {
        assert!(safety * 3 > count && safety * 3 < count * 2, "{safety} of {count} in safety mode");
        assert!(least_bytes < 128 << 10 && most_bytes > 3 << 20, "{least_bytes} to {most_bytes}");
        for (kind, times) in campaign.faults.iter() {
            // R1 asks for 1,000 in 10,000 worlds.
            assert!(times * 10 >= count, "{kind} happened {times} times in {count} worlds");
        }
        assert_eq!(campaign.faults.iter().count(), FaultKind::COUNT);
    }
}

/// Worlds that once broke a promise, and why.
const MENDED: [(u64, &str); 6] = [
    (1411, "a stall of ours was taken for an RTT of 6 s, and streams waited for three PTOs of it"),
    (2062, "what was written behind a full window never asked for it, and the MAX_DATA had been lost"),
    (11829, "a path went back from where an observer had taken it, and its peer's address did not follow"),
    (
        5842,
        "a full queue ate the only probe of a stream that waited behind others, and its idle timeout was shorter than 3 PTOs",
    ),
    (
        8278,
        "a copied Confirm had the path at an address that proved nothing, and the stream that waited there had no clock",
    ),
    (10, "a packet was to be sealed anew in pieces, and its key phase had no numbers left"),
];

#[test]
fn worlds_that_once_failed_keep_every_invariant() {
    for (seed, why) in MENDED {
        let verdict = run_seed(seed, Options::default());
        assert!(
            verdict.explain().is_none(),
            "seed {seed} ({why}): {}",
            verdict.explain().unwrap_or_default()
        );
    }
}

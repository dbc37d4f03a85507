//! R3: the same seed gives the same log, byte for byte.

use paceline_sim::{Options, run_seed};

#[test]
fn r3_a_hundred_seeds_twice() {
    let mut combined = 0u64;
    let mut hashes = Vec::new();
    for seed in 0..100 {
        let (one, two) = (run_seed(seed, Options::default()), run_seed(seed, Options::default()));
        assert_eq!(one.log_hash, two.log_hash, "seed {seed}");
        assert_eq!(one.to_json(), two.to_json(), "seed {seed}");
        combined = combined.rotate_left(7) ^ one.log_hash;
        hashes.push(one.log_hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 100, "different seeds have different logs");
    println!("combined log hash of seeds 0 to 99: {combined:016x}");
}

#[test]
fn r3_the_text_of_a_log_is_the_same_too_and_tracing_changes_nothing() {
    for seed in [3, 17] {
        let traced = Options { trace: true, ..Options::default() };
        let (one, two) = (run_seed(seed, traced), run_seed(seed, traced));
        assert!(one.log.as_ref().is_some_and(|log| log.lines().count() > 100), "seed {seed}");
        assert_eq!(one.log, two.log, "seed {seed}");
        assert_eq!(one.log_hash, run_seed(seed, Options::default()).log_hash, "seed {seed}");
    }
}

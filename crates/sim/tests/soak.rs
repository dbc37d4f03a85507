//! The long-lived pair of endpoints, for a short while; `npm run soak` lets it live for 24 h and watches the memory.

use paceline_sim::Soak;
use paceline_transport::SECOND;

/// Virtual minutes; 15 unless `PACELINE_SOAK_MINUTES` says otherwise.
fn minutes() -> u64 {
    std::env::var("PACELINE_SOAK_MINUTES").map_or(15, |text| text.parse().unwrap())
}

#[test]
fn a_life_ends_whole() {
    let mut soak = Soak::new(1).unwrap();
    let mut last = soak.report();
    for third in 1..=3 {
        let until_ns = minutes() * 20 * third * SECOND;
        let report = soak.run_until(until_ns).unwrap();
        assert_eq!(report.elapsed_ns, until_ns);
        assert!(report.streams > last.streams + 100 && report.bytes > last.bytes, "it lives: {report:?}");
        last = report;
    }
    assert!(last.faults > 100, "in weather: {last:?}");
    let report = soak.finish().unwrap();
    assert_eq!((report.open, report.pool_lent), (0, 0));
    assert!(report.streams >= last.streams + 2, "the two that lived as long as the world ended, too");
}

#[test]
fn the_same_seed_lives_the_same_life() {
    let live = |seed| {
        let mut soak = Soak::new(seed).unwrap();
        soak.run_until(120 * SECOND).unwrap()
    };
    assert_eq!(live(7), live(7));
    assert_ne!(live(7), live(8));
}

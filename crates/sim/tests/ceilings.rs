//! R20: completion times over named paths.

use paceline_sim::{
    FaultKind,
    paths::{self, Shape},
};

#[test]
fn r20_every_named_path_is_crossed_in_time() {
    let mut slow = Vec::new();
    let seeds: u64 = std::env::var("PACELINE_SIM_PATH_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for path in paths::ALL {
        for seed in 1..=seeds {
            let report = path.run(seed).unwrap();
            println!("{}", report.to_json());
            let happened = |kind| report.faults.get(kind) > 0;
            match path.shape {
                Shape::Loss(_) => assert!(happened(FaultKind::Loss)),
                Shape::Bursts(_) => assert!(happened(FaultKind::BurstLoss)),
                Shape::Corruption(_) => assert!(happened(FaultKind::Corruption)),
                Shape::Reordering(_) => assert!(happened(FaultKind::Reorder)),
                Shape::Duplicates(_) => assert!(happened(FaultKind::Duplication)),
                Shape::Stall => assert!(happened(FaultKind::Blackhole)),
                Shape::ShallowQueue => assert!(report.overflowed > 0),
                _ => {}
            }
            if !report.is_ok() {
                slow.push(report.to_json());
            }
        }
    }
    assert!(paths::ALL.len() >= 20);
    assert!(slow.is_empty(), "above their ceilings:\n{}", slow.join("\n"));
}

//! First light: one stream, clean and faulty.

use paceline_sim::{Link, Transfer};

#[test]
fn one_stream_over_a_clean_path() {
    let report = Transfer { seed: 1, ..Transfer::default() }.run().unwrap();
    assert_eq!(report.delivered, 1 << 20);
    assert_eq!(report.retransmitted, 0);
    println!("{report:?}");
}

#[test]
fn empty_stream() {
    let report = Transfer { seed: 2, bytes: 0, ..Transfer::default() }.run().unwrap();
    assert_eq!(report.delivered, 0);
}

#[test]
fn a_lossy_path() {
    let link = Link { loss_ppm: 20_000, ..Link::default() };
    let report = Transfer { seed: 3, link, ..Transfer::default() }.run().unwrap();
    println!("{report:?}");
    assert!(report.faults.lost > 0 && report.retransmitted > 0);
}

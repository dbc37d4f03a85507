//! ACKs that come so late that what they acknowledge was declared lost meanwhile.

use paceline_sim::{FaultKind, Link, Transfer};
use paceline_transport::{MS, SECOND};

/// Found by the soak (seed 1, after 6.4 h): a burst of late ACKs declared packets lost and acknowledged them in one step.
/// They were forgotten in between, being older than 3 PTO; the peer had everything, was over, and could only repeat an ACK of
/// the first copies. The sender retransmitted until the idle timeout.
#[test]
fn what_a_burst_of_late_acks_says_is_not_lost() {
    let (mut spikes, mut reordered) = (0, 0);
    for seed in 0..400 {
        let link = Link {
            delay_ns: 5 * MS,
            reorder_ppm: 50_000,
            reorder_ns: 5 * MS,
            delay_ppm: 20_000,
            delay_spike_ns: 200 * MS,
            ..Link::default()
        };
        let transfer = Transfer {
            seed,
            link,
            streams: 4,
            bytes: 100_000,
            deadline_ns: 20 * SECOND,
            ..Transfer::default()
        };
        let report = transfer.run().unwrap_or_else(|broken| panic!("{broken}"));
        spikes += report.faults.get(FaultKind::Delay);
        reordered += report.faults.get(FaultKind::Reorder);
    }
    assert!(spikes > 1000 && reordered > 1000, "{spikes} spikes, {reordered} reordered");
}

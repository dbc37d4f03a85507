//! Each remedy by itself; figures.rs shows what they are for.

use super::MTU;
use crate::{
    remedy::{LossJudge, Nudge, below_estimate, queue_stands},
    time::{MS, SECOND, timestamp},
};
use s2n_quic_core::recovery::bandwidth::PacketInfo;

fn packet_info(delivered_bytes: u64) -> PacketInfo {
    PacketInfo {
        delivered_bytes,
        delivered_time: timestamp(0),
        lost_bytes: 0,
        ecn_ce_count: 0,
        first_sent_time: timestamp(0),
        bytes_in_flight: 0,
        is_app_limited: false,
    }
}

#[test]
fn remedy_a_takes_the_later_sent_of_two_with_equal_counts() {
    let mut nudge = Nudge::default();
    let (at_1, at_2, at_3) = (timestamp(MS), timestamp(2 * MS), timestamp(3 * MS));
    assert_eq!(nudge.apply(packet_info(5000), at_2), (packet_info(5000), at_2));
    assert_eq!(nudge.apply(packet_info(5000), at_3), (packet_info(5001), at_3));
    let older = PacketInfo { bytes_in_flight: 7, ..packet_info(4000) };
    assert_eq!(nudge.apply(older, at_1), (packet_info(5002), at_3), "the earlier sent does not move it back");
    assert_eq!(nudge.apply(packet_info(9000), at_3), (packet_info(9000), at_3));
}

#[test]
fn remedy_b_judges_by_share_queue_and_number() {
    let judge = |lost: u64, delivered: u64, smoothed: u64, minimum: u64| {
        let mut judge = LossJudge::default();
        judge.lost(lost * 1472);
        judge.delivered(delivered * 1472);
        judge.is_burst(smoothed, minimum, MTU)
    };
    let (free, queued) = ((20 * MS, 20 * MS), (27 * MS, 20 * MS));
    assert!(!judge(5, 95, free.0, free.1), "random loss");
    assert!(judge(11, 89, free.0, free.1), "more than random");
    assert!(!judge(3, 5, free.0, free.1), "three packets are not a share");
    assert!(judge(3, 97, queued.0, queued.1));
    assert!(!judge(2, 98, queued.0, queued.1));
    assert!(!judge(5, 95, 26 * MS, 20 * MS), "the threshold of a queue is 1.25 and a millisecond");
    // Two windows back is forgotten.
    let mut judge = LossJudge::default();
    judge.advance(100 * MS, 20 * MS);
    judge.lost(100 * 1472);
    judge.advance(125 * MS, 20 * MS);
    judge.delivered(100 * 1472);
    assert!(judge.is_burst(20 * MS, 20 * MS, MTU));
    judge.advance(150 * MS, 20 * MS);
    judge.delivered(100 * 1472);
    assert!(!judge.is_burst(20 * MS, 20 * MS, MTU));
    judge.lost(100 * 1472);
    assert!(judge.is_burst(20 * MS, 20 * MS, MTU));
    judge.advance(SECOND, 20 * MS);
    assert!(!judge.is_burst(20 * MS, 20 * MS, MTU), "a pause forgets both");
}

#[test]
fn remedies_c_and_d_move_the_rate_of_cruise() {
    assert!(!queue_stands(23 * MS, 20 * MS));
    assert!(queue_stands(23 * MS + 1, 20 * MS));
    assert_eq!(below_estimate(1_000_000), 900_000);
    let repaid = |lost: u64, delivered: u64| {
        let mut judge = LossJudge::default();
        judge.lost(lost);
        judge.delivered(delivered);
        judge.repay(1_000_000)
    };
    assert_eq!(repaid(0, 0), 1_000_000);
    assert_eq!(repaid(0, 1_000_000), 1_000_000);
    assert_eq!(repaid(50_000, 950_000), 1_025_000, "half of 5 %");
    assert_eq!(repaid(200_000, 800_000), 1_000_000, "that much is not random");
}

//! The endpoint's bucket.

use super::{Noise, RATES};
use crate::{
    TokenBucket,
    time::{MS, SECOND},
};

#[test]
fn a_bucket_fills_exactly_and_says_when() {
    let mut noise = Noise::new(7);
    for rate in RATES {
        let burst = 131_072;
        let mut bucket = TokenBucket::new(rate, burst, 5 * SECOND);
        let (mut now, mut taken, start) = (5 * SECOND, 0u128, 5 * SECOND);
        for _ in 0..5_000 {
            let bytes = 1 + noise.below(65_507);
            if let Err(at) = bucket.take(now, bytes) {
                assert!(at > now);
                let mut early = bucket.clone();
                assert_eq!(early.take(at - 1, bytes), Err(at), "one nanosecond early");
                now = at;
                assert_eq!(bucket.take(now, bytes), Ok(()), "when it said");
            }
            taken += u128::from(bytes);
            let filled = u128::from(rate) * u128::from(now - start) / u128::from(SECOND);
            assert!(taken <= filled + u128::from(burst), "never more than the burst ahead");
        }
        let filled = u128::from(rate) * u128::from(now - start) / u128::from(SECOND);
        assert!(taken + u128::from(rate / SECOND + 1) >= filled, "and never behind: {taken} of {filled}");
    }
}

#[test]
fn a_bucket_refunds_goes_into_debt_and_changes_its_rate() {
    let mut bucket = TokenBucket::new(1_000, 100, 0);
    assert_eq!(bucket.take(0, 100), Ok(()));
    assert_eq!(bucket.take(0, 1), Err(MS));
    bucket.refund(40);
    assert_eq!(bucket.take(0, 40), Ok(()));
    bucket.refund(1_000);
    assert_eq!(bucket.take(0, 101), Ok(()), "a full bucket lets go what is larger than itself");
    assert_eq!(bucket.take(0, 100), Err(101 * MS), "and is in debt for it");
    bucket.set_rate(50 * MS, 10_000);
    assert_eq!(bucket.take(50 * MS, 100), Err(50 * MS + 5_100_000));
    assert_eq!(bucket.take(SECOND, 100), Ok(()));
    assert_eq!(bucket.take(MS, 100), Err(SECOND + 10 * MS), "its clock does not step back");
    // Nothing overflows.
    let mut bucket = TokenBucket::new(u64::MAX, u64::MAX, 0);
    bucket.refund(u64::MAX);
    assert_eq!(bucket.take(u64::MAX, u64::MAX), Ok(()));
    bucket.set_rate(u64::MAX, 0);
    assert_eq!(bucket.take(u64::MAX, u64::MAX), Err(u64::MAX));
}

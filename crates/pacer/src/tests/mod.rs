//! What the crate promises, shown. Inside the crate, so that a test can turn a remedy off and see what it was for.

mod bucket;
mod figures;
mod flow;
mod link;
mod pacing;
mod remedies;
mod robustness;
mod route;
mod traps;

use crate::{AckEvent, Acked, Algorithm, Controller, Lost, SentInfo};

const BOTH: [Algorithm; 2] = [Algorithm::Bbr, Algorithm::Cubic];
const MTU: u16 = 1472;
/// From 160 kbit/s to the cap, bytes per second.
const RATES: [u64; 6] = [20_000, 1_250_000, 25_000_000, 125_000_000, 1_250_000_000, 12_500_000_000];

/// xorshift64* (Marsaglia, Vigna): repeatable noise for tests.
#[derive(Clone, Debug)]
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform in `0..bound`, near enough.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound.max(1)
    }

    /// True `ppm` times in a million.
    pub(crate) fn happens(&mut self, ppm: u64) -> bool {
        self.below(1_000_000) < ppm
    }
}

pub(crate) fn acknowledge(
    now_ns: u64,
    bytes: u64,
    newest: SentInfo,
    newest_sent_ns: u64,
) -> AckEvent<'static> {
    AckEvent {
        now_ns,
        rtt_sample: Some((newest_sent_ns, 0)),
        lost: &[],
        acked: Some(Acked { bytes, newest, newest_sent_ns }),
        persistent_congestion: false,
        ecn_ce: 0,
    }
}

pub(crate) fn lose(now_ns: u64, lost: &[Lost]) -> AckEvent<'_> {
    AckEvent { now_ns, rtt_sample: None, lost, acked: None, persistent_congestion: false, ecn_ce: 0 }
}

/// Sends `packets` every `rtt_ns` and has all of them acknowledged, until `until_ns`.
pub(crate) fn transfer(controller: &mut Controller, from_ns: u64, until_ns: u64, rtt_ns: u64, packets: u32) {
    let mut now = from_ns;
    while now < until_ns {
        let mut newest = None;
        for _ in 0..packets {
            newest = Some(controller.on_sent(now, u32::from(MTU), false));
        }
        let bytes = u64::from(packets) * u64::from(MTU);
        controller.on_ack_event(&acknowledge(now + rtt_ns, bytes, newest.expect("packets were sent"), now));
        now += rtt_ns;
    }
}

//! Weather: what a link does for some minutes.

use crate::{link::Link, rng::Rng};
use paceline_transport::{MS, SECOND};

/// Changes a direction; returns the name of what it suffers from now on.
pub(super) fn change(link: &mut Link, rng: &mut Rng) -> &'static str {
    match rng.below(12) {
        0 => {
            link.loss_ppm = 10_000 + rng.below(40_000) as u32;
            "loss"
        }
        1 => {
            link.jitter_ns = 5 * MS;
            "jitter"
        }
        2 => {
            (link.reorder_ppm, link.reorder_ns) = (50_000, 5 * MS);
            "reorder"
        }
        3 => {
            link.duplicate_ppm = 50_000;
            "duplication"
        }
        4 => {
            (link.corrupt_ppm, link.truncate_ppm) = (10_000, 10_000);
            "corruption"
        }
        5 => {
            (link.rate, link.queue_bytes) = (Some(1_250_000), 64 << 10);
            "10 Mbit/s"
        }
        6 => {
            (link.burst_loss_ppm, link.burst_loss_len) = (2_000, 10);
            "bursts"
        }
        7 => {
            (link.delay_ppm, link.delay_spike_ns) = (1_000, 200 * MS);
            "delay"
        }
        8 => {
            (link.replay_ppm, link.replay_after_ns) = (10_000, SECOND);
            "replay"
        }
        9 => {
            link.up = false;
            "blackhole"
        }
        _ => "clear",
    }
}

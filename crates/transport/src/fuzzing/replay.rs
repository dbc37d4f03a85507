//! The replay window against the set of all ids ever accepted.

use super::{Input, Reach};
use crate::buffer::{
    VARINT_MAX,
    replay::{REPLAY_WINDOW, ReplayWindow, Verdict},
};
use std::collections::BTreeSet;

/// Checks and accepts key ids in any order.
pub fn replay_window(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut window = ReplayWindow::new();
    let mut seen = BTreeSet::new();
    let mut largest: Option<u64> = None;
    while !input.is_empty() {
        let newest = largest.unwrap_or(0);
        let (first, count) = match input.u8() {
            0 => (input.varint(), 1),
            1 => (newest.saturating_add(input.varint()), 1),
            2 => (newest.saturating_sub(input.varint()), 1),
            // Right at the window's edge.
            3 => (newest.saturating_sub(REPLAY_WINDOW).saturating_add(u64::from(input.u8() % 4)), 1),
            4 => (newest.saturating_add(1), u64::from(input.u8())),
            near => (newest.saturating_add(64).saturating_sub(u64::from(near)), 1),
        };
        for id in first..first.saturating_add(count) {
            let expected = match largest {
                _ if id >= VARINT_MAX => Verdict::Unknown,
                Some(largest) if id <= largest && largest - id >= REPLAY_WINDOW => Verdict::Unknown,
                _ if seen.contains(&id) => Verdict::Replayed,
                _ => Verdict::New,
            };
            assert_eq!(window.check(id), expected, "{id} with {largest:?}");
            window.accept(id);
            if expected == Verdict::New {
                seen.insert(id);
                largest = largest.max(Some(id));
                assert_eq!(window.check(id), Verdict::Replayed, "{id}");
            }
        }
    }
    Reach::of_structure(!seen.is_empty())
}

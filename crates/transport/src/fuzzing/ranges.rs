//! Received numbers and stream offsets against sets of single numbers.

use super::{Input, Reach};
use crate::buffer::{
    VARINT_MAX,
    ranges::{MAX_RANGES, OffsetSet, Ranges},
};
use std::{collections::BTreeSet, ops::RangeInclusive};

fn runs(set: &BTreeSet<u64>) -> Vec<RangeInclusive<u64>> {
    let mut runs: Vec<RangeInclusive<u64>> = Vec::new();
    for &n in set {
        match runs.last_mut() {
            Some(run) if *run.end() + 1 == n => *run = *run.start()..=n,
            _ => runs.push(n..=n),
        }
    }
    runs
}

/// [`Ranges`] for an even first byte, [`OffsetSet`] for an odd one.
pub fn ranges(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    if input.u8().is_multiple_of(2) { numbers(input) } else { offsets(input) }
}

fn numbers(mut input: Input<'_>) -> Reach {
    // Where the numbers are, so that the end of their space is met, too.
    let base = input.varint();
    let (mut ranges, mut model) = (Ranges::new(), BTreeSet::new());
    let mut newest = base;
    let mut operations = 0u32;
    while !input.is_empty() {
        operations += 1;
        match input.u8() {
            0 => {
                // Many gaps at once: the only way to the bound within a short input.
                for _ in 0..input.u8() {
                    newest = newest.saturating_add(2).min(VARINT_MAX);
                    assert_eq!(ranges.insert(newest), model.insert(newest));
                    trim(&mut model);
                }
            }
            1 => {
                let through = newest.saturating_sub(u64::from(input.u8()));
                ranges.remove_through(through);
                model = model.split_off(&(through + 1));
            }
            2 => {
                let n = input.varint();
                assert_eq!(ranges.contains(n), model.contains(&n));
            }
            ahead @ 3..=127 => {
                newest = newest.saturating_add(u64::from(ahead) - 3).min(VARINT_MAX);
                assert_eq!(ranges.insert(newest), model.insert(newest));
            }
            behind => {
                let n = newest.saturating_sub(u64::from(behind) - 128);
                assert_eq!(ranges.insert(n), model.insert(n));
            }
        }
        trim(&mut model);
        assert_eq!(ranges.largest(), model.last().copied());
        // All of them is much to compare; what goes wrong between is still wrong at the end.
        if operations.is_power_of_two() || input.is_empty() {
            let expected = runs(&model);
            assert!(expected.len() <= MAX_RANGES);
            assert!(ranges.iter_desc().eq(expected.into_iter().rev()), "{ranges:?}");
        }
    }
    Reach::of_structure(!model.is_empty())
}

/// The oldest range goes when there is one too many.
fn trim(model: &mut BTreeSet<u64>) {
    if model.len() <= MAX_RANGES {
        return;
    }
    let runs = runs(model);
    if runs.len() > MAX_RANGES {
        *model = model.split_off(runs[1].start());
    }
}

fn offsets(mut input: Input<'_>) -> Reach {
    const SIZE: usize = 512;
    let mut set = OffsetSet::new();
    let mut there = [false; SIZE];
    let mut any = false;
    while !input.is_empty() {
        let start = usize::from(input.u16()) % SIZE;
        let end = (start + usize::from(input.u8())).min(SIZE);
        let range = start as u64..end as u64;
        let missing = (start..end).find(|&at| !there[at]).map(|first| {
            let last = (first..end).find(|&at| there[at]).unwrap_or(end);
            first as u64..last as u64
        });
        assert_eq!(set.next_missing(range.clone()), missing);
        let (gaps, adds) = (set.gaps(), set.adds_gap(&range));
        let new = there[start..end].iter().filter(|there| !**there).count();
        there[start..end].fill(true);
        assert_eq!(set.insert(range), new as u64);
        assert_eq!(adds, set.gaps() > gaps);
        let prefix = there.iter().position(|there| !there).unwrap_or(SIZE);
        let highest = there.iter().rposition(|&there| there).map_or(0, |at| at + 1);
        assert_eq!((set.prefix(), set.end()), (prefix as u64, highest as u64));
        any |= new > 0;
    }
    Reach::of_structure(any)
}

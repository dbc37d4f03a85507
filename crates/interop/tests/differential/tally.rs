//! What was compared, counted where it was compared.

use std::{collections::BTreeMap, fmt};

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Written by upstream, read here.
    FromThem,
    /// Written here, read by upstream.
    ToThem,
}

/// Counts of packets by kind, way and keys, and of what was done to them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    packets: BTreeMap<(&'static str, Way), u64>,
    keys: BTreeMap<String, u64>,
    notes: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(crate) fn packet(&mut self, kind: &'static str, way: Way, keys: &str) {
        *self.packets.entry((kind, way)).or_default() += 1;
        *self.keys.entry(keys.into()).or_default() += 1;
    }

    pub(crate) fn note(&mut self, what: &'static str) {
        *self.notes.entry(what).or_default() += 1;
    }

    /// Packets that crossed; their retransmissions are not counted again.
    pub(crate) fn cases(&self) -> u64 {
        self.packets.values().sum()
    }

    /// Nothing that this test is for was left out by chance.
    pub(crate) fn check(&self) {
        let share = self.cases() / 1_000;
        for kind in KINDS {
            for way in [Way::FromThem, Way::ToThem] {
                let count = self.packets.get(&(kind, way)).copied().unwrap_or(0);
                assert!(count > share, "{kind}, {way:?}: only {count} of {}", self.cases());
            }
        }
        for note in NOTES {
            let count = self.notes.get(note).copied().unwrap_or(0);
            assert!(count > share, "{note}: only {count} of {}", self.cases());
        }
        // Suites × roles × openers.
        assert_eq!(self.keys.len(), 8, "{:?}", self.keys);
        assert!(self.keys.values().all(|count| *count > 10 * share), "{:?}", self.keys);
    }
}

const KINDS: [&str; 7] =
    ["stream", "probe", "control", "datagram", "UnknownPathSecret", "StaleKey", "ReplayDetected"];

/// What must have happened to packets, besides their crossing.
const NOTES: [&str; 12] = [
    "retransmission from them",
    "retransmission to them",
    "retransmission undone and patched again",
    "the same bytes from both",
    "key phase 1",
    "key phase 2",
    "key phase 3",
    "opened one phase ahead",
    "tampered",
    "truncated",
    "refused by both",
    "frames",
];

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((kind, way), count) in &self.packets {
            writeln!(f, "{count:>8} {kind} {way:?}")?;
        }
        for (keys, count) in &self.keys {
            writeln!(f, "{count:>8} {keys}")?;
        }
        for (note, count) in &self.notes {
            writeln!(f, "{count:>8} {note}")?;
        }
        write!(f, "{:>8} in all", self.cases())
    }
}

//! What worlds come to: the verdict of one, the sum of many.

use crate::{FaultCounts, Mode, Scenario};
use std::fmt::Write;

/// An invariant that did not hold, or a world that did not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What.
    pub what: String,
    /// When, since the world began, ns.
    pub at_ns: u64,
}

impl Problem {
    /// Failures of one kind differ in figures only.
    pub fn kind(&self) -> String {
        let line = self.what.lines().next().unwrap_or_default();
        let words = line.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
        words.take(8).collect::<Vec<_>>().join(" ")
    }
}

/// The worst figures of a world, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worst {
    /// From the end of the last fault until something moved again, ns.
    pub recovery_ns: u64,
    /// From opening a stream to its end, ns.
    pub stream_ns: u64,
    /// From the beginning to the last stream's end, ns.
    pub run_ns: u64,
    /// Transmissions in a wheel.
    pub wheel: u64,
}

impl Worst {
    fn merge(&mut self, other: &Self) {
        self.recovery_ns = self.recovery_ns.max(other.recovery_ns);
        self.stream_ns = self.stream_ns.max(other.stream_ns);
        self.run_ns = self.run_ns.max(other.run_ns);
        self.wheel = self.wheel.max(other.wheel);
    }

    fn to_json(self) -> String {
        format!(
            "{{\"recovery\":{},\"stream\":{},\"run\":{}}},\"longestWheel\":{}",
            self.recovery_ns / 1_000_000,
            self.stream_ns / 1_000_000,
            self.run_ns / 1_000_000,
            self.wheel
        )
    }
}

/// What a world came to.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Where it came from.
    pub seed: u64,
    /// What was asked of it.
    pub mode: Mode,
    /// Equal for equal worlds.
    pub log_hash: u64,
    /// Every packet and fault, if it was asked for.
    pub log: Option<String>,
    /// What really happened.
    pub faults: FaultCounts,
    /// Virtual time, shutdown and silence included, ns.
    pub virtual_ns: u64,
    /// Worker steps.
    pub steps: u64,
    /// Bytes delivered to applications.
    pub bytes: u64,
    /// Packets handed to the network.
    pub packets: u64,
    /// Streams opened.
    pub streams: u64,
    /// Comparisons made.
    pub invariants_checked: u64,
    /// Its worst figures.
    pub worst: Worst,
    /// What went wrong, if anything did.
    pub failure: Option<Problem>,
}

/// Escapes what a JSON string may not hold.
pub(crate) fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(crate) fn faults_json(faults: &FaultCounts) -> String {
    let counts: Vec<String> = faults.iter().map(|(kind, n)| format!("\"{}\":{n}", kind.name())).collect();
    format!("{{{}}}", counts.join(","))
}

impl Verdict {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        Self {
            seed: scenario.seed,
            mode: scenario.mode,
            log_hash: 0,
            log: None,
            faults: FaultCounts::default(),
            virtual_ns: 0,
            steps: 0,
            bytes: 0,
            packets: 0,
            streams: 0,
            invariants_checked: 0,
            worst: Worst::default(),
            failure: None,
        }
    }

    /// Whether everything held.
    pub const fn is_ok(&self) -> bool {
        self.failure.is_none()
    }

    /// The failure with the one command that shows it again.
    pub fn explain(&self) -> Option<String> {
        let failure = self.failure.as_ref()?;
        Some(format!(
            "seed {} ({}) at {:.3} ms: {}\nreplay: npx paceline sim --seed {} --trace",
            self.seed,
            self.mode.name(),
            failure.at_ns as f64 / 1e6,
            failure.what,
            self.seed
        ))
    }

    /// One line.
    pub fn to_json(&self) -> String {
        let failure = self.explain().map_or("null".to_owned(), |text| json_string(&text));
        format!(
            "{{\"seed\":{},\"mode\":\"{}\",\"logHash\":\"{:016x}\",\"virtualMs\":{},\"steps\":{},\"bytes\":{},\"packets\":{},\"streams\":{},\"invariantsChecked\":{},\"faults\":{},\"worstMs\":{},\"failure\":{failure}}}",
            self.seed,
            self.mode.name(),
            self.log_hash,
            self.virtual_ns / 1_000_000,
            self.steps,
            self.bytes,
            self.packets,
            self.streams,
            self.invariants_checked,
            faults_json(&self.faults),
            self.worst.to_json(),
        )
    }
}

/// The sum of many verdicts, in any order.
#[derive(Clone, Debug, Default)]
pub struct Campaign {
    /// Worlds.
    pub seeds: u64,
    /// Seeds and texts of the failed ones, as they came; the first 100.
    pub failures: Vec<(u64, String)>,
    /// All of them.
    pub failed: u64,
    /// What really happened.
    pub faults: FaultCounts,
    /// Sum of virtual times, ns.
    pub virtual_ns: u64,
    /// Sum of steps.
    pub steps: u64,
    /// Sum of bytes delivered.
    pub bytes: u64,
    /// Sum of packets.
    pub packets: u64,
    /// Sum of streams.
    pub streams: u64,
    /// Sum of comparisons.
    pub invariants_checked: u64,
    /// The worst of all.
    pub worst: Worst,
    /// Sum of the log hashes: equal for the same seeds in any order.
    pub log_hash: u64,
}

/// Failures whose text a campaign keeps.
const MOST_FAILURES: usize = 100;

impl Campaign {
    /// Adds one world.
    pub fn add(&mut self, verdict: &Verdict) {
        self.seeds += 1;
        self.faults.merge(&verdict.faults);
        self.virtual_ns += verdict.virtual_ns;
        self.steps += verdict.steps;
        self.bytes += verdict.bytes;
        self.packets += verdict.packets;
        self.streams += verdict.streams;
        self.invariants_checked += verdict.invariants_checked;
        self.worst.merge(&verdict.worst);
        self.log_hash = self.log_hash.wrapping_add(verdict.log_hash);
        if let Some(text) = verdict.explain() {
            self.failed += 1;
            if self.failures.len() < MOST_FAILURES {
                self.failures.push((verdict.seed, text));
            }
        }
    }

    /// Adds what another thread has summed up.
    pub fn merge(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.failed += other.failed;
        self.faults.merge(&other.faults);
        self.virtual_ns += other.virtual_ns;
        self.steps += other.steps;
        self.bytes += other.bytes;
        self.packets += other.packets;
        self.streams += other.streams;
        self.invariants_checked += other.invariants_checked;
        self.worst.merge(&other.worst);
        self.log_hash = self.log_hash.wrapping_add(other.log_hash);
        let room = MOST_FAILURES.saturating_sub(self.failures.len());
        self.failures.extend(other.failures.iter().take(room).cloned());
    }

    /// One line; `wall_seconds` is measured by whoever has a clock.
    pub fn to_json(&self, wall_seconds: f64) -> String {
        format!(
            "{{\"seeds\":{},\"failures\":{},\"virtualSeconds\":{},\"wallSeconds\":{wall_seconds:.1},\"faults\":{},\"invariantsChecked\":{},\"bytes\":{},\"packets\":{},\"streams\":{},\"steps\":{},\"worstMs\":{},\"logHash\":\"{:016x}\"}}",
            self.seeds,
            self.failed,
            self.virtual_ns / 1_000_000_000,
            faults_json(&self.faults),
            self.invariants_checked,
            self.bytes,
            self.packets,
            self.streams,
            self.steps,
            self.worst.to_json(),
            self.log_hash,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_json_is_escaped() {
        assert_eq!(json_string("a\"b\\c\nd\u{1}é"), "\"a\\\"b\\\\c\\nd\\u0001é\"");
    }

    #[test]
    fn kinds_of_failures_do_not_depend_on_figures() {
        let kind = |what: &str| Problem { what: what.to_owned(), at_ns: 1 }.kind();
        assert_eq!(kind("stream 3: left 17 ns early"), kind("stream 9: left 1 ns early"));
        assert_ne!(kind("stream 3: left 17 ns early"), kind("stream 3: MAX_DATA goes back"));
    }

    #[test]
    fn a_failure_names_its_replay() {
        let mut verdict = Verdict::of(&Scenario::generate(7, None));
        assert!(verdict.explain().is_none());
        verdict.failure = Some(Problem { what: "broken".to_owned(), at_ns: 1_500_000 });
        assert!(
            verdict.explain().is_some_and(|text| text.ends_with("replay: npx paceline sim --seed 7 --trace"))
        );
        let mut campaign = Campaign::default();
        campaign.add(&verdict);
        let mut both = campaign.clone();
        both.merge(&campaign);
        assert_eq!((both.seeds, both.failed, both.failures.len()), (2, 2, 2));
        assert!(both.to_json(1.0).contains("\"failures\":2"));
    }
}

//! Makes a failing scenario small: fewer faults, streams and nodes, less data, as long as it fails in the same way.

use crate::{HalfPlan, Options, Problem, Scenario, Target, run_scenario};

/// Runs spent on shrinking one scenario.
const MOST_RUNS: u32 = 400;

/// The smallest scenario found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// Fails like the original.
    pub scenario: Scenario,
    /// How.
    pub failure: Problem,
    /// Worlds run on the way.
    pub runs: u32,
}

impl std::fmt::Display for Shrunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}\nthe smallest world that fails so, after {} runs:", self.failure.what, self.runs)?;
        write!(f, "{}replay: npx paceline sim --seed {} --trace", self.scenario, self.scenario.seed)
    }
}

struct Search<'a> {
    best: Scenario,
    failure: Problem,
    runs: u32,
    /// Asked before each run: whoever has a clock may have had enough.
    go_on: &'a mut dyn FnMut() -> bool,
}

impl Search<'_> {
    fn is_over(&mut self) -> bool {
        self.runs >= MOST_RUNS || !(self.go_on)()
    }

    /// Keeps the candidate if it fails in the same way.
    fn attempt(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        if self.is_over() {
            return false;
        }
        self.runs += 1;
        let mut candidate = self.best.clone();
        change(&mut candidate);
        match run_scenario(&candidate, false).failure {
            Some(failure) if failure.kind() == self.failure.kind() => {
                self.best = candidate;
                self.failure = failure;
                true
            }
            _ => false,
        }
    }

    /// Drops items of a list, in halves first, then one by one.
    fn drop_items<T>(&mut self, list: impl Fn(&mut Scenario) -> &mut Vec<T>, least: usize) -> bool {
        let mut any = false;
        let mut size = list(&mut self.best).len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            loop {
                let len = list(&mut self.best).len();
                if at >= len || len - size.min(len - at) < least {
                    break;
                }
                let end = (at + size).min(len);
                if self.attempt(|scenario| drop(list(scenario).drain(at..end))) {
                    any = true;
                } else {
                    at += size;
                }
            }
            size /= 2;
        }
        any
    }

    /// Drops the last client if nothing refers to it any more.
    fn drop_clients(&mut self) -> bool {
        let mut any = false;
        while self.best.pairs.len() > 1 {
            let last = self.best.pairs.len() - 1;
            let dropped = self.attempt(|scenario| {
                scenario.pairs.pop();
                scenario.nodes.pop();
                scenario.streams.retain(|stream| stream.pair < last);
                scenario.closes.retain(|close| close.pair < last);
                scenario.faults.retain(|fault| match fault.target {
                    Target::Pair { pair, .. } => pair < last,
                    Target::Node(node) => node <= last,
                });
            });
            if !dropped {
                break;
            }
            any = true;
        }
        any
    }

    fn halve_streams(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.best.streams.len() {
            let halves: [fn(&mut Scenario, usize) -> &mut HalfPlan; 2] =
                [|s, i| &mut s.streams[i].there, |s, i| &mut s.streams[i].back];
            for half in halves {
                while half(&mut self.best, index).bytes > 0
                    && self.attempt(|scenario| half(scenario, index).bytes /= 2)
                {
                    any = true;
                }
                let plain = |plan: &mut HalfPlan| {
                    *plan = HalfPlan { bytes: plan.bytes, echo: plan.echo, ..HalfPlan::bulk(0) };
                };
                let mut wanted = *half(&mut self.best, index);
                plain(&mut wanted);
                if wanted != *half(&mut self.best, index)
                    && self.attempt(|scenario| plain(half(scenario, index)))
                {
                    any = true;
                }
            }
            if self.best.streams[index].at_ns > 0
                && self.attempt(|scenario| scenario.streams[index].at_ns = 0)
            {
                any = true;
            }
        }
        any
    }

    fn shorten_faults(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.best.faults.len() {
            while self.best.faults[index].for_ns > 1_000_000
                && self.attempt(|scenario| scenario.faults[index].for_ns /= 2)
            {
                any = true;
            }
        }
        any
    }
}

/// The smallest scenario found that fails as the seed's does; `None` if that one does not fail.
pub fn shrink(seed: u64, options: Options) -> Option<Shrunk> {
    shrink_while(seed, options, &mut || true)
}

/// The same, until `go_on` says no.
pub fn shrink_while(seed: u64, options: Options, go_on: &mut dyn FnMut() -> bool) -> Option<Shrunk> {
    search(&Scenario::generate(seed, options.mode), go_on)
}

/// The same for any scenario.
pub fn shrink_scenario(scenario: &Scenario) -> Option<Shrunk> {
    search(scenario, &mut || true)
}

fn search(scenario: &Scenario, go_on: &mut dyn FnMut() -> bool) -> Option<Shrunk> {
    let failure = run_scenario(scenario, false).failure?;
    let mut search = Search { best: scenario.clone(), failure, runs: 1, go_on };
    loop {
        let mut any = search.drop_items(|scenario| &mut scenario.faults, 0);
        any |= search.drop_items(|scenario| &mut scenario.streams, 0);
        any |= search.drop_items(|scenario| &mut scenario.closes, 0);
        any |= search.best.attacker_one_in > 0 && search.attempt(|scenario| scenario.attacker_one_in = 0);
        any |= search.drop_clients();
        any |= search.halve_streams();
        any |= search.shorten_faults();
        if !any || search.is_over() {
            return Some(Shrunk { scenario: search.best, failure: search.failure, runs: search.runs });
        }
    }
}

//! Feeds hostile bytes to every parser, to the data structures they reach, and to whole endpoints.
//!
//! `npm run fuzz -- --seconds 60 [TARGET…]` builds and runs the targets; `npm test` replays `corpus/` through the same
//! [`bodies`].

pub mod bodies;

use bodies::TARGETS;
use std::sync::atomic::{AtomicU64, Ordering};

/// Executions, inputs past the decoder, datagrams, authentic datagrams.
static COUNTERS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

extern "C" fn report() {
    let [executions, past, datagrams, authentic] =
        COUNTERS.each_ref().map(|counter| counter.load(Ordering::Relaxed));
    eprintln!(
        "reach: {{\"executions\":{executions},\"past\":{past},\"datagrams\":{datagrams},\"authentic\":{authentic}}}"
    );
}

unsafe extern "C" {
    fn atexit(callback: extern "C" fn()) -> i32;
}

/// Prints the counters when the process ends well; after a crash libFuzzer leaves without it.
pub fn report_at_exit() {
    // SAFETY: C's atexit; the callback lives as long as the program and touches only atomics and stderr.
    unsafe { atexit(report) };
}

/// Runs the body of a target, and counts how far the input came.
///
/// # Panics
/// If something does not hold, or there is no such target.
pub fn run(target: &str, data: &[u8]) {
    let body = TARGETS.iter().find(|(name, _)| *name == target).map(|(_, body)| body);
    let reach = body.expect("a target")(data);
    let add = [1, u64::from(reach.past), reach.datagrams, reach.authentic];
    for (counter, more) in COUNTERS.iter().zip(add) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

/// The program of one target.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::report_at_exit(),
            |data: &[u8]| { $crate::run(stringify!($name), data) }
        );
    };
}

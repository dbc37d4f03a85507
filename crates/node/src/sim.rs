//! The simulator, for `npx paceline sim`: one call is one world, on the thread that calls.
//!
//! A panic in a world (an assertion of the core or of the world itself) is a failure of that seed. It must not end the
//! process, nor the thousands of worlds beside it.

#![allow(unreachable_pub, reason = "napi exports functions that are `pub`, whatever the module is")]

use crate::errors::{Code, Result, error};
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;
use paceline_sim::{Mode, Options, Soak, SoakReport, paths, run_seed, shrink_while};
use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
    time::{Duration, Instant},
};

const NS_PER_SECOND: f64 = 1e9;
/// A report's names are the same for everybody: paths are run with this seed.
const PATH_SEED: u64 = 1;

/// How a world is run.
#[napi(object, object_to_js = false)]
pub(crate) struct SimOptions {
    /// Instead of the mode the seed would have.
    #[napi(ts_type = "'safety' | 'liveness'")]
    pub mode: Option<String>,
    /// Keep the log as text.
    pub trace: Option<bool>,
    /// For tests of what is told of failures: `panic` or `failure` ends this world so.
    pub plant: Option<String>,
}

impl SimOptions {
    fn options(&self) -> Result<Options> {
        let mode = match self.mode.as_deref() {
            None => None,
            Some("safety") => Some(Mode::Safety),
            Some("liveness") => Some(Mode::Liveness),
            Some(other) => return Err(error(Code::Option, format_args!("unknown mode {other:?}"))),
        };
        Ok(Options { mode, trace: self.trace.unwrap_or(false) })
    }
}

/// A world that was run.
#[napi(object, object_from_js = false)]
pub(crate) struct SimRun {
    /// The verdict as JSON.
    pub verdict: String,
    /// The log, if it was kept.
    pub log: Option<String>,
}

pub(crate) fn seed_of(seed: &BigInt) -> Result<u64> {
    match seed.get_u64() {
        (false, seed, true) => Ok(seed),
        _ => Err(error(Code::Option, "expected a seed from 0 to 2^64 - 1")),
    }
}

thread_local! {
    /// While a world runs: where it panicked, once it has.
    static PANIC: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// Panics of worlds go to [`PANIC`], with their place; all others where they went before.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
            let text = format!("panic: {}{}", message(info.payload()), place.unwrap_or_default());
            let taken = PANIC.try_with(|slot| match slot.try_borrow_mut() {
                Ok(mut slot) => slot.as_mut().map(|slot| *slot = Some(text)).is_some(),
                Err(_) => false,
            });
            if taken != Ok(true) {
                before(info);
            }
        }));
    });
}

fn message(payload: &dyn std::any::Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// What `run` returns, and beside it where it panicked, whether or not the panic was caught inside.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> (Option<T>, Option<String>) {
    watch_panics();
    PANIC.set(Some(None));
    // Nothing of a world outlives it, so nobody sees what a panic left half done.
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    (result.ok(), PANIC.take().flatten())
}

fn json_string(text: &str) -> String {
    let mut json = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => json.extend(['\\', letter]),
            letter if letter < ' ' => json.push_str(&format!("\\u{:04x}", letter as u32)),
            letter => json.push(letter),
        }
    }
    json.push('"');
    json
}

/// Runs one world.
#[napi]
pub fn sim_seed(seed: BigInt, options: SimOptions) -> Result<SimRun> {
    let (seed, how) = (seed_of(&seed)?, options.options()?);
    let (verdict, panicked) = caught(|| {
        assert!(options.plant.as_deref() != Some("panic"), "planted, for a test");
        let mut verdict = run_seed(seed, how);
        if options.plant.as_deref() == Some("failure") {
            verdict.failure =
                Some(paceline_sim::Problem { what: "planted, for a test".to_owned(), at_ns: 0 });
        }
        verdict
    });
    match verdict {
        Some(mut verdict) => {
            if let (Some(failure), Some(panicked)) = (&mut verdict.failure, panicked) {
                failure.what = panicked;
            }
            Ok(SimRun { verdict: verdict.to_json(), log: verdict.log.take() })
        }
        // It came to nothing that could be added up.
        None => {
            let failure = json_string(&format!("seed {seed}: {}", panicked.unwrap_or_default()));
            let verdict = format!("{{\"seed\":{seed},\"failure\":{failure}}}");
            Ok(SimRun { verdict, log: None })
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "shrinking is limited by real time, and this is its only clock")]
fn now() -> Instant {
    Instant::now()
}

/// The smallest scenario found within so many milliseconds that fails as this one does, in words; nothing if it does not fail.
#[napi]
pub fn sim_shrink(seed: BigInt, options: SimOptions, milliseconds: f64) -> Result<Option<String>> {
    let (seed, how) = (seed_of(&seed)?, options.options()?);
    let begin = now();
    let limit = Duration::from_millis(milliseconds as u64);
    let (text, panicked) = caught(|| shrink_while(seed, how, &mut || now().duration_since(begin) < limit));
    Ok(text.map_or(panicked, |shrunk| shrunk.map(|shrunk| shrunk.to_string())))
}

/// Names of the paths that have a ceiling.
#[napi]
pub fn sim_paths() -> Vec<&'static str> {
    paths::ALL.iter().map(|path| path.name).collect()
}

/// A transfer over a named path: its report as JSON.
#[napi]
pub fn sim_path(name: String) -> Result<String> {
    let (report, panicked) = caught(|| paths::run_path(&name, PATH_SEED));
    let what = match report {
        Some(Some(Ok(report))) => return Ok(report.to_json()),
        Some(Some(Err(broken))) => broken.to_string(),
        Some(None) => return Err(error(Code::Option, format_args!("unknown path {name:?}"))),
        None => panicked.unwrap_or_default(),
    };
    let (name, what) = (json_string(&name), json_string(&what));
    Ok(format!("{{\"path\":{name},\"seed\":{PATH_SEED},\"ok\":false,\"what\":{what}}}"))
}

/// Totals of a [`NativeSoak`].
#[napi(object, object_from_js = false)]
pub(crate) struct SoakTotals {
    /// Since the world began.
    pub virtual_seconds: f64,
    /// Ended whole.
    pub streams: f64,
    /// Now.
    pub open: f64,
    /// Taken by applications.
    pub bytes: f64,
    /// Sent.
    pub datagrams: f64,
    /// Really happened.
    pub faults: f64,
    /// Of both workers.
    pub steps: f64,
    /// Descriptors out, now.
    pub pool_lent: f64,
    /// Packet memory of both endpoints so far; a pool keeps what it has.
    pub pool_allocated_bytes: f64,
}

impl From<SoakReport> for SoakTotals {
    fn from(report: SoakReport) -> Self {
        Self {
            virtual_seconds: report.elapsed_ns as f64 / NS_PER_SECOND,
            streams: report.streams as f64,
            open: report.open as f64,
            bytes: report.bytes as f64,
            datagrams: report.datagrams as f64,
            faults: report.faults as f64,
            steps: report.steps as f64,
            pool_lent: report.pool_lent as f64,
            pool_allocated_bytes: report.pool_allocated_bytes as f64,
        }
    }
}

/// Two endpoints that live for as long as they are told to, for `npm run soak`.
#[napi]
pub(crate) struct NativeSoak {
    soak: Soak,
}

fn told<T, E: std::fmt::Display>(
    (result, panicked): (Option<std::result::Result<T, E>>, Option<String>),
) -> Result<T> {
    match result {
        Some(Ok(value)) => Ok(value),
        Some(Err(broken)) => Err(error(Code::Internal, broken)),
        None => Err(error(Code::Internal, panicked.unwrap_or_default())),
    }
}

#[napi]
impl NativeSoak {
    /// A world of a seed.
    #[napi(constructor)]
    pub fn new(seed: BigInt) -> Result<Self> {
        let seed = seed_of(&seed)?;
        Ok(Self { soak: told(caught(|| Soak::new(seed)))? })
    }

    /// Lives on until so much virtual time has passed since the beginning. Throws what was not as it must be.
    #[napi]
    pub fn run_until(&mut self, virtual_seconds: f64) -> Result<SoakTotals> {
        let until_ns = (virtual_seconds * NS_PER_SECOND) as u64;
        told(caught(|| self.soak.run_until(until_ns))).map(SoakTotals::from)
    }

    /// Ends every stream and both endpoints.
    #[napi]
    pub fn finish(&mut self) -> Result<SoakTotals> {
        told(caught(|| self.soak.finish())).map(SoakTotals::from)
    }
}

#[cfg(test)]
mod tests {
    use super::{caught, json_string};

    #[test]
    fn a_panic_comes_back_with_its_place() {
        let (result, panicked) = caught(|| {
            if std::hint::black_box(true) {
                panic!("no {}", 7)
            }
        });
        assert!(result.is_none());
        let text = panicked.unwrap();
        assert!(text.starts_with("panic: no 7 at ") && text.contains("sim.rs:"), "{text}");
        assert_eq!(caught(|| 3), (Some(3), None));
    }

    #[test]
    fn json_strings_have_no_raw_control_characters() {
        assert_eq!(json_string("a\"b\\c\n\u{1f}ä"), r#""a\"b\\c\u000a\u001fä""#);
    }
}

//! The loop body: everything an endpoint does between two waits.

use crate::{
    app::Shared,
    config::Config,
    endpoint::{Endpoint, audit::Audit},
    environment::Environment,
};
use paceline_pool::Pool;
use std::sync::Arc;

/// What a step asks of whoever runs the loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Step again at this time at the latest, ns; `None`: only when something arrives.
    pub next_wake_ns: Option<u64>,
    /// There is more to do now: step again without waiting.
    pub busy: bool,
    /// `Shared` has news the application was not told of: ring its doorbell.
    pub news: bool,
    /// `next_wake_ns` is a departure so near that what arrives until then may wait for it: half the wakes of a bulk sender.
    pub nap: bool,
    /// Bulk comes in: what arrives or is asked before this time may wait for it, ns, so that one wake serves several bursts.
    pub coalesce_until_ns: Option<u64>,
    /// `Command::Shutdown` was carried out and everything is home.
    pub done: bool,
}

/// An endpoint in one world.
///
/// Production, simulation, WASI and fuzzing run the same [`step`](Self::step); they differ in the [`Environment`].
#[derive(Debug)]
pub struct Worker<E> {
    // Fields drop in this order: transmissions in the wheel go before the environment, whose pool outlives both.
    endpoint: Endpoint,
    environment: E,
    last_ns: u64,
}

impl<E: Environment> Worker<E> {
    /// A worker whose clock stands at `now_ns`. The pool was made by the environment and outlives the worker.
    pub fn new(
        config: Config,
        mut environment: E,
        pool: Arc<Pool>,
        shared: Arc<Shared>,
        now_ns: u64,
    ) -> Self {
        let endpoint = Endpoint::new(config, pool, shared, now_ns, &mut |out| environment.random(out));
        #[cfg(feature = "planted")]
        let endpoint = endpoint.plant();
        Self { endpoint, environment, last_ns: now_ns }
    }

    /// Does all that is due at `now_ns`. O(due + received): never a scan over streams or paths.
    ///
    /// A clock that steps back stands still here until it has caught up.
    pub fn step(&mut self, now_ns: u64) -> Step {
        self.last_ns = self.last_ns.max(now_ns);
        self.endpoint.step(&mut self.environment, self.last_ns)
    }

    /// Walks over everything and recomputes what is kept account of. O(streams + paths + wheel): for simulation and tests.
    pub fn audit(&self) -> Audit {
        self.endpoint.audit(&self.environment)
    }

    /// The world, to look at.
    pub const fn environment(&self) -> &E {
        &self.environment
    }

    /// The world, for waiting in it between steps.
    pub fn environment_mut(&mut self) -> &mut E {
        &mut self.environment
    }
}

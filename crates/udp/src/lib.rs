//! Is the environment made of real sockets: GSO, GRO, ECN, wake-ups, threads.
//!
//! ```no_run
//! use paceline_transport::{Config, app::Command};
//! use paceline_udp::{Options, Runtime};
//!
//! # fn main() -> Result<(), paceline_udp::StartError> {
//! let bind = ([0, 0, 0, 0], 0).into();
//! let mut runtime = Runtime::start(Options::new(bind, Config::default()), || println!("news"))?;
//! runtime.shared().submit(&mut vec![Command::AcceptStreams(16)]);
//! runtime.wake();
//! runtime.stop();
//! # Ok(())
//! # }
//! ```
//!
//! Ground rules:
//!
//! * One thread, `paceline-io`, owns the socket, the worker and all they hold. The application's thread touches only
//!   [`Shared`](paceline_transport::app::Shared), the waker and atomics.
//! * The pool is made first and dropped last.
//! * `send` decides (joining, errors, verdicts) and is the same on every platform; a `Link` only carries out: `linux` on
//!   libc, `portable` on quinn-udp.
//! * `unsafe` lives in `sys` (and, where there is no Linux, in `clock` and `wait`), one block per system call.

// This crate is where the clock and the thread live.
#![allow(clippy::disallowed_methods)]

mod clock;
mod counters;
#[cfg_attr(loom, allow(dead_code))]
mod environment;
mod errno;
mod link;
#[cfg(target_os = "linux")]
#[cfg_attr(feature = "portable", allow(dead_code))]
mod linux;
#[cfg(all(test, loom))]
mod models;
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
mod portable;
#[cfg(not(loom))]
pub mod probe;
mod receive;
mod registry;
mod runtime;
mod send;
mod sync;
#[cfg(unix)]
#[cfg_attr(loom, allow(dead_code))]
mod sys;
#[cfg(all(test, target_os = "linux", not(loom)))]
mod tests;
mod verdicts;
mod wait;

pub use clock::now_ns;
pub use counters::Counters;
pub use environment::UdpEnvironment;
pub use link::StartError;
pub use registry::{InjectError, MAX_INJECTED};
pub use runtime::{Options, Runtime, SOCKET_BUFFER_BYTES};

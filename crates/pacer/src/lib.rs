//! Says when the next burst of a path may leave, and how large it may be.
//!
//! ```
//! use paceline_pacer::{AckEvent, Acked, Algorithm, Controller, Pacer};
//!
//! let mut controller = Controller::new(Algorithm::Bbr, 1472, 42);
//! let mut pacer = Pacer::new();
//! controller.seed_rtt(0, 20_000_000); // the handshake took 20 ms
//!
//! // Fill: how large, and when.
//! let packets = pacer.burst_packets(&controller, 1472, 64, 65_507);
//! let bytes = 1472 * packets as u64;
//! let departure = pacer.schedule(0, bytes, controller.rate());
//!
//! // Release: may it leave now? Then tell the controller, once a packet.
//! let rtt = controller.smoothed_rtt();
//! pacer.admit(departure, bytes, controller.rate(), rtt, bytes).expect("nothing left before it");
//! let mut info = None;
//! for _ in 0..packets {
//!     info = Some(controller.on_sent(departure, 1472, false));
//! }
//!
//! // An acknowledgement, 20 ms later.
//! let newest = info.expect("a burst has a packet");
//! controller.on_ack_event(&AckEvent {
//!     now_ns: departure + 20_000_000,
//!     rtt_sample: Some((departure, 0)),
//!     lost: &[],
//!     acked: Some(Acked { bytes, newest, newest_sent_ns: departure }),
//!     persistent_congestion: false,
//!     ecn_ce: 0,
//! });
//! assert_eq!(controller.bytes_in_flight(), 0);
//! ```
//!
//! Ground rules:
//!
//! * One [`Controller`] and one [`Pacer`] per path, shared by all its streams and owned by the worker's thread; one
//!   [`TokenBucket`] per endpoint.
//! * Nothing here reads a clock or draws randomness. Times are `u64` nanoseconds on the caller's clock, sizes bytes,
//!   rates bytes per second.
//! * No input panics: times may repeat or step back, reports may come twice, sizes may be absurd. What such input
//!   costs is accuracy.
#![forbid(unsafe_code)]

mod algorithm;
mod bucket;
mod controller;
mod engine;
mod pacer;
mod remedy;
mod route;
mod rtt;
mod time;

#[cfg(test)]
mod tests;

pub use algorithm::Algorithm;
pub use bucket::TokenBucket;
pub use controller::{AckEvent, Acked, Controller, Lost, START_RATE};
pub use engine::SentInfo;
pub use pacer::Pacer;

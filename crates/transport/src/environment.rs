//! The world a worker runs in: a socket and randomness. The clock is an argument of `step()`.
//!
//! Small and batched from the first day, so that a real socket, a simulation and a socket lent by JavaScript all fit.
//! Sending is not a synchronous verdict: an environment may take transmissions now and say later what became of them.

use crate::transmission::{Completion, Ecn, Transmission};
use paceline_pool::Segments;
use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
};

/// A burst that arrived: equal segments (the last may be shorter) from one address.
#[derive(Debug)]
pub struct Received {
    /// Source address, IPv4 never in its mapped form.
    pub remote: SocketAddr,
    /// Destination address, where the socket is bound to a wildcard and the platform tells.
    pub local: Option<IpAddr>,
    /// ECN codepoint of every packet.
    pub ecn: Ecn,
    /// The packets. Dropping them brings the descriptor home.
    pub segments: Segments,
    /// When the receive call returned, on the worker's clock, in ns.
    pub at_ns: u64,
}

/// Why `submit` left transmissions behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backpressure {
    /// It took all.
    None,
    /// The socket is full: the environment's own wait ends when it is writable again.
    UntilWritable,
    /// The device is full (ENOBUFS): try again at this time, in ns.
    Until(u64),
}

/// What a burst may look like here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstLimits {
    /// Segments in one transmission; 1 where there is no segmentation offload.
    pub max_segments: usize,
    /// Bytes in one transmission.
    pub max_bytes: usize,
}

/// The world a worker runs in.
///
/// Contract: every transmission taken by `submit` comes back from `poll_results` exactly once, in the order taken among
/// transmissions to one destination. Nothing that `submit` left in `due` may have been sent, not even in part.
pub trait Environment {
    /// Takes transmissions from the front of `due`, in order, and sends them. What it cannot take now stays.
    fn submit(&mut self, now_ns: u64, due: &mut VecDeque<Transmission>) -> Backpressure;

    /// Appends the verdicts known so far.
    fn poll_results(&mut self, results: &mut Vec<Completion>);

    /// One burst that has arrived, or `None`. `now_ns` is the time of the step, for environments without a clock.
    fn receive(&mut self, now_ns: u64) -> Option<Received>;

    /// Fills `out` from the environment's random source (the operating system's, or the seed's).
    fn random(&mut self, out: &mut [u8]);

    /// What a burst to this destination may look like now. May shrink after a failed offload and grow again.
    fn burst_limits(&self, remote: &SocketAddr) -> BurstLimits;
}

//! Speaks dcQUIC with the crate it comes from: the oracle of the codec, the peer of the streams.
//!
//! Nothing here is part of paceline. `tests/differential` holds every packet and every key against those of `s2n-quic-dc`.

pub mod rng;

pub use rng::Rng;

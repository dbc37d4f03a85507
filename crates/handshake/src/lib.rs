//! Turns a shared secret into a fresh path secret, once per peer.
//!
//! ```
//! use paceline_handshake::{Config, Event, Handshake, HANDSHAKE_TIMEOUT_NS, Secret};
//! use std::sync::Arc;
//!
//! let mut seed = 0u8; // an endpoint draws from the operating system
//! let mut random = |bytes: &mut [u8]| bytes.fill_with(|| { seed = seed.wrapping_mul(5).wrapping_add(29); seed });
//! let secret: Vec<u8> = (0..32).collect(); // `openssl rand 32`
//! let secrets: Arc<[Secret]> = Arc::new([Secret::new(&secret)?]);
//! let mut client = Handshake::new(Config::default(), Arc::new([]), 0, &mut random);
//! let mut server = Handshake::new(Config { accept: true, ..Config::default() }, secrets.clone(), 0, &mut random);
//! let (client_at, server_at) = ("192.0.2.1:50000".parse()?, "192.0.2.2:4433".parse()?);
//!
//! client.connect(0, server_at, &secrets, HANDSHAKE_TIMEOUT_NS, &mut random)?;
//! let initiation = client.poll_message().unwrap();
//! server.receive(0, client_at, None, initiation.bytes(), &mut random);
//! server.advance(0, &mut random);
//! let response = server.poll_message().unwrap();
//! client.receive(0, server_at, None, response.bytes(), &mut random);
//! let Some(Event::Usable { path, .. }) = client.poll_event() else { panic!() };
//! let Some(Event::HalfOpen { path: same }) = server.poll_event() else { panic!() };
//! assert_eq!(path.credential_id, same.credential_id);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `Noise_NNpsk0_25519_AESGCM_SHA256` in two messages, a MAC in front of it, a cookie when asked for, and an explicit
//! key confirmation. The sections that comments name are those of its specification, handshake.md.
//!
//! Ground rules: no clock, socket, thread or randomness of its own; the endpoint passes time and random bytes in, and
//! takes messages and events out. What an outsider sends is dropped before it costs a Diffie-Hellman or memory. All
//! tables and queues have bounds ([`MAX_ATTEMPTS`], [`HANDSHAKE_QUEUE`], [`MESSAGE_QUEUE`], [`EVENT_QUEUE`], the pending
//! table by [`Config::handshakes_per_second`]).

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(not(any(feature = "aws-lc", feature = "rust-crypto")))]
compile_error!("paceline-handshake needs one of the features `aws-lc` and `rust-crypto`");

mod attempt;
mod budget;
mod bytes;
mod common;
mod config;
mod cookie;
mod counters;
mod event;
mod handshake;
mod initiator;
mod injected;
mod message;
mod noise;
mod parameters;
mod pending;
mod replies;
mod responder;
mod secret;
#[cfg(test)]
mod tables;

// The tests' support names the crate as others do.
#[cfg(test)]
extern crate self as paceline_handshake;

pub use config::{
    COOKIE_LIFETIME_NS, COOKIELESS_RATE, Config, EVENT_QUEUE, FIRST_RETRANSMIT_NS, HANDSHAKE_QUEUE,
    HANDSHAKE_RATE, HANDSHAKE_TIMEOUT_NS, HANDSHAKES_PER_STEP, MAX_ATTEMPTS, MAX_COOKIES, MAX_RETRANSMIT_NS,
    MESSAGE_QUEUE, PENDING_LIFETIME_NS, REPLY_BURST, REPLY_GAP_NS, REPLY_RATE, REPLY_SLOTS,
};
pub use counters::Counters;
pub use event::{AttemptId, Established, Event, FailReason, LimitError};
pub use handshake::Handshake;
pub use injected::InjectedPath;
pub use message::{MAX_MESSAGE_BYTES, Message, refusal};
pub use parameters::Parameters;
pub use responder::Acceptance;
pub use secret::{Secret, SecretError, SecretId};

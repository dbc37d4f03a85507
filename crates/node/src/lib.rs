//! Shows paceline to JavaScript: handles, one batch of events per wake, teardown.
//!
//! ```text
//!   JavaScript thread                                        paceline-io
//!   submit(slab) ─► commands ─► Shared.inbox ─► waker ─────► step()
//!   write(chunk) ─► Bytes ────┘                               │ news
//!   drain(events, slab) ◄── News ◄── Shared.outbox ◄──────────┤
//!        ▲  once per turn of the event loop                   │
//!        └── onWake ◄── threadsafe function ◄── Doorbell ◄────┘ unless held
//! ```
//!
//! Ground rules:
//!
//! * What crosses the border is described in `packages/paceline/src/driver.ts` and nowhere else. `commands` and `news` are
//!   that description in Rust; they know nothing of Node and are tested without it.
//! * Everything here runs on the JavaScript thread that made the driver, except [`doorbell`]'s ring.
//! * A driver ends with `close()`, with its environment, or with the garbage collector, whichever comes first. Each joins
//!   the thread, so that nothing calls into an environment that is gone.
//! * No promise, no JavaScript object and no environment is kept: one threadsafe function per driver, nothing else.
//! * `unsafe` only where napi has no safe call: the hook of [`teardown`], `ref()` and `unref()` in [`doorbell`], and the two
//!   arrays that `drain()` writes to.

#![cfg_attr(
    test,
    allow(dead_code, reason = "napi registers nothing in a test binary, so nobody calls what it exports")
)]

const _: () = assert!(!paceline_transport::PLANTED, "bugs for the simulator to find are in no addon");

mod clock;
mod commands;
mod config;
#[cfg(not(loom))]
mod doctor;
mod doorbell;
mod driver;
mod errors;
mod injected;
mod live;
#[cfg(all(test, loom))]
mod models;
mod news;
mod options;
mod peers;
mod ring;
mod sim;
mod stats;
mod teardown;
mod testing;

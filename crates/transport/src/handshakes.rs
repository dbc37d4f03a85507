//! How paths are made, made anew and let go: the choices of handshake.md that an endpoint may make.

use crate::config::SECOND;

const HOUR: u64 = 3_600 * SECOND;

/// Numbers of handshake.md sections 8 and 9. Times are ns.
#[derive(Clone, Copy, Debug)]
pub struct Handshakes {
    /// Ask every initiator for a cookie (`handshakeCookie: 'always'`).
    pub always_cookie: bool,
    /// Initiations accepted in a second, and at once (`handshakesPerSecond`).
    pub per_second: u32,
    /// `REHANDSHAKE_AFTER`: a path's initiator makes a new one after this, less a random 0–10 %.
    pub rehandshake_after_ns: u64,
    /// `MAX_LIFETIME`: a path opens no streams after this.
    pub max_lifetime_ns: u64,
    /// Whoever has opened this many streams on a path makes a new one.
    pub rehandshake_key_ids: u64,
    /// `MAX_PATHS_PER_PEER`: paths to one instance of a peer.
    pub max_paths_per_peer: u32,
    /// Version that handshakes begin with; see [`paceline_handshake::Config::first_version`].
    pub first_version: u8,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            always_cookie: false,
            per_second: paceline_handshake::HANDSHAKE_RATE,
            rehandshake_after_ns: 24 * HOUR,
            max_lifetime_ns: 48 * HOUR,
            rehandshake_key_ids: 1 << 48,
            max_paths_per_peer: 4,
            first_version: paceline_handshake::Config::default().first_version,
        }
    }
}

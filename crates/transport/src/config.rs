//! Everything an endpoint's bounds and behaviour are made of, with defaults from ARCHITECTURE.md, "Bounds and defaults".

use crate::handshakes::Handshakes;
use paceline_handshake::Secret;
use paceline_pacer::{Algorithm, START_RATE};
use std::sync::Arc;

/// One millisecond in ns.
pub const MS: u64 = 1_000_000;
/// One second in ns.
pub const SECOND: u64 = 1_000 * MS;

/// 32 secret random bytes, never shown.
#[derive(Clone)]
pub struct ResetKey(pub [u8; 32]);

impl std::fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResetKey(..)")
    }
}

/// Configuration of a worker. Sizes are bytes, times ns, rates bytes per second.
#[derive(Clone, Debug)]
pub struct Config {
    /// Packet memory in all, bytes.
    pub pool_bytes: usize,
    /// Of it, kept for retransmissions, acknowledgements and receiving.
    pub pool_reserve_bytes: usize,
    /// Largest UDP payload sent over IPv4, and over IPv6.
    pub max_datagram_v4: u16,
    /// See `max_datagram_v4`.
    pub max_datagram_v6: u16,
    /// A stream's unsealed bytes; the application side enforces it.
    pub send_buffer_bytes: u64,
    /// A stream's receive window at first.
    pub initial_window: u64,
    /// A stream's receive window at most.
    pub max_window: u64,
    /// Round trip that windows grow by while a path has no RTT of its own, ns: a receiver that never sends data. Twice this is
    /// the time in which half a window has to be read for it to double.
    pub assumed_rtt_ns: u64,
    /// Sum of all receive windows above the initial ones.
    pub window_budget: u64,
    /// Transmissions of a stream in the wheel, 1 to 256.
    pub max_in_flight_transmissions: u32,
    /// Scheduled and unsent time of a path, ns.
    pub max_schedule_ahead_ns: u64,
    /// Endpoint-wide rate cap, bytes per second.
    pub max_rate: Option<u64>,
    /// Pacing rate of a path before its first RTT sample, bytes per second. The window is ten packets then, whatever this is.
    pub initial_rate: u64,
    /// Congestion controller of new paths.
    pub congestion_control: Algorithm,
    /// Prefer AES-256-GCM.
    pub aes_256: bool,
    /// Packets that one key of a stream seals before the next one takes over, 3 to 2^23 (RFC 9001 §6.6: the confidentiality
    /// limit of AES-GCM). Each change waits for everything sealed before it to be acknowledged: one round trip.
    /// What has to be sealed anew because its path became narrower comes on top.
    pub packets_per_key_phase: u64,
    /// Key of our stateless reset tokens. By default it is derived from the first secret, so that a process that was started
    /// again can tell the peers of its predecessor; set it where several processes behind one address have different secrets.
    pub reset_key: Option<ResetKey>,
    /// Nothing authentic for this long ends a stream.
    pub idle_timeout_ns: u64,
    /// Probe every third of the idle timeout while a stream waits for something.
    pub keep_alive: bool,
    /// Streams a peer may have open; 0 while the application takes none. Changed by `Command::AcceptStreams`.
    pub max_incoming_streams: u32,
    /// Streams of the endpoint.
    pub max_streams: u32,
    /// Paths of the endpoint.
    pub max_paths: u32,
    /// Completion records waiting for the application.
    pub max_records: usize,
    /// Accept handshakes with these; empty: accept none.
    pub secrets: Arc<[Secret]>,
    /// Bound into the handshake; both sides must agree.
    pub application: Option<Arc<str>>,
    /// How paths are made, made anew and let go.
    pub handshakes: Handshakes,
    /// A bug for the simulator to find.
    #[cfg(feature = "planted")]
    pub planted: Option<crate::planted::Bug>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pool_bytes: 32 << 20,
            pool_reserve_bytes: 1 << 20,
            max_datagram_v4: 1472,
            max_datagram_v6: 1452,
            send_buffer_bytes: 4 << 20,
            initial_window: 256 << 10,
            max_window: 16 << 20,
            assumed_rtt_ns: 100 * MS,
            window_budget: 48 << 20,
            max_in_flight_transmissions: 16,
            max_schedule_ahead_ns: 2 * MS,
            max_rate: None,
            initial_rate: START_RATE,
            congestion_control: Algorithm::Bbr,
            aes_256: false,
            packets_per_key_phase: 1 << 23,
            reset_key: None,
            idle_timeout_ns: 30 * SECOND,
            keep_alive: true,
            max_incoming_streams: 1024,
            max_streams: 65_536,
            max_paths: 16_384,
            max_records: 4096,
            secrets: Arc::from([]),
            application: None,
            handshakes: Handshakes::default(),
            #[cfg(feature = "planted")]
            planted: None,
        }
    }
}

/// Bounds that belong together, by what lies between the two hosts. Everything else is as by default.
///
/// Chosen from bandwidth × round trip: window and pool must hold it, twice where loss is repaired meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// 10 Gbit/s × 1 ms: little memory, and short queues so that priorities take effect at once.
    Datacenter,
    /// 1 Gbit/s × 100 ms: the defaults.
    Internet,
    /// 200 Mbit/s × 600 ms: large windows, longer bursts, a gentle start into a queue that is 300 ms away.
    Satellite,
}

impl Preset {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Datacenter, Self::Internet, Self::Satellite];
}

impl Config {
    /// The defaults, with what `preset` sets. `packages/paceline/src/options.ts` has the same figures; `crates/node` compares.
    pub fn preset(preset: Preset) -> Self {
        let config = Self::default();
        match preset {
            Preset::Datacenter => Self {
                initial_window: 1 << 20,
                max_schedule_ahead_ns: MS,
                initial_rate: 125_000_000,
                ..config
            },
            Preset::Internet => config,
            Preset::Satellite => Self {
                pool_bytes: 96 << 20,
                initial_window: 1 << 20,
                max_window: 32 << 20,
                max_schedule_ahead_ns: 4 * MS,
                max_in_flight_transmissions: 32,
                initial_rate: 2_500_000,
                assumed_rtt_ns: 600 * MS,
                ..config
            },
        }
    }
}

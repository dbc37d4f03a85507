//! Counters and the newest measurements, copied out once per step.

mod histogram;

pub use histogram::{Histogram, Lateness, Segments, Trains};

/// Adds one.
pub(crate) fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

/// Adds the same to each: what an endpoint counts, its paths and streams count, too, and they end before it.
pub(crate) fn add<const N: usize>(counters: [&mut u64; N], by: u64) {
    for counter in counters {
        *counter = counter.saturating_add(by);
    }
}

/// Received datagrams that changed nothing, by reason. What the handshake drops, it counts itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// No packet of ours, or one that is not complete.
    pub malformed: u64,
    /// Credentials that nobody here knows.
    pub unknown_path: u64,
    /// Of a stream that is over, or that there never was.
    pub unknown_stream: u64,
    /// The tag or token is wrong.
    pub not_authentic: u64,
    /// The packet number was received before.
    pub duplicate: u64,
    /// A first packet of a key id that was used before, or may have been.
    pub used_key_id: u64,
    /// Beyond the receive window, or one gap too many: it will be sent again.
    pub window: u64,
    /// No room for what it asks.
    pub no_room: u64,
}

impl Dropped {
    /// Over all reasons.
    pub fn total(&self) -> u64 {
        let Self {
            malformed,
            unknown_path,
            unknown_stream,
            not_authentic,
            duplicate,
            used_key_id,
            window,
            no_room,
        } = *self;
        [malformed, unknown_path, unknown_stream, not_authentic, duplicate, used_key_id, window, no_room]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// Packets about credentials and key ids that are not accepted (dcquic §1.6). Received: authentic ones, acted upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecretControl {
    /// To peers of a predecessor of this process, and to strangers.
    pub unknown_path_secret_sent: u64,
    /// About key ids that may have been used.
    pub stale_key_sent: u64,
    /// About key ids that were used.
    pub replay_detected_sent: u64,
    /// A peer has lost its keys.
    pub unknown_path_secret_received: u64,
    /// A peer takes only higher key ids.
    pub stale_key_received: u64,
    /// A peer rejected a stream's key id.
    pub replay_detected_received: u64,
}

/// Counters of an endpoint since it started.
#[derive(Clone, Debug, Default)]
pub struct EndpointStats {
    /// Data, retransmission and probe transmissions put into the wheel.
    pub transmissions: u64,
    /// Their packets.
    pub packets: u64,
    /// Of `transmissions`: handed to the network.
    pub sent: u64,
    /// Of `transmissions`: refused by the network.
    pub failed: u64,
    /// Of `transmissions`: taken out of the wheel unsent.
    pub cancelled: u64,
    /// Their packets.
    pub packets_cancelled: u64,
    /// Transmissions of priority 0 put into the wheel: acknowledgements, handshakes.
    pub control_transmissions: u64,
    /// UDP payload bytes handed to the network.
    pub bytes_sent: u64,
    /// UDP payload bytes received.
    pub bytes_received: u64,
    /// UDP payload bytes of packets that were acknowledged.
    pub bytes_acknowledged: u64,
    /// Datagrams received.
    pub packets_received: u64,
    /// Received datagrams that did not parse, belong or authenticate.
    pub packets_dropped: u64,
    /// The same, by reason.
    pub dropped: Dropped,
    /// UnknownPathSecret, StaleKey and ReplayDetected packets sent.
    pub secret_control_sent: u64,
    /// The same and those received, by kind.
    pub secret_control: SecretControl,
    /// Packets sent again after loss or timeout.
    pub packets_retransmitted: u64,
    /// UDP payload bytes of them.
    pub bytes_retransmitted: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// UDP payload bytes of them.
    pub bytes_lost: u64,
    /// Of them, acknowledged later: they were only late.
    pub packets_spuriously_lost: u64,
    /// Times a path lost everything for so long that its controller starts over (RFC 9002 §7.6).
    pub persistent_congestions: u64,
    /// Probe timeouts (RFC 9002 §6.2).
    pub probe_timeouts: u64,
    /// Marks of congestion that peers reported (RFC 9000 §19.3.2).
    pub ecn_ce_reported: u64,
    /// Received datagrams that carried the mark.
    pub ecn_ce_received: u64,
    /// Stream payload bytes received for the first time.
    pub stream_bytes_received: u64,
    /// Streams that exist now.
    pub streams: u64,
    /// Paths that exist now.
    pub paths: u64,
    /// Times the pool had nothing for data.
    pub pool_exhausted: u64,
    /// Descriptors out now.
    pub pool_lent: u64,
    /// Bytes of them.
    pub pool_lent_bytes: u64,
    /// The most that was out at once, in bytes.
    pub pool_peak_bytes: u64,
    /// Bytes the pool holds at most.
    pub pool_capacity_bytes: u64,
    /// Actual minus scheduled departure of stream data, in ns.
    pub departure_error_ns: Lateness,
    /// See [`PathStats::trains`]; over all paths.
    pub trains: Trains,
    /// Packets of a transmission.
    pub segments: Segments,
}

/// Whether a path carries ECN marks (RFC 9000 §13.4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EcnState {
    /// Packets are marked; no answer has shown yet whether the marks arrive.
    #[default]
    Testing,
    /// The marks arrive.
    Capable,
    /// The path loses or changes them: packets leave without.
    Failed,
}

/// The newest measurements of a path, and its counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathStats {
    /// Tells this path from others that had or will have its slot.
    pub generation: u32,
    /// Smoothed RTT (RFC 9002 §5.3), in ns; 0 before the first sample.
    pub smoothed_rtt_ns: u64,
    /// Smallest RTT of the last five to ten seconds, in ns.
    pub min_rtt_ns: u64,
    /// Newest RTT, in ns.
    pub latest_rtt_ns: u64,
    /// RTT variation (RFC 9002 §5.3), in ns.
    pub rtt_variation_ns: u64,
    /// Congestion window, in bytes.
    pub congestion_window: u64,
    /// Bytes in flight.
    pub bytes_in_flight: u64,
    /// Pacing rate, in bytes per second.
    pub pacing_rate: u64,
    /// Largest UDP payload sent, in bytes.
    pub mtu: u16,
    /// AES key length of the path's suite, in bits; 0 for an unused slot.
    pub cipher_bits: u16,
    /// Bytes of stream data scheduled and not yet sent.
    pub scheduled_bytes: u64,
    /// Streams that use it now.
    pub streams: u64,
    /// Data, retransmission and probe transmissions handed to the network.
    pub sent: u64,
    /// Their packets.
    pub packets_sent: u64,
    /// UDP payload bytes of them.
    pub bytes_sent: u64,
    /// Authentic packets of its streams.
    pub packets_received: u64,
    /// UDP payload bytes of them.
    pub bytes_received: u64,
    /// UDP payload bytes of packets that were acknowledged.
    pub bytes_acknowledged: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// UDP payload bytes of them.
    pub bytes_lost: u64,
    /// Of them, acknowledged later: they were only late.
    pub packets_spuriously_lost: u64,
    /// Packets sent again.
    pub packets_retransmitted: u64,
    /// UDP payload bytes of them.
    pub bytes_retransmitted: u64,
    /// Times the path lost everything for so long that its controller starts over (RFC 9002 §7.6).
    pub persistent_congestions: u64,
    /// Probe timeouts (RFC 9002 §6.2).
    pub probe_timeouts: u64,
    /// Marks of congestion that the peer reported.
    pub ecn_ce_reported: u64,
    /// Packets are sent ECN-capable: not after the path lost or changed the marks (RFC 9000 §13.4.2).
    pub ecn_capable: bool,
    /// The same, in three states.
    pub ecn: EcnState,
    /// Actual minus scheduled departure of stream data, in ns.
    pub departure_error_ns: Lateness,
    /// Packets that left back to back: a burst, and those that followed each other in less than half the time that the rate gives
    /// them. Counted when the next train begins.
    pub trains: Trains,
    /// Packets of a transmission.
    pub segments: Segments,
}

/// Everything `stats()` shows.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// The endpoint's counters.
    pub endpoint: EndpointStats,
    /// The handshake's, one per reason.
    pub handshake: paceline_handshake::Counters,
    /// By path slot.
    pub paths: Vec<PathStats>,
}

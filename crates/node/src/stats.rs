//! Counters and measurements as JavaScript gets them: `DriverStats` and `DriverPathStats` of `packages/paceline/src/driver.ts`.
//!
//! Every number of the transport stands here once; what it means is said where it is counted.

use napi_derive::napi;
use paceline_transport::{
    handshake,
    stats::{self, EcnState, EndpointStats, Histogram, PathStats},
};
use paceline_udp::Counters;

const NS_PER_US: f64 = 1e3;
const BITS: f64 = 8.0;

/// An object of counters that have the same names there.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident from $source:ty { $($field:ident),* $(,)? }) => {
        $(#[$doc])*
        #[napi(object, object_from_js = false)]
        pub(crate) struct $name {
            $(
                /// See the field of the same name in Rust.
                pub $field: f64,
            )*
        }

        impl From<&$source> for $name {
            fn from(source: &$source) -> Self {
                Self { $($field: source.$field as f64,)* }
            }
        }
    };
}

counters! {
    /// Received datagrams that changed nothing, by reason.
    DriverDropped from stats::Dropped {
        malformed, unknown_path, unknown_stream, not_authentic, duplicate, used_key_id, window, no_room,
    }
}

counters! {
    /// Packets about credentials and key ids that are not accepted.
    DriverSecretControl from stats::SecretControl {
        unknown_path_secret_sent, stale_key_sent, replay_detected_sent,
        unknown_path_secret_received, stale_key_received, replay_detected_received,
    }
}

counters! {
    /// What the handshake did.
    DriverHandshakeStats from handshake::Counters {
        dropped_type, dropped_length, dropped_not_accepting, dropped_unknown_secret, dropped_unexpected, dropped_mac,
        dropped_noise, dropped_own_instance, dropped_unknown_credential, dropped_confirm, dropped_pending_full,
        dropped_queue_full, dropped_handshake_rate, dropped_busy, dropped_reply_limit, duplicates_dropped,
        duplicates_answered, cookies_sent, refusals_sent, half_open, confirmed, confirms_repeated, cookies_received,
        cookies_dropped, usable, completed, versions_retried, failed, confirmed_by_packet, expired, cookieless_spent,
        replies_spent, reply_gaps, messages_full, attempts, retransmissions, timeouts, completed_without_token,
        secret_removed,
    }
}

counters! {
    /// What the socket did.
    DriverSocketStats from Counters {
        sends, joined, gso_fallbacks, would_block, device_full, stale_errors, receives, receive_errors, truncated, starved,
    }
}

/// Counts by bucket; bounds are in `packages/paceline/src/histogram.ts`.
#[napi(object, object_from_js = false)]
pub(crate) struct DriverHistogram {
    /// The last bucket has no bound.
    pub counts: Vec<f64>,
    /// Of all values.
    pub sum: f64,
}

impl DriverHistogram {
    /// `unit` is what the values are divided by.
    fn new<const UNIT: u64, const SUB: u32, const N: usize>(
        histogram: &Histogram<UNIT, SUB, N>,
        unit: f64,
    ) -> Self {
        let counts = histogram.counts().iter().map(|count| *count as f64).collect();
        Self { counts, sum: histogram.sum() as f64 / unit }
    }
}

/// Counters of an endpoint.
#[napi(object, object_from_js = false)]
pub(crate) struct DriverStats {
    /// See `EndpointStats` of the transport, field by field.
    pub transmissions: f64,
    /// Their packets.
    pub packets: f64,
    /// Handed to the network.
    pub sent: f64,
    /// Refused by it.
    pub failed: f64,
    /// Taken back.
    pub cancelled: f64,
    /// Acknowledgements, handshakes.
    pub control_transmissions: f64,
    /// UDP payload.
    pub bytes_sent: f64,
    /// UDP payload.
    pub bytes_received: f64,
    /// UDP payload.
    pub bytes_acknowledged: f64,
    /// Payload of streams.
    pub stream_bytes_received: f64,
    /// Datagrams.
    pub packets_received: f64,
    /// Datagrams that did not parse, belong or authenticate.
    pub packets_dropped: f64,
    /// By reason.
    pub dropped: DriverDropped,
    /// Sent again.
    pub packets_retransmitted: f64,
    /// UDP payload of them.
    pub bytes_retransmitted: f64,
    /// Declared lost.
    pub packets_lost: f64,
    /// UDP payload of them.
    pub bytes_lost: f64,
    /// Acknowledged after all.
    pub packets_spuriously_lost: f64,
    /// RFC 9002 section 7.6.
    pub persistent_congestions: f64,
    /// RFC 9002 section 6.2.
    pub probe_timeouts: f64,
    /// Marks that peers reported.
    pub ecn_ce_reported: f64,
    /// Marked datagrams.
    pub ecn_ce_received: f64,
    /// Now.
    pub streams: f64,
    /// Now.
    pub paths: f64,
    /// Descriptors out, now.
    pub pool_lent: f64,
    /// Bytes of them.
    pub pool_lent_bytes: f64,
    /// The most there was.
    pub pool_peak_bytes: f64,
    /// Bound of the pool, in bytes.
    pub pool_capacity_bytes: f64,
    /// Times the pool had nothing for data.
    pub pool_exhausted: f64,
    /// Actual minus scheduled departure of stream data, in µs.
    pub pacing_error_us: DriverHistogram,
    /// Packets back to back.
    pub train_packets: DriverHistogram,
    /// Packets of a transmission.
    pub gso_segments: DriverHistogram,
    /// By reason.
    pub handshake: DriverHandshakeStats,
    /// By kind.
    pub secret_control: DriverSecretControl,
    /// Calls and their errors.
    pub socket: DriverSocketStats,
}

impl DriverStats {
    /// From what the worker, its handshake and its socket counted. An environment without a socket has default counters.
    pub(crate) fn new(stats: &EndpointStats, handshake: &handshake::Counters, socket: &Counters) -> Self {
        Self {
            transmissions: stats.transmissions as f64,
            packets: stats.packets as f64,
            sent: stats.sent as f64,
            failed: stats.failed as f64,
            cancelled: stats.cancelled as f64,
            control_transmissions: stats.control_transmissions as f64,
            bytes_sent: stats.bytes_sent as f64,
            bytes_received: stats.bytes_received as f64,
            bytes_acknowledged: stats.bytes_acknowledged as f64,
            stream_bytes_received: stats.stream_bytes_received as f64,
            packets_received: stats.packets_received as f64,
            packets_dropped: stats.packets_dropped as f64,
            dropped: (&stats.dropped).into(),
            packets_retransmitted: stats.packets_retransmitted as f64,
            bytes_retransmitted: stats.bytes_retransmitted as f64,
            packets_lost: stats.packets_lost as f64,
            bytes_lost: stats.bytes_lost as f64,
            packets_spuriously_lost: stats.packets_spuriously_lost as f64,
            persistent_congestions: stats.persistent_congestions as f64,
            probe_timeouts: stats.probe_timeouts as f64,
            ecn_ce_reported: stats.ecn_ce_reported as f64,
            ecn_ce_received: stats.ecn_ce_received as f64,
            streams: stats.streams as f64,
            paths: stats.paths as f64,
            pool_lent: stats.pool_lent as f64,
            pool_lent_bytes: stats.pool_lent_bytes as f64,
            pool_peak_bytes: stats.pool_peak_bytes as f64,
            pool_capacity_bytes: stats.pool_capacity_bytes as f64,
            pool_exhausted: stats.pool_exhausted as f64,
            pacing_error_us: DriverHistogram::new(&stats.departure_error_ns, NS_PER_US),
            train_packets: DriverHistogram::new(&stats.trains, 1.0),
            gso_segments: DriverHistogram::new(&stats.segments, 1.0),
            handshake: handshake.into(),
            secret_control: (&stats.secret_control).into(),
            socket: socket.into(),
        }
    }
}

/// Newest measurements of a path, and its counters.
#[napi(object, object_from_js = false)]
pub(crate) struct DriverPathStats {
    /// Another number is another path, whose counters began anew.
    pub path: f64,
    /// 0 before the first sample.
    pub smoothed_rtt_us: f64,
    /// 0 before the first sample.
    pub min_rtt_us: f64,
    /// 0 before the first sample.
    pub latest_rtt_us: f64,
    /// 0 before the first sample.
    pub rtt_variation_us: f64,
    /// Bytes.
    pub congestion_window: f64,
    /// Bytes.
    pub bytes_in_flight: f64,
    /// Bytes.
    pub scheduled_bytes: f64,
    /// Bits per second.
    pub pacing_rate_bps: f64,
    /// Largest UDP payload, in bytes.
    pub mtu: u32,
    /// The path's cipher.
    #[napi(ts_type = "'aes-128-gcm' | 'aes-256-gcm'")]
    pub cipher: String,
    /// Whether marks arrive.
    #[napi(ts_type = "'testing' | 'capable' | 'failed'")]
    pub ecn: String,
    /// Now.
    pub streams: f64,
    /// Transmissions handed to the network.
    pub sent: f64,
    /// Their packets.
    pub packets_sent: f64,
    /// UDP payload.
    pub bytes_sent: f64,
    /// Authentic ones.
    pub packets_received: f64,
    /// UDP payload.
    pub bytes_received: f64,
    /// UDP payload.
    pub bytes_acknowledged: f64,
    /// Declared lost.
    pub packets_lost: f64,
    /// UDP payload of them.
    pub bytes_lost: f64,
    /// Acknowledged after all.
    pub packets_spuriously_lost: f64,
    /// Sent again.
    pub packets_retransmitted: f64,
    /// UDP payload of them.
    pub bytes_retransmitted: f64,
    /// RFC 9002 section 7.6.
    pub persistent_congestions: f64,
    /// RFC 9002 section 6.2.
    pub probe_timeouts: f64,
    /// Marks that the peer reported.
    pub ecn_ce_reported: f64,
    /// Actual minus scheduled departure of stream data, in µs.
    pub pacing_error_us: DriverHistogram,
    /// Packets back to back.
    pub train_packets: DriverHistogram,
    /// Packets of a transmission.
    pub gso_segments: DriverHistogram,
}

impl DriverPathStats {
    /// Of the path in `slot`.
    pub(crate) fn new(slot: u32, stats: &PathStats) -> Self {
        let ecn = match stats.ecn {
            EcnState::Testing => "testing",
            EcnState::Capable => "capable",
            EcnState::Failed => "failed",
        };
        Self {
            // Both halves are small: exact below 2^53 for the first 2^21 occupants of a slot.
            path: f64::from(stats.generation) * 4_294_967_296.0 + f64::from(slot),
            smoothed_rtt_us: stats.smoothed_rtt_ns as f64 / NS_PER_US,
            min_rtt_us: stats.min_rtt_ns as f64 / NS_PER_US,
            latest_rtt_us: stats.latest_rtt_ns as f64 / NS_PER_US,
            rtt_variation_us: stats.rtt_variation_ns as f64 / NS_PER_US,
            congestion_window: stats.congestion_window as f64,
            bytes_in_flight: stats.bytes_in_flight as f64,
            scheduled_bytes: stats.scheduled_bytes as f64,
            pacing_rate_bps: stats.pacing_rate as f64 * BITS,
            mtu: u32::from(stats.mtu),
            cipher: format!("aes-{}-gcm", stats.cipher_bits),
            ecn: ecn.to_owned(),
            streams: stats.streams as f64,
            sent: stats.sent as f64,
            packets_sent: stats.packets_sent as f64,
            bytes_sent: stats.bytes_sent as f64,
            packets_received: stats.packets_received as f64,
            bytes_received: stats.bytes_received as f64,
            bytes_acknowledged: stats.bytes_acknowledged as f64,
            packets_lost: stats.packets_lost as f64,
            bytes_lost: stats.bytes_lost as f64,
            packets_spuriously_lost: stats.packets_spuriously_lost as f64,
            packets_retransmitted: stats.packets_retransmitted as f64,
            bytes_retransmitted: stats.bytes_retransmitted as f64,
            persistent_congestions: stats.persistent_congestions as f64,
            probe_timeouts: stats.probe_timeouts as f64,
            ecn_ce_reported: stats.ecn_ce_reported as f64,
            pacing_error_us: DriverHistogram::new(&stats.departure_error_ns, NS_PER_US),
            train_packets: DriverHistogram::new(&stats.trains, 1.0),
            gso_segments: DriverHistogram::new(&stats.segments, 1.0),
        }
    }
}

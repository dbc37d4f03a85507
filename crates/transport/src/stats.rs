//! Counters and the newest measurements, copied out once per step.

/// Power-of-two histogram of a time in ns: each power of two has 8 buckets.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: [u32; Self::BUCKETS],
    count: u64,
}

impl Histogram {
    const SUB: usize = 8;
    /// 40 powers of two: up to 18 minutes in ns.
    const BUCKETS: usize = 320;

    /// Adds one value.
    pub fn record(&mut self, value: u64) {
        let value = value.max(1);
        let exponent = 63u32.saturating_sub(value.leading_zeros()) as usize;
        let sub = if exponent >= 3 { ((value >> exponent.saturating_sub(3)) & 7) as usize } else { 0 };
        let index =
            exponent.saturating_mul(Self::SUB).saturating_add(sub).min(Self::BUCKETS.saturating_sub(1));
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket = bucket.saturating_add(1);
        }
        self.count = self.count.saturating_add(1);
    }

    /// Values recorded.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The value below which a share of `quantile` (0 to 1) lies, to within 1/8; 0 when empty.
    pub fn quantile(&self, quantile: f64) -> u64 {
        if self.count == 0 {
            return 0;
        }
        let rank = ((self.count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0u64;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen = seen.saturating_add(u64::from(*bucket));
            if seen >= rank {
                let (exponent, sub) = (index / Self::SUB, (index % Self::SUB) as u64);
                return if exponent >= 3 {
                    sub.saturating_add(8) << exponent.saturating_sub(3)
                } else {
                    1 << exponent
                };
            }
        }
        0
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; Self::BUCKETS], count: 0 }
    }
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
    /// Transmissions of priority 0 put into the wheel: acknowledgements, handshakes.
    pub control_transmissions: u64,
    /// UDP payload bytes handed to the network.
    pub bytes_sent: u64,
    /// UDP payload bytes received.
    pub bytes_received: u64,
    /// Datagrams received.
    pub packets_received: u64,
    /// Received datagrams that did not parse, belong or authenticate.
    pub packets_dropped: u64,
    /// UnknownPathSecret, StaleKey and ReplayDetected packets sent.
    pub secret_control_sent: u64,
    /// Packets sent again after loss or timeout.
    pub packets_retransmitted: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// Of them, acknowledged later: they were only late.
    pub packets_spuriously_lost: u64,
    /// Times a path lost everything for so long that its controller starts over (RFC 9002 §7.6).
    pub persistent_congestions: u64,
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
    /// Bytes the pool holds at most.
    pub pool_capacity_bytes: u64,
    /// Actual minus scheduled departure of stream data, in ns.
    pub departure_error_ns: Histogram,
}

/// The newest measurements of a path.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathStats {
    /// Smoothed RTT (RFC 9002 §5.3), in ns; 0 before the first sample.
    pub smoothed_rtt_ns: u64,
    /// Smallest RTT seen, in ns.
    pub min_rtt_ns: u64,
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
    /// Packets declared lost.
    pub packets_lost: u64,
    /// Of them, acknowledged later: they were only late.
    pub packets_spuriously_lost: u64,
    /// Packets sent again.
    pub packets_retransmitted: u64,
    /// Times the path lost everything for so long that its controller starts over (RFC 9002 §7.6).
    pub persistent_congestions: u64,
    /// Packets are sent ECN-capable: not after the path lost or changed the marks (RFC 9000 §13.4.2).
    pub ecn_capable: bool,
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

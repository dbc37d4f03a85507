//! What a link does to datagrams in one direction.

/// A direction of a link. Times in ns, chances in parts per million of the datagrams it is given.
#[derive(Clone, Debug)]
pub struct Link {
    /// One-way delay.
    pub delay_ns: u64,
    /// Added at random, up to this. Datagrams keep their order unless `reorder_ppm` says otherwise.
    pub jitter_ns: u64,
    /// Lost.
    pub loss_ppm: u32,
    /// A burst of losses begins.
    pub burst_loss_ppm: u32,
    /// Datagrams lost in a row by such a burst.
    pub burst_loss_len: u32,
    /// Delivered twice, the second time up to 100 µs later.
    pub duplicate_ppm: u32,
    /// Held back by up to `reorder_ns` and overtaken.
    pub reorder_ppm: u32,
    /// How long an overtaken datagram is held back at most.
    pub reorder_ns: u64,
    /// The link stops for `delay_spike_ns`: this datagram and those behind it arrive later.
    pub delay_ppm: u32,
    /// How long the link stops.
    pub delay_spike_ns: u64,
    /// One bit flipped.
    pub corrupt_ppm: u32,
    /// Cut to a random length, which may be 0.
    pub truncate_ppm: u32,
    /// Sent once more, `replay_after_ns` later.
    pub replay_ppm: u32,
    /// How old a replayed datagram is.
    pub replay_after_ns: u64,
    /// Marked "congestion experienced", if it is ECN-capable.
    pub ce_ppm: u32,
    /// Largest datagram, in bytes of UDP payload; larger ones vanish.
    pub max_datagram: Option<usize>,
    /// Larger ones do not vanish: the submit fails with `SendError::TooLarge`.
    pub mtu_signal: bool,
    /// Bytes per second; `None` is infinitely fast.
    pub rate: Option<u64>,
    /// Bytes that wait for `rate` at most; what comes on top is lost.
    pub queue_bytes: u64,
    /// Down in both directions it is a black hole, down in one a partition. What was on its way when it went down arrives.
    pub up: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay_ns: 1_000_000,
            jitter_ns: 0,
            loss_ppm: 0,
            burst_loss_ppm: 0,
            burst_loss_len: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            reorder_ns: 0,
            delay_ppm: 0,
            delay_spike_ns: 0,
            corrupt_ppm: 0,
            truncate_ppm: 0,
            replay_ppm: 0,
            replay_after_ns: 0,
            ce_ppm: 0,
            max_datagram: None,
            mtu_signal: false,
            rate: None,
            queue_bytes: 1 << 20,
            up: true,
        }
    }
}

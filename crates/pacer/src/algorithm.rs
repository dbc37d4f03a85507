//! Which congestion controller a path runs.

/// Congestion control algorithm of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// BBRv2 (draft-cardwell-iccrg-bbr-congestion-control-02) of s2n-quic-core, with our remedies.
    #[default]
    Bbr,
    /// CUBIC (RFC 8312) of s2n-quic-core. Random loss of 1 % leaves it 4 % of a 200 Mbit/s, 20 ms path (measured in a
    /// simulation).
    Cubic,
}

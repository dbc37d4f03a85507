//! What happened, in order: always as a hash, as text on request.

use paceline_transport::Transmission;
use std::{fmt::Write, net::SocketAddr};

/// The event log of a world.
#[derive(Debug)]
pub struct Log {
    hash: u64,
    events: u64,
    text: Option<String>,
}

impl Log {
    pub(crate) fn new(keep_text: bool) -> Self {
        // FNV-1a, 64 bit: the log is compared with itself, not with an adversary.
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, text: keep_text.then(String::new) }
    }

    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn sent(
        &mut self,
        now_ns: u64,
        from: SocketAddr,
        transmission: &Transmission,
        index: usize,
        bytes: &[u8],
    ) {
        self.events += 1;
        self.mix(&now_ns.to_le_bytes());
        self.mix(&from.port().to_le_bytes());
        self.mix(bytes);
        if let Some(text) = &mut self.text {
            let _ = write!(
                text,
                "{:>12.3} µs {from} → {} {:?} {} B",
                now_ns as f64 / 1e3,
                transmission.remote,
                transmission.kind,
                bytes.len()
            );
            let _ = match transmission.infos.get(index) {
                Some(info) => writeln!(
                    text,
                    " stream {} {:?} {} [{}, +{}){}",
                    transmission.stream,
                    info.space,
                    info.number,
                    info.stream_offset,
                    info.payload_len,
                    if info.included_fin { " FIN" } else { "" }
                ),
                None => writeln!(text),
            };
        }
    }

    pub(crate) fn received(&mut self, at_ns: u64, to: SocketAddr, from: SocketAddr, bytes: &[u8]) {
        self.events += 1;
        self.mix(&at_ns.to_le_bytes());
        self.mix(&to.port().to_le_bytes());
        self.mix(bytes);
        if let Some(text) = &mut self.text {
            let _ = writeln!(text, "{:>12.3} µs {to} ← {from} {} B", at_ns as f64 / 1e3, bytes.len());
        }
    }

    /// Of everything so far: equal logs have equal hashes.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Datagrams sent and received.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The log as text, if it was kept.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }
}

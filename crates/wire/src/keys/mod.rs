//! Keys, from the export secret of a handshake down to the sealing of one packet.

mod control;
mod datagram;
mod open;
mod path_secret;
mod schedule;
mod seal;

pub use control::ControlKey;
pub use datagram::{DatagramOpenKey, DatagramSealKey};
pub use open::{OpenKey, PhaseSecret};
pub use path_secret::{PathSecret, StreamKeys};
pub use seal::{SEAL_LIMIT, SealKey};

/// AEAD nonce of a packet: the packet number XORed into the last 8 bytes of the key's IV.
fn nonce(iv: &[u8; 12], number: u64) -> [u8; 12] {
    let mut nonce = *iv;
    for (nonce, byte) in nonce.iter_mut().skip(4).zip(number.to_be_bytes()) {
        *nonce ^= byte;
    }
    nonce
}

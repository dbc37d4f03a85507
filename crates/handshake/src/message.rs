//! The bytes of the six messages (handshake.md section 3).

use crate::{
    bytes::{put, split, take},
    secret::{Secret, SecretId},
};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// The one version there is.
pub(crate) const VERSION: u8 = 1;
/// Longest message, an Initiation, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 176;

pub(crate) const INITIATION: u8 = 0x80;
pub(crate) const RESPONSE: u8 = 0x81;
pub(crate) const COOKIE: u8 = 0x82;
pub(crate) const REFUSAL: u8 = 0x83;
pub(crate) const CONFIRM: u8 = 0x84;
pub(crate) const CONFIRMED: u8 = 0x85;

/// Why a responder says no, as numbered on the wire. Kept as numbers because unknown ones must be carried, too.
pub mod refusal {
    /// No reason the initiator knows: an unknown number, or the peer is this very endpoint.
    pub const UNNAMED: u8 = 0;
    /// No common version.
    pub const VERSION: u8 = 1;
    /// Another application label.
    pub const APPLICATION: u8 = 2;
    /// No common cipher suite.
    pub const SUITE: u8 = 3;
    /// The endpoint is closing.
    pub const CLOSING: u8 = 4;
    /// The endpoint has as many paths as it may have.
    pub const FULL: u8 = 5;
}

/// A datagram to send, not-ECT and at priority 0.
#[derive(Clone)]
pub struct Message {
    /// Where it goes.
    pub remote: SocketAddr,
    /// The local address to send from, where the peer expects one (a socket bound to a wildcard uses IP_PKTINFO).
    pub local: Option<IpAddr>,
    len: u8,
    bytes: [u8; MAX_MESSAGE_BYTES],
}

impl Message {
    #[allow(clippy::cast_possible_truncation, reason = "at most MAX_MESSAGE_BYTES")]
    pub(crate) fn new<const LEN: usize>(
        remote: SocketAddr,
        local: Option<IpAddr>,
        bytes: &[u8; LEN],
    ) -> Self {
        const { assert!(LEN <= MAX_MESSAGE_BYTES) };
        let mut message = Self { remote, local, len: LEN as u8, bytes: [0; MAX_MESSAGE_BYTES] };
        for (to, from) in message.bytes.iter_mut().zip(bytes) {
            *to = *from;
        }
        message
    }

    /// The UDP payload.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.bytes().first().copied().unwrap_or_default();
        f.debug_struct("Message")
            .field("remote", &self.remote)
            .field("local", &self.local)
            .field("type", &format_args!("{kind:#04x}"))
            .field("len", &self.len)
            .finish()
    }
}

/// Whether the last 16 bytes are the MAC of those before them; in constant time.
pub(crate) fn authentic(secret: &Secret, datagram: &[u8]) -> bool {
    let Some((body, mac)) = datagram.split_last_chunk::<16>() else { return false };
    secret.mac().verify16(&[body], mac).is_ok()
}

/// Version and length of an Initiation of any version, and who made it (section 3, Invariants).
pub(crate) fn initiation_invariants(datagram: &[u8]) -> Option<(u8, SecretId, [u8; 8])> {
    let [_, version, _, _, _, _, _, _, rest @ ..] = datagram else { return None };
    let (secret_id, rest) = rest.split_first_chunk::<8>()?;
    let (attempt, _) = rest.split_first_chunk::<8>()?;
    let length_fits = match *version {
        VERSION => datagram.len() == Initiation::LEN,
        _ => (48..=1200).contains(&datagram.len()),
    };
    length_fits.then_some((*version, SecretId(*secret_id), *attempt))
}

/// The highest version that we and a peer with these bounds know (section 3, Invariants).
pub(crate) fn highest_common_version(lowest: u8, highest: u8) -> Option<u8> {
    let version = VERSION.min(highest);
    (version >= VERSION.max(lowest)).then_some(version)
}

/// The first 24 bytes of an Initiation, which the Noise prologue binds.
pub(crate) fn initiation_header(version: u8, secret_id: SecretId, attempt: &[u8; 8]) -> [u8; 24] {
    let mut header = [0; 24];
    put::<0, 2, _>(&mut header, &[INITIATION, version]);
    put::<8, 8, _>(&mut header, &secret_id.0);
    put::<16, 8, _>(&mut header, attempt);
    header
}

/// 0x80: opens a handshake.
#[derive(Clone, Copy)]
pub(crate) struct Initiation(pub(crate) [u8; 176]);

impl fmt::Debug for Initiation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Initiation(..)")
    }
}

impl Initiation {
    pub(crate) const LEN: usize = 176;

    pub(crate) fn new(header: &[u8; 24], noise: &[u8; 112]) -> Self {
        let mut bytes = [0; 176];
        put::<0, 24, _>(&mut bytes, header);
        put::<48, 112, _>(&mut bytes, noise);
        Self(bytes)
    }

    /// Puts in a cookie (or zeros) and a new MAC; the rest stays as it is.
    pub(crate) fn with_cookie(mut self, secret: &Secret, cookie: &[u8; 24]) -> Self {
        put::<24, 24, _>(&mut self.0, cookie);
        let mac = secret.mac().tag16(&[split::<160, 176>(&self.0).0]);
        put::<160, 16, _>(&mut self.0, &mac);
        self
    }

    pub(crate) fn header(&self) -> [u8; 24] {
        take::<0, 24, _>(&self.0)
    }

    pub(crate) fn attempt(&self) -> [u8; 8] {
        take::<16, 8, _>(&self.0)
    }

    pub(crate) fn cookie(&self) -> [u8; 24] {
        take::<24, 24, _>(&self.0)
    }

    pub(crate) fn public_key(&self) -> [u8; 32] {
        take::<48, 32, _>(&self.0)
    }

    pub(crate) fn noise(&self) -> [u8; 112] {
        take::<48, 112, _>(&self.0)
    }
}

/// 0x81: answers an Initiation; the initiator has the keys with it.
pub(crate) fn response(secret: &Secret, attempt: &[u8; 8], noise: &[u8; 112]) -> [u8; 144] {
    let mut bytes = [0; 144];
    put::<0, 2, _>(&mut bytes, &[RESPONSE, VERSION]);
    put::<8, 8, _>(&mut bytes, attempt);
    put::<16, 112, _>(&mut bytes, noise);
    let mac = secret.mac().tag16(&[split::<128, 144>(&bytes).0]);
    put::<128, 16, _>(&mut bytes, &mac);
    bytes
}

/// 0x82: asks for the Initiation again, with this in it.
pub(crate) fn cookie(secret: &Secret, attempt: &[u8; 8], cookie: &[u8; 24]) -> [u8; 56] {
    let mut bytes = [0; 56];
    put::<0, 2, _>(&mut bytes, &[COOKIE, VERSION]);
    put::<8, 8, _>(&mut bytes, attempt);
    put::<16, 24, _>(&mut bytes, cookie);
    let mac = secret.mac().tag16(&[split::<40, 56>(&bytes).0]);
    put::<40, 16, _>(&mut bytes, &mac);
    bytes
}

/// 0x83: says no.
pub(crate) fn refusal(secret: &Secret, attempt: &[u8; 8], reason: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    put::<0, 5, _>(&mut bytes, &[REFUSAL, VERSION, reason, VERSION, VERSION]);
    put::<8, 8, _>(&mut bytes, attempt);
    let mac = secret.mac().tag16(&[split::<16, 32>(&bytes).0]);
    put::<16, 16, _>(&mut bytes, &mac);
    bytes
}

/// The first 24 bytes of Confirm and Confirmed, which their sealed token is bound to.
pub(crate) fn confirmation_header(kind: u8, credential_id: &[u8; 16]) -> [u8; 24] {
    let mut header = [0; 24];
    put::<0, 2, _>(&mut header, &[kind, VERSION]);
    put::<8, 16, _>(&mut header, credential_id);
    header
}

/// 0x84 and 0x85: `header` and the sealed reset token.
pub(crate) fn confirmation(header: &[u8; 24], sealed: &[u8; 32]) -> [u8; 56] {
    let mut bytes = [0; 56];
    put::<0, 24, _>(&mut bytes, header);
    put::<24, 32, _>(&mut bytes, sealed);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version() {
        assert_eq!(highest_common_version(1, 1), Some(1));
        assert_eq!(highest_common_version(0, 9), Some(1));
        assert_eq!(highest_common_version(2, 9), None);
        assert_eq!(highest_common_version(0, 0), None);
        assert_eq!(highest_common_version(9, 0), None);
    }

    #[test]
    fn invariants_of_other_versions() {
        let mut datagram = vec![0; 1300];
        (datagram[0], datagram[1], datagram[8], datagram[16]) = (INITIATION, 2, 3, 4);
        for len in 0..1300 {
            let seen = initiation_invariants(&datagram[..len]);
            assert_eq!(seen.is_some(), (48..=1200).contains(&len), "{len}");
            if let Some((version, secret_id, attempt)) = seen {
                assert_eq!((version, secret_id.0[0], attempt[0]), (2, 3, 4));
            }
        }
        datagram[1] = VERSION;
        let fits: Vec<usize> =
            (0..1300).filter(|len| initiation_invariants(&datagram[..*len]).is_some()).collect();
        assert_eq!(fits, [176]);
    }
}

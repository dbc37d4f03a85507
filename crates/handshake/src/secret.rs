//! The shared secret, of which only derived keys are kept (handshake.md section 2).

use paceline_wire::crypto::{HmacSha256Key, hkdf_expand_sha256, hkdf_extract_sha256};
use std::{fmt, sync::Arc};
use zeroize::Zeroizing;

/// Tells secrets apart without telling anything about them. It travels in the clear.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId(pub [u8; 8]);

impl fmt::Debug for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why bytes are no secret. Says what was expected and what came, never the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// Fewer than [`Secret::MIN_BYTES`].
    TooShort {
        /// Bytes given.
        len: usize,
    },
    /// More than [`Secret::MAX_BYTES`].
    TooLong {
        /// Bytes given.
        len: usize,
    },
    /// Fewer than [`Secret::MIN_DISTINCT`] different byte values: a placeholder, not the output of a random generator.
    Placeholder {
        /// Different byte values given.
        distinct: usize,
    },
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max, least) = (Secret::MIN_BYTES, Secret::MAX_BYTES, Secret::MIN_DISTINCT);
        match self {
            Self::TooShort { len } | Self::TooLong { len } => {
                write!(
                    f,
                    "a secret is {min} to {max} random bytes, got {len}; make one with `openssl rand 32`"
                )
            }
            Self::Placeholder { distinct } => write!(
                f,
                "a secret has at least {least} different byte values, got {distinct}; make one with `openssl rand 32`"
            ),
        }
    }
}

impl std::error::Error for SecretError {}

struct Keys {
    id: SecretId,
    psk: Zeroizing<[u8; 32]>,
    mac: HmacSha256Key,
    reset: Zeroizing<[u8; 32]>,
}

/// Keys derived from a shared secret. Clones share them; they are wiped when the last clone is dropped.
#[derive(Clone)]
pub struct Secret(Arc<Keys>);

impl Secret {
    /// Fewer could be guessed from one recorded packet (section 2).
    pub const MIN_BYTES: usize = 32;
    /// More add nothing.
    pub const MAX_BYTES: usize = 1024;
    /// Catches placeholders; it cannot measure entropy. 32 random bytes have fewer with a probability below 2^-90.
    pub const MIN_DISTINCT: usize = 10;

    /// Derives the keys of `bytes`, which the caller wipes.
    ///
    /// # Errors
    /// Too short, too long, or a placeholder.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        let len = bytes.len();
        if len < Self::MIN_BYTES {
            return Err(SecretError::TooShort { len });
        }
        if len > Self::MAX_BYTES {
            return Err(SecretError::TooLong { len });
        }
        let mut seen = [false; 256];
        for byte in bytes {
            if let Some(seen) = seen.get_mut(usize::from(*byte)) {
                *seen = true;
            }
        }
        let distinct = seen.iter().filter(|seen| **seen).count();
        if distinct < Self::MIN_DISTINCT {
            return Err(SecretError::Placeholder { distinct });
        }
        let prk = Zeroizing::new(hkdf_extract_sha256(b"paceline secret v1", &[bytes]));
        let derive = |label: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            hkdf_expand_sha256(&prk, &[label], &mut *key);
            key
        };
        let mut id = [0; 8];
        hkdf_expand_sha256(&prk, &[b"paceline handshake secret id"], &mut id);
        Ok(Self(Arc::new(Keys {
            id: SecretId(id),
            psk: derive(b"paceline handshake v1 psk"),
            mac: HmacSha256Key::new(&*derive(b"paceline handshake mac")),
            reset: derive(b"paceline stateless reset"),
        })))
    }

    /// Its public name.
    pub fn id(&self) -> SecretId {
        self.0.id
    }

    pub(crate) fn psk(&self) -> &[u8; 32] {
        &self.0.psk
    }

    pub(crate) fn mac(&self) -> &HmacSha256Key {
        &self.0.mac
    }

    pub(crate) fn reset_key(&self) -> &[u8; 32] {
        &self.0.reset
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.id())
    }
}

/// The secrets an endpoint accepts, by id.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    /// Sorted by id: an endpoint may hold one per peer, thousands of them.
    by_id: Vec<Secret>,
}

impl Accepted {
    pub(crate) fn new(secrets: &[Secret]) -> Self {
        let mut by_id = secrets.to_vec();
        by_id.sort_by_key(Secret::id);
        by_id.dedup_by_key(|secret| secret.id());
        Self { by_id }
    }

    pub(crate) fn get(&self, id: SecretId) -> Option<&Secret> {
        let at = self.by_id.binary_search_by_key(&id, Secret::id).ok()?;
        self.by_id.get(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_placeholders() {
        let bytes: Vec<u8> = (0..1025u32).map(|i| (i.wrapping_mul(37) >> 1) as u8).collect();
        assert_eq!(Secret::new(&bytes[..31]).unwrap_err(), SecretError::TooShort { len: 31 });
        assert_eq!(Secret::new(&[]).unwrap_err(), SecretError::TooShort { len: 0 });
        assert!(Secret::new(&bytes[..32]).is_ok());
        assert!(Secret::new(&bytes[..1024]).is_ok());
        assert_eq!(Secret::new(&bytes[..1025]).unwrap_err(), SecretError::TooLong { len: 1025 });
        let distinct = |n: usize| -> Vec<u8> { (0..64).map(|i| (i % n) as u8).collect() };
        assert_eq!(Secret::new(&distinct(9)).unwrap_err(), SecretError::Placeholder { distinct: 9 });
        assert!(Secret::new(&distinct(10)).is_ok());
    }

    #[test]
    fn errors_and_debug_never_show_the_secret() {
        let bytes: Vec<u8> = (100..132).collect();
        let secret = Secret::new(&bytes).unwrap();
        assert_eq!(format!("{secret:?}"), format!("Secret({})", secret.id()));
        assert_eq!(format!("{secret:?}").len(), "Secret()".len() + 16);
        let text = Secret::new(&[7; 40]).unwrap_err().to_string();
        assert!(
            text.contains("at least 10") && text.contains("got 1;") && text.contains("openssl"),
            "{text}"
        );
    }

    #[test]
    fn found_by_id_only_while_in_the_list() {
        let make = |n: u8| Secret::new(&(n..n + 32).collect::<Vec<u8>>()).unwrap();
        let secrets: Vec<Secret> = (0..100).map(make).collect();
        let accepted = Accepted::new(&secrets);
        assert!(secrets.iter().all(|s| accepted.get(s.id()).is_some_and(|found| found.id() == s.id())));
        assert!(accepted.get(make(150).id()).is_none());
        assert!(Accepted::default().get(make(0).id()).is_none());
    }
}

//! Secrets. Their text form is TypeScript's (`packages/paceline/src/secret.ts`); the bytes are judged here.

use super::{Reach, input::Input};
use paceline_transport::handshake::{Secret, SecretError};

/// Lengths and placeholders; different bytes are different secrets, and no message shows them.
pub fn secret(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let setup = input.u8();
    // Half of them have enough different bytes to begin with, so that the lengths are met, too.
    let mut bytes: Vec<u8> = if setup & 1 == 0 { (0..24).collect() } else { Vec::new() };
    bytes.extend_from_slice(input.rest());
    let stretch = usize::from(setup >> 4) * 64;
    if let Some(last) = bytes.last().copied() {
        bytes.resize(bytes.len() + if setup & 2 == 0 { stretch } else { stretch / 8 }, last);
    }
    let distinct = (0..=255).filter(|byte| bytes.contains(byte)).count();
    let (verdict, len) = (Secret::new(&bytes), bytes.len());
    match &verdict {
        Err(SecretError::TooShort { len: named }) => assert!(*named == len && len < 32),
        Err(SecretError::TooLong { len: named }) => assert!(*named == len && len > 1_024),
        Err(SecretError::Placeholder { distinct: named }) => assert!(*named == distinct && distinct < 10),
        Ok(secret) => {
            assert!((32..=1_024).contains(&len) && distinct >= 10);
            assert_eq!(format!("{secret:?}").len(), "Secret()".len() + 16);
            assert_eq!(Secret::new(&bytes).expect("again").id(), secret.id());
            let at = usize::from(bytes[0]) % len;
            bytes[at] ^= 1;
            if let Ok(other) = Secret::new(&bytes) {
                assert_ne!(other.id(), secret.id());
            }
        }
    }
    if let Err(error) = &verdict {
        assert!(error.to_string().len() < 140);
    }
    Reach { past: verdict.is_ok(), datagrams: 0, authentic: 0 }
}

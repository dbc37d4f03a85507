//! Which path secrets this process has been given: each is used once.

use paceline_transport::{
    handshake::InjectedPath,
    wire::{CredentialId, Role},
};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, PoisonError},
};

/// Secrets that one process takes, 24 bytes each: they are never forgotten, so there is a last one.
pub const MAX_INJECTED: usize = 65_536;

/// The id tells nothing about the secret. Both roles may live in one process: they seal with different keys.
static USED: Mutex<BTreeSet<(CredentialId, bool)>> = Mutex::new(BTreeSet::new());

/// Why a path secret is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectError {
    /// This process was given the same secret in the same role before: key ids and packet numbers would repeat.
    Used,
    /// [`MAX_INJECTED`] secrets were given to this process.
    Full,
}

impl fmt::Display for InjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Used => {
                f.write_str("this process has used that path secret: every process needs a new one")
            }
            Self::Full => write!(f, "a process takes at most {MAX_INJECTED} path secrets"),
        }
    }
}

impl std::error::Error for InjectError {}

/// Uses up the secret, whatever becomes of the path.
pub(crate) fn claim(path: &InjectedPath) -> Result<(), InjectError> {
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let name = (path.credential_id(), path.role() == Role::Client);
    if used.contains(&name) {
        return Err(InjectError::Used);
    }
    if used.len() >= MAX_INJECTED {
        return Err(InjectError::Full);
    }
    used.insert(name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use paceline_transport::wire::Suite;

    #[test]
    fn a_secret_is_used_once_in_each_role() {
        let path = |export: u8, role| {
            let remote = ([127, 0, 0, 1], 1).into();
            InjectedPath::new([export; 32], Suite::Aes128GcmSha256, role, remote)
        };
        // No other test of this process uses these secrets.
        assert_eq!(claim(&path(0xa1, Role::Client)), Ok(()));
        assert_eq!(claim(&path(0xa1, Role::Client)), Err(InjectError::Used));
        assert_eq!(claim(&path(0xa1, Role::Server)), Ok(()));
        assert_eq!(claim(&path(0xa1, Role::Server)), Err(InjectError::Used));
        assert_eq!(claim(&path(0xa2, Role::Client)), Ok(()));
    }
}

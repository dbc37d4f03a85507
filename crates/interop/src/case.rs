//! What is tried: who opens what, with which keys, over which network.

use paceline_wire::{Role, Suite};
use std::fmt;

/// Who opens the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// paceline.
    Ours,
    /// s2n-quic-dc.
    Theirs,
}

/// What the network does to datagrams, in ppm, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Lost.
    pub loss: u32,
    /// Held back for up to 5 ms.
    pub reorder: u32,
    /// Delivered twice.
    pub duplicate: u32,
}

impl Faults {
    /// A network that does nothing needs no proxy.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// What must not go well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Both sides have the same role.
    Role,
    /// The sides have different secrets.
    Secret,
}

/// One row of the matrix. Every stream carries `bytes` up and, when it has ended there, `bytes` down.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Who opens.
    pub opener: Opener,
    /// Our role.
    pub role: Role,
    /// Cipher suite.
    pub suite: Suite,
    /// Payload of each direction of each stream.
    pub bytes: usize,
    /// Largest UDP payload.
    pub mtu: u16,
    /// The network.
    pub faults: Faults,
    /// Key id of the first stream, if we open.
    pub first_key_id: u64,
    /// Streams at once.
    pub streams: usize,
    /// What is wrong on purpose.
    pub wrong: Option<Wrong>,
}

impl Case {
    /// A row of the base matrix.
    #[must_use]
    pub fn new(opener: Opener, role: Role, suite: Suite, bytes: usize) -> Self {
        let faults = Faults::default();
        Self { opener, role, suite, bytes, mtu: 1_472, faults, first_key_id: 0, streams: 1, wrong: None }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opener = match self.opener {
            Opener::Ours => "we open",
            Opener::Theirs => "they open",
        };
        let role = match self.role {
            Role::Client => "handshake client",
            Role::Server => "handshake server",
        };
        let suite = match self.suite {
            Suite::Aes128GcmSha256 => "AES-128",
            Suite::Aes256GcmSha384 => "AES-256",
        };
        write!(f, "{opener}, {role}, {suite}, ")?;
        match self.bytes {
            bytes if bytes >= 1 << 20 => write!(f, "{} MB", bytes >> 20)?,
            bytes => write!(f, "{bytes} B")?,
        }
        if self.streams > 1 {
            write!(f, ", {} streams", self.streams)?;
        }
        if self.mtu != 1_472 {
            write!(f, ", MTU {}", self.mtu)?;
        }
        if self.first_key_id > 0 {
            write!(f, ", key id {}", self.first_key_id)?;
        }
        let Faults { loss, reorder, duplicate } = self.faults;
        for (ppm, name) in [(loss, "loss"), (reorder, "reordering"), (duplicate, "duplication")] {
            if ppm > 0 {
                write!(f, ", {} % {name}", f64::from(ppm) / 10_000.0)?;
            }
        }
        match self.wrong {
            Some(Wrong::Role) => write!(f, ", wrong role"),
            Some(Wrong::Secret) => write!(f, ", wrong secret"),
            None => Ok(()),
        }
    }
}

/// The rows of check 1.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let openers = [Opener::Ours, Opener::Theirs];
    for opener in openers {
        for role in [Role::Client, Role::Server] {
            for suite in [Suite::Aes128GcmSha256, Suite::Aes256GcmSha384] {
                for bytes in [0, 5, 1 << 20, 64 << 20] {
                    cases.push(Case::new(opener, role, suite, bytes));
                }
            }
        }
    }
    for opener in openers {
        for (role, suite) in [(Role::Server, Suite::Aes128GcmSha256), (Role::Client, Suite::Aes256GcmSha384)]
        {
            let faults = Faults { loss: 150_000, reorder: 50_000, duplicate: 50_000 };
            cases.push(Case { faults, ..Case::new(opener, role, suite, 1 << 20) });
        }
        let base = Case::new(opener, Role::Client, Suite::Aes128GcmSha256, 1 << 20);
        for loss in [50_000, 150_000] {
            cases.push(Case { faults: Faults { loss, ..Faults::default() }, ..base });
        }
        cases.push(Case { faults: Faults { reorder: 50_000, ..Faults::default() }, ..base });
        cases.push(Case { faults: Faults { duplicate: 100_000, ..Faults::default() }, ..base });
        cases.push(Case { faults: Faults { loss: 20_000, reorder: 20_000, duplicate: 20_000 }, ..base });
        cases.push(Case { mtu: 8_940, ..base });
        cases.push(Case { streams: 300, bytes: 20_000, ..base });
        cases.push(Case { wrong: Some(Wrong::Role), bytes: 5, ..base });
        cases.push(Case { wrong: Some(Wrong::Secret), bytes: 5, ..base });
    }
    let base = Case::new(Opener::Ours, Role::Server, Suite::Aes256GcmSha384, 1 << 20);
    cases.push(Case { first_key_id: 70_000, ..base });
    cases
}

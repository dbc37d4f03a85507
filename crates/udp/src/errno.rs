//! What an error number of a socket call asks for (design item 14).

/// An error as the operating system numbers it (on Windows, a Winsock code).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    pub(crate) const fn meaning(self) -> Meaning {
        match self.0 {
            numbers::WOULD_BLOCK => Meaning::SocketFull,
            numbers::INTERRUPTED => Meaning::Interrupted,
            numbers::NO_BUFFERS => Meaning::DeviceFull,
            numbers::IO | numbers::INVALID => Meaning::Refused,
            numbers::MESSAGE_SIZE => Meaning::TooLarge,
            numbers::CONNECTION_REFUSED
            | numbers::CONNECTION_RESET
            | numbers::NETWORK_RESET
            | numbers::HOST_DOWN
            | numbers::HOST_UNREACHABLE
            | numbers::NETWORK_UNREACHABLE
            | numbers::PROTOCOL
            | numbers::NO_PROTOCOL => Meaning::PerhapsStale,
            _ => Meaning::Final,
        }
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        // Errors without a number are made by std, from arguments it refuses.
        Self(error.raw_os_error().unwrap_or(numbers::INVALID))
    }
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Nothing was taken; wait until the socket is writable (or readable).
    SocketFull,
    /// A signal came first: call again.
    Interrupted,
    /// The queue of the device is full; nothing tells when it no longer is.
    DeviceFull,
    /// What a failed segmentation offload looks like; final for a single datagram.
    Refused,
    /// The datagram does not fit the path.
    TooLarge,
    /// ICMP reports these on whatever call comes next, also for a datagram to somebody else: only a repeat tells.
    PerhapsStale,
    /// No use in repeating it now.
    Final,
}

#[cfg(unix)]
mod numbers {
    pub(super) const WOULD_BLOCK: i32 = libc::EAGAIN;
    pub(super) const INTERRUPTED: i32 = libc::EINTR;
    pub(super) const NO_BUFFERS: i32 = libc::ENOBUFS;
    pub(super) const IO: i32 = libc::EIO;
    pub(super) const INVALID: i32 = libc::EINVAL;
    pub(super) const MESSAGE_SIZE: i32 = libc::EMSGSIZE;
    pub(super) const CONNECTION_REFUSED: i32 = libc::ECONNREFUSED;
    pub(super) const CONNECTION_RESET: i32 = libc::ECONNRESET;
    pub(super) const NETWORK_RESET: i32 = libc::ENETRESET;
    pub(super) const HOST_DOWN: i32 = libc::EHOSTDOWN;
    pub(super) const HOST_UNREACHABLE: i32 = libc::EHOSTUNREACH;
    pub(super) const NETWORK_UNREACHABLE: i32 = libc::ENETUNREACH;
    pub(super) const PROTOCOL: i32 = libc::EPROTO;
    pub(super) const NO_PROTOCOL: i32 = libc::ENOPROTOOPT;
}

#[cfg(windows)]
mod numbers {
    pub(super) const WOULD_BLOCK: i32 = 10035;
    pub(super) const INTERRUPTED: i32 = 10004;
    pub(super) const NO_BUFFERS: i32 = 10055;
    pub(super) const IO: i32 = 1117; // ERROR_IO_DEVICE
    pub(super) const INVALID: i32 = 10022;
    pub(super) const MESSAGE_SIZE: i32 = 10040;
    pub(super) const CONNECTION_REFUSED: i32 = 10061;
    pub(super) const CONNECTION_RESET: i32 = 10054;
    pub(super) const NETWORK_RESET: i32 = 10052;
    pub(super) const HOST_DOWN: i32 = 10064;
    pub(super) const HOST_UNREACHABLE: i32 = 10065;
    pub(super) const NETWORK_UNREACHABLE: i32 = 10051;
    pub(super) const PROTOCOL: i32 = 10041;
    pub(super) const NO_PROTOCOL: i32 = 10042;
}

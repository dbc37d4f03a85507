//! What a platform must be able to do: bind, hand one burst to the network, take one burst from it. Nothing else.

use crate::errno::Errno;
use paceline_transport::Ecn;
use std::{
    fmt,
    io::IoSlice,
    net::{IpAddr, SocketAddr, UdpSocket},
};

/// Segments in one call at most: what kernels before 6.9 take (measured in reference/limits.md: newer ones take 128).
pub(crate) const MAX_SEGMENTS: usize = 64;
/// Bytes in one call at most: 65,535 less the IPv4 and UDP headers; IPv6 would take 20 more.
pub(crate) const MAX_BYTES: usize = 65_507;

/// One call's worth: datagrams to one address with one ECN codepoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) remote: SocketAddr,
    /// Source address to use; honoured where the socket is bound to a wildcard.
    pub(crate) local: Option<IpAddr>,
    pub(crate) ecn: Ecn,
    /// Length of each datagram (the last may be shorter) where there is more than one: segmentation offload.
    pub(crate) segment_len: Option<u16>,
    /// The bytes. Datagram borders and part borders need not coincide.
    pub(crate) parts: &'a [IoSlice<'a>],
}

/// What one receive call brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) remote: SocketAddr,
    /// Address it was sent to; `None` where the socket is bound to that one anyway.
    pub(crate) local: Option<IpAddr>,
    pub(crate) ecn: Ecn,
    /// Bytes in the buffer.
    pub(crate) len: usize,
    /// Length of each datagram; the last may be shorter.
    pub(crate) segment_len: usize,
    /// The buffer was too small for the last one.
    pub(crate) truncated: bool,
}

/// How to bind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkOptions {
    pub(crate) bind: SocketAddr,
    pub(crate) disable_gso: bool,
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(crate) disable_gro: bool,
    /// Bytes asked for; the system may grant less.
    pub(crate) send_buffer: usize,
    /// See `send_buffer`.
    pub(crate) receive_buffer: usize,
}

/// A bound, nonblocking socket. Tests put faults between this and the caller.
pub(crate) trait Link: Send + 'static {
    /// Datagrams one call may carry; 1 without segmentation offload.
    fn max_segments(&self) -> usize;

    /// Whether one call may take its bytes from several places.
    fn gathers(&self) -> bool;

    /// Hands all of `outgoing` to the network, or nothing.
    fn send(&mut self, outgoing: &Outgoing<'_>) -> Result<(), Errno>;

    /// Takes one burst. An error of `SocketFull` means there is none.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Arrival, Errno>;

    /// The socket, to wait on.
    fn socket(&self) -> &UdpSocket;

    /// Send and receive buffer as granted, in bytes.
    fn granted_buffers(&self) -> (usize, usize);
}

/// Why a runtime could not start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// The operating system refused.
    System {
        /// The call that failed, as its manual page is named.
        syscall: &'static str,
        /// Its error number (on Windows, a Winsock code).
        errno: i32,
        /// Where the socket was to be bound.
        address: SocketAddr,
    },
    /// The pool refused its sizes.
    Pool(String),
}

impl StartError {
    pub(crate) fn system(syscall: &'static str, address: SocketAddr, errno: impl Into<Errno>) -> Self {
        Self::System { syscall, errno: errno.into().0, address }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { syscall, errno, address } => {
                write!(f, "{syscall} {address}: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::Pool(why) => write!(f, "packet pool: {why}"),
        }
    }
}

impl std::error::Error for StartError {}

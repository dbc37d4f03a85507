//! One function per system call: the arguments become safe types, the error becomes an [`Errno`]. No decisions here.
//!
//! Socket addresses are written and read as bytes, so that no pointer is ever cast to a struct it may not be.

use crate::errno::Errno;
use std::{
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

/// Room for any IPv4 or IPv6 socket address.
pub(crate) const NAME_LEN: usize = size_of::<libc::sockaddr_in6>();

/// What the last failed call of this thread left behind.
fn last_errno() -> Errno {
    std::io::Error::last_os_error().into()
}

fn check(result: libc::c_int) -> Result<libc::c_int, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

/// CLOCK_MONOTONIC is libuv's `uv_hrtime`; on Apple systems that is the clock called RAW.
pub(crate) fn monotonic_ns() -> u64 {
    #[cfg(target_vendor = "apple")]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_RAW;
    #[cfg(not(target_vendor = "apple"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;

    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec through a valid pointer; the clock exists everywhere, so it cannot fail.
    unsafe { libc::clock_gettime(CLOCK, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A nonblocking datagram socket that child processes do not inherit.
pub(crate) fn socket(like: &SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if like.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    #[cfg(target_os = "linux")]
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    #[cfg(not(target_os = "linux"))]
    let kind = libc::SOCK_DGRAM;
    // SAFETY: no call takes a pointer; the descriptor was made here, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(check(libc::socket(family, kind, 0))?) };
    #[cfg(not(target_os = "linux"))]
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(fd)
}

/// `setsockopt` of an int.
pub(crate) fn set_option(socket: &impl AsFd, level: i32, name: i32, value: i32) -> Result<(), Errno> {
    let fd = socket.as_fd().as_raw_fd();
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, which outlives the call.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) }).map(drop)
}

/// `getsockopt` of an int.
#[cfg(target_os = "linux")]
pub(crate) fn option(socket: &impl AsFd, level: i32, name: i32) -> Result<i32, Errno> {
    let fd = socket.as_fd().as_raw_fd();
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, and the kernel writes no more than `len`.
    check(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut len) })?;
    Ok(value)
}

pub(crate) fn bind(socket: &impl AsFd, address: &SocketAddr) -> Result<(), Errno> {
    let (name, len) = encode(address);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: pointer and length describe the initialised part of `name`; the kernel copies it and asks for no alignment.
    check(unsafe { libc::bind(fd, name.as_ptr().cast(), len as libc::socklen_t) }).map(drop)
}

/// The bytes of a socket address, and how many of them count.
pub(crate) fn encode(address: &SocketAddr) -> ([u8; NAME_LEN], usize) {
    let mut name = [0; NAME_LEN];
    name[2..4].copy_from_slice(&address.port().to_be_bytes());
    let (family, len) = match address {
        SocketAddr::V4(address) => {
            name[4..8].copy_from_slice(&address.ip().octets());
            (libc::AF_INET, size_of::<libc::sockaddr_in>())
        }
        SocketAddr::V6(address) => {
            name[8..24].copy_from_slice(&address.ip().octets());
            name[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
            (libc::AF_INET6, size_of::<libc::sockaddr_in6>())
        }
    };
    #[cfg(target_os = "linux")]
    name[..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
    // Elsewhere a length byte comes first.
    #[cfg(not(target_os = "linux"))]
    name[..2].copy_from_slice(&[len as u8, family as u8]);
    (name, len)
}

/// The address in these bytes; IPv4 never in its mapped form, so that equal peers compare equal.
#[cfg(target_os = "linux")]
pub(crate) fn decode(name: &[u8]) -> Option<SocketAddr> {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

    let family = libc::c_int::from(libc::sa_family_t::from_ne_bytes(*name.first_chunk()?));
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    if family == libc::AF_INET {
        let ip: [u8; 4] = *name.get(4..)?.first_chunk()?;
        return Some(SocketAddrV4::new(Ipv4Addr::from(ip), port).into());
    }
    if family != libc::AF_INET6 {
        return None;
    }
    let ip = Ipv6Addr::from(*name.get(8..)?.first_chunk::<16>()?);
    let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
    Some(match ip.to_ipv4_mapped() {
        Some(ip) => SocketAddrV4::new(ip, port).into(),
        // The flow label is the sender's business and no part of who it is.
        None => SocketAddrV6::new(ip, port, 0, scope).into(),
    })
}

/// `poll` in whole milliseconds. A signal ends it like a timeout. Returns the events of each.
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
pub(crate) fn poll<const N: usize>(wanted: [(&dyn AsRawFd, i16); N], timeout_ms: i32) -> [i16; N] {
    let mut fds = wanted.map(|(fd, events)| libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 });
    // SAFETY: pointer and count describe `fds`, which outlives the call.
    let found = unsafe { libc::poll(fds.as_mut_ptr(), N as libc::nfds_t, timeout_ms) };
    fds.map(|fd| if found > 0 { fd.revents } else { 0 })
}

#[cfg(target_os = "linux")]
pub(crate) use linux::*;

#[cfg(target_os = "linux")]
#[cfg_attr(feature = "portable", allow(dead_code))]
mod linux {
    use super::{AsFd, AsRawFd, Errno, FromRawFd, OwnedFd, check, last_errno};
    use std::io::IoSlice;

    fn empty_message() -> libc::msghdr {
        // SAFETY: msghdr holds integers and pointers only, for which zero is valid (musl has private padding fields).
        unsafe { std::mem::zeroed() }
    }

    /// `sendmsg`. The parts are sent as one message.
    pub(crate) fn send_message(
        socket: &impl AsFd,
        name: &[u8],
        parts: &[IoSlice<'_>],
        control: &[u8],
    ) -> Result<usize, Errno> {
        let mut message = empty_message();
        message.msg_name = name.as_ptr().cast_mut().cast();
        message.msg_namelen = name.len() as _;
        message.msg_iov = parts.as_ptr().cast_mut().cast();
        message.msg_iovlen = parts.len() as _;
        if !control.is_empty() {
            message.msg_control = control.as_ptr().cast_mut().cast();
            message.msg_controllen = control.len() as _;
        }
        // SAFETY: every pointer and length pair describes a slice borrowed for the call, IoSlice has the layout of iovec,
        // and sendmsg only reads through them.
        let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &message, 0) };
        if sent < 0 { Err(last_errno()) } else { Ok(sent as usize) }
    }

    /// What `recvmsg` wrote, and how much of it.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Message {
        pub(crate) len: usize,
        pub(crate) name_len: usize,
        pub(crate) control_len: usize,
        pub(crate) flags: i32,
    }

    /// `recvmsg` into one buffer.
    pub(crate) fn receive_message(
        socket: &impl AsFd,
        buffer: &mut [u8],
        name: &mut [u8],
        control: &mut [u8],
    ) -> Result<Message, Errno> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut message = empty_message();
        message.msg_name = name.as_mut_ptr().cast();
        message.msg_namelen = name.len() as _;
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = control.len() as _;
        // SAFETY: every pointer and length pair describes a slice borrowed mutably for the call.
        let len = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &mut message, 0) };
        if len < 0 {
            return Err(last_errno());
        }
        #[allow(clippy::unnecessary_cast, reason = "a socklen_t on musl")]
        Ok(Message {
            len: (len as usize).min(buffer.len()),
            name_len: (message.msg_namelen as usize).min(name.len()),
            control_len: (message.msg_controllen as usize).min(control.len()),
            flags: message.msg_flags,
        })
    }

    /// A nonblocking eventfd that child processes do not inherit.
    pub(crate) fn event_fd() -> Result<OwnedFd, Errno> {
        let flags = libc::EFD_CLOEXEC | libc::EFD_NONBLOCK;
        // SAFETY: no call takes a pointer; the descriptor was made here, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(check(libc::eventfd(0, flags))?) })
    }

    /// `ppoll`. A signal ends it like a timeout. Returns the events of each.
    pub(crate) fn ppoll<const N: usize>(
        wanted: [(&dyn AsRawFd, i16); N],
        timeout_ns: Option<u64>,
    ) -> [i16; N] {
        let mut fds = wanted.map(|(fd, events)| libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 });
        let timeout = timeout_ns.map(|ns| libc::timespec {
            tv_sec: (ns / 1_000_000_000) as _,
            tv_nsec: (ns % 1_000_000_000) as libc::c_long,
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: pointer and count describe `fds`; `timeout` is null or points at a timespec that outlives the call.
        let found = unsafe { libc::ppoll(fds.as_mut_ptr(), N as libc::nfds_t, timeout, std::ptr::null()) };
        fds.map(|fd| if found > 0 { fd.revents } else { 0 })
    }

    /// `getrandom`, some of it.
    pub(crate) fn random(out: &mut [u8]) -> Result<usize, Errno> {
        // SAFETY: pointer and length describe `out`.
        let filled = unsafe { libc::getrandom(out.as_mut_ptr().cast(), out.len(), 0) };
        if filled < 0 { Err(last_errno()) } else { Ok(filled as usize) }
    }

    /// Makes the calling thread a good timekeeper: timer slack of 1 ns, and the nice value `nice` unless it is better already.
    /// Returns which of the two it has now.
    pub(crate) fn sharpen_thread(nice: i32) -> (bool, bool) {
        // SAFETY: these change the calling thread only (0 means it on Linux) and take no pointers.
        unsafe {
            let timers = libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong, 0, 0, 0) == 0;
            // An error reads as -1, and then the value is set, which is right, too.
            let raised = libc::getpriority(libc::PRIO_PROCESS, 0) <= nice
                || libc::setpriority(libc::PRIO_PROCESS, 0, nice) == 0;
            (timers, raised)
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_there_and_back() {
        for text in ["1.2.3.4:5", "0.0.0.0:65535", "[::1]:4433", "[fe80::1%7]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            let (name, len) = encode(&address);
            assert_eq!(decode(&name[..len]), Some(address));
        }
        let (name, len) = encode(&"[::ffff:9.8.7.6]:5".parse().unwrap());
        assert_eq!(decode(&name[..len]), Some("9.8.7.6:5".parse().unwrap()));
    }

    #[test]
    fn cut_or_foreign_addresses_are_none() {
        for text in ["1.2.3.4:5", "[::1]:4433"] {
            let (name, len) = encode(&text.parse().unwrap());
            let needed = if len == 16 { 8 } else { 28 };
            for cut in 0..needed {
                assert_eq!(decode(&name[..cut]), None, "{cut} bytes of {text}");
            }
        }
        assert_eq!(decode(&[1; NAME_LEN]), None);
    }

    #[test]
    fn a_bad_call_gives_its_errno() {
        let socket = socket(&"127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(set_option(&socket, libc::SOL_UDP, 9999, 1), Err(Errno(libc::ENOPROTOOPT)));
        assert_eq!(bind(&socket, &"192.0.2.1:1".parse().unwrap()), Err(Errno(libc::EADDRNOTAVAIL)));
    }
}

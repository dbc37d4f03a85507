//! Linux: one `sendmsg` with segmentation offload out, one `recvmsg` with receive offload in.

mod control;

use crate::{
    errno::Errno,
    link::{Arrival, Link, LinkOptions, MAX_SEGMENTS, Outgoing, StartError},
    sys,
};
use control::{Control, messages};
use libc::{IPPROTO_IP, IPPROTO_IPV6, SOL_SOCKET, SOL_UDP};
use paceline_transport::Ecn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// A bound socket.
#[derive(Debug)]
pub(crate) struct LinuxLink {
    socket: UdpSocket,
    /// Bound to a wildcard: replies must name the address that was asked.
    wildcard: bool,
    max_segments: usize,
}

impl LinuxLink {
    pub(crate) fn bind(options: &LinkOptions) -> Result<Self, StartError> {
        let bind = options.bind;
        let socket = sys::socket(&bind).map_err(|errno| StartError::system("socket", bind, errno))?;
        let must = |level, name, value| {
            sys::set_option(&socket, level, name, value)
                .map_err(|errno| StartError::system("setsockopt", bind, errno))
        };
        let wildcard = bind.ip().is_unspecified();
        if bind.is_ipv4() {
            must(IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
            must(IPPROTO_IP, libc::IP_PKTINFO, i32::from(wildcard))?;
        } else {
            must(IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            must(IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
            must(IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, i32::from(wildcard))?;
        }
        // The rest makes things better, not right: a kernel or sandbox without it is still usable.
        let _ = if bind.is_ipv4() {
            sys::set_option(&socket, IPPROTO_IP, libc::IP_RECVTOS, 1)
        } else {
            sys::set_option(&socket, IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)
        };
        if !options.disable_gro {
            let _ = sys::set_option(&socket, SOL_UDP, libc::UDP_GRO, 1);
        }
        let offload = sys::option(&socket, SOL_UDP, libc::UDP_SEGMENT).is_ok();
        enlarge(&socket, libc::SO_RCVBUF, libc::SO_RCVBUFFORCE, options.receive_buffer);
        enlarge(&socket, libc::SO_SNDBUF, libc::SO_SNDBUFFORCE, options.send_buffer);
        sys::bind(&socket, &bind).map_err(|errno| StartError::system("bind", bind, errno))?;
        let max_segments = if offload && !options.disable_gso { MAX_SEGMENTS } else { 1 };
        Ok(Self { socket: socket.into(), wildcard, max_segments })
    }
}

/// The kernel doubles what it is asked for, to pay for its own bookkeeping, and shows the double.
const BUFFER_FACTOR: usize = 2;

/// Asks for a buffer of `bytes`; past the system's limit only where the process may (CAP_NET_ADMIN).
fn enlarge(socket: &impl std::os::fd::AsFd, name: i32, force: i32, bytes: usize) {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
    let _ = sys::set_option(socket, SOL_SOCKET, name, bytes);
    if granted(socket, name) < bytes as usize {
        let _ = sys::set_option(socket, SOL_SOCKET, force, bytes);
    }
}

fn granted(socket: &impl std::os::fd::AsFd, name: i32) -> usize {
    sys::option(socket, SOL_SOCKET, name)
        .map_or(0, |bytes| usize::try_from(bytes).unwrap_or(0) / BUFFER_FACTOR)
}

impl Link for LinuxLink {
    fn max_segments(&self) -> usize {
        self.max_segments
    }

    fn gathers(&self) -> bool {
        true
    }

    fn send(&mut self, outgoing: &Outgoing<'_>) -> Result<(), Errno> {
        let (name, name_len) = sys::encode(&outgoing.remote);
        let mut control = Control::default();
        if let Some(len) = outgoing.segment_len {
            control.push(SOL_UDP, libc::UDP_SEGMENT, &len.to_ne_bytes());
        }
        if outgoing.ecn != Ecn::NotEct {
            let tos = i32::from(outgoing.ecn as u8).to_ne_bytes();
            match outgoing.remote {
                SocketAddr::V4(_) => control.push(IPPROTO_IP, libc::IP_TOS, &tos),
                SocketAddr::V6(_) => control.push(IPPROTO_IPV6, libc::IPV6_TCLASS, &tos),
            }
        }
        match outgoing.local.filter(|_| self.wildcard) {
            // struct in_pktinfo: interface (0: whichever), source, destination (ignored on send).
            Some(IpAddr::V4(ip)) => {
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&ip.octets());
                control.push(IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            // struct in6_pktinfo: source, interface (0: whichever).
            Some(IpAddr::V6(ip)) => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&ip.octets());
                control.push(IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            None => {}
        }
        // A datagram socket sends a message whole or not at all, so the count says nothing new.
        sys::send_message(&self.socket, &name[..name_len], outgoing.parts, control.bytes()).map(drop)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Arrival, Errno> {
        let mut name = [0; sys::NAME_LEN];
        let mut space = [0; control::CAPACITY];
        let message = sys::receive_message(&self.socket, buffer, &mut name, &mut space)?;
        let mut arrival = Arrival {
            // The kernel always names an IP sender; without one there is nobody to answer, and the caller drops it as such.
            remote: sys::decode(&name[..message.name_len]).ok_or(Errno(libc::EAFNOSUPPORT))?,
            local: None,
            ecn: Ecn::NotEct,
            len: message.len,
            segment_len: message.len,
            truncated: message.flags & libc::MSG_TRUNC != 0,
        };
        for (level, kind, data) in messages(&space[..message.control_len]) {
            match (level, kind) {
                (SOL_UDP, libc::UDP_GRO) => {
                    let len = data.first_chunk().map_or(0, |int| i32::from_ne_bytes(*int));
                    let len = usize::try_from(len).unwrap_or(0);
                    if len != 0 {
                        arrival.segment_len = len.min(message.len);
                    }
                }
                (IPPROTO_IP, libc::IP_TOS) => {
                    arrival.ecn = Ecn::from_bits(data.first().copied().unwrap_or(0))
                }
                (IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    let class = data.first_chunk().map_or(0, |int| i32::from_ne_bytes(*int));
                    arrival.ecn = Ecn::from_bits(class as u8);
                }
                (IPPROTO_IP, libc::IP_PKTINFO) => arrival.local = local_v4(data).map(IpAddr::V4),
                (IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    arrival.local = data.first_chunk::<16>().map(|ip| IpAddr::V6(Ipv6Addr::from(*ip)));
                }
                _ => {}
            }
        }
        Ok(arrival)
    }

    fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    fn granted_buffers(&self) -> (usize, usize) {
        (granted(&self.socket, libc::SO_SNDBUF), granted(&self.socket, libc::SO_RCVBUF))
    }
}

/// The address to answer from: what routing would choose (it differs from the destination for a broadcast only).
fn local_v4(info: &[u8]) -> Option<Ipv4Addr> {
    let chosen = Ipv4Addr::from(*info.get(4..)?.first_chunk::<4>()?);
    let destination = Ipv4Addr::from(*info.get(8..)?.first_chunk::<4>()?);
    Some(if chosen.is_unspecified() { destination } else { chosen })
}

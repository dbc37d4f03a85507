//! macOS, Windows and others, through quinn-udp; on Linux with the feature `portable`, as a cross-check.
//!
//! quinn-udp takes contiguous bytes only, so transmissions do not join. Its own reaction to a failed offload (off for the whole
//! socket) is not relied upon: `send` resends singly and keeps its verdicts here, too. Receive offload cannot be switched off.

use crate::{
    errno::Errno,
    link::{Arrival, Link, LinkOptions, Outgoing, StartError},
};
use paceline_transport::Ecn;
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use std::{
    io::IoSliceMut,
    net::{SocketAddr, UdpSocket},
};

/// A bound socket.
#[derive(Debug)]
pub(crate) struct PortableLink {
    socket: UdpSocket,
    state: UdpSocketState,
    /// Bound to a wildcard: replies must name the address that was asked.
    wildcard: bool,
    disable_gso: bool,
}

impl PortableLink {
    pub(crate) fn bind(options: &LinkOptions) -> Result<Self, StartError> {
        let bind = options.bind;
        let socket = bound(bind)?;
        let state = UdpSocketState::new((&socket).into())
            .map_err(|error| StartError::system("setsockopt", bind, error))?;
        // quinn-udp 0.6.3 asks for receive timestamps, and with them its control buffer of 96 bytes is too small for the ECN
        // codepoint of an offloaded burst.
        #[cfg(target_os = "linux")]
        crate::sys::set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 0)
            .map_err(|errno| StartError::system("setsockopt", bind, errno))?;
        // A system that grants less is still usable.
        let _ = state.set_recv_buffer_size((&socket).into(), options.receive_buffer);
        let _ = state.set_send_buffer_size((&socket).into(), options.send_buffer);
        Ok(Self { socket, state, wildcard: bind.ip().is_unspecified(), disable_gso: options.disable_gso })
    }
}

/// IPv6 sockets take IPv6 only, everywhere alike.
#[cfg(unix)]
fn bound(bind: SocketAddr) -> Result<UdpSocket, StartError> {
    use crate::sys;
    let socket = sys::socket(&bind).map_err(|errno| StartError::system("socket", bind, errno))?;
    if bind.is_ipv6() {
        sys::set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)
            .map_err(|errno| StartError::system("setsockopt", bind, errno))?;
    }
    sys::bind(&socket, &bind).map_err(|errno| StartError::system("bind", bind, errno))?;
    Ok(socket.into())
}

/// IPv6 sockets take IPv6 only unless asked.
#[cfg(not(unix))]
fn bound(bind: SocketAddr) -> Result<UdpSocket, StartError> {
    UdpSocket::bind(bind).map_err(|error| StartError::system("bind", bind, error))
}

impl Link for PortableLink {
    fn max_segments(&self) -> usize {
        if self.disable_gso { 1 } else { self.state.max_gso_segments() }
    }

    fn gathers(&self) -> bool {
        false
    }

    fn send(&mut self, outgoing: &Outgoing<'_>) -> Result<(), Errno> {
        let transmit = Transmit {
            destination: outgoing.remote,
            ecn: EcnCodepoint::from_bits(outgoing.ecn as u8),
            contents: outgoing.parts.first().map_or(&[], |part| part),
            segment_size: outgoing.segment_len.map(usize::from),
            src_ip: outgoing.local.filter(|_| self.wildcard),
        };
        Ok(self.state.try_send(UdpSockRef::from(&self.socket), &transmit)?)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Arrival, Errno> {
        let mut meta = [RecvMeta::default()];
        let mut parts = [IoSliceMut::new(buffer)];
        self.state.recv(UdpSockRef::from(&self.socket), &mut parts, &mut meta)?;
        let [meta] = meta;
        Ok(Arrival {
            remote: canonical(meta.addr),
            local: meta.dst_ip.filter(|_| self.wildcard).map(|ip| ip.to_canonical()),
            ecn: meta.ecn.map_or(Ecn::NotEct, |ecn| Ecn::from_bits(ecn as u8)),
            len: meta.len,
            segment_len: if meta.stride == 0 { meta.len } else { meta.stride.min(meta.len) },
            // quinn-udp does not tell; 64 KiB hold whatever UDP can carry.
            truncated: false,
        })
    }

    fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    fn granted_buffers(&self) -> (usize, usize) {
        // Linux shows the double of what it granted.
        let factor = if cfg!(target_os = "linux") { 2 } else { 1 };
        let send = self.state.send_buffer_size((&self.socket).into()).unwrap_or(0);
        let receive = self.state.recv_buffer_size((&self.socket).into()).unwrap_or(0);
        (send / factor, receive / factor)
    }
}

/// IPv4 never in its mapped form, and no flow label, so that equal peers compare equal.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(mut address) => match address.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(ip.into(), address.port()),
            None => {
                address.set_flowinfo(0);
                address.into()
            }
        },
        address => address,
    }
}

//! What this machine lets a socket of paceline do, tried out: for `npx paceline doctor`.
//!
//! Everything goes through the link and the wait that a runtime uses, so what is found here is what a runtime gets. Each
//! function ends by itself within the time it says.

use crate::{
    clock,
    environment::NativeLink,
    errno::{Errno, Meaning},
    link::{Arrival, Link, LinkOptions, Outgoing, StartError},
    runtime::Options,
    wait::{Interest, Waker},
};
use paceline_transport::{
    Config, Ecn,
    wire::{CredentialId, packet::secret_control},
};
use std::{
    io::{Error, ErrorKind, IoSlice},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
};

/// Of each datagram of the burst that is tried on loopback: what every IP path carries (RFC 9000 §14).
const SEGMENT_BYTES: usize = 1_200;
/// In that burst, where the socket offloads at all.
const SEGMENTS: usize = 16;
/// On loopback a datagram is there when the call that sent it returns; a busy machine may take its time.
const LOOPBACK_NS: u64 = 200_000_000;
/// Waits that are measured, and their length: about the distance of two bursts at 500 Mbit/s.
const WAITS: usize = 100;
const WAIT_NS: u64 = 200_000;
/// Bytes of a probe around its payload.
const PROBE_OVERHEAD: usize = 50;

/// What came of a socket of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// SO_SNDBUF and SO_RCVBUF as asked for, in bytes.
    pub asked: (usize, usize),
    /// As granted, in bytes, comparable to `asked`.
    pub granted: (usize, usize),
    /// Datagrams one send call may carry; 1 without segmentation offload.
    pub max_segments: usize,
    /// Datagrams sent in one call of the try; 0 if it failed, 1 without offload.
    pub segments_sent: usize,
    /// errno of the try, 0 for none.
    pub send_errno: i32,
    /// Most datagrams that one receive call brought; 0 if nothing arrived.
    pub segments_received: usize,
    /// Whether the mark ECT(0) that was sent was read.
    pub ecn: bool,
    /// Whether datagrams leave with "don't fragment"; `None` where it cannot be read back.
    pub dont_fragment: Option<bool>,
}

/// Tries a socket of the family of `ip`, a loopback address. Ends within 0.4 s.
///
/// # Errors
/// No socket can be made or bound there: the system has no such family, or forbids it.
pub fn family(ip: IpAddr) -> Result<Family, StartError> {
    let options = link_options(SocketAddr::new(ip, 0));
    let mut sender = NativeLink::bind(&options)?;
    let mut receiver = NativeLink::bind(&options)?;
    let remote = receiver
        .socket()
        .local_addr()
        .map_err(|error| StartError::system("getsockname", options.bind, error))?;
    let (send, receive) = sender.granted_buffers();
    let segments = SEGMENTS.min(sender.max_segments());
    let mut found = Family {
        asked: (options.send_buffer, options.receive_buffer),
        granted: (send, receive),
        max_segments: sender.max_segments(),
        segments_sent: segments,
        send_errno: 0,
        segments_received: 0,
        ecn: false,
        dont_fragment: dont_fragment(&sender, ip),
    };
    let bytes = [0x5a; SEGMENTS * SEGMENT_BYTES];
    if let Err(errno) = sender.send(&Outgoing {
        remote,
        local: None,
        ecn: Ecn::Ect0,
        segment_len: (segments > 1).then_some(SEGMENT_BYTES as u16),
        parts: &[IoSlice::new(&bytes[..segments * SEGMENT_BYTES])],
    }) {
        found.segments_sent = 0;
        found.send_errno = errno.0;
        // Whether marks survive can still be told, from a datagram alone.
        let parts = &[IoSlice::new(&bytes[..SEGMENT_BYTES])];
        let _ = sender.send(&Outgoing { remote, local: None, ecn: Ecn::Ect0, segment_len: None, parts });
    }
    let mut expected = found.segments_sent.max(1) * SEGMENT_BYTES;
    let mut buffer = vec![0; 64 << 10];
    let deadline_ns = clock::now_ns() + LOOPBACK_NS;
    while let Some(arrival) = arrival(&mut receiver, &mut buffer, deadline_ns) {
        found.segments_received =
            found.segments_received.max(arrival.len.div_ceil(arrival.segment_len.max(1)));
        found.ecn = arrival.ecn == Ecn::Ect0;
        expected = expected.saturating_sub(arrival.len);
        if expected == 0 {
            break;
        }
    }
    Ok(found)
}

/// How late waits end, and the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Lateness of waits of 0.2 ms in ns, smallest first, in the thread's best state.
    pub late_ns: Vec<u64>,
    /// Whether the thread's timers have a slack of 1 ns.
    pub sharp_timers: bool,
    /// Whether the thread got the nice value it wanted.
    pub raised_priority: bool,
    /// Smallest step of the clock that was seen, in ns.
    pub clock_step_ns: u64,
    /// What one reading of the clock takes, in ns.
    pub clock_read_ns: u64,
}

/// Waits as a runtime's thread does, in a thread of its own. Ends within 0.1 s on an idle machine.
///
/// # Errors
/// No socket or no thread can be made.
pub fn timing() -> Result<Timing, StartError> {
    let bind = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let link = NativeLink::bind(&link_options(bind))
        .or_else(|_| NativeLink::bind(&link_options(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0))))?;
    let waker = Waker::new().map_err(|error| StartError::system("eventfd", bind, error))?;
    let measure = move || {
        let (sharp_timers, raised_priority) = crate::runtime::sharpen();
        let interest = Interest { readable: true, writable: false };
        let mut late_ns: Vec<u64> = (0..WAITS)
            .map(|_| {
                let deadline_ns = clock::now_ns() + WAIT_NS;
                waker.park(link.socket(), interest, Some(deadline_ns), || false);
                clock::now_ns().saturating_sub(deadline_ns)
            })
            .collect();
        late_ns.sort_unstable();
        let (clock_step_ns, clock_read_ns) = clock_steps();
        Timing { late_ns, sharp_timers, raised_priority, clock_step_ns, clock_read_ns }
    };
    let thread = thread::Builder::new().name("paceline-io".into()).spawn(measure);
    let failed = |errno| StartError::System { syscall: "pthread_create", errno, address: bind };
    thread.map_err(|error| failed(error.raw_os_error().unwrap_or(0)))?.join().map_err(|_| failed(0))
}

/// What became of a datagram to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A paceline (or s2n-quic-dc) endpoint answered it.
    Answered,
    /// Its host answered that nobody listens there: it came as far as that.
    Refused,
    /// Larger than this machine, or a router on the way that said so, lets through.
    TooLarge,
    /// Nothing came back in time, which may mean anything.
    Silent,
    /// It could not be sent, with this errno.
    Failed(i32),
}

/// A datagram to a peer, and what is known of the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What became of it.
    pub fate: Fate,
    /// Until the answer, in ns.
    pub round_trip_ns: Option<u64>,
    /// Where it left from.
    pub local: Option<SocketAddr>,
    /// Of the route, as the system knows it, in bytes of IP packet.
    pub route_mtu: Option<usize>,
    /// errno of a burst of two such datagrams with segmentation offload; 0 if it left, `None` if it was not tried.
    pub offload_errno: Option<i32>,
}

/// Sends one datagram of `bytes` (at least 100), unfragmented, that an endpoint which does not know its credentials answers, and
/// waits for the answer `timeout_ns` at most. `id` should be random: an endpoint answers each id once a second. With `offload`, a
/// burst of two goes before it.
///
/// # Errors
/// No socket of that family can be made.
pub fn datagram(
    remote: SocketAddr,
    bytes: usize,
    id: [u8; 16],
    offload: bool,
    timeout_ns: u64,
) -> Result<Probe, StartError> {
    let any: IpAddr =
        if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let mut link = NativeLink::bind(&link_options(SocketAddr::new(any, 0)))?;
    // Only a connected socket is told what ICMP says about its datagrams.
    let mut probe =
        Probe { fate: Fate::Silent, round_trip_ns: None, local: None, route_mtu: None, offload_errno: None };
    if let Err(error) = link.socket().connect(remote) {
        probe.fate = Fate::Failed(error.raw_os_error().unwrap_or(0));
        return Ok(probe);
    }
    probe.local = link.socket().local_addr().ok();
    probe.route_mtu = route_mtu(&link, any);
    let packet = question(bytes, id);
    let send = |link: &mut NativeLink, segment_len, packets: &[IoSlice<'_>]| {
        link.send(&Outgoing { remote, local: None, ecn: Ecn::Ect0, segment_len, parts: packets })
    };
    if offload && link.max_segments() > 1 && link.gathers() {
        let twice = [IoSlice::new(&packet), IoSlice::new(&packet)];
        probe.offload_errno =
            Some(send(&mut link, Some(bytes as u16), &twice).err().map_or(0, |errno| errno.0));
    }
    let begin_ns = clock::now_ns();
    let failed = |errno: Errno| match errno.meaning() {
        Meaning::TooLarge => Fate::TooLarge,
        _ if is_refusal(errno) => Fate::Refused,
        _ => Fate::Failed(errno.0),
    };
    if let Err(errno) = send(&mut link, None, &[IoSlice::new(&packet)]) {
        probe.fate = failed(errno);
        return Ok(probe);
    }
    let mut buffer = vec![0; 64 << 10];
    let deadline_ns = begin_ns + timeout_ns;
    loop {
        // The last look comes after the deadline: what arrived while this thread had no turn has arrived in time.
        let last = clock::now_ns() >= deadline_ns;
        match link.receive(&mut buffer) {
            Ok(arrival) if answers(&buffer[..arrival.len.min(buffer.len())], id) => {
                probe.fate = Fate::Answered;
                probe.round_trip_ns = Some(clock::now_ns() - begin_ns);
                break;
            }
            Ok(_) if last => break,
            Ok(_) => {}
            Err(errno) if matches!(errno.meaning(), Meaning::SocketFull | Meaning::Interrupted) => {
                if last {
                    break;
                }
                nap();
            }
            Err(errno) => {
                probe.fate = failed(errno);
                probe.round_trip_ns = (probe.fate == Fate::Refused).then(|| clock::now_ns() - begin_ns);
                break;
            }
        }
    }
    Ok(probe)
}

/// What a runtime would bind with.
fn link_options(bind: SocketAddr) -> LinkOptions {
    let Options { disable_gso, disable_gro, send_buffer, receive_buffer, .. } =
        Options::new(bind, Config::default());
    LinkOptions { bind, disable_gso, disable_gro, send_buffer, receive_buffer }
}

fn arrival(link: &mut NativeLink, buffer: &mut [u8], deadline_ns: u64) -> Option<Arrival> {
    loop {
        let last = clock::now_ns() >= deadline_ns;
        match link.receive(buffer) {
            Ok(arrival) => return Some(arrival),
            Err(_) if last => return None,
            Err(_) => nap(),
        }
    }
}

fn nap() {
    thread::sleep(std::time::Duration::from_micros(100));
}

fn clock_steps() -> (u64, u64) {
    const READINGS: u64 = 10_000;
    let begin_ns = clock::now_ns();
    let mut last_ns = begin_ns;
    let mut step_ns = u64::MAX;
    for _ in 0..READINGS {
        let now_ns = clock::now_ns();
        if now_ns > last_ns {
            step_ns = step_ns.min(now_ns - last_ns);
        }
        last_ns = now_ns;
    }
    (step_ns, (last_ns - begin_ns) / READINGS)
}

#[cfg(target_os = "linux")]
fn dont_fragment(link: &NativeLink, ip: IpAddr) -> Option<bool> {
    let (level, name, probes) = match ip {
        IpAddr::V4(_) => {
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, [libc::IP_PMTUDISC_PROBE, libc::IP_PMTUDISC_DO])
        }
        IpAddr::V6(_) => {
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, [libc::IPV6_PMTUDISC_PROBE, libc::IPV6_PMTUDISC_DO])
        }
    };
    crate::sys::option(link.socket(), level, name).ok().map(|value| probes.contains(&value))
}

#[cfg(not(target_os = "linux"))]
fn dont_fragment(_: &NativeLink, _: IpAddr) -> Option<bool> {
    None
}

#[cfg(target_os = "linux")]
fn route_mtu(link: &NativeLink, ip: IpAddr) -> Option<usize> {
    let (level, name) = match ip {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    crate::sys::option(link.socket(), level, name).ok().and_then(|mtu| usize::try_from(mtu).ok())
}

#[cfg(not(target_os = "linux"))]
fn route_mtu(_: &NativeLink, _: IpAddr) -> Option<usize> {
    None
}

/// A stream packet of credentials that nobody has (dcquic §2.1), which is answered with UnknownPathSecret (§2.4).
fn question(bytes: usize, id: [u8; 16]) -> Vec<u8> {
    const HAS_SOURCE_QUEUE: u8 = 0x20;
    const RELIABLE_AND_BIDIRECTIONAL: u8 = 3;
    let payload = bytes.saturating_sub(PROBE_OVERHEAD);
    let mut packet = Vec::with_capacity(payload + PROBE_OVERHEAD);
    packet.push(HAS_SOURCE_QUEUE);
    packet.extend(id);
    // Key id, version, what was a port.
    packet.extend([0; 4]);
    // Source queue and number; then the retransmission offset, the next control packet, the offset in the stream.
    packet.extend([RELIABLE_AND_BIDIRECTIONAL, 1, 0]);
    packet.extend([0; 6]);
    packet.extend((0x8000_0000 | payload as u32).to_be_bytes());
    packet.resize(payload + PROBE_OVERHEAD, 0);
    packet
}

/// ICMP's "port unreachable", which only the host itself sends (Windows calls it a reset).
fn is_refusal(errno: Errno) -> bool {
    let kind = Error::from_raw_os_error(errno.0).kind();
    matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)
}

fn answers(datagram: &[u8], id: [u8; 16]) -> bool {
    secret_control::Packet::decode(datagram).is_ok_and(|packet| *packet.id() == CredentialId(id))
}

//! What this machine lets a socket do, for `npx paceline doctor`: [`paceline_udp::probe`] in plain objects. Nothing is judged here.

#![allow(unreachable_pub, reason = "napi exports functions that are `pub`, whatever the module is")]

use crate::errors::{Code, Result, error, start_error};
use napi::{Env, bindgen_prelude::Uint8Array};
use napi_derive::napi;
use paceline_udp::probe::{self, Fate};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const NS_PER_MS: f64 = 1e6;
const NS_PER_US: f64 = 1e3;

/// What is compiled in, and what the processor has.
#[napi(object, object_from_js = false)]
pub(crate) struct DoctorBuild {
    /// Of the addon.
    pub version: &'static str,
    /// `linux` (one system call for a burst), or `portable` (quinn-udp).
    pub sockets: &'static str,
    /// What encrypts.
    pub crypto: &'static str,
    /// AES instructions; `null` where nobody can tell.
    pub aes: Option<bool>,
    /// Carry-less multiplication, for GCM.
    pub clmul: Option<bool>,
}

/// What is compiled in, and what the processor has.
#[napi]
pub fn doctor_build() -> DoctorBuild {
    #[cfg(target_arch = "x86_64")]
    let (aes, clmul) = (
        Some(std::arch::is_x86_feature_detected!("aes")),
        Some(std::arch::is_x86_feature_detected!("pclmulqdq")),
    );
    #[cfg(target_arch = "aarch64")]
    let (aes, clmul) = (
        Some(std::arch::is_aarch64_feature_detected!("aes")),
        Some(std::arch::is_aarch64_feature_detected!("pmull")),
    );
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let (aes, clmul) = (None, None);
    let sockets = if cfg!(target_os = "linux") { "linux" } else { "portable" };
    DoctorBuild { version: env!("CARGO_PKG_VERSION"), sockets, crypto: "aws-lc-rs", aes, clmul }
}

/// What came of a socket of one family.
#[napi(object, object_from_js = false)]
pub(crate) struct DoctorFamily {
    pub asked_send_bytes: f64,
    pub asked_receive_bytes: f64,
    pub send_bytes: f64,
    pub receive_bytes: f64,
    pub max_segments: u32,
    pub segments_sent: u32,
    pub send_errno: i32,
    pub segments_received: u32,
    pub ecn: bool,
    pub dont_fragment: Option<bool>,
}

/// Tries a socket of IPv4 (4) or IPv6 (6) on loopback. Throws what `bind` throws.
#[napi]
pub fn doctor_family(env: &Env, family: u32) -> Result<DoctorFamily> {
    let ip: IpAddr = if family == 6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    let found = probe::family(ip).map_err(|refused| start_error(*env, &refused))?;
    Ok(DoctorFamily {
        asked_send_bytes: found.asked.0 as f64,
        asked_receive_bytes: found.asked.1 as f64,
        send_bytes: found.granted.0 as f64,
        receive_bytes: found.granted.1 as f64,
        max_segments: found.max_segments as u32,
        segments_sent: found.segments_sent as u32,
        send_errno: found.send_errno,
        segments_received: found.segments_received as u32,
        ecn: found.ecn,
        dont_fragment: found.dont_fragment,
    })
}

/// How late waits end, and the clock.
#[napi(object, object_from_js = false)]
pub(crate) struct DoctorTiming {
    pub late_us_p50: f64,
    pub late_us_p99: f64,
    pub sharp_timers: bool,
    pub raised_priority: bool,
    pub clock_step_ns: f64,
    pub clock_read_ns: f64,
}

/// Waits as an endpoint's thread does, some 20 ms in all.
#[napi]
pub fn doctor_timing(env: &Env) -> Result<DoctorTiming> {
    let found = probe::timing().map_err(|refused| start_error(*env, &refused))?;
    let at = |share: usize| {
        let index = (found.late_ns.len() * share / 100).min(found.late_ns.len().saturating_sub(1));
        found.late_ns.get(index).map_or(0.0, |ns| *ns as f64 / NS_PER_US)
    };
    Ok(DoctorTiming {
        late_us_p50: at(50),
        late_us_p99: at(99),
        sharp_timers: found.sharp_timers,
        raised_priority: found.raised_priority,
        clock_step_ns: found.clock_step_ns as f64,
        clock_read_ns: found.clock_read_ns as f64,
    })
}

/// A datagram to a peer.
#[napi(object, object_from_js = false)]
pub(crate) struct DoctorDatagram {
    #[napi(ts_type = "'answered' | 'refused' | 'tooLarge' | 'silent' | 'failed'")]
    pub fate: &'static str,
    /// Of `failed`; else 0.
    pub errno: i32,
    pub round_trip_ms: Option<f64>,
    pub local_address: Option<String>,
    pub route_mtu: Option<u32>,
    pub offload_errno: Option<i32>,
}

/// Sends a datagram of so many bytes to an address, and waits for an answer. `id`: 16 random bytes.
#[napi]
pub fn doctor_datagram(
    env: &Env,
    address: String,
    port: u16,
    bytes: u32,
    id: Uint8Array,
    offload: bool,
    timeout_ms: f64,
) -> Result<DoctorDatagram> {
    let ip: IpAddr =
        address.parse().map_err(|_| error(Code::Option, format_args!("not an address: {address:?}")))?;
    let id =
        <[u8; 16]>::try_from(id.as_ref()).map_err(|_| error(Code::Option, "expected an id of 16 bytes"))?;
    if !(100..=65_507).contains(&bytes) || !(1.0..=10_000.0).contains(&timeout_ms) {
        return Err(error(Code::Option, "expected 100 to 65507 bytes and 1 to 10000 ms"));
    }
    let remote = SocketAddr::new(ip, port);
    let probe = probe::datagram(remote, bytes as usize, id, offload, (timeout_ms * NS_PER_MS) as u64)
        .map_err(|refused| start_error(*env, &refused))?;
    let (fate, errno) = match probe.fate {
        Fate::Answered => ("answered", 0),
        Fate::Refused => ("refused", 0),
        Fate::TooLarge => ("tooLarge", 0),
        Fate::Silent => ("silent", 0),
        Fate::Failed(errno) => ("failed", errno),
    };
    Ok(DoctorDatagram {
        fate,
        errno,
        round_trip_ms: probe.round_trip_ns.map(|ns| ns as f64 / NS_PER_MS),
        local_address: probe.local.map(|local| local.ip().to_string()),
        route_mtu: probe.route_mtu.and_then(|mtu| u32::try_from(mtu).ok()),
        offload_errno: probe.offload_errno,
    })
}

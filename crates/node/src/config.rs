//! From the numbers of JavaScript to the worker's, and from its addresses to sockets'.

use crate::clock::NS_PER_MS;
use paceline_transport::Config;
use std::net::{AddrParseError, IpAddr, SocketAddr, SocketAddrV6};

/// The sizes and times of `NativeDriver`'s options, as they come: bytes, milliseconds, bits per second. The package has
/// checked them; here out-of-range ones only must not wrap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) max_bitrate: f64,
    pub(crate) max_in_flight_transmissions: f64,
    pub(crate) idle_timeout_ms: f64,
    pub(crate) max_incoming_streams: f64,
    pub(crate) max_streams: f64,
    pub(crate) pool_bytes: f64,
    pub(crate) send_buffer_bytes: f64,
    pub(crate) initial_window: f64,
    pub(crate) max_window: f64,
    pub(crate) max_schedule_ahead_ms: f64,
    /// 0 for the default.
    pub(crate) assumed_rtt_ms: f64,
    /// Bits per second; 0 for the default.
    pub(crate) initial_bitrate: f64,
    /// 0 for the default of each address family.
    pub(crate) max_datagram_size: f64,
}

impl Numbers {
    /// Over the worker's defaults. (`as` saturates, and makes 0 of NaN.)
    pub(crate) fn apply(&self, config: &mut Config) {
        config.max_rate = crate::commands::max_rate(self.max_bitrate as u64);
        config.max_in_flight_transmissions = self.max_in_flight_transmissions as u32;
        config.idle_timeout_ns = ns(self.idle_timeout_ms);
        config.max_incoming_streams = self.max_incoming_streams as u32;
        config.max_streams = self.max_streams as u32;
        config.pool_bytes = self.pool_bytes as usize;
        config.send_buffer_bytes = self.send_buffer_bytes as u64;
        config.initial_window = self.initial_window as u64;
        config.max_window = self.max_window as u64;
        // One stream must be able to reach its own maximum.
        config.window_budget = config.window_budget.max(config.max_window);
        config.max_schedule_ahead_ns = ns(self.max_schedule_ahead_ms);
        if self.assumed_rtt_ms > 0.0 {
            config.assumed_rtt_ns = ns(self.assumed_rtt_ms);
        }
        if self.initial_bitrate > 0.0 {
            config.initial_rate = (self.initial_bitrate / 8.0) as u64;
        }
        if self.max_datagram_size > 0.0 {
            config.max_datagram_v4 = self.max_datagram_size as u16;
            config.max_datagram_v6 = self.max_datagram_size as u16;
        }
    }
}

/// Milliseconds in ns.
pub(crate) fn ns(ms: f64) -> u64 {
    (ms * NS_PER_MS).round() as u64
}

/// An IP address as Node writes it; `fe80::1%3` names an interface by its number.
pub(crate) fn socket_addr(address: &str, port: u16) -> Result<SocketAddr, AddrParseError> {
    if let Some((ip, zone)) = address.split_once('%')
        && let Ok(scope) = zone.parse()
    {
        return Ok(SocketAddrV6::new(ip.parse()?, port, 0, scope).into());
    }
    Ok(SocketAddr::new(address.parse()?, port))
}

/// The reverse of [`socket_addr`].
pub(crate) fn address_text(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        other => other.ip().to_string(),
    }
}

/// As `node:net` names it.
pub(crate) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Numbers = Numbers {
        max_bitrate: 200e6,
        max_in_flight_transmissions: 32.0,
        idle_timeout_ms: 30_000.0,
        max_incoming_streams: 1_024.0,
        max_streams: 65_536.0,
        pool_bytes: 96.0 * 1_048_576.0,
        send_buffer_bytes: 4_194_304.0,
        initial_window: 1_048_576.0,
        max_window: 64.0 * 1_048_576.0,
        max_schedule_ahead_ms: 0.1,
        initial_bitrate: 20e6,
        assumed_rtt_ms: 600.0,
        max_datagram_size: 0.0,
    };

    #[test]
    fn units_become_the_workers() {
        let mut config = Config::default();
        NUMBERS.apply(&mut config);
        assert_eq!(config.max_rate, Some(25_000_000));
        assert_eq!(config.max_in_flight_transmissions, 32);
        assert_eq!(config.idle_timeout_ns, 30_000_000_000);
        assert_eq!(config.max_schedule_ahead_ns, 100_000);
        assert_eq!(config.pool_bytes, 96 << 20);
        assert_eq!((config.initial_rate, config.assumed_rtt_ns), (2_500_000, 600_000_000));
        assert_eq!(config.window_budget, 64 << 20);
        assert_eq!((config.max_datagram_v4, config.max_datagram_v6), (1472, 1452));

        Numbers { max_datagram_size: 8972.0, max_bitrate: 0.0, ..NUMBERS }.apply(&mut config);
        assert_eq!((config.max_datagram_v4, config.max_datagram_v6), (8972, 8972));
        assert_eq!(config.max_rate, None);
    }

    /// `Config::preset` is the one source; what TypeScript shows is compared with it, figure by figure.
    #[test]
    fn presets_are_those_of_the_package() {
        use paceline_transport::Preset;

        let bytes = |bytes: u64| match bytes {
            bytes if bytes.is_multiple_of(1 << 20) => format!("{} * MiB", bytes >> 20),
            bytes => format!("{} * KiB", bytes >> 10),
        };
        let package = include_str!("../../../packages/paceline/src/options.ts");
        for preset in Preset::ALL {
            let config = Config::preset(preset);
            let line = format!(
                "  {}: {{ poolBytes: {}, initialWindow: {}, maxWindow: {}, maxScheduleAhead: {}, maxInFlightTransmissions: {}, initialBitrate: {}e6, assumedRtt: {} }},",
                format!("{preset:?}").to_lowercase(),
                bytes(config.pool_bytes as u64),
                bytes(config.initial_window),
                bytes(config.max_window),
                config.max_schedule_ahead_ns / 1_000_000,
                config.max_in_flight_transmissions,
                config.initial_rate * 8 / 1_000_000,
                config.assumed_rtt_ns / 1_000_000,
            );
            assert!(package.lines().any(|of_package| of_package == line), "options.ts has to say:\n{line}");
        }
        // And nothing else differs between them, so that a preset is these figures.
        let internet = Config::preset(Preset::Internet);
        assert_eq!(format!("{internet:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn numbers_out_of_range_do_not_wrap() {
        let mut config = Config::default();
        let wild =
            Numbers { max_streams: 1e12, idle_timeout_ms: f64::INFINITY, max_bitrate: f64::NAN, ..NUMBERS };
        wild.apply(&mut config);
        assert_eq!(config.max_streams, u32::MAX);
        assert_eq!(config.idle_timeout_ns, u64::MAX);
        assert_eq!(config.max_rate, None);
    }

    #[test]
    fn addresses_as_node_writes_them() {
        for text in ["127.0.0.1", "::", "2001:db8::1", "fe80::1%3"] {
            let address = socket_addr(text, 4433).expect(text);
            assert_eq!(address.port(), 4433);
            assert_eq!(address_text(address), text);
        }
        for text in ["", "localhost", "127.0.0.1:80", "1.2.3", "127.0.0.1%1", "fe80::1%eth0"] {
            assert!(socket_addr(text, 1).is_err(), "{text}");
        }
        assert_eq!(family([127, 0, 0, 1].into()), "IPv4");
        assert_eq!(family(std::net::Ipv6Addr::LOCALHOST.into()), "IPv6");
    }
}

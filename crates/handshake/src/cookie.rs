//! The cookie: proof that an initiator receives at the address it sends from (handshake.md section 5).

use crate::{
    bytes::{put, take},
    config::COOKIE_LIFETIME_NS,
};
use paceline_wire::crypto::{HmacSha256Key, ct_eq};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

const NS_PER_MS: u64 = 1_000_000;

/// Bakes cookies and knows its own. The key never leaves it, so the layout is its own affair.
pub(crate) struct CookieJar {
    key: HmacSha256Key,
    /// Hides how long the endpoint has been running, ms.
    offset_ms: u64,
}

impl CookieJar {
    pub(crate) fn new(key: &[u8; 32], offset_ms: u64) -> Self {
        Self { key: HmacSha256Key::new(key), offset_ms }
    }

    /// A cookie for the holder of `public_key` at `remote`.
    pub(crate) fn bake(&self, now_ns: u64, remote: SocketAddr, public_key: &[u8; 32]) -> [u8; 24] {
        self.cookie(self.time_ms(now_ns), remote, public_key)
    }

    /// Whether `cookie` was baked for them and is fresh.
    pub(crate) fn valid(
        &self,
        now_ns: u64,
        remote: SocketAddr,
        public_key: &[u8; 32],
        cookie: &[u8; 24],
    ) -> bool {
        let time_ms = u64::from_be_bytes(take::<0, 8, _>(cookie));
        // A time in the future wraps to an age far above the lifetime.
        let age_ms = self.time_ms(now_ns).wrapping_sub(time_ms);
        age_ms < COOKIE_LIFETIME_NS / NS_PER_MS && ct_eq(&self.cookie(time_ms, remote, public_key), cookie)
    }

    fn time_ms(&self, now_ns: u64) -> u64 {
        (now_ns / NS_PER_MS).wrapping_add(self.offset_ms)
    }

    fn cookie(&self, time_ms: u64, remote: SocketAddr, public_key: &[u8; 32]) -> [u8; 24] {
        let address = match remote.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let (time, port) = (time_ms.to_be_bytes(), remote.port().to_be_bytes());
        let mut cookie = [0; 24];
        put::<0, 8, _>(&mut cookie, &time);
        put::<8, 16, _>(&mut cookie, &self.key.tag16(&[&time, &address, &port, public_key]));
        cookie
    }
}

impl fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieJar").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_for_one_address_one_key_and_ten_seconds() {
        // The offset makes the time wrap between baking and checking.
        for offset in [0, u64::MAX - 1_000] {
            let jar = CookieJar::new(&[7; 32], offset);
            let (remote, key) = ("192.0.2.1:5000".parse().unwrap(), [9; 32]);
            let baked_ns = 500 * NS_PER_MS;
            let cookie = jar.bake(baked_ns, remote, &key);
            let valid = |now_ns, remote: &str, key| jar.valid(now_ns, remote.parse().unwrap(), key, &cookie);
            assert!(valid(baked_ns, "192.0.2.1:5000", &key));
            assert!(valid(baked_ns + COOKIE_LIFETIME_NS - 1, "192.0.2.1:5000", &key));
            assert!(!valid(baked_ns + COOKIE_LIFETIME_NS, "192.0.2.1:5000", &key));
            assert!(!valid(baked_ns - 1, "192.0.2.1:5000", &key), "from the future");
            assert!(!valid(baked_ns, "192.0.2.1:5001", &key));
            assert!(!valid(baked_ns, "192.0.2.2:5000", &key));
            assert!(!valid(baked_ns, "192.0.2.1:5000", &[8; 32]));
            assert!(!CookieJar::new(&[6; 32], offset).valid(baked_ns, remote, &key, &cookie));
            for bit in 0..192 {
                let mut flipped = cookie;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(!jar.valid(baked_ns, remote, &key, &flipped), "bit {bit}");
            }
        }
    }
}

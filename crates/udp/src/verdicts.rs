//! Which destinations segmentation offload does not work for.
//!
//! A verdict belongs to a destination, not to the socket: one route through a device without offload must not cost all
//! other peers seven eighths of their speed (reference/limits.md: 1 segment a send is 0.13 of the ceiling).

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

/// Destinations remembered. A 257th forgets the oldest, which costs that one a refused call per burst until remembered again.
pub(crate) const MAX_VERDICTS: usize = 256;
/// How long a verdict holds before one burst tries again, in ns: routes and drivers change rarely.
pub(crate) const VERDICT_NS: u64 = 60_000_000_000;

/// Refused destinations, oldest first. All verdicts hold equally long, so this is the order of their ends, too.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    until_ns: HashMap<IpAddr, u64>,
    order: VecDeque<IpAddr>,
}

impl Verdicts {
    /// Whether a burst of several segments may be tried.
    pub(crate) fn allows(&self, destination: &IpAddr, now_ns: u64) -> bool {
        self.until_ns.is_empty() || self.until_ns.get(destination).is_none_or(|until| now_ns >= *until)
    }

    /// Offload failed for `destination`.
    pub(crate) fn refuse(&mut self, destination: IpAddr, now_ns: u64) {
        self.withdraw(&destination);
        if self.order.len() >= MAX_VERDICTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.until_ns.remove(&oldest);
        }
        self.until_ns.insert(destination, now_ns.saturating_add(VERDICT_NS));
        self.order.push_back(destination);
    }

    /// It was not offload that failed.
    pub(crate) fn withdraw(&mut self, destination: &IpAddr) {
        if self.until_ns.remove(destination).is_some() {
            self.order.retain(|other| other != destination);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        debug_assert_eq!(self.until_ns.len(), self.order.len());
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    #[test]
    fn a_verdict_holds_for_its_time_and_its_destination_only() {
        let mut verdicts = Verdicts::default();
        verdicts.refuse(ip(1), 5);
        assert!(!verdicts.allows(&ip(1), 5));
        assert!(verdicts.allows(&ip(2), 5));
        assert!(!verdicts.allows(&ip(1), 5 + VERDICT_NS - 1));
        assert!(verdicts.allows(&ip(1), 5 + VERDICT_NS));
        verdicts.refuse(ip(1), 5 + VERDICT_NS);
        assert!(!verdicts.allows(&ip(1), 5 + 2 * VERDICT_NS - 1));
        verdicts.withdraw(&ip(1));
        assert!(verdicts.allows(&ip(1), 6 + VERDICT_NS));
        assert_eq!(verdicts.len(), 0);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut verdicts = Verdicts::default();
        for n in 0..10_000 {
            verdicts.refuse(ip(n), u64::from(n));
            verdicts.refuse(ip(n / 2), u64::from(n));
            assert!(verdicts.len() <= MAX_VERDICTS);
        }
        assert_eq!(verdicts.len(), MAX_VERDICTS);
        assert!(!verdicts.allows(&ip(9_999), 9_999));
        assert!(verdicts.allows(&ip(1), 9_999));
    }
}

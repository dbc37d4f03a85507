//! Who is where: nodes are named by index, datagrams by address.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// Nodes that choose no address listen at 10.0.0.1:4433 and up.
const PORT: u16 = 4433;
const FIRST_ADDRESS: u32 = 0x0a00_0001;

/// Where the node with this index listens, if it did not choose.
pub(crate) fn address_of(index: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(FIRST_ADDRESS + index as u32)), PORT)
}

/// Whose address it could be.
pub(crate) fn index_of(address: SocketAddr) -> Option<usize> {
    match address.ip() {
        IpAddr::V4(ip) if address.port() == PORT => {
            u32::from(ip).checked_sub(FIRST_ADDRESS).map(|index| index as usize)
        }
        _ => None,
    }
}

/// The addresses of a network: all chosen, or none.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    chosen: Vec<SocketAddr>,
    indices: BTreeMap<SocketAddr, usize>,
}

impl Addresses {
    /// The index of an address, a new one if it is new.
    pub(crate) fn choose(&mut self, address: SocketAddr) -> usize {
        let next = self.chosen.len();
        let index = *self.indices.entry(address).or_insert(next);
        if index == next {
            self.chosen.push(address);
        }
        index
    }

    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        self.chosen.get(index).copied().unwrap_or_else(|| address_of(index))
    }

    pub(crate) fn index(&self, address: SocketAddr) -> Option<usize> {
        if self.chosen.is_empty() { index_of(address) } else { self.indices.get(&address).copied() }
    }
}

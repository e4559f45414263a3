//! A bound on the connections from one address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many connections there are from each address, and how many there may be.
#[derive(Debug)]
pub(super) struct Addresses {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    /// Allows `most` connections from one address.
    pub(super) fn new(most: usize) -> Self {
        Self { most, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection. Returns `None` if there are as many from this address as there may be.
    pub(super) fn count(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        let address = network(address);
        let mut open = self.open();
        let here = open.get(&address).copied().unwrap_or(0);
        (here < self.most).then(|| {
            open.insert(address, here + 1);
            Counted { addresses: Arc::clone(self), address }
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Entry::Occupied(mut here) = self.addresses.open().entry(self.address) {
            *here.get_mut() -= 1;
            if *here.get() == 0 {
                here.remove();
            }
        }
    }
}

/// Returns what stands for an address: whoever has one IPv6 address usually has 2^64 of them, all in one network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_while_their_connections_are_open() {
        let addresses = Arc::new(Addresses::new(2));
        let count = |text: &str| addresses.count(text.parse().expect("an address"));
        let (first, second) = (count("10.0.0.1"), count("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(count("10.0.0.1").is_none() && count("10.0.0.2").is_some());
        drop(first);
        assert!(count("10.0.0.1").is_some());
        let network = [count("2001:db8::1"), count("2001:db8::2")];
        assert!(network.iter().all(Option::is_some));
        assert!(count("2001:db8::ffff").is_none() && count("2001:db8:0:1::1").is_some());
        drop((second, network));
        assert!(addresses.open().is_empty(), "nothing is kept about addresses without connections");
    }
}

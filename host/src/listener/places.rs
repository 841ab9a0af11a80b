//! How many tunnels there may be, in all and from one address.
//!
//! Asked by `listener::tunnel` before a tunnel is opened; a [`Place`] is held for as long as it lasts.
//! Invariants, asserted when a place is given back: the places of all addresses are all that are taken,
//! and an address without a tunnel is not remembered.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bits of an IPv6 address that one customer has at least. Source: RFC 6177, section 2.
const IPV6_PREFIX_BITS: u32 = 64;

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    all_max: u32,
    per_peer_max: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    by_peer: HashMap<IpAddr, u32>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// None at all.
    All,
    /// None for this address.
    Peer,
}

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    peer: IpAddr,
}

impl Places {
    pub(super) fn new(all_max: u32, per_peer_max: u32) -> Self {
        Self {
            all_max,
            per_peer_max,
            taken: Mutex::default(),
        }
    }

    /// Takes a place for a tunnel from `address`.
    ///
    /// # Errors
    /// [`Full`]; nothing was taken then.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let peer = counted_as(address);
        let mut taken = self.lock();
        if taken.all >= self.all_max {
            return Err(Full::All);
        }
        let count = taken.by_peer.get(&peer).copied().unwrap_or(0);
        if count >= self.per_peer_max {
            return Err(Full::Peer);
        }
        taken.all += 1;
        taken.by_peer.insert(peer, count + 1);
        Ok(Place {
            places: Arc::clone(self),
            peer,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Entry::Occupied(mut entry) = taken.by_peer.entry(self.peer) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        debug_assert_eq!(taken.all, taken.by_peer.values().sum::<u32>());
    }
}

/// The address under which tunnels are counted.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let ignored = u128::BITS - IPV6_PREFIX_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> ignored << ignored))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn places_are_limited_in_all_and_for_each_address_and_come_back() {
        let places = Arc::new(Places::new(3, 2));
        let first = places.take(address("192.0.2.1")).expect("room");
        let second = places.take(address("::ffff:192.0.2.1")).expect("room");
        let full = |text| places.take(address(text)).expect_err("full");
        assert_eq!(full("192.0.2.1"), Full::Peer);
        let third = places.take(address("192.0.2.2")).expect("room");
        assert_eq!(full("192.0.2.3"), Full::All);
        drop(first);
        let again = places.take(address("192.0.2.1")).expect("room again");
        drop((second, third, again));
        assert!(places.lock().by_peer.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_customer_count_as_one() {
        let places = Arc::new(Places::new(10, 1));
        let _one = places.take(address("2001:db8:0:1::1")).expect("room");
        let other = places.take(address("2001:db8:0:1:ffff::2"));
        assert_eq!(other.expect_err("the same"), Full::Peer);
        places.take(address("2001:db8:0:2::1")).expect("another");
    }
}

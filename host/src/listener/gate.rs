//! Which sockets are served, of those that were accepted: not too many from one address.
//!
//! Asked by `listener` for each socket before anything is read from it. Whoever is refused is hung up on:
//! it costs the host one system call, and no memory. Trusted proxies are not counted, because what they
//! bring comes from many.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::places::{Place, Places};
use super::seldom::Seldom;
use crate::config::Network;

/// Counts connections by address.
#[derive(Debug)]
pub(super) struct Gate {
    /// None: no limit.
    places: Option<Arc<Places>>,
    trusted_proxies: Vec<Network>,
    full: Seldom,
}

impl Gate {
    pub(super) fn new(per_peer_max: Option<NonZeroU32>, trusted_proxies: Vec<Network>) -> Self {
        let places = per_peer_max.map(|max| Arc::new(Places::new(u32::MAX, max.get())));
        Self {
            places,
            trusted_proxies,
            full: Seldom::default(),
        }
    }

    /// Lets a connection from `address` in (none: from this machine), with the place it has to hold if it is
    /// counted; none if it is not to be served.
    pub(super) fn admit(&self, address: Option<IpAddr>) -> Option<Option<Place>> {
        let (Some(places), Some(address)) = (&self.places, address) else {
            return Some(None);
        };
        let trusted = |network: &Network| network.contains(address);
        if self.trusted_proxies.iter().any(trusted) {
            return Some(None);
        }
        let place = places.take(address).ok();
        if place.is_none()
            && let Some(left_out) = self.full.now()
        {
            tracing::warn!(
                peer = %address,
                left_out,
                "a connection was closed: as many are open from its address as may be"
            );
        }
        place.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strangers_are_counted() {
        let address = |text: &str| Some(text.parse::<IpAddr>().expect(text));
        let trusted = vec!["10.0.0.0/8".parse().expect("a network")];
        let gate = Gate::new(NonZeroU32::new(1), trusted.clone());
        let first = gate.admit(address("192.0.2.1")).expect("the first");
        assert!(first.is_some(), "it is counted");
        assert!(gate.admit(address("192.0.2.1")).is_none(), "one too many");
        drop(first);
        gate.admit(address("192.0.2.1")).expect("room again");
        for _ in 0..3 {
            let proxy = gate.admit(address("10.0.0.1")).expect("a proxy");
            assert!(proxy.is_none(), "it is not counted");
        }
        for _ in 0..3 {
            let local = gate.admit(None).expect("this machine");
            assert!(local.is_none(), "it is not counted");
        }
        let open = Gate::new(None, trusted);
        let anybody = open.admit(address("192.0.2.1")).expect("no limit");
        assert!(anybody.is_none(), "nobody counts");
    }
}

//! Who is connected: how many in all, and how many of one address.

use super::Limits;
use crate::io::gate::neighbourhood;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Counts {
    all: u32,
    /// Only addresses that are connected.
    by_address: HashMap<IpAddr, u32>,
}

/// Hands out places.
#[derive(Debug, Clone, Default)]
pub(super) struct Guests(Arc<Mutex<Counts>>);

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    guests: Guests,
    address: IpAddr,
}

impl Guests {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one for this address.
    pub(super) fn enter(&self, address: IpAddr, limits: &Limits) -> Option<Place> {
        let address = neighbourhood(address);
        let mut counts = self.counts();
        let here = counts.by_address.get(&address).copied().unwrap_or_default();
        if counts.all >= limits.connections || here >= limits.per_address {
            return None;
        }
        counts.all += 1;
        counts.by_address.insert(address, here + 1);
        Some(Place { guests: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.guests.counts();
        counts.all -= 1;
        if let Some(here) = counts.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: u32, per_address: u32) -> Limits {
        Limits { connections, per_address, ..Limits::default() }
    }

    #[test]
    fn one_address_cannot_take_all_places_and_nothing_stays_behind() {
        let guests = Guests::default();
        let limits = limits(5, 2);
        let enter = |last: u8| guests.enter(IpAddr::from([192, 0, 2, last]), &limits);
        let mut taken = vec![enter(1).unwrap(), enter(1).unwrap()];
        assert!(enter(1).is_none());
        taken.push(enter(2).unwrap());
        taken.remove(0);
        taken.extend([enter(1).unwrap(), enter(3).unwrap(), enter(4).unwrap()]);
        assert!(enter(5).is_none(), "five are all");
        assert_eq!(guests.counts().by_address.len(), 4, "a refusal leaves nothing");
        drop(taken);
        let counts = guests.counts();
        assert!(counts.all == 0 && counts.by_address.is_empty());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_and_mapped_addresses_as_ipv4() {
        let guests = Guests::default();
        let limits = limits(9, 1);
        let enter = |text: &str| guests.enter(text.parse().unwrap(), &limits);
        let _a = enter("2001:db8::1").unwrap();
        assert!(enter("2001:db8::2").is_none());
        let _b = enter("2001:db8:0:1::2").unwrap();
        let _c = enter("192.0.2.1").unwrap();
        assert!(enter("::ffff:192.0.2.1").is_none());
    }
}

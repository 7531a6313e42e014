//! How many connections may be there at a time: in all and of one address, shaking hands and open.

use super::limits::LinkLimits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    half_open: usize,
    all: usize,
}

#[derive(Debug, Default)]
struct State {
    total: Counts,
    /// Only addresses that have a connection: no more entries than connections.
    by_address: HashMap<IpAddr, Counts>,
}

/// Hands out places. A place is given back when its [`Place`] is dropped.
#[derive(Debug)]
pub(super) struct Gate {
    limits: LinkLimits,
    state: Mutex<State>,
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Place {
    gate: Arc<Gate>,
    address: IpAddr,
    half_open: bool,
}

/// Whoever has one IPv6 address has the whole /64, so that counts as one.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
        },
    }
}

impl Gate {
    pub(super) fn new(limits: LinkLimits) -> Arc<Gate> {
        Arc::new(Gate { limits, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection that now shakes hands; `None` if there is none.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = neighbourhood(address);
        let limits = &self.limits;
        let mut state = self.state();
        let here = state.by_address.get(&address).copied().unwrap_or_default();
        let free = state.total.half_open < limits.half_open
            && state.total.all < limits.connections
            && here.half_open < limits.half_open_per_address
            && here.all < limits.connections_per_address;
        if !free {
            return None;
        }
        state.total.half_open += 1;
        state.total.all += 1;
        let entry = state.by_address.entry(address).or_default();
        entry.half_open += 1;
        entry.all += 1;
        Some(Place { gate: self.clone(), address, half_open: true })
    }
}

impl Place {
    /// The handshake is done.
    pub(super) fn opened(&mut self) {
        if std::mem::take(&mut self.half_open) {
            let mut state = self.gate.state();
            state.total.half_open -= 1;
            if let Some(here) = state.by_address.get_mut(&self.address) {
                here.half_open -= 1;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.opened();
        let mut state = self.gate.state();
        state.total.all -= 1;
        if let Some(here) = state.by_address.get_mut(&self.address) {
            here.all -= 1;
            if here.all == 0 {
                state.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Arc<Gate> {
        Gate::new(LinkLimits {
            half_open: 4,
            half_open_per_address: 2,
            connections: 6,
            connections_per_address: 3,
            ..LinkLimits::default()
        })
    }

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let gate = gate();
        let mut a = gate.enter(v4(1)).unwrap();
        let _b = gate.enter(v4(1)).unwrap();
        assert!(gate.enter(v4(1)).is_none());
        a.opened();
        let mut c = gate.enter(v4(1)).unwrap();
        c.opened();
        assert!(gate.enter(v4(1)).is_none(), "three connections are the most");
        assert!(gate.enter(v4(2)).is_some());
        drop(c);
        assert!(gate.enter(v4(1)).is_some());
    }

    #[test]
    fn all_together_are_bounded_and_nothing_stays_behind() {
        let gate = gate();
        let mut places: Vec<Place> = (0..4).map(|i| gate.enter(v4(i)).unwrap()).collect();
        assert!(gate.enter(v4(9)).is_none());
        places.iter_mut().for_each(Place::opened);
        places.extend((4..6).map(|i| gate.enter(v4(i)).unwrap()));
        assert!(gate.enter(v4(9)).is_none());
        drop(places);
        let state = gate.state();
        assert_eq!((state.total.half_open, state.total.all), (0, 0));
        assert!(state.by_address.is_empty());
    }

    #[test]
    fn an_ipv6_neighbourhood_counts_as_one_and_mapped_addresses_as_ipv4() {
        let parse = |text: &str| neighbourhood(text.parse().unwrap());
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::ffff:1"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:192.0.2.1"), v4(1));
    }
}

//! Who takes up room: viewers, viewers per address, handshakes in flight. Permits are given out at
//! the door and come back by themselves when they are dropped.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions.
    pub viewers: usize,
    /// Sessions of one address (IPv6: one /64, as one customer has).
    pub per_address: usize,
    /// Sessions that have not got as far as media.
    pub connecting: usize,
}

/// What is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All viewers' places.
    Viewers,
    /// Those of this address.
    Address,
    /// Those of handshakes.
    Connecting,
}

#[derive(Debug, Default)]
struct State {
    viewers: usize,
    connecting: usize,
    addresses: HashMap<IpAddr, usize>,
}

/// The counts.
#[derive(Debug)]
pub struct Occupancy {
    limits: Limits,
    state: Mutex<State>,
}

/// A viewer's place.
#[derive(Debug)]
pub struct Permit {
    occupancy: Arc<Occupancy>,
    client: IpAddr,
    address: IpAddr,
    connecting: bool,
    attached: Option<Box<dyn std::fmt::Debug + Send>>,
}

impl Occupancy {
    /// Nobody there.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Takes a place for a viewer at this address.
    ///
    /// # Errors
    /// [`Full`] with what is full.
    pub fn enter(self: &Arc<Self>, client: IpAddr) -> Result<Permit, Full> {
        let address = customer(client);
        let mut state = self.lock();
        if state.viewers >= self.limits.viewers {
            return Err(Full::Viewers);
        }
        if state.connecting >= self.limits.connecting {
            return Err(Full::Connecting);
        }
        let here = state.addresses.entry(address).or_default();
        if *here >= self.limits.per_address {
            return Err(Full::Address);
        }
        *here += 1;
        state.viewers += 1;
        state.connecting += 1;
        Ok(Permit { occupancy: self.clone(), client, address, connecting: true, attached: None })
    }

    /// Sessions, and those of them without media.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.viewers, state.connecting)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counts are right after every statement: a panic elsewhere can't have left them half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Who has taken the place.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// Drops something together with the place: what there is for this viewer elsewhere.
    pub fn attach(&mut self, what: impl std::fmt::Debug + Send + 'static) {
        self.attached = Some(Box::new(what));
    }

    /// The viewer has media: its handshake takes no more room.
    pub fn connected(&mut self) {
        if std::mem::take(&mut self.connecting) {
            self.occupancy.lock().connecting -= 1;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.occupancy.lock();
        state.viewers -= 1;
        state.connecting -= usize::from(self.connecting);
        if let Some(here) = state.addresses.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                state.addresses.remove(&self.address);
            }
        }
    }
}

/// Who has an address: itself, or for IPv6 the /64 that one customer gets.
pub(crate) fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::from((u128::from(ip) >> 64 << 64).to_be_bytes()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_limit_holds_and_places_come_back() {
        let o = Occupancy::new(Limits { viewers: 3, per_address: 2, connecting: 2 });
        let mut a = o.enter(ip("192.0.2.1")).unwrap();
        let b = o.enter(ip("192.0.2.1")).unwrap();
        assert_eq!(o.enter(ip("192.0.2.2")).unwrap_err(), Full::Connecting);
        a.connected();
        a.connected();
        assert_eq!(o.counts(), (2, 1));
        assert_eq!(o.enter(ip("192.0.2.1")).unwrap_err(), Full::Address);
        let mut c = o.enter(ip("192.0.2.2")).unwrap();
        c.connected();
        assert_eq!(o.enter(ip("192.0.2.3")).unwrap_err(), Full::Viewers);
        drop((a, b, c));
        assert_eq!(o.counts(), (0, 0));
        assert!(o.lock().addresses.is_empty());
    }

    #[test]
    fn one_customer_is_one_address() {
        let o = Occupancy::new(Limits { viewers: 9, per_address: 1, connecting: 9 });
        let _a = o.enter(ip("2001:db8::1")).unwrap();
        assert!(o.enter(ip("2001:db8::2")).is_err());
        assert!(o.enter(ip("2001:db8:0:1::2")).is_ok());
        let _b = o.enter(ip("192.0.2.1")).unwrap();
        assert!(o.enter(ip("::ffff:192.0.2.1")).is_err());
    }
}

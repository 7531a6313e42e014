//! How many connections there are, over all workers. A place is taken when one is accepted and comes
//! back by itself when it ends, wherever that is.

use super::TcpLimits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    customers: HashMap<IpAddr, usize>,
}

/// The counts.
#[derive(Debug)]
pub(super) struct Places {
    limits: TcpLimits,
    taken: Mutex<Taken>,
}

/// A connection's place.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    customer: IpAddr,
}

impl Places {
    pub(super) fn new(limits: TcpLimits) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    /// A place for a connection of this customer, if there is one left.
    pub(super) fn take(self: &Arc<Self>, customer: IpAddr) -> Option<Place> {
        let mut taken = self.lock();
        let here = taken.customers.get(&customer).copied().unwrap_or(0);
        if taken.total >= self.limits.total || here >= self.limits.per_address {
            return None;
        }
        taken.total += 1;
        taken.customers.insert(customer, here + 1);
        Some(Place { places: self.clone(), customer })
    }

    /// Whether none is taken.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let taken = self.lock();
        taken.total == 0 && taken.customers.is_empty()
    }

    /// A lock for each connection, none for packets.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total -= 1;
        if let Some(here) = taken.customers.get_mut(&self.customer) {
            *here -= 1;
            if *here == 0 {
                taken.customers.remove(&self.customer);
            }
        }
    }
}

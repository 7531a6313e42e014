//! How often one address may ask: joins, changes and ends are to be limited (RFC 9725 section 5, WHEP
//! section 5). A token bucket each; time is an argument.

use crate::io::gate::neighbourhood;
use soleil_protocol::Mono;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Requests per second and session that an address may have: joining takes one, trickling another,
/// leaving a third, and nobody does that more than once a second.
const PER_SESSION: u32 = 1;

/// Requests at once, per session: everybody behind an address joins and trickles in one moment.
const BURST_PER_SESSION: u32 = 3;

/// Addresses that are remembered: twice the connections that the listener holds.
const MAX_ADDRESSES: usize = 8_192;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Mono,
}

/// The buckets.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

impl Rate {
    /// For addresses that may have so many sessions each.
    pub fn new(sessions_per_address: usize) -> Self {
        let sessions = sessions_per_address as f64;
        Self {
            per_second: sessions * f64::from(PER_SESSION),
            // One who tries things out by hand has a few.
            burst: (sessions * f64::from(BURST_PER_SESSION)).max(20.0),
            buckets: Mutex::default(),
        }
    }

    /// Whether one more request of this address (IPv6: of one /64) may be answered.
    pub fn take(&self, now: Mono, address: IpAddr) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let (burst, per_second) = (self.burst, self.per_second);
        let tokens =
            |b: &Bucket| (b.tokens + now.since(b.at).as_secs_f64() * per_second).min(burst);
        if buckets.len() >= MAX_ADDRESSES {
            buckets.retain(|_, b| tokens(b) < burst);
            if buckets.len() >= MAX_ADDRESSES {
                // Better nobody limited for a moment than somebody refused who did nothing.
                buckets.clear();
            }
        }
        let bucket =
            buckets.entry(neighbourhood(address)).or_insert(Bucket { tokens: burst, at: now });
        bucket.tokens = tokens(bucket);
        bucket.at = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    #[test]
    fn a_burst_then_a_rate_for_each_address_by_itself() {
        let rate = Rate::new(10);
        let now = Mono(5_000_000);
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        assert_eq!((0..100).filter(|_| rate.take(now, a)).count(), 30);
        assert!(rate.take(now, b));
        let later = now.after(Duration::from_millis(500));
        assert_eq!((0..100).filter(|_| rate.take(later, a)).count(), 5);
    }

    #[test]
    fn memory_is_bounded() {
        let rate = Rate::new(1);
        let now = Mono(0);
        for i in 0..3 * MAX_ADDRESSES as u32 {
            rate.take(now, Ipv4Addr::from(i).into());
            assert!(rate.buckets.lock().unwrap().len() <= MAX_ADDRESSES);
        }
    }
}

//! A token bucket: how fast one peer may send. Time is an argument.

use soleil_protocol::Mono;
use std::time::Duration;

/// Microseconds a second.
const SECOND: u64 = 1_000_000;

/// Grants `rate` units a second on average and `burst` at once.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: u64,
    /// Units times a million, so that nothing is lost in rounding.
    burst: u64,
    level: u64,
    at: Mono,
}

impl Bucket {
    pub(super) fn new(rate: u32, burst: u32, now: Mono) -> Bucket {
        let burst = u64::from(burst) * SECOND;
        Bucket { rate: u64::from(rate.max(1)), burst, level: burst, at: now }
    }

    /// Takes `n` units and says how long to wait before going on. More than `burst` counts as
    /// `burst`: a single large thing passes, and delays what follows.
    pub(super) fn take(&mut self, n: u32, now: Mono) -> Duration {
        let elapsed = now.since(self.at).as_micros().min(u128::from(u64::MAX)) as u64;
        self.at = self.at.max(now);
        self.level = self.level.saturating_add(elapsed.saturating_mul(self.rate)).min(self.burst);
        let wanted = (u64::from(n) * SECOND).min(self.burst);
        if wanted <= self.level {
            self.level -= wanted;
            return Duration::ZERO;
        }
        let missing = wanted - self.level;
        let wait = missing.div_ceil(self.rate);
        // What accrues during the wait is spent already.
        self.level = (wait * self.rate).saturating_sub(missing);
        self.at = self.at.after(Duration::from_micros(wait));
        Duration::from_micros(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_the_rate_holds() {
        let mut now = Mono(5);
        let mut bucket = Bucket::new(10, 3, now);
        for _ in 0..3 {
            assert_eq!(bucket.take(1, now), Duration::ZERO);
        }
        for _ in 0..10 {
            let wait = bucket.take(1, now);
            assert_eq!(wait, Duration::from_millis(100));
            now = now.after(wait);
        }
        assert_eq!(bucket.take(3, now.after(Duration::from_secs(60))), Duration::ZERO);
    }

    #[test]
    fn a_thing_larger_than_the_burst_passes() {
        let mut bucket = Bucket::new(10, 5, Mono(0));
        assert_eq!(bucket.take(1_000_000, Mono(0)), Duration::ZERO);
        assert_eq!(bucket.take(5, Mono(0)), Duration::from_millis(500));
    }

    #[test]
    fn time_that_stands_still_or_jumps_harms_nothing() {
        let mut bucket = Bucket::new(u32::MAX, u32::MAX, Mono(100));
        assert_eq!(bucket.take(u32::MAX, Mono(0)), Duration::ZERO);
        assert_eq!(bucket.take(u32::MAX, Mono(u64::MAX)), Duration::ZERO);
    }
}

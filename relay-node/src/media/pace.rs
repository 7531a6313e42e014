//! How fast a link catches up. A hop carries its streams and something beside, but not two seconds
//! of ring at once: those would push out of its queue what comes behind them. So a layer goes out of
//! the ring at a multiple of what it comes at, and both are counted here, in bytes.

use super::sizes::MAX_HOP_PACKET;
use soleil_protocol::Mono;
use std::time::Duration;

/// Over how long a layer is measured: some frames, so that a key frame weighs little.
const SPAN: Duration = Duration::from_millis(500);

/// What may go out at once, as time at the pace: timers are late by some milliseconds.
const BURST: Duration = Duration::from_millis(10);

const SECOND: u64 = 1_000_000;

fn in_time(bytes_a_second: u64, time: Duration) -> u64 {
    bytes_a_second.saturating_mul(time.as_micros() as u64) / SECOND
}

/// What of a layer comes in a second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Meter {
    began: Mono,
    bytes: u64,
    last: u64,
}

impl Meter {
    /// So much has come.
    pub fn count(&mut self, now: Mono, bytes: u64) {
        if now.since(self.began) >= SPAN {
            *self = Self { began: now, bytes: 0, last: self.this(now) };
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn this(&self, now: Mono) -> u64 {
        let span = now.since(self.began).max(SPAN).as_micros() as u64;
        self.bytes.saturating_mul(SECOND) / span
    }

    /// Bytes a second: of the last whole span, or of this one if that is more already.
    pub fn rate(&self, now: Mono) -> u64 {
        let stale = now.since(self.began) >= 2 * SPAN;
        self.this(now).max(if stale { 0 } else { self.last })
    }
}

/// What a link that catches up may be given now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    bytes: u64,
    at: Mono,
}

impl Pace {
    /// Time has passed, at so many bytes a second.
    pub fn refill(&mut self, now: Mono, rate: u64) {
        let fresh = in_time(rate, now.since(self.at));
        if fresh > 0 {
            let most = in_time(rate, BURST).max(MAX_HOP_PACKET as u64);
            self.bytes = self.bytes.saturating_add(fresh).min(most);
            self.at = now;
        }
    }

    /// Whether a packet of that size may go now.
    pub fn take(&mut self, bytes: usize) -> bool {
        let left = self.bytes.checked_sub(bytes as u64);
        self.bytes = left.unwrap_or(self.bytes);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Mono {
        Mono(1_000 * n)
    }

    #[test]
    fn a_layer_is_measured_over_its_last_moments() {
        let mut meter = Meter::default();
        assert_eq!(meter.rate(ms(5)), 0);
        // 1,000 bytes each 10 ms are 100,000 a second.
        (1_000..2_000).step_by(10).for_each(|at| meter.count(ms(at), 1_000));
        let rate = meter.rate(ms(2_000));
        assert!((98_000..=102_000).contains(&rate), "{rate}");
        // A rise shows before the span is over, a pause when it is.
        meter.count(ms(2_010), 200_000);
        assert!(meter.rate(ms(2_020)) >= 300_000);
        assert!(meter.rate(ms(7_000)) < 50_000);
        meter.count(ms(60_000), 1_000);
        assert!(meter.rate(ms(60_001)) <= 5_000);
    }

    #[test]
    fn what_goes_out_keeps_to_the_pace() {
        let mut pace = Pace::default();
        let mut sent = 0;
        for at in 10_000..11_000 {
            pace.refill(ms(at), 250_000);
            while pace.take(1_200) {
                sent += 1_200;
            }
        }
        assert!((248_000..=254_000).contains(&sent), "{sent}");
        // A pause is not made up for beyond a moment, and the largest packet always has its turn.
        pace.refill(ms(60_000), 250_000);
        assert!(pace.take(2_000) && !pace.take(600));
        pace.refill(ms(120_000), 1_000);
        assert!(pace.take(MAX_HOP_PACKET));
    }
}

//! The rate of a layer, measured where its packets come in: once for all viewers.

use soleil_protocol::Mono;

/// Width of a bucket, microseconds.
const BUCKET: u64 = 1_000_000;

/// Whole buckets that are averaged: longer than usual distances of key frames, which are most of a
/// layer's unevenness.
const BUCKETS: u64 = 4;

/// Before two whole buckets have been seen, all since the first packet counts, once that is so long
/// ago, in microseconds: less is mostly the first key frame.
const MIN_TIME: u64 = 1_000_000;

/// Bits per second over the last seconds.
#[derive(Debug, Default, Clone)]
pub struct Meter {
    bytes: [u64; BUCKETS as usize + 1],
    /// Number of the bucket that is being filled.
    head: u64,
    first: Option<Mono>,
}

impl Meter {
    /// A packet of so many bytes.
    pub fn push(&mut self, now: Mono, bytes: usize) {
        let bucket = now.0 / BUCKET;
        self.move_to(bucket);
        self.first.get_or_insert(now);
        if let Some(slot) = self.bytes.get_mut((bucket % (BUCKETS + 1)) as usize) {
            *slot += bytes as u64;
        }
    }

    /// The rate in bits per second; `None` before it has been seen for a second, or if nothing has come for
    /// all of the window.
    pub fn rate(&self, now: Mono) -> Option<u64> {
        let bucket = now.0 / BUCKET;
        // The first bucket was begun somewhere in its middle.
        let first = self.first?;
        let from = (first.0 / BUCKET + 1).max(bucket.saturating_sub(BUCKETS));
        let whole = (from..bucket).filter(|b| *b <= self.head && b + BUCKETS >= self.head);
        let bytes: u64 = whole.map(|b| self.bytes[(b % (BUCKETS + 1)) as usize]).sum();
        let count = bucket.saturating_sub(from);
        if count >= 2 {
            return (bytes > 0).then(|| bytes * 8 / count);
        }
        let time = now.since(first).as_micros() as u64;
        let all = self.bytes.iter().sum::<u64>();
        (time >= MIN_TIME).then(|| (all as f64 * 8e6 / time as f64) as u64)
    }

    fn move_to(&mut self, bucket: u64) {
        if bucket > self.head + BUCKETS {
            *self = Self { head: bucket, ..Self::default() };
        }
        while self.head < bucket {
            self.head += 1;
            self.bytes[(self.head % (BUCKETS + 1)) as usize] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(meter: &mut Meter, from_ms: u64, to_ms: u64) {
        for ms in (from_ms..to_ms).step_by(10) {
            meter.push(Mono(ms * 1_000), 1_250);
        }
    }

    #[test]
    fn a_steady_layer_has_its_rate_and_a_silent_one_none() {
        let mut meter = Meter::default();
        feed(&mut meter, 500, 1_490);
        assert_eq!(meter.rate(Mono(1_490_000)), None);
        feed(&mut meter, 1_490, 1_500);
        assert_eq!(meter.rate(Mono(1_500_000)), Some(1_000_000));
        feed(&mut meter, 1_500, 2_900);
        assert_eq!(meter.rate(Mono(2_900_000)), Some(1_000_000));
        feed(&mut meter, 2_900, 3_500);
        assert_eq!(meter.rate(Mono(3_500_000)), Some(1_000_000));
        feed(&mut meter, 3_500, 60_000);
        assert_eq!(meter.rate(Mono(60_000_000)), Some(1_000_000));
        // Half of the window was silent, then all of it.
        assert_eq!(meter.rate(Mono(62_500_000)), Some(500_000));
        assert_eq!(meter.rate(Mono(65_000_000)), None);
        // Anew after a long silence.
        feed(&mut meter, 100_500, 103_500);
        assert_eq!(meter.rate(Mono(103_500_000)), Some(1_000_000));
    }
}

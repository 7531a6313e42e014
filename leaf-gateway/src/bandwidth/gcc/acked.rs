//! What arrives at the viewer, in bits per second, on the viewer's own clock: feedback comes in
//! lumps, arrival does not.

/// Width of a bucket, microseconds: three of them hold a frame interval at 20 frames a second and
/// more, so that the edge of the window costs little.
const BUCKET: i64 = 50_000;

/// Buckets: half a second, as draft-ietf-rmcat-gcc-02 section 5.5 has it (0.5-1 s).
const BUCKETS: usize = 10;

/// A rate is not told before so many buckets have been seen.
const MIN_BUCKETS: i64 = 4;

#[derive(Debug, Default)]
pub(super) struct Acked {
    bytes: [u32; BUCKETS + 1],
    /// Number of the newest bucket.
    head: i64,
    first: Option<i64>,
    newest: i64,
}

impl Acked {
    pub(super) fn push(&mut self, arrived: i64, size: u32) {
        let bucket = arrived.div_euclid(BUCKET);
        if self.first.is_none() || (bucket - self.head).abs() > 100 * BUCKETS as i64 {
            *self = Self { head: bucket, first: Some(arrived), newest: arrived, ..Self::default() };
        }
        let len = self.bytes.len() as i64;
        if bucket > self.head {
            if bucket - self.head > BUCKETS as i64 {
                // A silence longer than the window: it counts from here.
                self.first = Some(arrived);
            }
            for gone in (self.head + 1..=bucket).take(len as usize) {
                self.bytes[gone.rem_euclid(len) as usize] = 0;
            }
            self.head = bucket;
        } else if self.head - bucket >= len {
            return;
        }
        self.newest = self.newest.max(arrived);
        let slot = &mut self.bytes[bucket.rem_euclid(len) as usize];
        *slot = slot.saturating_add(size);
    }

    /// Bits per second over the whole window, once it can be said.
    pub(super) fn rate(&self) -> Option<f64> {
        self.over(BUCKETS as i64)
    }

    /// Over the last fifth of a second: while the link is full, this is what it carries at present.
    pub(super) fn latest(&self) -> Option<f64> {
        self.over(MIN_BUCKETS)
    }

    fn over(&self, buckets: i64) -> Option<f64> {
        let from = ((self.head - buckets) * BUCKET).max(self.first?);
        let span = self.newest - from;
        if span < MIN_BUCKETS * BUCKET {
            return None;
        }
        let len = self.bytes.len() as i64;
        let bytes = (self.head - buckets..=self.head)
            .map(|b| u64::from(self.bytes[b.rem_euclid(len) as usize]))
            .sum::<u64>();
        Some(bytes as f64 * 8e6 / span as f64)
    }
}

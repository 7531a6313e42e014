//! A histogram of times with 2% resolution and constant size, so that hundreds of viewers can be
//! merged without keeping every sample.

/// Smallest time that is told apart, in microseconds.
const SMALLEST_US: f64 = 10.0;
/// Each bucket is this much wider than the one before: the error of a percentile.
const GROWTH: f64 = 1.02;
/// Up to 60 s: ln(60e6 / 10) / ln(1.02).
const BUCKETS: usize = 790;

/// Counts times.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    buckets: Vec<u32>,
    count: u64,
    max_us: u64,
}

impl Histogram {
    /// One sample.
    pub fn add(&mut self, us: u64) {
        if self.buckets.is_empty() {
            self.buckets = vec![0; BUCKETS];
        }
        let position = (us as f64 / SMALLEST_US).max(1.0).ln() / GROWTH.ln();
        self.buckets[(position as usize).min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Adds all samples of another one.
    pub fn merge(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            *self = other.clone();
            return;
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The time below which `fraction` of the samples are, in milliseconds.
    #[must_use]
    pub fn percentile_ms(&self, fraction: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = (fraction * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (i, n) in self.buckets.iter().enumerate() {
            seen += u64::from(*n);
            if seen >= rank {
                let us = SMALLEST_US * GROWTH.powi(i as i32 + 1);
                return Some(us.min(self.max_us as f64) / 1000.0);
            }
        }
        Some(self.max_us as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_within_two_percent() {
        let mut low = Histogram::default();
        let mut high = Histogram::default();
        for us in 1..=50_000 {
            low.add(us);
            high.add(us + 50_000);
        }
        low.merge(&high);
        assert_eq!(low.count(), 100_000);
        for (fraction, ms) in [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0)] {
            let got = low.percentile_ms(fraction).unwrap();
            assert!((got / ms - 1.0).abs() < 0.021, "{fraction}: {got}");
        }
        assert_eq!(low.percentile_ms(1.0), Some(100.0));
        assert_eq!(Histogram::default().percentile_ms(0.5), None);
    }
}

//! The keyed tone: 1 kHz during the first 100 ms of each whole second of the wall clock, over a
//! quiet hum. Pure.

/// Samples per second, as Opus wants it.
pub const RATE: u64 = 48_000;
/// How long the tone sounds in each second.
const TONE_US: u64 = 100_000;
const TONE_HZ: f64 = 1_000.0;
const TONE_LEVEL: f64 = 0.5;
const HUM_HZ: f64 = 200.0;
/// Quiet, but no digital silence: a player must not think that the sound has stopped.
const HUM_LEVEL: f64 = 0.02;

/// Makes samples of the tone for a stretch of wall-clock time.
#[derive(Debug, Clone, Copy)]
pub struct Tone {
    start_us: u64,
}

impl Tone {
    /// Sample 0 is at this time of the wall clock, microseconds since the epoch.
    #[must_use]
    pub fn new(start_us: u64) -> Self {
        Self { start_us }
    }

    /// Sample number `n`, mono.
    #[must_use]
    pub fn sample(&self, n: u64) -> i16 {
        let in_second = (self.start_us + n * 1_000_000 / RATE) % 1_000_000;
        let t = in_second as f64 / 1e6;
        let turn = std::f64::consts::TAU * t;
        let mut level = HUM_LEVEL * (turn * HUM_HZ).sin();
        if in_second < TONE_US {
            level += TONE_LEVEL * (turn * TONE_HZ).sin();
        }
        (level * f64::from(i16::MAX)) as i16
    }

    /// Appends `count` samples from number `first` on, as little-endian bytes.
    pub fn write(&self, first: u64, count: u64, out: &mut Vec<u8>) {
        for n in first..first + count {
            out.extend_from_slice(&self.sample(n).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loudness(tone: Tone, from_ms: u64, to_ms: u64) -> f64 {
        let range = from_ms * 48..to_ms * 48;
        let count = (range.end - range.start) as f64;
        let sum: f64 = range.map(|n| f64::from(tone.sample(n)).powi(2)).sum();
        (sum / count).sqrt()
    }

    #[test]
    fn sounds_in_the_first_tenth_of_each_second_only() {
        // Begins 250 ms into a second: the tone is due 750 ms later.
        let tone = Tone::new(1_795_507_200_250_000);
        assert!(loudness(tone, 0, 749) < 1_000.0);
        assert!(loudness(tone, 751, 849) > 10_000.0);
        assert!(loudness(tone, 851, 1749) < 1_000.0);
        assert!(loudness(tone, 1751, 1849) > 10_000.0);
    }
}

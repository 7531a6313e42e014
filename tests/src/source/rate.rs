//! How fast frames come, as a fraction, and which slot of time is whose.

use std::fmt;
use std::str::FromStr;

/// Frames per second as a fraction, which is how GStreamer and broadcasters state it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRate {
    frames: u32,
    seconds: u32,
}

impl FrameRate {
    /// When slot number `slot` begins, in nanoseconds since slot 0.
    pub fn starts_ns(self, slot: u64) -> u64 {
        (u128::from(slot) * 1_000_000_000 * u128::from(self.seconds) / u128::from(self.frames))
            as u64
    }

    /// The slot that is running `ns` nanoseconds after slot 0 began.
    pub fn slot_at(self, ns: u64) -> u64 {
        let slot =
            u128::from(ns) * u128::from(self.frames) / (1_000_000_000 * u128::from(self.seconds));
        let slot = slot as u64;
        // The beginning is rounded down, so the next one may have begun already.
        if self.starts_ns(slot + 1) <= ns { slot + 1 } else { slot }
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.frames, self.seconds)
    }
}

impl FromStr for FrameRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (frames, seconds) = text.split_once('/').unwrap_or((text, "1"));
        let part = |text: &str| text.trim().parse().ok().filter(|n| (1..=1_000_000).contains(n));
        match (part(frames), part(seconds)) {
            (Some(frames), Some(seconds)) if frames / seconds <= 1_000 => {
                Ok(Self { frames, seconds })
            }
            _ => Err("give frames per second as 30 or 30000/1001".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> FrameRate {
        text.parse().unwrap()
    }

    #[test]
    fn whole_numbers_and_fractions_are_read() {
        assert_eq!(rate("30").to_string(), "30/1");
        assert_eq!(rate("30000/1001").to_string(), "30000/1001");
        for bad in ["", "0", "30/0", "-1", "x", "30/1/1", "2000", "1e3"] {
            assert!(bad.parse::<FrameRate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn slots_do_not_drift() {
        assert_eq!(rate("30").starts_ns(30 * 3_600), 3_600_000_000_000);
        assert_eq!(rate("30000/1001").starts_ns(30_000), 1_001_000_000_000);
    }

    #[test]
    fn the_slot_that_runs_is_the_one_that_began_last() {
        for rate in [rate("30"), rate("30000/1001"), rate("25")] {
            for slot in [0, 1, 29, 30, 107_999, 5_000_000] {
                let begin = rate.starts_ns(slot);
                assert_eq!(rate.slot_at(begin), slot, "{rate}");
                assert_eq!(rate.slot_at(rate.starts_ns(slot + 1) - 1), slot, "{rate}");
            }
        }
    }
}

//! Packets that were sent at once, and how far apart they come: that is how fast the narrowest part of the
//! path is, known within one frame. A queue that is long takes as long to tell of itself: on a link
//! that has suddenly become narrow the last groups before its end are still on their way.
//!
//! The gap in the middle counts (the median): where a radio link pauses within a train, one gap is
//! long and the others are nothing. And all of them must take longer than jitter does.

/// Packets within so many µs of the first were sent at once.
const AT_ONCE: i64 = 2_000;

/// A train says something from so many gaps on, if they take so long in all (µs).
const MIN_GAPS: usize = 4;
const MIN_SPREAD: i64 = 60_000;

/// Gaps of one train that are looked at.
const MAX_GAPS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Train {
    /// When its first packet was sent, and when its last one has come.
    sent: i64,
    arrived: Option<i64>,
    gaps: [i64; MAX_GAPS],
    len: usize,
    bytes: u32,
}

impl Train {
    /// A packet has come, in order of sending. Gives the bits per second that its train came in with, once
    /// that can be said.
    pub(super) fn push(&mut self, sent: i64, arrived: i64, size: u16) -> Option<f64> {
        if !(0..AT_ONCE).contains(&(sent - self.sent)) {
            *self = Self { sent, arrived: Some(arrived), ..Self::default() };
            return None;
        }
        let last = self.arrived.replace(arrived)?;
        if self.len == MAX_GAPS {
            return None;
        }
        self.gaps[self.len] = (arrived - last).max(0);
        self.len += 1;
        self.bytes += u32::from(size);
        let mut gaps = self.gaps;
        let gaps = &mut gaps[..self.len];
        if gaps.len() < MIN_GAPS || gaps.iter().sum::<i64>() < MIN_SPREAD {
            return None;
        }
        gaps.sort_unstable();
        let middle = gaps[(gaps.len() - 1) / 2];
        (middle > 0).then(|| f64::from(self.bytes) / gaps.len() as f64 * 8e6 / middle as f64)
    }

    /// One is missing: what lies between its neighbours is no gap.
    pub(super) fn miss(&mut self) {
        self.arrived = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a train whose packets of 1,250 bytes come so many ms after it began.
    fn train(arrivals: &[i64]) -> Option<u64> {
        let mut train = Train::default();
        let rates = arrivals.iter().map(|ms| train.push(7_000_000, ms * 1_000, 1_250));
        rates.last().flatten().map(|rate| rate as u64)
    }

    #[test]
    fn a_train_tells_how_fast_the_link_is() {
        assert_eq!(train(&[5, 30, 55, 80, 105]), Some(400_000));
        assert_eq!(train(&[5, 30, 55, 80]), None, "too few");
        assert_eq!(train(&[5, 15, 25, 35, 45]), None, "too short");
        assert_eq!(train(&[5, 6, 7, 8, 108, 109, 110]), Some(10_000_000), "a pause is no link");
        assert_eq!(train(&[5, 5, 5, 105, 105, 105]), None);
        assert_eq!(train(&[0; 40]), None);
    }

    #[test]
    fn what_was_sent_later_and_what_lies_about_a_hole_is_no_gap() {
        let mut train = Train::default();
        for frame in 0..20 {
            let at = frame * 33_000;
            assert_eq!(train.push(at, at + 10_000, 1_250), None);
            assert_eq!(train.push(at + 1_000, at + 40_000, 1_250), None);
        }
        let mut train = Train::default();
        for n in 0..5 {
            assert_eq!(train.push(0, n * 50_000, 1_250), None);
            train.miss();
        }
    }
}

//! What a child costs: every layer of every stream on air, in bits a second. The root measures it,
//! once a second, from what it seals itself, so nobody else's word is taken for it. (What tracks
//! declare counts where it is more.) With it the planner turns a declared egress into slots.
//!
//! A plan must not follow every key frame: the measure is smoothed, and what the planner is told
//! changes in steps, up by a tenth at least, down by two fifths at least.

/// Share of a new, larger measurement in the mean: some seconds.
const UP: f64 = 0.25;

/// Share of a smaller one: half a minute. A source that pauses comes back.
const DOWN: f64 = 0.03;

/// What is told is more than the mean by this factor, and so stays for a while when it rises.
const MARGIN: f64 = 1.1;

/// What is told stays until the mean is below this share of it.
const STAYS: f64 = 0.6;

/// A mean below this, in bits a second, is nothing.
const NOTHING: f64 = 1_000.0;

/// The measured cost of a child.
#[derive(Debug, Default)]
pub(super) struct Demand {
    mean: f64,
    told: u64,
}

impl Demand {
    /// Takes a measurement, one a second; `true` if what is told has changed.
    pub(super) fn measure(&mut self, bits: u64) -> bool {
        let now = bits as f64;
        self.mean = match now - self.mean {
            _ if self.mean == 0.0 => now,
            more if more > 0.0 => self.mean + more * UP,
            less => self.mean + less * DOWN,
        };
        if self.mean < NOTHING {
            self.mean = 0.0;
        }
        let told = self.told as f64;
        if self.mean > told || self.mean < told * STAYS {
            let before = self.told;
            // A cast saturates.
            self.told = (self.mean * MARGIN) as u64;
            return self.told != before;
        }
        false
    }

    /// Bits a second that a child costs; 0 if nothing was measured.
    pub(super) fn bits(&self) -> u64 {
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_source_that_pauses_is_remembered_for_a_while() {
        let mut demand = Demand::default();
        assert!(demand.measure(4_000_000));
        assert_eq!(demand.bits(), 4_400_000);
        // Ten seconds without it, and it is back.
        assert!((0..10).all(|_| !demand.measure(0)));
        assert!((0..10).all(|_| !demand.measure(4_000_000)));
        // Gone for good: the planner counts slots alone again.
        let changed = (0..600).filter(|_| demand.measure(0)).count();
        assert!(changed > 0);
        assert_eq!(demand.bits(), 0);
    }

    proptest! {
        #[test]
        fn what_is_told_is_near_the_truth_and_seldom_changes(
            rate in 10_000..100_000_000_u64,
            before in prop::collection::vec(0..200_000_000_u64, 0..40),
            noise in prop::collection::vec(0.8..1.2_f64, 400),
        ) {
            let mut demand = Demand::default();
            let mut most = rate;
            for bits in before {
                demand.measure(bits);
                most = most.max(bits);
                prop_assert!(demand.bits() as f64 <= most as f64 * MARGIN + 1.0);
            }
            let mut measure = |noise: &f64| demand.measure((rate as f64 * noise) as u64);
            let settling = noise[..300].iter().filter(|n| measure(n)).count();
            // From the highest mean to the lowest it is some twenty steps of two fifths.
            prop_assert!(settling < 30, "{settling} changes");
            let changes = noise[300..].iter().filter(|n| measure(n)).count();
            // Once there it is still: only a mean above all that was before can raise it, a little.
            prop_assert!(changes <= 3, "{changes} changes");
            let told = demand.bits() as f64 / rate as f64;
            prop_assert!((0.8..=0.6_f64.recip() * 1.2).contains(&told), "{told} of the truth");
        }
    }
}

//! The time of day by the root. Certificates and tickets are stamped by the root's clock, so a node
//! whose own is wrong would refuse good ones, or ask for new ones without end.
//!
//! The root says its time in its answer to a join, on the connection where TLS has proved it (what
//! comes through other nodes is not believed). A clock that agrees with it within
//! [`MAX_SKEW`] is believed from then on: it is kept right by somebody, and we drift. Otherwise the
//! time of day is what the root said plus what has passed since by the monotonic clock, whatever is
//! done to the wall clock meanwhile, until the next join.
//!
//! TLS itself goes by the machine's clock all the same: docs/operations.md says how wrong it may be.

use super::limits::MAX_SKEW;
use soleil_protocol::{Millis, Mono, Now, Wall};
use std::time::Duration;

/// A clock that is ahead of the root's, or behind it, by this much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skew {
    Ahead(Duration),
    Behind(Duration),
}

impl std::fmt::Display for Skew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Skew::Ahead(by) => write!(f, "{} s ahead of the root's", by.as_secs()),
            Skew::Behind(by) => write!(f, "{} s behind the root's", by.as_secs()),
        }
    }
}

/// What is known of the root's clock.
#[derive(Debug, Default)]
pub(super) struct RootClock {
    /// The machine's clock at the last event.
    own: Wall,
    /// What the root's clock said, and when; `None` if our own is as good.
    anchor: Option<(Mono, Wall)>,
}

impl RootClock {
    /// Both clocks, the time of day by the root.
    pub(super) fn now(&mut self, own: Now) -> Now {
        self.own = own.wall;
        let Some((then, said)) = self.anchor else { return own };
        let passed = own.mono.since(then).as_micros();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        Now { mono: own.mono, wall: Wall(said.0.saturating_add(passed)) }
    }

    /// The same as at the last event, by what has been learnt since.
    pub(super) fn again(&mut self, mono: Mono) -> Now {
        self.now(Now { mono, wall: self.own })
    }

    /// The root says what time it is. Tells how wrong our clock is, if that is too much.
    pub(super) fn learn(&mut self, mono: Mono, said: Millis) -> Option<Skew> {
        let said = Wall(said.0.saturating_mul(1_000));
        let skew = match self.own.0.checked_sub(said.0) {
            Some(ahead) => Skew::Ahead(Duration::from_micros(ahead)),
            None => Skew::Behind(Duration::from_micros(said.0 - self.own.0)),
        };
        let (Skew::Ahead(by) | Skew::Behind(by)) = skew;
        self.anchor = (by > MAX_SKEW).then_some((mono, said));
        self.anchor.map(|_| skew)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: u64 = 1_000_000;

    fn at(mono: u64, wall: u64) -> Now {
        Now { mono: Mono(mono * SEC), wall: Wall(wall * SEC) }
    }

    #[test]
    fn a_clock_that_agrees_is_believed_and_a_wrong_one_is_not() {
        let mut clock = RootClock::default();
        assert_eq!(clock.now(at(1, 1_000)), at(1, 1_000));
        assert_eq!(clock.learn(Mono(SEC), Millis(1_059_000)), None);
        assert_eq!(clock.now(at(2, 1_001)), at(2, 1_001));
        let behind = clock.learn(Mono(2 * SEC), Millis(4_601_000));
        assert_eq!(behind, Some(Skew::Behind(Duration::from_secs(3_600))));
        assert_eq!(clock.now(at(12, 1_011)), at(12, 4_611));
        // Somebody sets the clock right, or wrong in the other way: it makes no difference.
        assert_eq!(clock.now(at(13, 99_999)), at(13, 4_612));
        let ahead = clock.learn(Mono(13 * SEC), Millis(4_612_000));
        assert_eq!(ahead, Some(Skew::Ahead(Duration::from_secs(99_999 - 4_612))));
        clock.now(at(14, 4_613));
        assert_eq!(clock.learn(Mono(14 * SEC), Millis(4_613_000)), None, "it is right again");
        assert_eq!(clock.now(at(15, 5_000)), at(15, 5_000));
    }

    #[test]
    fn a_root_that_says_nonsense_breaks_nothing() {
        let mut clock = RootClock::default();
        clock.now(at(1, 1_000));
        assert!(clock.learn(Mono(SEC), Millis(u64::MAX)).is_some());
        assert_eq!(clock.now(at(2, 1_001)).wall, Wall(u64::MAX));
        assert!(clock.learn(Mono(SEC), Millis(0)).is_some());
        assert_eq!(clock.now(at(2, 1_001)).wall, Wall(SEC));
    }
}

//! How often a stream may be defined anew: every node of the tree hears of it, and what is told is what the
//! source shows of itself, with every packet if it likes. Pure.

use soleil_protocol::Mono;
use std::time::Duration;

/// Definitions that may follow each other at once: a source shows size, profile and layers of each of its
/// layers when it begins, and there are four of them in a track.
pub const MAX_AT_ONCE: u32 = 32;
/// Then one in this time: an encoder that follows its link changes the size every few seconds.
pub const EVERY: Duration = Duration::from_secs(1);

/// When the next definition may go out.
#[derive(Debug, Default)]
pub struct Pace {
    /// When all that have gone out would have, one by one.
    paid: Option<Mono>,
}

impl Pace {
    /// When one more may.
    pub fn at(&self) -> Mono {
        let ahead = EVERY.saturating_mul(MAX_AT_ONCE - 1).as_micros() as u64;
        Mono(self.paid.map_or(0, |paid| paid.0.saturating_sub(ahead)))
    }

    /// Whether one may go out now; if so, it has.
    pub fn take(&mut self, now: Mono) -> bool {
        let may = now >= self.at();
        if may {
            self.paid = Some(self.paid.map_or(now, |paid| paid.max(now)).after(EVERY));
        }
        may
    }
}

//! Who decides which layer of a track a viewer gets.

use super::Session;
use soleil_protocol::{Mono, Ssrc};

/// The decision for a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The leaf decides.
    Auto,
    /// The viewer has decided for this layer.
    Fixed(Ssrc),
}

impl Session {
    /// Lets a choice hold for a track. Left to itself it plays what its link carries, or `best` if
    /// nobody knows that.
    pub fn choose(&mut self, now: Mono, track: usize, choice: Choice, best: Ssrc) {
        if let Some(pilot) = self.pilot.as_mut() {
            let wish = match choice {
                Choice::Auto => None,
                Choice::Fixed(source) => Some(source),
            };
            pilot.set_wish(track, wish);
            if wish.is_none() {
                self.steer(now);
                return;
            }
        }
        let source = match choice {
            Choice::Auto => best,
            Choice::Fixed(source) => source,
        };
        self.set_source(now, track, source);
    }
}

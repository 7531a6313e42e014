//! Whether the encoders keep up, and which layer is left out if they don't: the best one, before
//! frames of all are lost. After a while without trouble it is tried again, each time after a longer
//! while. Pure: once a second it is told what was made.

use soleil_protocol::Mono;
use std::time::Duration;

/// A layer that lacks more than one of so many frames is not kept up with.
const LOST_OF: u32 = 10;
/// A frame that takes longer than this from its last packet in to its first packet out is late. Viewers
/// who change layers would see the picture jump by it, whatever timestamps say.
pub const LATE: Duration = Duration::from_millis(250);
/// So many bad seconds in a row are no hiccup.
const BAD_SECONDS: u32 = 3;
/// Good time before a layer that was left out is tried again; doubled each time that fails.
pub const FIRST_REST: Duration = Duration::from_secs(30);
/// The longest.
pub const LONGEST_REST: Duration = Duration::from_secs(15 * 60);

/// One second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Second {
    /// Frames that came in.
    pub came: u32,
    /// Frames that each layer has made, best first, with nothing for one that is left out.
    pub made: Vec<u32>,
    /// The longest time that one of them took.
    pub delay: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Leave this layer out, and why.
    Leave(usize, String),
    /// Make it again.
    Resume(usize),
}

/// Looks after the layers.
#[derive(Debug)]
pub struct Load {
    layers: usize,
    /// So many of the best ones are left out.
    left: usize,
    bad: u32,
    /// Since when there was no trouble.
    good_since: Option<Mono>,
    rest: Duration,
}

impl Load {
    /// For so many layers, all of them made.
    pub fn new(layers: usize) -> Load {
        Load { layers, left: 0, bad: 0, good_since: None, rest: FIRST_REST }
    }

    /// How many of the best layers are left out.
    pub fn left(&self) -> usize {
        self.left
    }

    /// A second is over.
    pub fn second(&mut self, now: Mono, second: &Second) -> Option<Change> {
        let Some(trouble) = self.trouble(second) else {
            self.bad = 0;
            let since = *self.good_since.get_or_insert(now);
            if self.left == 0 || now.since(since) < self.rest {
                return None;
            }
            self.left -= 1;
            self.good_since = None;
            self.rest = (self.rest * 2).min(LONGEST_REST);
            return Some(Change::Resume(self.left));
        };
        self.good_since = None;
        self.bad += 1;
        // The last one stays: what it loses is lost anyway.
        if self.bad < BAD_SECONDS || self.left + 1 >= self.layers {
            return None;
        }
        self.bad = 0;
        self.left += 1;
        Some(Change::Leave(self.left - 1, trouble))
    }

    fn trouble(&self, second: &Second) -> Option<String> {
        let least = second.made.iter().skip(self.left).min().copied()?;
        if second.came > 0 && least.saturating_add(second.came / LOST_OF + 1) < second.came {
            return Some(format!("{least} of {} frames a second were made", second.came));
        }
        let delay = second.delay;
        (delay > LATE).then(|| format!("a frame took {} ms", delay.as_millis()))
    }
}

//! The seam for a ladder: whoever makes layers out of another one gets that one's packets as they leave,
//! hands its own in like a source within this process, and hears when a key frame of them is wanted.
//! It never holds the stream up: what it is too slow for it misses, up to the next key frame.

use super::feed::{Feed, KeyFrameWanted};
use super::layer::{LayerSpec, Packet};
use std::ops::Range;
use tokio::sync::mpsc;

/// Packets that may wait for the ladder: as many as for a source within this process.
pub const MAX_TAPPED: usize = 1_024;

/// A packet of the layer that others are made of.
#[derive(Debug, Clone)]
pub struct Tapped {
    /// As it leaves.
    pub packet: Packet,
    /// How large the picture is, if a key frame has told it.
    pub size: Option<(u32, u32)>,
}

/// The other end of a stream's tap.
#[derive(Debug)]
pub struct Ladder {
    /// The layer that others are made of.
    pub source: LayerSpec,
    /// The layers that are made, numbered through all tracks.
    pub layers: Range<usize>,
    /// Packets of the source.
    pub tapped: mpsc::Receiver<Tapped>,
    /// Key frames that are wanted of the layers that are made.
    pub wanted: mpsc::Receiver<KeyFrameWanted>,
    /// Where their packets go.
    pub feed: Feed,
}

/// Whether a packet goes to somebody who can't use one that lacks what came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gate {
    open: bool,
}

impl Gate {
    /// Whether this packet goes through. `key`: a key frame begins; `room`: it can be taken.
    pub fn passes(&mut self, key: bool, room: bool) -> bool {
        self.open = room && (self.open || key);
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_loss_nothing_passes_until_a_key_frame_does() {
        let mut gate = Gate::default();
        let steps = [
            ((false, true), false),
            ((true, false), false),
            ((false, true), false),
            ((true, true), true),
            ((false, true), true),
            ((false, false), false),
            ((false, true), false),
            ((true, true), true),
        ];
        for (step, ((key, room), passes)) in steps.into_iter().enumerate() {
            assert_eq!(gate.passes(key, room), passes, "step {step}");
        }
    }
}

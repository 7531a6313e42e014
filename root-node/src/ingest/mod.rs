//! Ingest: plain RTP from a broadcaster (PROTOCOL "Plain RTP from a broadcaster") becomes packets
//! that fit the tree. The life of a packet, in this order because each step trusts the one before:
//!
//! 1. [`rtp`]: all lengths fit, or it is dropped and counted ([`reason`]);
//! 2. [`choice`]: its source is the one that is on air, if the stream has several;
//!    [`layer`]: the payload type is the port's, the sender is the one that the port belongs to;
//! 3. [`sequence`]: in order, with a bound on waiting;
//! 4. [`codec`] and its formats: what it means to forwarders, [`scalable`]: which layer within its encoding
//!    it is of; [`fragment`]: cut if too large;
//! 5. [`clock`]: our timestamp and the capture time;
//! 6. [`driver`]: sealed, and handed to the media thread.
//!
//! Everything but the driver is pure: time and randomness come in as arguments.

pub mod av1;
pub mod bits;
pub mod choice;
pub mod clock;
pub mod codec;
pub mod dependency;
pub mod driver;
pub mod feed;
pub mod feedback;
pub mod fragment;
pub mod h264;
pub mod layer;
pub mod metrics;
pub mod reason;
pub mod redefine;
pub mod rtcp;
pub mod rtp;
pub mod scalable;
pub mod sequence;
pub mod source;
pub mod sps;
pub mod stream;
pub mod tap;
pub mod vp8;
pub mod vp9;

#[cfg(test)]
mod tests;

pub use layer::{LayerIngest, LayerSeed, LayerSpec, LayerStart, Packet, Port};
pub use reason::{Counters, DropReason};
pub use source::{FeedId, Source, ToSender};
pub use stream::{REPLACED_AFTER, StreamEvent, StreamIngest, TrackSpec};

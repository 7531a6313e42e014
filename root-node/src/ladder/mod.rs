//! The ladder: smaller layers of a picture, made by the root out of the one that comes in, which itself
//! passes through untouched as the best layer. docs/ladder.md is for operators; this is how it is
//! built:
//!
//! * [`rung`] is what an operator writes, [`plan`] what is made of it for a source of a certain size,
//!   within the [`budget`] of processor cores. Pure.
//! * [`driver`] takes the source layer's packets from the ingest as they leave (`ingest::tap`), keeps
//!   those since the last key frame ([`gop`]), and runs one child process for each such stream, the same
//!   program with the hidden subcommand `ladder-worker`. When is decided by `sources::supervise`. RTP
//!   goes to the child and comes back on one socket ([`wire`]).
//! * [`worker`] is the child: GStreamer decodes once, scales and encodes each layer. A frame keeps its RTP
//!   timestamp from the source through to each layer, so ingest gives it the source's capture time:
//!   layers line up by construction, however long encoding takes.
//! * [`load`] decides in the child when it can't keep up, and which layer is left out. Pure.
//!
//! Nothing outside [`worker`] links GStreamer.

pub mod budget;
mod child;
pub mod driver;
pub mod gop;
pub mod job;
pub mod load;
pub mod metrics;
pub mod plan;
pub mod rung;
pub mod status;
pub mod wire;
#[cfg(feature = "gstreamer")]
pub mod worker;

#[cfg(test)]
mod tests;

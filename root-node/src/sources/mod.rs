//! Sources: streams that the root fetches or takes in by itself (SRT, RTSP, RTMP, files), through
//! GStreamer. docs/sources.md is for operators; this is how it is built:
//!
//! * [`driver`] runs one child process for each such stream, the same program with the hidden
//!   subcommand `source-worker`. What it is to do goes in by its standard input ([`job`]), what it
//!   finds and does comes back as lines of JSON on its standard output. A codec that crashes takes its
//!   own stream along, and nothing else.
//! * [`supervise`] decides when a child is started, asked to end, killed and started again. Pure.
//! * [`status`] is what all this looks like from outside.
//! * [`worker`] is the child: GStreamer takes the source apart, what browsers can play passes
//!   through untouched, the rest is decoded and encoded anew, and plain RTP with RTCP goes to
//!   ingest ports of its own. To ingest it is a broadcaster like any other.
//! * [`rtmp`] is the server that encoders push to; GStreamer has none. A publisher starts the worker of
//!   his stream, and what he sends goes to it as FLV.
//!
//! Nothing outside [`worker`] links GStreamer; without the feature `gstreamer` there is no worker.

pub mod driver;
pub mod job;
pub mod lines;
pub mod metrics;
pub mod process;
pub mod reorder;
pub mod rtmp;
pub mod status;
pub mod supervise;
pub mod timeline;
#[cfg(feature = "gstreamer")]
pub mod worker;

#[cfg(test)]
mod tests;

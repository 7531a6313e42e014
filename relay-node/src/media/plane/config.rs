//! Times and limits of the forwarding plane.

use crate::media::repair::RepairConfig;
use std::time::Duration;

/// Times and limits of the forwarding plane.
#[derive(Debug, Clone)]
pub struct PlaneConfig {
    /// Size of a layer's resend ring in bytes.
    pub ring_bytes: usize,
    /// Age up to which packets are resent.
    pub ring_time: Duration,
    /// When missing packets are asked for and given up.
    pub repair: RepairConfig,
    /// Pause between a parent's heartbeats.
    pub heartbeat: Duration,
    /// A parent that is not heard for so long is silent.
    pub silence: Duration,
    /// A child that is not heard for so long gets no media until it has opened its path again.
    pub child_silence: Duration,
    /// Pause between Sender or Receiver Reports.
    pub report: Duration,
    /// Pause between RFC 8888 feedback packets.
    pub feedback: Duration,
    /// A child's binding requests when the link is well (keepalive and consent).
    pub keepalive: Duration,
    /// A child's first pause between binding requests; it doubles up to `keepalive`.
    pub binding: Duration,
    /// Packets a second that one child gets again for its NACKs; as many may come at once.
    pub resend_rate: u64,
    /// Packets for one link in one flush.
    pub queue_limit: usize,
    /// A link that catches up gets a layer out of the ring so many times as fast as it comes.
    pub catch_up: u64,
    /// But so many bits a second at least.
    pub catch_up_least: u64,
}

impl Default for PlaneConfig {
    fn default() -> Self {
        Self {
            // 2 s of 30 Mbit/s in one layer.
            ring_bytes: 8 << 20,
            ring_time: Duration::from_secs(2),
            repair: RepairConfig::default(),
            heartbeat: Duration::from_millis(50),
            // Four heartbeats and all media in between. Taking a lossy parent for dead costs little: the
            // backup takes over without a gap.
            silence: Duration::from_millis(200),
            // Several keepalives and reports.
            child_silence: Duration::from_secs(5),
            report: Duration::from_secs(1),
            feedback: Duration::from_millis(100),
            keepalive: Duration::from_secs(1),
            binding: Duration::from_millis(100),
            // More than a ring holds: even a child that lost everything is served within 2 s.
            resend_rate: 4096,
            queue_limit: 8192,
            // A gap of 250 ms is filled in 125, and a hop that has little to spare is not drowned.
            catch_up: 3,
            catch_up_least: 2_000_000,
        }
    }
}

//! One layer: its ring, its replay window, what is missing of it, and where it goes.

use super::api::LayerSpec;
use super::keyframe::KeyFrameRequests;
use super::pace::Meter;
use super::packet::HopHeader;
use super::repair::{MAX_MISSING, Repair};
use super::replay::ReplayWindow;
use super::ring::Ring;
use super::stats::LayerStats;
use soleil_protocol::{Mono, PacketIndex, PipelineId, Ssrc};
use std::time::Duration;

/// Counters at the last Receiver Report, for its fraction lost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reported {
    pub packets: u64,
    pub missed: u64,
    pub lost: u64,
}

/// One layer of a pipeline.
#[derive(Debug)]
pub(super) struct Layer {
    pub pipeline: PipelineId,
    pub spec: LayerSpec,
    pub ring: Ring,
    pub seen: ReplayWindow,
    pub repair: Repair,
    pub requests: KeyFrameRequests,
    /// The lowest packet of late that no key opened, and when the first one came.
    pub early: Option<(Mono, PacketIndex)>,
    /// Keys of the links that it goes to.
    pub links: Vec<usize>,
    /// Whether this node uses it itself.
    pub local: bool,
    /// The link of the parent that the latest packet came from.
    pub parent: Option<usize>,
    /// From where on the next RFC 8888 feedback speaks.
    pub feedback_from: Option<PacketIndex>,
    pub reported: Reported,
    pub stats: LayerStats,
    /// What comes of it, for those who catch up.
    pub meter: Meter,
    /// Jitter in 1/16 units of the RTP clock (RFC 3550 appendix A.8).
    jitter: u64,
    transit: Option<u32>,
}

impl Layer {
    pub fn new(
        pipeline: PipelineId,
        spec: LayerSpec,
        ring: Ring,
        window: ReplayWindow,
        repair: Repair,
    ) -> Self {
        Self {
            pipeline,
            spec,
            ring,
            seen: window,
            repair,
            requests: KeyFrameRequests::default(),
            early: None,
            links: Vec::new(),
            local: false,
            parent: None,
            feedback_from: None,
            reported: Reported::default(),
            stats: LayerStats { pipeline, ssrc: spec.ssrc, ..LayerStats::default() },
            meter: Meter::default(),
            jitter: 0,
            transit: None,
        }
    }

    pub fn ssrc(&self) -> Ssrc {
        self.spec.ssrc
    }

    /// Whether anybody wants it.
    pub fn wanted(&self) -> bool {
        self.local || !self.links.is_empty()
    }

    /// A packet of the parent's that no key opens. Its key may be on the way, as after a start of
    /// the root: then it is asked for again. What it says of itself is not proved, and decides
    /// over nothing else.
    pub fn comes_early(&mut self, now: Mono, index: PacketIndex, remembered: Duration) {
        match &mut self.early {
            Some((at, lowest)) if now.since(*at) < remembered => {
                // Repairs come behind newer ones.
                if lowest.0.saturating_sub(index.0) <= MAX_MISSING as u64 {
                    *lowest = index.min(*lowest);
                }
            }
            early => *early = Some((now, index)),
        }
    }

    /// One more than the highest index in the ring.
    pub fn end(&self) -> PacketIndex {
        PacketIndex(self.ring.newest().map_or(0, |i| i.0 + 1))
    }

    /// RFC 3550 appendix A.8, for a packet that came in order.
    pub fn measure_jitter(&mut self, now: Mono, header: &HopHeader) {
        let arrival = (u128::from(now.0) * u128::from(self.spec.clock_rate) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(header.timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let d = u64::from((transit.wrapping_sub(before) as i32).unsigned_abs());
            // A jump of the time stamps (another source) is not jitter: over 10 s.
            if d < 10 * u64::from(self.spec.clock_rate) {
                self.jitter = self.jitter + d - ((self.jitter + 8) >> 4).min(self.jitter + d);
            }
        }
    }

    /// Jitter in units of the RTP clock.
    pub fn jitter(&self) -> u32 {
        (self.jitter >> 4) as u32
    }

    pub fn snapshot(&self) -> LayerStats {
        let rate = u64::from(self.spec.clock_rate.max(1));
        LayerStats {
            highest: self.ring.newest(),
            oldest: self.ring.oldest(),
            missed: self.repair.asked(),
            lost: self.repair.lost(),
            missing: self.repair.len() as u64,
            jitter: Duration::from_micros((self.jitter >> 4) * 1_000_000 / rate),
            ..self.stats
        }
    }
}

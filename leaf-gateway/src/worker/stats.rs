//! Figures of a pipeline's viewers for one second, summed over sessions.

use crate::session::SessionStats;
use soleil_protocol::PipelineId;
use std::collections::BTreeMap;

/// Sums of one second; means are sums divided by `reported` (or `rtts`).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PipelineFigures {
    /// Which pipeline.
    pub pipeline: PipelineId,
    /// Viewers with media.
    pub viewers: u64,
    /// Those of them that have sent Receiver Reports.
    pub reported: u64,
    /// Those of them whose round-trip time is known.
    pub rtts: u64,
    /// Sum of their fractions lost, each 0 to 1.
    pub fraction_lost: f64,
    /// Sum of their jitters, seconds.
    pub jitter: f64,
    /// Sum of their round-trip times, seconds.
    pub rtt: f64,
    /// Sum of their packets lost since they began.
    pub lost: i64,
    /// Bytes sent in the second.
    pub bytes: u64,
    /// Packets reported lost in the second.
    pub nacks: u64,
    /// Key frames asked for in the second.
    pub key_frames: u64,
}

/// Adds sessions up.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<PipelineId, PipelineFigures>);

impl Figures {
    /// Adds a session; `before` is what it had a second ago.
    pub(super) fn add(
        &mut self,
        pipeline: PipelineId,
        live: bool,
        stats: &SessionStats,
        before: &SessionStats,
    ) {
        let f = self
            .0
            .entry(pipeline)
            .or_insert_with(|| PipelineFigures { pipeline, ..Default::default() });
        f.viewers += u64::from(live);
        f.bytes += stats.bytes - before.bytes;
        f.nacks += stats.nacks - before.nacks;
        f.key_frames += stats.key_frames - before.key_frames;
        if stats.reported {
            f.reported += 1;
            f.fraction_lost += stats.fraction_lost;
            f.jitter += stats.jitter;
            f.lost += stats.lost;
        }
        if let Some(rtt) = stats.rtt {
            f.rtts += 1;
            f.rtt += rtt;
        }
    }

    pub(super) fn take(self) -> Vec<PipelineFigures> {
        self.0.into_values().collect()
    }
}

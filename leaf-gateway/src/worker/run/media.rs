//! Packets on their way from the hop to the viewers: into the rings, then once over everybody.

use super::Worker;
use crate::rewriter::Source;
use crate::ring::PacketRing;
use crate::session::Session;
use crate::worker::outbox::Outbox;
use crate::worker::queue::Batch;
use soleil_protocol::pipeline::PipelineDef;
use soleil_protocol::{Mono, PacketIndex, PipelineId, Ssrc};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Rings of a worker, one per layer: pipelines times layers of a large installation; the plane
/// delivers only what is routed here.
pub const MAX_RINGS: usize = 256;

/// A pipeline that is gone may come back (the root restarts): its viewers wait so long.
pub(super) const PIPELINE_GRACE: Duration = Duration::from_secs(10);

/// A packet that a batch has brought into a ring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fresh {
    pipeline: PipelineId,
    source: Source,
    index: PacketIndex,
}

impl Worker {
    /// Tracks follow their pipeline's layers; sessions of a pipeline that stays away end.
    pub(super) fn set_pipelines(
        &mut self,
        now: Mono,
        pipelines: Arc<BTreeMap<PipelineId, PipelineDef>>,
    ) {
        for key in self.sessions.keys() {
            let Some(entry) = self.sessions.get_mut(key) else { continue };
            let Some(def) = pipelines.get(&entry.session.pipeline()) else { continue };
            let tracks: Vec<(usize, Ssrc)> = entry.session.sources().collect();
            for (track, source) in tracks {
                let named = entry.session.track_name(track).unwrap_or_default();
                let Some(t) = def.tracks.iter().find(|t| t.name == named) else { continue };
                let stays = t.layers.iter().any(|l| l.ssrc == source);
                if let Some(layer) = t.layers.first().filter(|_| !stays) {
                    entry.session.set_source(now, track, layer.ssrc);
                }
            }
            self.settle(now, key);
        }
        for id in self.pipelines.keys().filter(|id| !pipelines.contains_key(id)) {
            self.gone.insert(*id, now.after(PIPELINE_GRACE));
        }
        self.gone.retain(|id, _| !pipelines.contains_key(id));
        self.rings.retain(|ssrc, _| pipelines.values().any(|p| p.ssrcs().any(|s| s == *ssrc)));
        self.pipelines = pipelines;
    }

    /// Brings packets into the rings, then goes over the viewers once.
    pub(super) fn take_batch(&mut self, batch: &Batch) {
        let now = self.clock.now().mono;
        self.fresh.clear();
        for packet in batch.packets() {
            let ring = match self.rings.get_mut(&packet.ssrc) {
                Some(ring) => ring,
                None => {
                    let def = self.pipelines.get(&packet.pipeline);
                    let known = def.is_some_and(|p| p.ssrcs().any(|s| s == packet.ssrc));
                    if !known || self.rings.len() >= MAX_RINGS {
                        self.metrics.strays.add(1);
                        continue;
                    }
                    self.rings.entry(packet.ssrc).or_insert_with(|| PacketRing::new(packet.ssrc))
                }
            };
            if ring.insert(&packet) {
                self.fresh.push(Fresh {
                    pipeline: packet.pipeline,
                    source: ring.source(),
                    index: packet.index,
                });
            } else {
                self.metrics.late.add(1);
            }
        }
        let mut from = 0;
        while let Some(first) = self.fresh.get(from) {
            // Packets of one pipeline stand together nearly always: the plane receives them so.
            let pipeline = first.pipeline;
            let run = self.fresh[from..].iter().take_while(|f| f.pipeline == pipeline).count();
            self.deliver(now, pipeline, from, from + run);
            from += run;
        }
    }

    pub(super) fn deliver(&mut self, now: Mono, pipeline: PipelineId, from: usize, to: usize) {
        let mut targets = std::mem::take(&mut self.targets);
        targets.clear();
        targets.extend_from_slice(self.sessions.of_pipeline(pipeline));
        // Nobody is always served first.
        self.rotation = self.rotation.wrapping_add(1);
        let len = targets.len();
        for i in 0..len {
            let key = targets[(i + self.rotation) % len];
            let Some(entry) = self.sessions.get_mut(key) else { continue };
            let outbox = &mut self.outbox;
            for fresh in &self.fresh[from..to] {
                let Some(ring) = self.rings.get(&fresh.source.ssrc) else { continue };
                let track = entry.session.sources().find(|(_, s)| *s == fresh.source.ssrc);
                let Some((track, _)) = track else { continue };
                let Some(packet) = ring.get(fresh.source, fresh.index) else { continue };
                let start = outbox.bytes.len();
                let sent =
                    entry.session.forward(now, track, fresh.source, packet, &mut outbox.bytes);
                let Some((addr, began)) = sent else { continue };
                outbox.commit(addr, start);
                if began {
                    catch_up(now, &mut entry.session, track, ring, fresh, outbox);
                }
            }
            if self.outbox.is_full() {
                self.flush();
            }
            self.reschedule(now, key);
        }
        self.targets = targets;
    }
}

/// A track has begun with a packet that others had overtaken: they follow at once.
fn catch_up(
    now: Mono,
    session: &mut Session,
    track: usize,
    ring: &PacketRing,
    first: &Fresh,
    outbox: &mut Outbox,
) {
    let Some(highest) = ring.highest() else { return };
    for index in first.index.0 + 1..=highest.0 {
        let Some(packet) = ring.get(first.source, PacketIndex(index)) else { continue };
        let start = outbox.bytes.len();
        if let Some((to, _)) = session.forward(now, track, first.source, packet, &mut outbox.bytes)
        {
            outbox.commit(to, start);
        }
    }
}

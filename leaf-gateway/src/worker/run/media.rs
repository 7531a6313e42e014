//! Packets on their way from the hop to the viewers: into the rings, then once over everybody.

use super::Worker;
use super::start::serve_start;
use crate::rewriter::Source;
use crate::ring::{PacketRing, Stored};
use crate::session::Delivery;
use crate::session::track::Forwarded;
use crate::worker::gather::Part;
use crate::worker::outbox::Outbox;
use crate::worker::queue::Batch;
use soleil_protocol::pipeline::{MediaKind, PipelineDef, Track};
use soleil_protocol::{Mono, PacketIndex, PipelineId, Ssrc};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Rings of a worker, one per layer: pipelines times layers of a large installation; the plane
/// delivers only what is routed here.
pub const MAX_RINGS: usize = 256;

/// A pipeline that is gone may come back (the root restarts): its viewers wait so long.
pub(super) const PIPELINE_GRACE: Duration = Duration::from_secs(10);

/// A packet that has come into a ring and goes out with the next pass.
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

    /// Brings a batch's packets into the rings.
    pub(super) fn take_batch(&mut self, now: Mono, batch: &Batch) {
        for packet in batch.packets() {
            let ring = match self.rings.get_mut(&packet.ssrc) {
                Some(ring) => ring,
                None => {
                    let tracks = self.pipelines.get(&packet.pipeline).map(|def| &def.tracks);
                    let plays = |t: &&Track| t.layers.iter().any(|l| l.ssrc == packet.ssrc);
                    let track = tracks.and_then(|tracks| tracks.iter().find(plays));
                    let Some(track) = track.filter(|_| self.rings.len() < MAX_RINGS) else {
                        self.metrics.strays.add(1);
                        continue;
                    };
                    let frames = track.codec.kind() == MediaKind::Video;
                    let new = || PacketRing::new(packet.ssrc, frames);
                    self.rings.entry(packet.ssrc).or_insert_with(new)
                }
            };
            if !ring.insert(now, &packet) {
                self.metrics.late.add(1);
                continue;
            }
            let part = match (ring.frames(), packet.marker) {
                (true, true) => Part::Last,
                (true, false) => Part::More,
                (false, _) => Part::Alone,
            };
            let fresh =
                Fresh { pipeline: packet.pipeline, source: ring.source(), index: packet.index };
            self.gather.push(now, fresh, part);
        }
    }

    /// Goes over the viewers with what has come, if it need not wait for more.
    pub(super) fn pass(&mut self, now: Mono) {
        let Some(fresh) = self.gather.take(now) else { return };
        let mut rest = fresh.as_slice();
        while let Some(first) = rest.first() {
            // Packets of one pipeline stand together nearly always: the plane receives them so.
            let pipeline = first.pipeline;
            let run = rest.iter().take_while(|f| f.pipeline == pipeline).count();
            let (these, others) = rest.split_at(run);
            self.deliver(now, pipeline, these);
            rest = others;
        }
        self.flush();
        self.gather.done(fresh, self.clock.now().mono.since(now));
    }

    fn deliver(&mut self, now: Mono, pipeline: PipelineId, fresh: &[Fresh]) {
        let mut targets = std::mem::take(&mut self.targets);
        targets.clear();
        targets.extend_from_slice(self.sessions.of_pipeline(pipeline));
        let rings = std::mem::take(&mut self.rings);
        let found = fresh.iter().filter_map(|f| {
            let ring = rings.get(&f.source.ssrc)?;
            Some((ring, f.source, ring.get(f.source, f.index)?))
        });
        let packets: Vec<(&PacketRing, Source, &Stored)> = found.collect();
        // Nobody is always served first.
        self.rotation = self.rotation.wrapping_add(1);
        let len = targets.len();
        for i in 0..len {
            let key = targets[(i + self.rotation) % len];
            let Some(entry) = self.sessions.get_mut(key) else { continue };
            let Some(mut delivery) = entry.session.delivery(now) else { continue };
            let outbox = &mut self.outbox;
            if delivery.is_starting() {
                serve_start(&mut delivery, &rings, outbox);
            }
            for (ring, source, packet) in &packets {
                let start = outbox.bytes.len();
                let done = delivery.forward(*source, packet, &mut outbox.bytes);
                if done != Forwarded::Nothing {
                    outbox.commit(delivery.to(), start);
                }
                if done == Forwarded::Began {
                    catch_up(&mut delivery, ring, *source, packet.index, outbox);
                }
            }
            let woke = delivery.woke();
            if self.outbox.is_full() {
                self.flush();
            }
            if woke {
                self.reschedule(now, key);
            }
        }
        drop(packets);
        self.rings = rings;
        self.targets = targets;
    }
}

/// A track has begun with a packet that others had overtaken: they follow at once.
fn catch_up(
    delivery: &mut Delivery<'_>,
    ring: &PacketRing,
    source: Source,
    first: PacketIndex,
    outbox: &mut Outbox,
) {
    let Some(highest) = ring.highest() else { return };
    for index in first.0 + 1..=highest.0 {
        let Some(packet) = ring.get(source, PacketIndex(index)) else { continue };
        let start = outbox.bytes.len();
        if delivery.forward(source, packet, &mut outbox.bytes) != Forwarded::Nothing {
            outbox.commit(delivery.to(), start);
        }
    }
}

//! What the control core orders: links, pipelines, keys, and the rows of the table.

use super::arrival::local_packet;
use super::{MAX_EPOCHS, Plane};
use crate::media::api::{
    HopLink, LayerSpec, LocalSink, NextHop, PeerSide, PlaneCommand, PlaneEvent,
};
use crate::media::layer::Layer;
use crate::media::link::{Link, LinkRoute, rtcp_ssrc, secrets};
use crate::media::pace::Pace;
use crate::media::packet::{HopPacket, Opener};
use crate::media::repair::Repair;
use crate::media::replay::ReplayWindow;
use crate::media::ring::Ring;
use soleil_protocol::{LinkId, Mono, Now, PacketIndex, PipelineId, Ssrc};

impl Plane {
    /// Carries out an order of the control core. Orders about what is not known are ignored: the
    /// control core may be a step ahead or behind.
    pub fn handle_command(&mut self, now: Now, command: PlaneCommand, sink: &mut dyn LocalSink) {
        match command {
            PlaneCommand::AddLink(hop) => self.add_link(now.mono, &hop),
            PlaneCommand::RemoveLink(id) => self.remove_link(id),
            PlaneCommand::Promote(id) => {
                let key = self.link_ids.get(&id);
                if let Some(link) = key.and_then(|key| self.links.get_mut(*key)) {
                    link.standby = false;
                }
            }
            PlaneCommand::TellPositions => {
                let next = |layer: &Layer| {
                    Some(PacketIndex((layer.repair.highest()?.0 + 1).min(PacketIndex::MAX.0)))
                };
                let layers = self.layers.iter().filter(|(_, layer)| layer.wanted());
                let positions = layers.filter_map(|(_, l)| Some((l.ssrc(), next(l)?))).collect();
                self.event(PlaneEvent::Positions(positions));
            }
            PlaneCommand::DefinePipeline(id, layers) => self.define_pipeline(id, &layers),
            PlaneCommand::RemovePipeline(id) => {
                if let Some(pipeline) = self.pipelines.remove(&id) {
                    pipeline.layers.into_iter().for_each(|key| self.remove_layer(key));
                }
            }
            PlaneCommand::AddKey(id, epoch, key) => {
                let pipeline = self.pipelines.entry(id).or_default();
                let openers = &mut pipeline.openers;
                openers.retain(|o| o.epoch() != epoch);
                openers.push(Opener::new(&key, epoch));
                openers.sort_by_key(Opener::epoch);
                if openers.len() > MAX_EPOCHS {
                    openers.remove(0);
                }
                for layer in &pipeline.layers {
                    let Some(layer) = self.layers.get_mut(*layer) else { continue };
                    let early = layer.early.take();
                    let young = |at: Mono| now.mono.since(at) < self.config.repair.give_up;
                    if let Some((_, first)) = early.filter(|(at, _)| young(*at)) {
                        layer.repair.came_early(first);
                    }
                }
            }
            PlaneCommand::RemoveKey(id, epoch) => {
                if let Some(pipeline) = self.pipelines.get_mut(&id) {
                    pipeline.openers.retain(|o| o.epoch() != epoch);
                }
            }
            PlaneCommand::AddRoute { pipeline, ssrc, next, from } => {
                if let Some(layer) = self.find_layer(pipeline, ssrc) {
                    self.add_route(now.mono, layer, next, from, sink);
                }
            }
            PlaneCommand::RemoveRoute { pipeline, ssrc, next } => {
                if let Some(layer) = self.find_layer(pipeline, ssrc) {
                    self.remove_route(layer, next);
                }
            }
            PlaneCommand::SayCutOff(cut_off) => {
                self.cut_off = cut_off;
                let is_child = |link: &Link| link.peer == PeerSide::Child && link.is_open();
                let children = self.links.iter().filter(|(_, link)| is_child(link));
                for key in children.map(|(key, _)| key).collect::<Vec<_>>() {
                    self.send_heartbeat(key);
                }
            }
            PlaneCommand::RequestKeyFrame(pipeline, ssrc) => {
                if let Some(layer) = self.find_layer(pipeline, ssrc) {
                    self.request_key_frame(now.mono, layer);
                }
            }
        }
    }

    fn find_layer(&self, pipeline: PipelineId, ssrc: Ssrc) -> Option<usize> {
        let key = *self.layer_ssrcs.get(&ssrc.0)?;
        self.layers.get(key).filter(|l| l.pipeline == pipeline).map(|_| key)
    }

    fn add_link(&mut self, now: Mono, hop: &HopLink) {
        let made_from = secrets(hop);
        if let Some(link) = self.link_ids.get(&hop.id).and_then(|k| self.links.get_mut(*k))
            && link.secrets == made_from
            && link.peer == hop.peer
        {
            link.addresses.clone_from(&hop.addresses);
            link.standby = hop.standby;
            return;
        }
        self.remove_link(hop.id);
        let in_use = self.links.iter().any(|(_, link)| link.secrets == made_from);
        if in_use || self.retired.contains(&made_from) {
            self.strays.links_refused += 1;
            return;
        }
        let key = self.links.insert(Link::new(now, hop));
        self.link_ids.insert(hop.id, key);
        self.link_ssrcs.entry(rtcp_ssrc(hop.id).0).or_default().push(key);
        if hop.peer == PeerSide::Parent {
            self.wake_at(now);
        }
    }

    fn remove_link(&mut self, id: LinkId) {
        let Some(key) = self.link_ids.remove(&id) else { return };
        let Some(link) = self.links.remove(key) else { return };
        self.retired.insert(link.secrets);
        self.link_ssrcs.retain(|_, keys| {
            keys.retain(|k| *k != key);
            !keys.is_empty()
        });
        if let Some(check) = link.check {
            self.transactions.remove(&check.transaction);
        }
        if let Some(address) = link.address {
            self.release_address(key, address);
        }
        for (_, layer) in self.layers.iter_mut() {
            layer.links.retain(|k| *k != key);
            layer.parent = layer.parent.filter(|p| *p != key);
        }
    }

    fn define_pipeline(&mut self, id: PipelineId, specs: &[LayerSpec]) {
        let old = std::mem::take(&mut self.pipelines.entry(id).or_default().layers);
        let mut layers = Vec::with_capacity(specs.len());
        for spec in specs {
            match self.layer_ssrcs.get(&spec.ssrc.0).copied() {
                Some(key) if old.contains(&key) || layers.contains(&key) => {
                    if let Some(layer) = self.layers.get_mut(key) {
                        layer.spec = *spec;
                    }
                    if !layers.contains(&key) {
                        layers.push(key);
                    }
                }
                // The root owns the SSRCs and gives each once: a packet names nothing else.
                Some(_) => self.strays.conflicts += 1,
                None => {
                    let ring = Ring::new(self.config.ring_bytes, self.config.ring_time);
                    let window = ReplayWindow::new(ring.capacity() as usize);
                    let repair = Repair::new(self.config.repair);
                    let key = self.layers.insert(Layer::new(id, *spec, ring, window, repair));
                    self.layer_ssrcs.insert(spec.ssrc.0, key);
                    layers.push(key);
                }
            }
        }
        old.into_iter().filter(|key| !layers.contains(key)).for_each(|key| self.remove_layer(key));
        self.pipelines.entry(id).or_default().layers = layers;
    }

    fn remove_layer(&mut self, key: usize) {
        let Some(layer) = self.layers.remove(key) else { return };
        self.layer_ssrcs.remove(&layer.ssrc().0);
        for (_, link) in self.links.iter_mut() {
            link.routes.retain(|r| r.layer != key);
            // The key may name another layer by the time of the flush.
            link.queue.retain(|(layer, _)| *layer != key);
        }
    }

    fn add_route(
        &mut self,
        now: Mono,
        layer_key: usize,
        next: NextHop,
        from: Option<PacketIndex>,
        sink: &mut dyn LocalSink,
    ) {
        let Some(layer) = self.layers.get_mut(layer_key) else { return };
        if !layer.wanted() {
            // Not received for a while, or never: what lies between is not missing. With `from` we
            // have asked our parent for the same.
            let have = layer.ring.newest().map(|n| PacketIndex(n.0 + 1));
            layer.repair.restart(from.map(|from| have.map_or(from, |have| have.max(from))));
            layer.feedback_from = None;
        }
        match next {
            NextHop::Local => {
                layer.local = true;
                if let Some(from) = from {
                    self.deliver_from(now, layer_key, from, sink);
                }
            }
            NextHop::Link(id) => {
                let Some(&key) = self.link_ids.get(&id) else { return };
                let Some(link) = self.links.get_mut(key) else { return };
                let end = layer.end();
                // A link that is not open yet gets what comes from now on as well.
                let cursor = from.or_else(|| (!link.is_open()).then_some(end));
                match link.route_mut(layer_key) {
                    Some(route) => route.cursor = cursor.or(route.cursor),
                    None => {
                        link.routes.push(LinkRoute {
                            layer: layer_key,
                            cursor,
                            pace: Pace::default(),
                        });
                        layer.links.push(key);
                    }
                }
                self.pump(now);
            }
        }
    }

    /// Opens and delivers what the ring has from `from` on.
    fn deliver_from(
        &mut self,
        now: Mono,
        layer_key: usize,
        from: PacketIndex,
        sink: &mut dyn LocalSink,
    ) {
        let Some(layer) = self.layers.get_mut(layer_key) else { return };
        let Some(pipeline) = self.pipelines.get(&layer.pipeline) else { return };
        let mut cursor = from;
        while let Some(index) = layer.ring.next_from(now, cursor) {
            cursor = PacketIndex(index.0 + 1);
            let Some(sealed) = layer.ring.peek(index) else { continue };
            let Ok(packet) = HopPacket::parse(sealed) else { continue };
            let Some(opener) = pipeline.opener(packet.mki) else { continue };
            let scratch = &mut self.scratch[..sealed.len()];
            scratch.copy_from_slice(sealed);
            if let Ok(payload) = opener.open(scratch, &packet.header) {
                sink.deliver(local_packet(layer.pipeline, &packet.header, payload));
                layer.stats.forwarded += 1;
            }
        }
    }

    fn remove_route(&mut self, layer_key: usize, next: NextHop) {
        let Some(layer) = self.layers.get_mut(layer_key) else { return };
        match next {
            NextHop::Local => layer.local = false,
            NextHop::Link(id) => {
                let Some(&key) = self.link_ids.get(&id) else { return };
                layer.links.retain(|k| *k != key);
                if let Some(link) = self.links.get_mut(key) {
                    link.routes.retain(|r| r.layer != layer_key);
                }
            }
        }
        if !layer.wanted() {
            layer.repair.restart(None);
        }
    }
}

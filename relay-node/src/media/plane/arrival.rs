//! A media packet arrives: who sent it, is it wanted, is it new, is it authentic; then it is kept
//! and sent on at once.

use super::Plane;
use crate::media::api::{LocalPacket, LocalSink, PeerSide};
use crate::media::packet::{HopHeader, HopPacket};
use crate::media::repair::Arrival;
use crate::media::replay::Seen;
use crate::media::sizes::HOP_HEADER;
use soleil_protocol::{Mono, Now, PacketIndex};
use std::net::SocketAddr;

pub(super) fn local_packet<'a>(
    pipeline: soleil_protocol::PipelineId,
    header: &HopHeader,
    payload: &'a [u8],
) -> LocalPacket<'a> {
    LocalPacket {
        pipeline,
        ssrc: header.ssrc,
        index: header.index,
        timestamp: header.timestamp,
        marker: header.marker,
        payload_type: header.payload_type,
        capture: header.capture,
        marks: header.marks,
        payload,
    }
}

impl Plane {
    pub(super) fn handle_media(
        &mut self,
        now: Mono,
        from: SocketAddr,
        datagram: &[u8],
        sink: &mut dyn LocalSink,
    ) {
        let link_key = self.addresses.get(&from).copied();
        let parent = link_key.and_then(|key| Some((key, self.links.get(key)?)));
        let Some((link_key, _)) = parent.filter(|(_, l)| l.peer == PeerSide::Parent && l.is_open())
        else {
            self.strays.not_validated += 1;
            return;
        };
        let Ok(packet) = HopPacket::parse(datagram) else {
            self.strays.malformed += 1;
            return;
        };
        let layer_key = self.layer_ssrcs.get(&packet.header.ssrc.0).copied();
        let Some((layer_key, layer)) = layer_key.and_then(|k| Some((k, self.layers.get_mut(k)?)))
        else {
            self.strays.unknown_layer += 1;
            return;
        };
        if !layer.wanted() {
            layer.stats.no_route += 1;
            return;
        }
        // Cheap and without effect on state, so before the cryptography.
        match layer.seen.check(packet.header.index.0) {
            Seen::New => {}
            Seen::Duplicate => {
                layer.stats.duplicates += 1;
                return;
            }
            Seen::TooOld => {
                layer.stats.too_old += 1;
                return;
            }
        }
        let pipeline = self.pipelines.get(&layer.pipeline);
        let Some(opener) = pipeline.and_then(|p| p.opener(packet.mki)) else {
            layer.stats.unknown_key += 1;
            layer.comes_early(now, packet.header.index, self.config.repair.give_up);
            return;
        };
        let scratch = &mut self.scratch[..datagram.len()];
        scratch.copy_from_slice(datagram);
        let Ok(payload) = opener.open(scratch, &packet.header) else {
            layer.stats.forged += 1;
            // Two epochs' keys may have one name in packets.
            layer.comes_early(now, packet.header.index, self.config.repair.give_up);
            return;
        };
        let payload_len = payload.len();
        layer.stats.epoch = Some(opener.epoch());
        if let Some(link) = self.links.get_mut(link_key) {
            if !link.standby {
                layer.parent = Some(link_key);
            }
            link.stats.packets_received += 1;
            link.stats.bytes_received += datagram.len() as u64;
        }
        self.heard(now, link_key);
        self.accept(now, layer_key, &packet.header, datagram, Some(payload_len), sink);
    }

    /// Takes a packet that this node has sealed itself (at the root): it goes into the ring and
    /// to whoever it is routed to. Malformed ones and those of no layer are counted and dropped.
    pub fn inject(&mut self, now: Now, packet: &[u8], sink: &mut dyn LocalSink) {
        let Ok(HopPacket { header, mki }) = HopPacket::parse(packet) else {
            self.strays.malformed += 1;
            return;
        };
        let key = self.layer_ssrcs.get(&header.ssrc.0).copied();
        let Some((key, layer)) = key.and_then(|k| Some((k, self.layers.get_mut(k)?))) else {
            self.strays.unknown_layer += 1;
            return;
        };
        if layer.seen.check(header.index.0) != Seen::New {
            layer.stats.duplicates += 1;
            return;
        }
        let mut payload = None;
        let opener = self.pipelines.get(&layer.pipeline).and_then(|p| p.opener(mki));
        layer.stats.epoch = opener.map(|o| o.epoch()).or(layer.stats.epoch);
        if let Some(opener) = opener.filter(|_| layer.local) {
            let scratch = &mut self.scratch[..packet.len()];
            scratch.copy_from_slice(packet);
            payload = opener.open(scratch, &header).ok().map(|p| p.len());
        }
        self.accept(now.mono, key, &header, packet, payload, sink);
    }

    /// An authentic, new packet; its plain payload (if it was opened) lies in the scratch buffer.
    fn accept(
        &mut self,
        now: Mono,
        layer_key: usize,
        header: &HopHeader,
        sealed: &[u8],
        payload: Option<usize>,
        sink: &mut dyn LocalSink,
    ) {
        let Some(layer) = self.layers.get_mut(layer_key) else { return };
        let index = header.index;
        layer.seen.insert(index.0);
        layer.ring.store(now, index, sealed);
        layer.stats.packets += 1;
        layer.stats.bytes += sealed.len() as u64;
        layer.meter.count(now, sealed.len() as u64);
        match layer.repair.arrived(now, index) {
            Arrival::Newest => layer.measure_jitter(now, header),
            Arrival::Repaired { asked } => layer.stats.repaired += u64::from(asked),
            Arrival::Late => {}
        }
        layer.feedback_from.get_or_insert(index);
        if header.marks.key_start() {
            layer.stats.key_frames += 1;
            layer.requests.key_frame_started();
        }
        if let Some(len) = payload.filter(|_| layer.local) {
            let payload = &self.scratch[HOP_HEADER..HOP_HEADER + len];
            sink.deliver(local_packet(layer.pipeline, header, payload));
            layer.stats.forwarded += 1;
        }
        for &key in &layer.links {
            let Some(link) = self.links.get_mut(key).filter(|l| l.is_open()) else { continue };
            // A link that catches up gets it from the ring when its cursor comes there.
            let ahead = |c: PacketIndex| index >= c;
            if link.route_mut(layer_key).is_none_or(|r| r.cursor.is_some_and(ahead)) {
                continue;
            }
            if link.enqueue(layer_key, index, sealed.len(), self.config.queue_limit) {
                layer.stats.forwarded += 1;
            }
        }
        if let Some(due) = layer.repair.next_due() {
            self.wake_at(due);
        }
    }
}

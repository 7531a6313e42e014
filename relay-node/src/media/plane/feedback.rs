//! RTCP arrives: what children lack is sent again or looked for, key-frame requests are merged,
//! heartbeats reveal lost tails, reports measure the link.

use super::Plane;
use crate::media::api::{PeerSide, PlaneEvent};
use crate::media::link::{Link, State};
use crate::media::repair::Wanted;
use crate::media::replay::Seen;
use crate::media::rtcp::{self, Item};
use soleil_protocol::pipeline::MediaKind;
use soleil_protocol::{Mono, Now, PacketIndex, Ssrc};
use std::net::SocketAddr;
use std::time::Duration;

/// Longer round trips are clock faults, not paths.
const MAX_RTT: Duration = Duration::from_secs(10);

/// With how many Sender Reports, one a second, a change of a parent's way to the root is said again.
const CUT_OFF_REPEATS: u8 = 3;

/// Middle 32 bits of an NTP time (RFC 3550 section 4): seconds and fraction, 16.16.
pub(super) fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

impl Plane {
    pub(super) fn handle_rtcp(&mut self, now: Now, from: SocketAddr, datagram: &mut [u8]) {
        let Some((key, len)) = self.open_rtcp(datagram) else { return };
        let plain = &datagram[..len];
        let Some(link) = self.links.get_mut(key) else { return };
        link.heard_rtcp = true;
        if link.address == Some(from) {
            self.heard(now.mono, key);
        } else if link.peer == PeerSide::Child {
            // It has moved: sooner noticed here than by its next binding request.
            self.check_address(now.mono, key, from);
        }
        let mut malformed = !rtcp::parse(plain, |item| self.item(now, key, item));
        malformed |= plain.is_empty();
        if malformed && let Some(link) = self.links.get_mut(key) {
            link.stats.rtcp_refused += 1;
        }
    }

    /// Opens RTCP in place: whose it is, and how long the plain packet is. The SSRC names the link,
    /// or some that share it: then the one whose key fits.
    fn open_rtcp(&mut self, datagram: &mut [u8]) -> Option<(usize, usize)> {
        let sender = datagram.get(4..8).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        let candidates = sender.and_then(|s| self.link_ssrcs.get(&s)).cloned().unwrap_or_default();
        let Some((last, others)) = candidates.split_last() else {
            self.strays.rtcp_refused += 1;
            return None;
        };
        for key in others {
            // What does not open is spoilt by the attempt: a copy. RTCP is no longer than media.
            let Some(copy) = self.scratch.get_mut(..datagram.len()) else { break };
            copy.copy_from_slice(datagram);
            let link = self.links.get_mut(*key);
            if let Some(plain) = link.and_then(|l| l.opener.open(copy).ok()) {
                datagram[..plain.len()].copy_from_slice(plain);
                return Some((*key, plain.len()));
            }
        }
        let link = self.links.get_mut(*last)?;
        match link.opener.open(datagram) {
            Ok(plain) => Some((*last, plain.len())),
            Err(_) => {
                link.stats.rtcp_refused += 1;
                None
            }
        }
    }

    fn item(&mut self, now: Now, key: usize, item: Item<'_>) {
        let Some(link) = self.links.get_mut(key) else { return };
        let is_child = link.peer == PeerSide::Child;
        match item {
            Item::SenderReport { ntp, .. } => {
                link.last_sr = Some((middle(ntp), now.mono));
                if !is_child && (link.cut_off || link.repeats > 0) {
                    link.repeats = link.repeats.saturating_sub(1);
                    let (id, cut_off) = (link.id, link.cut_off);
                    self.event(PlaneEvent::CutOff(id, cut_off));
                }
            }
            Item::Report(block) => {
                link.keep_report(block);
                if block.last_sr != 0 {
                    // RFC 3550 section 6.4.1, figure 2: arrival - LSR - DLSR in 1/65536 s.
                    let rtt = middle(now.wall.ntp())
                        .wrapping_sub(block.last_sr)
                        .wrapping_sub(block.delay);
                    let rtt = Duration::from_micros((u64::from(rtt) * 1_000_000) >> 16);
                    if rtt < MAX_RTT {
                        link.measured_rtt(rtt);
                    }
                }
            }
            Item::Nack { media, entries } if is_child => {
                self.nacked(now.mono, key, media, entries);
            }
            Item::Pli { media } if is_child => {
                link.stats.plis_received += 1;
                if let Some(layer) = self.routed_layer(key, media) {
                    self.request_key_frame(now.mono, layer);
                }
            }
            Item::Congestion { metrics, .. } if is_child => {
                for arrived in rtcp::metrics(metrics) {
                    link.stats.feedback_packets += 1;
                    link.stats.feedback_lost += u64::from(arrived.is_none());
                }
            }
            Item::CutOff if !is_child => link.says_cut_off = true,
            Item::Heartbeat(entries) if !is_child => {
                let cut_off = std::mem::take(&mut link.says_cut_off);
                let (id, standby) = (link.id, link.standby);
                if std::mem::replace(&mut link.cut_off, cut_off) != cut_off {
                    link.repeats = CUT_OFF_REPEATS;
                    self.event(PlaneEvent::CutOff(id, cut_off));
                }
                // A backup sends nothing of which it could say how far it has come.
                if standby {
                    return;
                }
                for (ssrc, index) in rtcp::heartbeat_entries(entries) {
                    self.revealed(now.mono, ssrc, index);
                }
            }
            // The other direction has no business with it.
            _ => {}
        }
    }

    /// The layer, if it is routed to the link. A node whose backup we are may ask for any.
    fn routed_layer(&self, link: usize, ssrc: Ssrc) -> Option<usize> {
        let layer = *self.layer_ssrcs.get(&ssrc.0)?;
        let link = self.links.get(link)?;
        (link.standby || link.routes.iter().any(|r| r.layer == layer)).then_some(layer)
    }

    fn revealed(&mut self, now: Mono, ssrc: Ssrc, index: PacketIndex) {
        let key = self.layer_ssrcs.get(&ssrc.0).copied();
        let Some(layer) = key.and_then(|k| self.layers.get_mut(k)) else { return };
        if !layer.wanted() {
            return;
        }
        layer.repair.revealed(now, index);
        if let Some(due) = layer.repair.next_due() {
            self.wake_at(due);
        }
    }

    /// A child lacks packets: from the ring, or looked for once however many children ask.
    fn nacked(&mut self, now: Mono, link_key: usize, media: Ssrc, entries: &[u8]) {
        let Some(layer_key) = self.routed_layer(link_key, media) else { return };
        let can_ask = self.links.iter().any(|(_, l)| l.peer == PeerSide::Parent);
        let (Some(layer), Some(link)) =
            (self.layers.get_mut(layer_key), self.links.get_mut(link_key))
        else {
            return;
        };
        let Some(near) = layer.ring.newest().max(layer.repair.highest()) else { return };
        let cursor = link.route_mut(layer_key).and_then(|r| r.cursor);
        // What we have sent on within the last round trip the child can't know to be lost: its
        // request has crossed the packet. Three quarters, since round trips vary.
        let crossing = link.stats.rtt.unwrap_or_default() * 3 / 4;
        for seq in rtcp::nack_seqs(entries) {
            link.stats.nacks_received += 1;
            let index = rtcp::resolve(seq, near);
            if cursor.is_some_and(|c| index >= c) {
                // It is on its way from the ring.
                continue;
            }
            if let Some(len) = layer.ring.get(now, index).map(<[u8]>::len) {
                let arrival = layer.ring.arrival(index);
                if arrival.is_some_and(|at| now.since(at) < crossing) {
                    layer.stats.absorbed += 1;
                } else if link.resends.take(now, self.config.resend_rate)
                    && link.is_open()
                    && link.enqueue(layer_key, index, len, self.config.queue_limit)
                {
                    link.stats.resent += 1;
                }
            } else if can_ask
                && layer.seen.check(index.0) == Seen::New
                && layer.repair.wanted(now, index) != Wanted::Refused
            {
                layer.stats.absorbed += 1;
            } else {
                link.stats.unavailable += 1;
            }
        }
        if let Some(due) = layer.repair.next_due() {
            self.wake_at(due);
        }
    }

    /// Somebody needs a key frame: one request per layer and 500 ms goes up.
    pub(super) fn request_key_frame(&mut self, now: Mono, layer_key: usize) {
        let Some(layer) = self.layers.get_mut(layer_key) else { return };
        if layer.spec.kind == MediaKind::Audio {
            return;
        }
        if layer.requests.request(now) {
            self.send_key_frame_request(layer_key);
        } else if let Some(due) = layer.requests.next_due() {
            self.wake_at(due);
        }
    }

    pub(super) fn send_key_frame_request(&mut self, layer_key: usize) {
        let parent = self.parent_of(layer_key);
        let Some(layer) = self.layers.get_mut(layer_key) else { return };
        layer.stats.key_frame_requests += 1;
        let (pipeline, ssrc) = (layer.pipeline, layer.ssrc());
        let sent =
            parent.filter(|p| self.send_rtcp(*p, |out, sender| rtcp::pli(out, sender, ssrc)));
        match sent.and_then(|p| self.links.get_mut(p)) {
            Some(link) => link.stats.plis_sent += 1,
            None => self.event(PlaneEvent::KeyFrameWanted(pipeline, ssrc)),
        }
    }

    /// The open parent to ask for a layer: the one that it comes from, or any.
    pub(super) fn parent_of(&self, layer_key: usize) -> Option<usize> {
        let first = self.layers.get(layer_key)?.parent;
        let open = |key: &usize| {
            let link = self.links.get(*key);
            link.is_some_and(|l| l.peer == PeerSide::Parent && !l.standby && l.is_open())
        };
        first.filter(open).or_else(|| self.links.iter().map(|(key, _)| key).find(open))
    }

    /// The open link to a backup, for what the parent is late with.
    pub(super) fn backup(&self) -> Option<usize> {
        let fit = |l: &Link| l.peer == PeerSide::Parent && l.standby && l.state == State::Open;
        self.links.iter().find(|(_, link)| fit(link)).map(|(key, _)| key)
    }
}

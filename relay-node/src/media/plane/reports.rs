//! RTCP that goes out by time: heartbeats, reports, feedback, NACKs.

use super::Plane;
use super::feedback::middle;
use crate::media::api::PeerSide;
use crate::media::layer::Reported;
use crate::media::rtcp::{self, MAX_HEARTBEAT_LAYERS, MAX_REPORT_BLOCKS, ReportBlock};
use smallvec::SmallVec;
use soleil_protocol::{Mono, Now, PacketIndex, Ssrc};
use std::ops::RangeInclusive;

/// Packets that one feedback packet speaks of: 1,000 bytes.
const MAX_FEEDBACK: u64 = 480;

/// Share of packets lost on a hop that makes it a lossy one: there requests and answers are lost so
/// often that each is asked for twice at once. Beyond, the path is full, and more would fill it more.
const LOSSY: RangeInclusive<f64> = 0.02..=0.25;

/// So many reports (seconds) in a row have to show it.
const LOSSY_REPORTS: u32 = 3;

/// Packets of one layer that are asked for at a time.
const MAX_ASK: usize = 1024;

impl Plane {
    /// Tells a child the highest index of each layer that goes to it, and whether we are cut off.
    pub(super) fn send_heartbeat(&mut self, link_key: usize) {
        let Some(link) = self.links.get(link_key) else { return };
        let entries: SmallVec<[(Ssrc, PacketIndex); 16]> = link
            .routes
            .iter()
            .filter_map(|route| {
                let layer = self.layers.get(route.layer)?;
                let newest = layer.ring.newest()?;
                // While the link catches up: what it has been sent, or it would ask for the rest.
                let index = match route.cursor {
                    Some(cursor) => PacketIndex(cursor.0.checked_sub(1)?).min(newest),
                    None => newest,
                };
                Some((layer.ssrc(), index))
            })
            .collect();
        let first = entries.len().min(MAX_HEARTBEAT_LAYERS);
        let rest = entries[first..].chunks(MAX_HEARTBEAT_LAYERS);
        let cut_off = self.cut_off;
        for chunk in std::iter::once(&entries[..first]).chain(rest) {
            self.send_rtcp(link_key, |out, sender| {
                if cut_off {
                    rtcp::cut_off(out, sender);
                }
                rtcp::heartbeat(out, sender, chunk);
            });
        }
    }

    /// Sender Report to a child, Receiver Report to a parent.
    pub(super) fn send_report(&mut self, now: Now, link_key: usize) {
        let Some(link) = self.links.get(link_key) else { return };
        if link.peer == PeerSide::Child {
            let (packets, octets) = (link.stats.packets_sent, link.stats.bytes_sent);
            self.send_rtcp(link_key, |out, sender| {
                rtcp::sender_report(out, sender, now.wall.ntp(), packets as u32, octets as u32);
            });
            return;
        }
        let last_sr = link.last_sr;
        let (mut all_missed, mut all_expected) = (0, 0);
        let mut blocks: SmallVec<[ReportBlock; 16]> = SmallVec::new();
        for (_, layer) in self.layers.iter_mut().filter(|(_, l)| l.parent == Some(link_key)) {
            let total = Reported {
                packets: layer.stats.packets,
                missed: layer.repair.asked(),
                lost: layer.repair.lost(),
            };
            let before = std::mem::replace(&mut layer.reported, total);
            let missed = total.missed - before.missed;
            let expected = total.packets - before.packets + (total.lost - before.lost);
            all_missed += missed;
            all_expected += expected;
            let fraction = (missed * 256).checked_div(expected).unwrap_or(0).min(255);
            blocks.push(ReportBlock {
                ssrc: layer.ssrc(),
                fraction_lost: fraction as u8,
                lost: total.missed.min(i32::MAX as u64) as i32,
                highest: layer.ring.newest().map_or(0, |i| i.0 as u32),
                jitter: layer.jitter(),
                last_sr: last_sr.map_or(0, |(ntp, _)| ntp),
                delay: last_sr.map_or(0, |(_, at)| {
                    (now.mono.since(at).as_micros() as u64 * 65_536 / 1_000_000) as u32
                }),
            });
        }
        if let Some(link) = self.links.get_mut(link_key).filter(|_| all_expected > 0) {
            let fraction = all_missed as f64 / all_expected as f64;
            link.stats.fraction_lost = Some(fraction.min(1.0));
            let lossy = LOSSY.contains(&fraction);
            link.lossy_for = if lossy { link.lossy_for.saturating_add(1) } else { 0 };
        }
        // One at least: an empty report says that we are alive.
        let first = blocks.len().min(MAX_REPORT_BLOCKS);
        self.send_rtcp(link_key, |out, sender| {
            rtcp::receiver_report(out, sender, &blocks[..first]);
        });
        for chunk in blocks[first..].chunks(MAX_REPORT_BLOCKS) {
            self.send_rtcp(link_key, |out, sender| rtcp::receiver_report(out, sender, chunk));
        }
    }

    /// RFC 8888 feedback to a parent on what has come since the last.
    pub(super) fn send_feedback(&mut self, now: Now, link_key: usize) {
        for layer_key in 0..self.layers.end() {
            let Some(layer) = self.layers.get_mut(layer_key) else { continue };
            if layer.parent != Some(link_key) {
                continue;
            }
            let (Some(from), end) = (layer.feedback_from, layer.end()) else { continue };
            let start = from.0.max(end.0.saturating_sub(MAX_FEEDBACK));
            if start >= end.0 {
                continue;
            }
            layer.feedback_from = Some(end);
            let Some(link) = self.links.get_mut(link_key).filter(|l| l.is_open()) else { return };
            let Some(to) = link.address else { return };
            let (sealer, sender) = (&mut link.sealer, crate::media::link::rtcp_ssrc(link.id));
            let (ssrc, ring) = (layer.ssrc(), &layer.ring);
            let time = middle(now.wall.ntp());
            self.control.push(to, |out, at| {
                let offsets = (start..end.0).map(|i| {
                    let age = now.mono.since(ring.arrival(PacketIndex(i))?);
                    Some((age.as_micros() as u64 * 1024 / 1_000_000).min(0x1ffe) as u16)
                });
                rtcp::congestion(out, sender, ssrc, start as u16, offsets, time);
                sealer.seal(out, at).is_ok()
            });
        }
    }

    /// Asks upward for what is missing and due.
    pub(super) fn send_nacks(&mut self, now: Mono) {
        for layer_key in 0..self.layers.end() {
            let due = self.layers.get(layer_key).and_then(|l| l.repair.next_due());
            if due.is_none_or(|due| now < due) {
                continue;
            }
            let parent = self.parent_of(layer_key);
            let backup = self.backup();
            let link = parent.and_then(|p| self.links.get(p));
            let rtt = link.and_then(|l| l.stats.rtt);
            let lossy = link.is_some_and(|l| l.lossy_for >= LOSSY_REPORTS);
            let mut wanted = std::mem::take(&mut self.wanted);
            wanted.clear();
            let Some(layer) = self.layers.get_mut(layer_key) else { continue };
            let can_ask = parent.or(backup).is_some();
            layer.repair.take_due(now, rtt, lossy, can_ask, MAX_ASK, &mut wanted);
            let ssrc = layer.ssrc();
            layer.stats.nacks += if can_ask { wanted.len() as u64 } else { 0 };
            if let Some(parent) = parent {
                self.send_nack(parent, ssrc, wanted.iter().map(|w| w.index));
            }
            // Of what the parent is late with. Where its answers are often lost nobody waits.
            if let Some(backup) = backup {
                let late = wanted.iter().filter(|w| w.late || lossy || parent.is_none());
                self.send_nack(backup, ssrc, late.map(|w| w.index));
            }
            self.wanted = wanted;
        }
    }

    /// Asks one neighbour for packets.
    fn send_nack(&mut self, link: usize, ssrc: Ssrc, indexes: impl Iterator<Item = PacketIndex>) {
        let indexes: SmallVec<[PacketIndex; 64]> = indexes.collect();
        let mut left = &indexes[..];
        while !left.is_empty() {
            let mut covered = left.len();
            self.send_rtcp(link, |out, sender| covered = rtcp::nack(out, sender, ssrc, left));
            left = &left[covered..];
        }
        if let Some(link) = self.links.get_mut(link) {
            link.stats.nacks_sent += indexes.len() as u64;
        }
    }
}

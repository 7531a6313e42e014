//! A packet whose turn has come: its time and its marks are settled, what is too large is cut, and
//! what leaves is numbered. What a hole does to the pipeline is decided here too.

use super::{Held, LayerIngest, LayerSpec, Packet};
use crate::ingest::clock::ClockShift;
use crate::ingest::codec::{self, Cut};
use crate::ingest::fragment::Place;
use crate::ingest::h264;
use crate::ingest::reason::{Counters, DropReason};
use bytes::Bytes;
use relay_node::media::api::FrameMarks;
use relay_node::media::sizes::INDEX_LEAP;
use soleil_protocol::pipeline::Codec;
use soleil_protocol::{Now, PacketIndex, Wall};
use std::collections::VecDeque;

/// What belongs to a whole frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meta {
    timestamp: u32,
    capture: u64,
    marks: u8,
    key: bool,
}

/// Numbers packets and counts them.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) spec: LayerSpec,
    next: PacketIndex,
    /// One more than the last index that a later start stays clear of.
    reserved: PacketIndex,
    pub(super) gap: bool,
    pub(super) queue: VecDeque<Packet>,
    pub(super) counters: Counters,
}

impl LayerIngest {
    /// A packet whose turn has come.
    pub(super) fn release(&mut self, held: Held, lost: u64, shift: &mut ClockShift) {
        if lost > 0 {
            self.outlet.counters.lost += lost;
            self.damaged();
        }
        if held.payload.is_empty() {
            return;
        }
        let info = match held.info {
            Ok(info) => info,
            Err(reason) => {
                self.outlet.counters.drop(reason);
                return self.damaged();
            }
        };
        let Some((timestamp, capture)) = self.times(held.arrival, held.timestamp, shift) else {
            self.outlet.counters.drop(DropReason::Late);
            return self.damaged();
        };
        let key = info.key && self.key_marked != Some(timestamp);
        if key {
            self.key_marked = Some(timestamp);
            self.outlet.counters.key_frames += 1;
            self.feedback.key_frame_came();
        }
        let descriptor = held.descriptor.as_deref();
        let standing = self.scalable.take(held.timestamp, key, &info, descriptor);
        self.size = self.scalable.size().or(info.size).or(self.size);
        self.profile = info.profile.or(self.profile);
        let meta = Meta {
            timestamp,
            capture,
            marks: (if standing.discardable { FrameMarks::DISCARDABLE } else { 0 })
                | (standing.temporal & 0x07),
            key,
        };
        if let Err(reason) = self.send(&held.payload, held.marker, meta) {
            self.outlet.counters.drop(reason);
            self.damaged();
        }
    }

    /// Our timestamp and the capture time (NTP 32.32) of a sender's timestamp; `None` if it is that of
    /// a frame which the layer that this one is made of has not had lately.
    fn times(&mut self, at: Now, timestamp: u32, shift: &mut ClockShift) -> Option<(u32, u64)> {
        if let Some(captures) = &self.captures {
            return captures.of(timestamp).map(|capture| (timestamp, capture));
        }
        let (ours, jumped) = self.timeline.map(at.mono, timestamp);
        if jumped {
            self.clock.change_source();
        }
        let capture = self.clock.capture(at, timestamp, shift);
        Some((ours, Wall(u64::try_from(capture).unwrap_or(0)).ntp()))
    }

    /// Something is missing from the pipeline for good.
    fn damaged(&mut self) {
        self.outlet.gap = true;
        self.fragmenter.abandon();
        self.request_key_frame();
    }

    fn send(&mut self, payload: &Bytes, marker: bool, meta: Meta) -> Result<(), DropReason> {
        let limit = self.outlet.spec.limit;
        let fits = payload.len() <= limit;
        let outlet = &mut self.outlet;
        if fits && !self.fragmenter.is_open() {
            outlet.emit(payload.clone(), &meta, true, marker);
            return Ok(());
        }
        let parts = match codec::cut(outlet.spec.codec, payload, limit)? {
            Cut::Parts(parts) => parts,
            Cut::Done(pieces) => {
                outlet.counters.split += 1;
                let last = pieces.len().saturating_sub(1);
                for (i, piece) in pieces.into_iter().enumerate() {
                    outlet.emit(piece, &meta, i == 0, marker && i == last);
                }
                return Ok(());
            }
        };
        if fits && parts.first().is_some_and(|p| p.start) {
            // A new unit although the last one was not finished.
            self.fragmenter.flush(&mut |bytes, meta, place: Place| {
                outlet.emit(bytes, meta, place.first, false);
            });
            outlet.emit(payload.clone(), &meta, true, marker);
            return Ok(());
        }
        outlet.counters.split += 1;
        let last = parts.len().saturating_sub(1);
        for (i, part) in parts.into_iter().enumerate() {
            let marker = marker && i == last;
            let meta = Meta { key: meta.key && i == 0, ..meta };
            let small = part.body.len() < limit;
            if outlet.spec.codec == Codec::H264 && part.start && part.end && small {
                self.fragmenter.flush(&mut |bytes, meta, place: Place| {
                    outlet.emit(bytes, meta, place.first, false);
                });
                outlet.emit(h264::whole(&part), &meta, true, marker);
                continue;
            }
            self.fragmenter.push(part, marker, meta, &mut |bytes, meta, place: Place| {
                outlet.emit(bytes, meta, place.first, marker && place.last);
            });
        }
        Ok(())
    }
}

impl Outlet {
    pub(super) fn new(spec: LayerSpec, next: PacketIndex, reserved: PacketIndex) -> Self {
        let (queue, counters) = (VecDeque::new(), Counters::default());
        Self { spec, next, reserved, gap: false, queue, counters }
    }

    /// Half of what is reserved is used up: the rest is enough until the next part is written.
    pub(super) fn poll_reserve(&mut self) -> Option<PacketIndex> {
        if self.next.0.saturating_add(INDEX_LEAP / 2) < self.reserved.0 {
            return None;
        }
        self.reserved = PacketIndex(self.next.0.saturating_add(INDEX_LEAP).min(PacketIndex::MAX.0));
        Some(self.reserved)
    }

    fn emit(&mut self, payload: Bytes, meta: &Meta, first: bool, marker: bool) {
        if self.gap && self.counters.sent > 0 {
            self.next = PacketIndex(self.next.0 + 1);
            self.counters.gaps += 1;
        }
        self.gap = false;
        let key = if meta.key && first { FrameMarks::KEY_START } else { 0 };
        self.queue.push_back(Packet {
            ssrc: self.spec.ssrc,
            index: self.next,
            timestamp: meta.timestamp,
            capture: meta.capture,
            marker,
            payload_type: self.spec.payload_type,
            marks: FrameMarks(meta.marks | key),
            payload,
        });
        self.next = PacketIndex(self.next.0 + 1);
        self.counters.sent += 1;
    }
}

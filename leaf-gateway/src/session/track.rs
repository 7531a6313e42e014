//! One track as one viewer gets it: numbers, header, seal, resend, and the figures for reports.
//! Pure; the packets lie in the worker's ring.

mod packet;
mod start;
#[cfg(test)]
mod tests;
mod vp8;

use packet::{Header, write};
use start::Start;

use super::rtcp::{ReportBlock, SenderReport};
use crate::rewriter::{Input, Original, Rewriter, Source};
use crate::ring::Stored;
use rand::{Rng, RngCore};
use relay_node::media::srtp::SrtpSealer;
use soleil_protocol::pipeline::{Codec, MediaKind};
use soleil_protocol::{Mono, PacketIndex, Ssrc};
use std::time::Duration;

/// Sender Reports whose send time is remembered for the round-trip time: reports come once a
/// second, and an answer that is older than four seconds says nothing of the present.
const REMEMBERED_REPORTS: usize = 4;

/// A track that has been silent for so long gets no Sender Report: its clock is no longer known
/// well.
const REPORT_SILENCE: Duration = Duration::from_secs(5);

/// RTX (RFC 4588) as negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtxSetup {
    /// Its own SSRC.
    pub ssrc: u32,
    /// Its payload type in the viewer's numbering.
    pub payload_type: u8,
}

/// What was negotiated for a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackSetup {
    /// The track's name in the pipeline.
    pub name: String,
    /// Sound or picture.
    pub kind: MediaKind,
    /// What it is coded with.
    pub codec: Codec,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// The layer that is sent, by its SSRC on the hops.
    pub source: Ssrc,
    /// SSRC towards the viewer.
    pub ssrc: u32,
    /// Payload type in the viewer's numbering.
    pub payload_type: u8,
    /// RTX, if the viewer takes it.
    pub rtx: Option<RtxSetup>,
    /// Whether the viewer sends NACK for this track.
    pub nack: bool,
    /// Id of the absolute-capture-time extension, if the viewer takes it.
    pub capture_ext: Option<u8>,
    /// Id of the extension with the transport-wide number, if the viewer reports on it.
    pub twcc_ext: Option<u8>,
}

/// The viewer's latest opinion of a track.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TrackReport {
    /// Lost since the report before, 0 to 1.
    pub fraction_lost: f64,
    /// Lost since the beginning.
    pub lost: i32,
    /// Jitter in seconds.
    pub jitter: f64,
    /// Round-trip time in seconds, once known.
    pub rtt: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    capture: u64,
    timestamp: u32,
    at: Mono,
}

/// The track.
#[derive(Debug)]
pub(super) struct OutTrack {
    pub(super) setup: TrackSetup,
    rewriter: Rewriter,
    rtx_next: u64,
    packets: u32,
    octets: u32,
    last: Option<Last>,
    sent_reports: [Option<(u32, Mono)>; REMEMBERED_REPORTS],
    next_report: usize,
    pub(super) report: Option<TrackReport>,
    /// Whether it waits for a packet that a decoder can start from.
    pub(super) waiting: bool,
    /// Left out for now: the link hardly carries the sound.
    paused: bool,
    /// Frames that no other frame needs are left out.
    lean: bool,
    /// What lies before this was too much for the link, and is not sent again.
    held: Option<PacketIndex>,
    /// Source's timestamp of the newest frame that was sent.
    frame: Option<u32>,
    /// The same of the frame that was left out last.
    left_out: Option<u32>,
    start: Option<Start>,
}

/// What `forward` has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// Nothing was written.
    Nothing,
    /// A packet was written.
    Sent,
    /// A packet was written, and with it a range began: what the ring has behind it should follow.
    Began,
}

impl OutTrack {
    pub(super) fn new(setup: TrackSetup, rng: &mut impl RngCore) -> Self {
        let rewriter = Rewriter::new(rng.random(), rng.random(), setup.clock_rate);
        Self {
            rewriter,
            rtx_next: u64::from(rng.random::<u16>() & 0x7fff),
            packets: 0,
            octets: 0,
            last: None,
            sent_reports: [None; REMEMBERED_REPORTS],
            next_report: 0,
            report: None,
            waiting: true,
            paused: false,
            lean: false,
            held: None,
            frame: None,
            left_out: None,
            start: None,
            setup,
        }
    }

    /// Whether packets of a layer are for this track: of the one that it plays, and while that has
    /// not begun, of the one before.
    pub(super) fn plays(&self, ssrc: Ssrc) -> bool {
        let before = || self.rewriter.current().is_some_and(|s| s.ssrc == ssrc);
        ssrc == self.setup.source || (self.waiting && before())
    }

    /// Whether it wants to begin.
    pub(super) fn wants_start(&self) -> bool {
        self.waiting && !self.paused
    }

    /// Leaves the track out from now on.
    pub(super) fn pause(&mut self) {
        self.end_start();
        (self.paused, self.waiting) = (true, true);
    }

    /// It is sent again, from a packet on that a decoder can start from.
    pub(super) fn resume(&mut self) {
        self.paused = false;
        self.rewriter.close();
    }

    /// Sends nothing more until a layer begins.
    pub(super) fn hold(&mut self) {
        self.end_start();
        self.rewriter.close();
        (self.waiting, self.held) = (true, Some(self.rewriter.next_output()));
    }

    /// Whether a packet is of what was held back, which a viewer misses in vain.
    pub(super) fn is_held(&self, original: &Original) -> bool {
        self.held.is_some_and(|held| original.output < held)
    }

    /// Leaves frames out that no other frame needs, or no longer.
    pub(super) fn set_lean(&mut self, lean: bool) {
        self.lean = lean;
    }

    /// Whether a packet of the present range is left out. A frame is left out as a whole or not at
    /// all: from its first packet on, and only if nothing is missing before that one.
    fn leaves_out(&mut self, source: Source, packet: &Stored) -> bool {
        let frame = Some(packet.timestamp);
        if self.left_out == frame {
            return self.rewriter.leave_out(source, packet.index);
        }
        let spare = self.lean && packet.marks.discardable() && self.frame != frame;
        if !spare || !self.rewriter.is_next(source, packet.index) {
            return false;
        }
        let left_out = self.rewriter.leave_out(source, packet.index);
        if left_out {
            self.left_out = frame;
            if self.setup.codec == Codec::Vp8 {
                let base_layer = packet.marks.temporal_layer() == 0;
                self.rewriter.skip(vp8::skips(&packet.payload, base_layer));
            }
        }
        left_out
    }

    /// Sequence numbers of the packets that were sent last, the newest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = u16> {
        let highest = self.rewriter.highest();
        highest.into_iter().flat_map(|h| (0..=u16::MAX).map(move |back| h.wrapping_sub(back)))
    }

    /// Writes the packet for the viewer behind what `out` holds, sealed, if it is to have it, with
    /// this transport-wide number, if the viewer takes one.
    pub(super) fn forward(
        &mut self,
        now: Mono,
        sealer: &SrtpSealer,
        source: Source,
        packet: &Stored,
        number: u16,
        out: &mut Vec<u8>,
    ) -> Forwarded {
        if self.paused {
            return Forwarded::Nothing;
        }
        let input = Input {
            source,
            index: packet.index,
            timestamp: packet.timestamp,
            capture: packet.capture,
        };
        if self.start.is_some_and(|s| s.source == source && packet.index.0 >= s.next) {
            // Its turn comes.
            return Forwarded::Nothing;
        }
        let mut began = false;
        if !self.rewriter.continues(source, packet.index) {
            if source.ssrc != self.setup.source {
                return Forwarded::Nothing;
            }
            let startable = self.setup.kind == MediaKind::Audio || packet.marks.key_start();
            if !startable {
                self.waiting = true;
                return Forwarded::Nothing;
            }
            self.rewriter.begin(input, None);
            (self.start, self.left_out) = (None, None);
            self.waiting = false;
            began = true;
        }
        if self.setup.kind == MediaKind::Video && !began && self.leaves_out(source, packet) {
            return Forwarded::Nothing;
        }
        let Some(place) = self.rewriter.rewrite(input) else { return Forwarded::Nothing };
        let newer = |frame: u32| packet.timestamp.wrapping_sub(frame) as i32 >= 0;
        if began || self.frame.is_none_or(newer) {
            self.frame = Some(packet.timestamp);
        }
        let header = Header {
            payload_type: self.setup.payload_type,
            marker: packet.marker,
            index: place.index,
            timestamp: place.timestamp,
            ssrc: self.setup.ssrc,
            capture: self.setup.capture_ext.map(|id| (id, packet.capture)),
            number: self.setup.twcc_ext.map(|id| (id, number)),
            skipped: place.skipped,
        };
        if !write(sealer, &header, None, &packet.payload, out) {
            return Forwarded::Nothing;
        }
        self.count(packet.payload.len());
        if self.last.is_none_or(|l| (place.natural.wrapping_sub(l.timestamp) as i32) >= 0) {
            self.last = Some(Last { capture: packet.capture, timestamp: place.natural, at: now });
        }
        if began { Forwarded::Began } else { Forwarded::Sent }
    }

    /// The original of a sequence number that the viewer misses.
    pub(super) fn original(&self, seq: u16) -> Option<Original> {
        self.rewriter.original(seq)
    }

    /// Writes a packet again: as RTX under a number of its own (RFC 4588 section 4), or without
    /// RTX the very same packet. The ring never holds other bytes under the same source and index,
    /// so sealing those again gives the same datagram and no second one under its nonce; with a
    /// transport-wide number it would be another datagram, so then there is none without RTX.
    pub(super) fn resend(
        &mut self,
        sealer: &SrtpSealer,
        original: &Original,
        packet: &Stored,
        number: u16,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.setup.rtx.is_none() && self.setup.twcc_ext.is_some() {
            return false;
        }
        let mut header = Header {
            payload_type: self.setup.payload_type,
            marker: packet.marker,
            index: original.output,
            timestamp: original.timestamp(packet.timestamp),
            ssrc: self.setup.ssrc,
            capture: self.setup.capture_ext.map(|id| (id, packet.capture)),
            number: self.setup.twcc_ext.map(|id| (id, number)),
            skipped: original.skipped,
        };
        let osn = self.setup.rtx.map(|rtx| {
            header.payload_type = rtx.payload_type;
            header.ssrc = rtx.ssrc;
            header.index = PacketIndex(self.rtx_next);
            original.output.seq()
        });
        if header.index > PacketIndex::MAX || !write(sealer, &header, osn, &packet.payload, out) {
            return false;
        }
        if osn.is_some() {
            self.rtx_next += 1;
        }
        true
    }

    /// The round-trip time, by the viewer's report.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.report?.rtt.and_then(|secs| Duration::try_from_secs_f64(secs).ok())
    }

    /// Takes the viewer's report.
    pub(super) fn take_report(&mut self, now: Mono, block: &ReportBlock) {
        let sent = self.sent_reports.iter().flatten().find(|(id, _)| *id == block.last_sr);
        let rtt = sent.filter(|_| block.last_sr != 0).map(|(_, at)| {
            let held = Duration::from_micros(u64::from(block.delay) * 1_000_000 / 65_536);
            now.since(*at).saturating_sub(held).as_secs_f64()
        });
        self.report = Some(TrackReport {
            fraction_lost: f64::from(block.fraction_lost) / 256.0,
            lost: block.lost,
            jitter: f64::from(block.jitter) / f64::from(self.setup.clock_rate.max(1)),
            rtt: rtt.or(self.report.and_then(|r| r.rtt)),
        });
    }

    /// A Sender Report for now: the packets' capture time maps RTP time to NTP time, the same clock
    /// (the root's) for all tracks, so the viewer can put sound and picture together.
    pub(super) fn sender_report(&mut self, now: Mono) -> Option<SenderReport> {
        let last = self.last?;
        let elapsed = now.since(last.at);
        if elapsed > REPORT_SILENCE {
            return None;
        }
        let micros = elapsed.as_micros() as u64;
        let ticks = micros * u64::from(self.setup.clock_rate) / 1_000_000;
        let ntp = last.capture.wrapping_add((micros << 32) / 1_000_000);
        let id = (ntp >> 16) as u32;
        self.sent_reports[self.next_report % REMEMBERED_REPORTS] = Some((id, now));
        self.next_report += 1;
        Some(SenderReport {
            ssrc: self.setup.ssrc,
            ntp,
            rtp: last.timestamp.wrapping_add(ticks as u32),
            packets: self.packets,
            octets: self.octets,
        })
    }

    fn count(&mut self, payload: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
    }
}

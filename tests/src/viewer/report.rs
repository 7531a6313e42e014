//! What the viewers measured: per viewer and summed up, as JSON and as a table.

use super::bulk::BulkReport;
use super::histogram::Histogram;
use super::sdp::Codec;
use super::stream::Stream;
use serde::{Deserialize, Serialize};
use soleil_protocol::Mono;
use std::collections::BTreeMap;
use std::fmt;

/// How far a viewer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not connected yet.
    #[default]
    Joining,
    /// ICE and DTLS are through.
    Connected,
    /// It did not connect, or lost its path; see `error`.
    Failed,
    /// The server closed the session.
    Closed,
}

/// What one stream brought.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StreamReport {
    /// Packets, each original number counted once.
    pub packets: u64,
    /// Their bytes with headers and tags.
    pub bytes: u64,
    /// Original numbers that never came, in spite of repair.
    pub lost: u64,
    /// Original numbers that were seen missing, repaired or not.
    pub gaps: u64,
    /// Came after they were asked for.
    pub repaired: u64,
    /// Asked for.
    pub nacked: u64,
    /// Came more than once.
    pub duplicates: u64,
    /// Frames that are whole, from the first key frame on (video).
    pub frames: u64,
    /// Frames that are not.
    pub broken_frames: u64,
    /// Key frames among them.
    pub key_frames: u64,
    /// Width of the pictures that come now, where their codec tells (VP8): which layer it is.
    pub width: Option<u16>,
    /// Longest time between two whole frames in milliseconds.
    pub longest_gap_ms: f64,
    /// Time since the last whole frame in milliseconds: a picture that stands has a gap that does not
    /// count yet.
    pub standing_ms: f64,
    /// RFC 3550 jitter in milliseconds.
    pub jitter_ms: f64,
    /// Capture to arrival of each packet.
    #[serde(skip)]
    pub packet_delay: Histogram,
    /// Capture to completion of each frame.
    #[serde(skip)]
    pub frame_delay: Histogram,
}

impl StreamReport {
    /// The longest time without a whole frame in milliseconds, the present one included.
    pub fn gap_ms(&self) -> f64 {
        self.longest_gap_ms.max(self.standing_ms)
    }

    fn merge(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.lost += other.lost;
        self.gaps += other.gaps;
        self.repaired += other.repaired;
        self.nacked += other.nacked;
        self.duplicates += other.duplicates;
        self.frames += other.frames;
        self.broken_frames += other.broken_frames;
        self.key_frames += other.key_frames;
        self.width = other.width.or(self.width);
        self.longest_gap_ms = self.longest_gap_ms.max(other.longest_gap_ms);
        self.standing_ms = self.standing_ms.max(other.standing_ms);
        self.jitter_ms = self.jitter_ms.max(other.jitter_ms);
        self.packet_delay.merge(&other.packet_delay);
        self.frame_delay.merge(&other.frame_delay);
    }
}

/// What one viewer measured. Times are milliseconds from its POST.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ViewerReport {
    /// Its number.
    pub id: usize,
    /// How far it came.
    pub state: State,
    /// Why it failed.
    pub error: Option<String>,
    /// To the answer.
    pub post_ms: Option<f64>,
    /// To the end of the DTLS handshake.
    pub connected_ms: Option<f64>,
    /// To the first media packet.
    pub first_packet_ms: Option<f64>,
    /// To the first packet of a key frame.
    pub first_key_ms: Option<f64>,
    /// Since the end of the handshake.
    pub connected_for_ms: f64,
    /// The SRTP profile that the server chose.
    pub srtp: Option<String>,
    /// Path round trip as the last consent check saw it.
    pub rtt_ms: f64,
    /// Answers to our checks.
    pub consents: u64,
    /// Checks of the server.
    pub server_checks: u64,
    /// Packets that were opened and found genuine.
    pub opened: u64,
    /// Packets that could not be opened.
    pub unopened: u64,
    /// Datagrams that are nothing known.
    pub strange: u64,
    /// Retransmissions (RFC 4588).
    pub rtx_packets: u64,
    /// Their bytes.
    pub rtx_bytes: u64,
    /// Datagrams sent that no good viewer sends, and their bytes.
    pub abuse: (u64, u64),
    /// Key-frame requests sent.
    pub plis: u64,
    /// Sender Reports that came.
    pub sender_reports: u64,
    /// BYEs that came.
    pub byes: u64,
    /// The server closed DTLS.
    pub closed_by_server: bool,
    /// Picture.
    pub video: StreamReport,
    /// Sound.
    pub audio: StreamReport,
    /// The picture of a load test.
    pub bulk: BulkReport,
}

impl ViewerReport {
    pub(super) fn add(&mut self, codec: Codec, stream: &Stream, now: Mono) {
        let c = &stream.counts;
        let report = StreamReport {
            packets: c.packets,
            bytes: c.bytes,
            lost: c.lost + stream.overdue(now),
            gaps: c.gaps,
            repaired: c.repaired,
            nacked: c.nacked,
            duplicates: c.duplicates,
            frames: c.frames,
            broken_frames: c.broken_frames,
            key_frames: c.key_frames,
            width: stream.width,
            longest_gap_ms: c.longest_gap_us as f64 / 1000.0,
            standing_ms: stream.standing_us(now) as f64 / 1000.0,
            jitter_ms: stream.jitter_ms(),
            packet_delay: stream.packet_delay.clone(),
            frame_delay: stream.frame_delay.clone(),
        };
        if codec == Codec::Opus { &mut self.audio } else { &mut self.video }.merge(&report);
    }
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many samples.
    pub count: u64,
    /// Half are below.
    pub p50: f64,
    /// 95% are below.
    pub p95: f64,
    /// 99% are below.
    pub p99: f64,
    /// None is above.
    pub max: f64,
}

impl Percentiles {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut all = Histogram::default();
        values.for_each(|ms| all.add((ms * 1000.0) as u64));
        Self::from(&all)
    }
}

impl From<&Histogram> for Percentiles {
    fn from(h: &Histogram) -> Self {
        let at = |fraction| h.percentile_ms(fraction).unwrap_or(0.0);
        Self { count: h.count(), p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1.0) }
    }
}

/// All viewers together.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// How many there are.
    pub viewers: usize,
    /// Connected now.
    pub connected: usize,
    /// Failed or closed by the server.
    pub failed: usize,
    /// Why, with how many of each.
    pub errors: BTreeMap<String, usize>,
    /// SRTP profiles chosen, with how many of each.
    pub srtp: BTreeMap<String, usize>,
    /// POST to answer.
    pub post: Percentiles,
    /// POST to first packet.
    pub first_packet: Percentiles,
    /// POST to first key frame.
    pub first_key: Percentiles,
    /// Capture to arrival, video packets.
    pub packet_delay: Percentiles,
    /// Capture to completion, video frames.
    pub frame_delay: Percentiles,
    /// Lost of all packets, in percent (video).
    pub loss_percent: f64,
    /// Packets that could not be opened.
    pub unopened: u64,
    /// Sum of the pictures.
    pub video: StreamReport,
    /// Sum of the sounds.
    pub audio: StreamReport,
    /// Sum of a load test's pictures.
    pub bulk: BulkReport,
    /// Each of them.
    pub each: Vec<ViewerReport>,
}

impl Report {
    /// Sums up.
    #[must_use]
    pub fn new(mut each: Vec<ViewerReport>) -> Self {
        each.sort_by_key(|v| v.id);
        let mut report = Self { viewers: each.len(), ..Self::default() };
        for viewer in &each {
            match viewer.state {
                State::Joining => {}
                State::Connected => report.connected += 1,
                State::Failed | State::Closed => report.failed += 1,
            }
            if let Some(error) = &viewer.error {
                *report.errors.entry(error.clone()).or_default() += 1;
            }
            if let Some(srtp) = &viewer.srtp {
                *report.srtp.entry(srtp.clone()).or_default() += 1;
            }
            report.unopened += viewer.unopened;
            report.video.merge(&viewer.video);
            report.audio.merge(&viewer.audio);
            report.bulk.merge(&viewer.bulk);
        }
        report.post = Percentiles::of(each.iter().filter_map(|v| v.post_ms));
        report.first_packet = Percentiles::of(each.iter().filter_map(|v| v.first_packet_ms));
        report.first_key = Percentiles::of(each.iter().filter_map(|v| v.first_key_ms));
        report.packet_delay = Percentiles::from(&report.video.packet_delay);
        report.frame_delay = Percentiles::from(&report.video.frame_delay);
        let (lost, got) = (report.video.lost as f64, report.video.packets as f64);
        report.loss_percent = if lost + got > 0.0 { 100.0 * lost / (lost + got) } else { 0.0 };
        report.each = each;
        report
    }

    /// How many viewers have got a packet of a key frame.
    #[must_use]
    pub fn with_first_key(&self) -> usize {
        self.each.iter().filter(|v| v.first_key_ms.is_some()).count()
    }

    /// How many viewers have seen a whole key frame.
    #[must_use]
    pub fn with_picture(&self) -> usize {
        self.each.iter().filter(|v| v.video.frames > 0).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "viewers {}, connected {}, failed {}, with picture {}",
            self.viewers,
            self.connected,
            self.failed,
            self.with_picture()
        )?;
        for (error, count) in &self.errors {
            writeln!(f, "  {count} x {error}")?;
        }
        for (profile, count) in &self.srtp {
            writeln!(f, "  {count} x {profile}")?;
        }
        writeln!(f, "{:<28}{:>9}{:>9}{:>9}{:>9}", "ms", "p50", "p95", "p99", "max")?;
        for (name, p) in [
            ("POST to answer", self.post),
            ("POST to first packet", self.first_packet),
            ("POST to key frame", self.first_key),
            ("capture to packet", self.packet_delay),
            ("capture to whole frame", self.frame_delay),
        ] {
            writeln!(f, "{name:<28}{:>9.1}{:>9.1}{:>9.1}{:>9.1}", p.p50, p.p95, p.p99, p.max)?;
        }
        for (name, s) in [("video", &self.video), ("audio", &self.audio)] {
            writeln!(
                f,
                "{name}: packets {}, lost {}, missing at first {}, repaired {}, duplicates {}, \
                 frames {} ({} broken, {} key), longest gap {:.0} ms, jitter {:.1} ms",
                s.packets,
                s.lost,
                s.gaps,
                s.repaired,
                s.duplicates,
                s.frames,
                s.broken_frames,
                s.key_frames,
                s.longest_gap_ms,
                s.jitter_ms
            )?;
        }
        write!(f, "loss after repair {:.4}%, not opened {}", self.loss_percent, self.unopened)
    }
}

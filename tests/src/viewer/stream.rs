//! Reception of one RTP stream: which packets came, which are missing and asked for again, which
//! frames are whole, jitter and delay. Pure.

mod ahead;

use super::histogram::Histogram;
use super::rtp::{Header, ReportBlock};
use soleil_protocol::{Mono, Now};
use std::collections::BTreeMap;

/// A packet may be this late before it is asked for: reordering is not loss.
const REORDER_WAIT_US: u64 = 10_000;
/// A missing packet is given up after this long, as a browser's jitter buffer would.
const GIVE_UP_US: u64 = 1_000_000;
/// Asked for at most this often.
const MAX_ASKS: u32 = 10;
/// A jump further than this is a new beginning, not loss.
const MAX_GAP: u64 = 3_000;
/// NACK carries at most this many numbers at a time.
const MAX_NACK: usize = 200;
/// Seconds from 1900 (NTP) to 1970.
const NTP_OFFSET_S: u64 = 2_208_988_800;

#[derive(Debug, Clone, Copy)]
struct Missing {
    since: u64,
    asked_at: u64,
    asks: u32,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    marker: bool,
    key: bool,
    timestamp: u32,
    capture: Option<u64>,
}

/// What was counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub packets: u64,
    pub bytes: u64,
    pub duplicates: u64,
    /// Asked for and got.
    pub repaired: u64,
    /// Given up.
    pub lost: u64,
    /// Seen missing, repaired or not.
    pub gaps: u64,
    pub nacked: u64,
    pub frames: u64,
    pub broken_frames: u64,
    pub key_frames: u64,
    /// Longest time between two whole frames.
    pub longest_gap_us: u64,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub ssrc: u32,
    clock_rate: u32,
    is_video: bool,
    /// Extended number of the first packet and of the highest.
    base: u64,
    highest: u64,
    started: bool,
    /// All before it have come or were given up.
    next: u64,
    ahead: BTreeMap<u64, Piece>,
    missing: BTreeMap<u64, Missing>,
    /// Time stamp of the frame whose marker has not come yet.
    open: Option<u32>,
    frame_broken: bool,
    /// Packets given up since the last one that was taken.
    lost_run: u64,
    seen_key: bool,
    last_frame: Option<u64>,
    last_key: Option<u32>,
    /// RFC 3550 A.8, in clock ticks.
    jitter: f64,
    last_transit: Option<f64>,
    /// For the fraction of the last report.
    reported: (u64, u64),
    sender_report: Option<(u64, u64)>,
    pub counts: Counts,
    pub packet_delay: Histogram,
    pub frame_delay: Histogram,
    pub first_key: Option<Mono>,
    /// Width of the pictures, since the last key frame that told it.
    pub width: Option<u16>,
    /// Time stamp of a key frame that may not be complete yet, and its width.
    announced: Option<(u32, u16)>,
    /// The number after the frames that are shown though something before them is missing.
    shown_ahead: Option<u64>,
    /// A frame was broken since the last key frame: time for a PLI.
    pub needs_key: bool,
}

impl Stream {
    pub fn new(ssrc: u32, clock_rate: u32, is_video: bool) -> Self {
        Self {
            ssrc,
            clock_rate,
            is_video,
            base: 0,
            highest: 0,
            started: false,
            next: 0,
            ahead: BTreeMap::new(),
            missing: BTreeMap::new(),
            open: None,
            frame_broken: false,
            lost_run: 0,
            seen_key: false,
            last_frame: None,
            last_key: None,
            jitter: 0.0,
            last_transit: None,
            reported: (0, 0),
            sender_report: None,
            counts: Counts::default(),
            packet_delay: Histogram::default(),
            frame_delay: Histogram::default(),
            first_key: None,
            width: None,
            announced: None,
            shown_ahead: None,
            needs_key: is_video,
        }
    }

    /// The 64-bit number nearest to the highest one.
    fn extend(&self, sequence: u16) -> u64 {
        let difference = sequence.wrapping_sub(self.highest as u16) as i16;
        self.highest.wrapping_add_signed(i64::from(difference))
    }

    /// A packet of the stream, or a retransmission of one.
    pub fn receive(&mut self, now: Now, header: &Header, sequence: u16, key: bool, size: usize) {
        let us = now.mono.0;
        if !self.started {
            self.started = true;
            // One cycle of room below the first number.
            let first = (1 << 16) | u64::from(sequence);
            (self.base, self.highest, self.next) = (first, first, first);
        }
        let number = self.extend(sequence);
        if number > self.highest + MAX_GAP {
            // A new beginning (the server jumped): the gap is lost.
            let gap = number - self.highest - 1;
            self.counts.lost += gap + self.missing.len() as u64;
            self.counts.gaps += gap;
            self.missing.clear();
            self.ahead.clear();
            (self.next, self.highest, self.lost_run) = (number, number, gap);
        } else if number > self.highest {
            for n in self.highest + 1..number {
                self.counts.gaps += 1;
                self.missing.insert(n, Missing { since: us, asked_at: 0, asks: 0 });
            }
            self.highest = number;
        } else if let Some(missing) = self.missing.remove(&number) {
            self.counts.repaired += u64::from(missing.asks > 0);
        } else if !(number == self.next && self.counts.packets == 0) {
            // Came already, was given up, or lies before our beginning.
            self.counts.duplicates += u64::from(number >= self.base);
            return;
        }
        self.counts.packets += 1;
        self.counts.bytes += size as u64;
        self.measure(now, header);
        let piece = Piece {
            marker: header.marker,
            key,
            timestamp: header.timestamp,
            capture: header.capture,
        };
        self.ahead.insert(number, piece);
        self.advance(now);
        self.look_ahead(now);
    }

    /// A key frame that is about to be received says how wide its pictures are.
    pub fn announce(&mut self, timestamp: u32, width: u16) {
        self.announced = Some((timestamp, width));
    }

    fn measure(&mut self, now: Now, header: &Header) {
        if let Some(capture) = header.capture {
            self.packet_delay.add(delay_us(now, capture));
        }
        let arrival = now.mono.0 as f64 * f64::from(self.clock_rate) / 1e6;
        let transit = arrival - f64::from(header.timestamp);
        if let Some(last) = self.last_transit {
            let difference = (transit - last).abs();
            // A wrapped time stamp is no jitter.
            if difference < f64::from(self.clock_rate) * 10.0 {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
        self.last_transit = Some(transit);
    }

    /// Takes what is in order and closes frames.
    fn advance(&mut self, now: Now) {
        while self.next <= self.highest {
            if let Some(piece) = self.ahead.remove(&self.next) {
                if self.is_video {
                    self.take(now, piece);
                }
            } else if self.missing.contains_key(&self.next) {
                return;
            } else {
                // Given up.
                self.lost_run += 1;
                self.needs_key = self.is_video;
            }
            self.next += 1;
        }
    }

    fn take(&mut self, now: Now, piece: Piece) {
        let lost = std::mem::take(&mut self.lost_run);
        if self.open.is_some_and(|timestamp| timestamp != piece.timestamp) {
            // Its marker was lost; a single loss left the next frame whole.
            self.counts.broken_frames += u64::from(self.seen_key);
            self.frame_broken = lost > 1;
        } else if lost > 0 {
            self.frame_broken = true;
        }
        if piece.key {
            self.first_key.get_or_insert(now.mono);
            self.counts.key_frames += u64::from(self.last_key != Some(piece.timestamp));
            self.last_key = Some(piece.timestamp);
            self.seen_key = true;
            self.needs_key = false;
            let told = self.announced.filter(|(timestamp, _)| *timestamp == piece.timestamp);
            self.width = told.map(|(_, width)| width).or(self.width);
        }
        self.open = Some(piece.timestamp);
        if piece.marker {
            self.open = None;
            self.frame(now, piece);
        }
    }

    fn frame(&mut self, now: Now, piece: Piece) {
        if std::mem::take(&mut self.frame_broken) || !self.seen_key {
            self.counts.broken_frames += u64::from(self.seen_key);
            return;
        }
        self.counts.frames += 1;
        if let Some(capture) = piece.capture {
            self.frame_delay.add(delay_us(now, capture));
        }
        self.moves(now);
    }

    /// The picture moves: a frame is shown.
    fn moves(&mut self, now: Now) {
        if let Some(at) = self.last_frame {
            self.counts.longest_gap_us = self.counts.longest_gap_us.max(now.mono.0 - at);
        }
        self.last_frame = Some(now.mono.0);
    }

    /// How long the picture has stood by now, in microseconds: a gap that nothing has ended yet.
    pub fn standing_us(&self, now: Mono) -> u64 {
        self.last_frame.map_or(0, |at| now.0.saturating_sub(at))
    }

    /// Looks for the longest gap anew.
    pub fn mark(&mut self) {
        self.counts.longest_gap_us = 0;
    }

    /// Gives up what is too old and says which numbers to ask for now.
    pub fn ask(&mut self, now: Now, rtt_us: u64) -> Vec<u16> {
        let us = now.mono.0;
        let again = (rtt_us + rtt_us / 4).max(20_000);
        let mut wanted = Vec::new();
        let before = self.missing.len();
        self.missing.retain(|number, missing| {
            if us - missing.since > GIVE_UP_US {
                return false;
            }
            let due = if missing.asks == 0 {
                us - missing.since >= REORDER_WAIT_US
            } else {
                us - missing.asked_at >= again
            };
            if due && missing.asks < MAX_ASKS && wanted.len() < MAX_NACK {
                missing.asks += 1;
                missing.asked_at = us;
                wanted.push(*number as u16);
            }
            true
        });
        let given_up = before - self.missing.len();
        if given_up > 0 {
            self.counts.lost += given_up as u64;
            self.advance(now);
        }
        self.counts.nacked += wanted.len() as u64;
        wanted
    }

    /// So many numbers, the newest last.
    pub fn latest(&self, count: u16) -> Vec<u16> {
        (0..count).rev().map(|back| (self.highest as u16).wrapping_sub(back)).collect()
    }

    /// Whether anything is missing.
    pub fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Missing for longer than repair takes: lost as far as one can tell now.
    pub fn overdue(&self, now: Mono) -> u64 {
        self.missing.values().filter(|m| now.0 - m.since > GIVE_UP_US / 2).count() as u64
    }

    /// A Sender Report came.
    pub fn sender_report(&mut self, now: Mono, ntp: u64) {
        self.sender_report = Some((ntp, now.0));
    }

    /// Jitter in milliseconds.
    pub fn jitter_ms(&self) -> f64 {
        self.jitter * 1000.0 / f64::from(self.clock_rate)
    }

    /// The next Receiver Report's block.
    pub fn report(&mut self, now: Mono) -> ReportBlock {
        let expected = self.highest - self.base + u64::from(self.started);
        let received = self.counts.packets;
        let (last_expected, last_received) = self.reported;
        self.reported = (expected, received);
        let (e, r) = (expected - last_expected, received.saturating_sub(last_received));
        let fraction = (e.saturating_sub(r) * 256).checked_div(e).unwrap_or(0).min(255);
        let (lsr, dlsr) = self.sender_report.map_or((0, 0), |(ntp, at)| {
            ((ntp >> 16) as u32, ((now.0 - at) * 65_536 / 1_000_000) as u32)
        });
        ReportBlock {
            ssrc: self.ssrc,
            fraction: fraction as u8,
            lost: expected.saturating_sub(received) as u32,
            highest: (self.highest - (1 << 16)) as u32,
            jitter: self.jitter as u32,
            lsr,
            dlsr,
        }
    }
}

/// From capture (NTP 32.32) to now; clocks that disagree give 0.
fn delay_us(now: Now, capture: u64) -> u64 {
    let seconds = (capture >> 32).saturating_sub(NTP_OFFSET_S);
    let fraction = ((capture & 0xFFFF_FFFF) * 1_000_000) >> 32;
    now.wall.0.saturating_sub(seconds * 1_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use soleil_protocol::Wall;

    fn at(ms: u64) -> Now {
        Now { mono: Mono(ms * 1000), wall: Wall(1_795_507_200_000_000 + ms * 1000) }
    }

    /// Two packets a frame, 30 ms apart.
    fn send(stream: &mut Stream, n: u64, ms: u64) {
        let marker = n % 2 == 1;
        let capture = ((1_795_507_200 + NTP_OFFSET_S) << 32) + (((n / 2 * 30) << 32) / 1000);
        let header = Header {
            marker,
            payload_type: 96,
            sequence: n as u16,
            timestamp: (n / 2 * 2700) as u32,
            ssrc: 1,
            size: 12,
            capture: Some(capture),
            padding: false,
        };
        stream.receive(at(ms), &header, n as u16, n == 65_530, 1000);
    }

    #[test]
    fn all_comes_through_the_wrap() {
        let mut stream = Stream::new(1, 90_000, true);
        for n in 65_530..66_530 {
            send(&mut stream, n, n / 2 * 30 + 5);
        }
        let counts = &stream.counts;
        assert_eq!((counts.packets, counts.frames, counts.lost), (1000, 500, 0));
        assert_eq!((counts.broken_frames, counts.duplicates, counts.key_frames), (0, 0, 1));
        assert_eq!(counts.longest_gap_us, 30_000);
        let delay = stream.frame_delay.percentile_ms(0.5).unwrap();
        assert!((4.8..=5.2).contains(&delay), "{delay}");
        assert!(stream.jitter_ms() < 0.1);
        let report = stream.report(Mono(0));
        assert_eq!((report.lost, report.fraction, report.highest), (0, 0, 66_529));
    }

    #[test]
    fn a_picture_that_stands_has_a_gap_though_nothing_ends_it() {
        let mut stream = Stream::new(1, 90_000, true);
        assert_eq!(stream.standing_us(at(7).mono), 0, "there was no picture yet");
        for n in 65_530..65_540 {
            send(&mut stream, n, n / 2 * 30);
        }
        let last = 65_538 / 2 * 30;
        assert_eq!(stream.counts.longest_gap_us, 30_000);
        assert_eq!(stream.standing_us(at(last + 500).mono), 500_000);
        stream.mark();
        assert_eq!(
            stream.standing_us(at(last + 900).mono),
            900_000,
            "since the frame, not the mark"
        );
    }

    #[test]
    fn loss_is_asked_for_and_repaired() {
        let mut stream = Stream::new(1, 90_000, true);
        for n in (65_530..65_540).filter(|n| *n != 65_533) {
            send(&mut stream, n, 100);
        }
        assert!(stream.ask(at(105), 0).is_empty());
        assert_eq!(stream.ask(at(110), 0), [65_533]);
        assert!(stream.ask(at(120), 0).is_empty());
        assert_eq!(stream.ask(at(131), 0), [65_533]);
        assert_eq!(stream.counts.frames, 1);
        send(&mut stream, 65_533, 140);
        assert_eq!((stream.counts.frames, stream.counts.repaired), (5, 1));
        send(&mut stream, 65_533, 141);
        assert_eq!(stream.counts.duplicates, 1);
        assert!(!stream.has_missing());
    }

    #[test]
    fn what_never_comes_is_lost_and_breaks_its_frame() {
        let mut stream = Stream::new(1, 90_000, true);
        for n in (65_530..65_540).filter(|n| *n != 65_533) {
            send(&mut stream, n, 100);
        }
        stream.ask(at(1200), 0);
        let counts = &stream.counts;
        assert_eq!((counts.lost, counts.frames, counts.broken_frames), (1, 4, 1));
        assert!(stream.needs_key);
        // Too late now.
        send(&mut stream, 65_533, 1300);
        assert_eq!((stream.counts.packets, stream.counts.lost), (9, 1));
    }

    #[test]
    fn first_packet_may_be_overtaken() {
        let mut stream = Stream::new(1, 90_000, true);
        for n in [65_531, 65_530, 65_532, 65_532] {
            send(&mut stream, n, 100);
        }
        // What lies before the beginning is not counted, what comes twice is.
        assert_eq!((stream.counts.packets, stream.counts.duplicates), (2, 1));
    }
}

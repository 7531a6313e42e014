//! The cheap way to receive a picture, for thousands of viewers a process: numbers are counted,
//! one packet in so many is opened, and its stamp tells delay and loss against the source
//! ([`crate::load`]). What it does not do: repair, frames.

use super::histogram::Histogram;
use super::rtp::ReportBlock;
use crate::load::Stamp;
use serde::Serialize;
use soleil_protocol::{Mono, Now};

/// How viewers are part of a load test.
#[derive(Debug, Clone, Copy)]
pub struct BulkOptions {
    /// Polls without ever sleeping: a sleeper would charge its wake-ups to the server.
    pub spin: bool,
    /// Lets the kernel hand over runs of datagrams merged.
    pub gro: bool,
}

impl Default for BulkOptions {
    fn default() -> Self {
        Self { spin: true, gro: true }
    }
}

/// What came since the last mark.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BulkReport {
    /// Packets of the picture.
    pub packets: u64,
    /// Their bytes with headers and tags.
    pub bytes: u64,
    /// Missing in the sequence numbers.
    pub lost: u64,
    /// Packets that the source has sent between the first and the last one that was opened.
    pub source_sent: u64,
    /// How many of these came.
    pub source_got: u64,
    /// Opened.
    pub opened: u64,
    /// Sent by the source to arrival, packets of interframes.
    #[serde(skip)]
    pub delay: Histogram,
    /// The same of key frames.
    #[serde(skip)]
    pub key_delay: Histogram,
}

impl BulkReport {
    pub(super) fn merge(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.lost += other.lost;
        self.source_sent += other.source_sent;
        self.source_got += other.source_got;
        self.opened += other.opened;
        self.delay.merge(&other.delay);
        self.key_delay.merge(&other.key_delay);
    }

    /// Loss against the source, in percent.
    #[must_use]
    pub fn loss_percent(&self) -> f64 {
        let lost = self.source_sent.saturating_sub(self.source_got);
        100.0 * lost as f64 / (self.source_sent.max(1)) as f64
    }
}

/// The picture of one viewer.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    pub ssrc: u32,
    base: u64,
    highest: u64,
    packets: u64,
    /// Since the last mark; the base of its numbers is `from`.
    report: BulkReport,
    from: Option<u64>,
    /// Number at the source, and how many packets had come then.
    first: Option<(u64, u64)>,
    reported: (u64, u64),
    sender_report: Option<(u64, u64)>,
}

impl Bulk {
    /// Begins with this sequence number.
    pub fn new(ssrc: u32, sequence: u16) -> Self {
        // Room below for packets that come late.
        let base = (1 << 16) + u64::from(sequence);
        Self { ssrc, base, highest: base, ..Self::default() }
    }

    /// A packet came.
    pub fn receive(&mut self, sequence: u16, size: usize) {
        let step = sequence.wrapping_sub(self.highest as u16) as i16;
        let number = self.highest.wrapping_add_signed(i64::from(step));
        self.highest = self.highest.max(number);
        self.packets += 1;
        self.from.get_or_insert(number);
        self.report.packets += 1;
        self.report.bytes += size as u64;
    }

    /// The packet that was received last has been opened.
    pub fn opened(&mut self, now: Now, payload: &[u8]) {
        self.report.opened += 1;
        let Some(stamp) = Stamp::find(payload) else { return };
        let delay = now.wall.0.saturating_sub(stamp.sent_us);
        if stamp.key { &mut self.report.key_delay } else { &mut self.report.delay }.add(delay);
        let (number, packets) = *self.first.get_or_insert((stamp.number, self.report.packets));
        if let Some(sent) = stamp.number.checked_sub(number) {
            self.report.source_sent = sent;
            self.report.source_got = self.report.packets - packets;
        }
    }

    /// Counts anew from here on.
    pub fn mark(&mut self) {
        self.report = BulkReport::default();
        (self.from, self.first) = (None, None);
    }

    /// What came since the last mark.
    pub fn report(&self) -> BulkReport {
        let mut report = self.report.clone();
        let span = self.from.map_or(0, |from| self.highest - from + 1);
        report.lost = span.saturating_sub(report.packets);
        report
    }

    /// A Sender Report came.
    pub fn sender_report(&mut self, now: Mono, ntp: u64) {
        self.sender_report = Some((ntp, now.0));
    }

    /// The next Receiver Report's block.
    pub fn block(&mut self, now: Mono) -> ReportBlock {
        let expected = self.highest - self.base + 1;
        let (last_expected, last_packets) = self.reported;
        self.reported = (expected, self.packets);
        let (e, r) = (expected - last_expected, self.packets - last_packets);
        let fraction = (e.saturating_sub(r) * 256).checked_div(e).unwrap_or(0).min(255);
        let (lsr, dlsr) = self.sender_report.map_or((0, 0), |(ntp, at)| {
            ((ntp >> 16) as u32, ((now.0 - at) * 65_536 / 1_000_000) as u32)
        });
        ReportBlock {
            ssrc: self.ssrc,
            fraction: fraction as u8,
            lost: expected.saturating_sub(self.packets) as u32,
            highest: (self.highest - (1 << 16)) as u32,
            jitter: 0,
            lsr,
            dlsr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use soleil_protocol::Wall;

    fn stamped(number: u64) -> Vec<u8> {
        let mut payload = vec![0];
        payload.extend(Stamp { number, sent_us: 1_000, key: false }.to_bytes());
        payload
    }

    #[test]
    fn loss_that_numbering_anew_hides_shows_against_the_source() {
        let now = Now { wall: Wall(3_000), ..Now::default() };
        let mut bulk = Bulk::new(1, 65_530);
        bulk.receive(65_530, 100);
        bulk.mark();
        // The source sent 40; every second one is dropped and the rest numbered without holes.
        for n in 0..20u16 {
            bulk.receive(65_531u16.wrapping_add(n), 100);
            bulk.opened(now, &stamped(u64::from(n) * 2));
        }
        let report = bulk.report();
        assert_eq!((report.packets, report.lost), (20, 0));
        assert_eq!((report.source_sent, report.source_got), (38, 19));
        assert_eq!(report.loss_percent(), 50.0);
        assert!((report.delay.percentile_ms(0.5).unwrap() - 2.0).abs() < 0.05);
        let block = bulk.block(Mono(0));
        assert_eq!((block.lost, block.highest), (0, 65_530 + 20));
    }

    #[test]
    fn holes_and_late_packets_are_counted() {
        let mut bulk = Bulk::new(1, 0);
        for n in [0, 1, 4, 2] {
            bulk.receive(n, 100);
        }
        assert_eq!(bulk.report().lost, 1);
        bulk.mark();
        assert_eq!(bulk.report().lost, 0);
        bulk.receive(5, 100);
        bulk.receive(7, 100);
        assert_eq!(bulk.report().lost, 1);
    }
}

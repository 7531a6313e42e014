//! Writing RTCP: each function appends one packet to a buffer.

use super::{
    APP, CUT_OFF_NAME, FMT_CONGESTION, FMT_NACK, FMT_PLI, HEARTBEAT_NAME, MAX_HEARTBEAT_LAYERS,
    PSFB, RR, RTPFB, ReportBlock, SR,
};
use soleil_protocol::{PacketIndex, Ssrc};

/// Blocks of one report: the count has 5 bits.
pub const MAX_REPORT_BLOCKS: usize = 31;

/// Entries of one NACK: each covers 17 packets, and the packet stays well below an MTU.
const MAX_NACK_ENTRIES: usize = 200;

fn begin(out: &mut Vec<u8>, kind: u8, count: u8, sender: Ssrc) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0x80 | count, kind, 0, 0]);
    out.extend_from_slice(&sender.0.to_be_bytes());
    start
}

fn finish(out: &mut [u8], start: usize) {
    let words = ((out.len() - start) / 4 - 1) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

/// Sender Report without blocks. The RTP time is 0: the report is about the link, not a layer.
pub fn sender_report(out: &mut Vec<u8>, sender: Ssrc, ntp: u64, packets: u32, octets: u32) {
    let start = begin(out, SR, 0, sender);
    out.extend_from_slice(&ntp.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&packets.to_be_bytes());
    out.extend_from_slice(&octets.to_be_bytes());
    finish(out, start);
}

/// Receiver Report with the first [`MAX_REPORT_BLOCKS`] blocks.
pub fn receiver_report(out: &mut Vec<u8>, sender: Ssrc, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(MAX_REPORT_BLOCKS)];
    let start = begin(out, RR, blocks.len() as u8, sender);
    for b in blocks {
        out.extend_from_slice(&b.ssrc.0.to_be_bytes());
        out.push(b.fraction_lost);
        let lost = b.lost.clamp(-0x80_0000, 0x7f_ffff).to_be_bytes();
        out.extend_from_slice(&lost[1..]);
        for word in [b.highest, b.jitter, b.last_sr, b.delay] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
    finish(out, start);
}

/// NACK for indexes in rising order; returns how many of them it covers (the rest goes into
/// another one).
pub fn nack(out: &mut Vec<u8>, sender: Ssrc, media: Ssrc, indexes: &[PacketIndex]) -> usize {
    let start = begin(out, RTPFB, FMT_NACK, sender);
    out.extend_from_slice(&media.0.to_be_bytes());
    let (mut covered, mut entries) = (0, 0);
    while let Some(first) = indexes.get(covered).filter(|_| entries < MAX_NACK_ENTRIES) {
        covered += 1;
        let mut mask = 0u16;
        while let Some(next) = indexes.get(covered) {
            let distance = next.0.wrapping_sub(first.0);
            if !(1..=16).contains(&distance) {
                break;
            }
            mask |= 1 << (distance - 1);
            covered += 1;
        }
        out.extend_from_slice(&first.seq().to_be_bytes());
        out.extend_from_slice(&mask.to_be_bytes());
        entries += 1;
    }
    finish(out, start);
    covered
}

/// Picture loss indication.
pub fn pli(out: &mut Vec<u8>, sender: Ssrc, media: Ssrc) {
    let start = begin(out, PSFB, FMT_PLI, sender);
    out.extend_from_slice(&media.0.to_be_bytes());
    finish(out, start);
}

/// RFC 8888 feedback on one layer: arrival offsets (1/1024 s before the report, `None` for what
/// is missing) from `begin` on, and the report's time (middle 32 bits of NTP).
pub fn congestion(
    out: &mut Vec<u8>,
    sender: Ssrc,
    media: Ssrc,
    begin_seq: u16,
    offsets: impl Iterator<Item = Option<u16>>,
    time: u32,
) {
    let start = begin(out, RTPFB, FMT_CONGESTION, sender);
    out.extend_from_slice(&media.0.to_be_bytes());
    out.extend_from_slice(&begin_seq.to_be_bytes());
    let count_at = out.len();
    out.extend_from_slice(&[0; 2]);
    let mut count = 0u16;
    for offset in offsets.take(usize::from(u16::MAX)) {
        // 0x1ffe: this long or longer ago (RFC 8888 section 3.1).
        let metric = offset.map_or(0, |o| 0x8000 | o.min(0x1ffe));
        out.extend_from_slice(&metric.to_be_bytes());
        count += 1;
    }
    out[count_at..count_at + 2].copy_from_slice(&count.to_be_bytes());
    if !count.is_multiple_of(2) {
        out.extend_from_slice(&[0; 2]);
    }
    out.extend_from_slice(&time.to_be_bytes());
    finish(out, start);
}

/// Heartbeat with the first [`MAX_HEARTBEAT_LAYERS`] layers.
pub fn heartbeat(out: &mut Vec<u8>, sender: Ssrc, layers: &[(Ssrc, PacketIndex)]) {
    let start = begin(out, APP, 0, sender);
    out.extend_from_slice(&HEARTBEAT_NAME);
    for (ssrc, index) in layers.iter().take(MAX_HEARTBEAT_LAYERS) {
        out.extend_from_slice(&ssrc.0.to_be_bytes());
        out.extend_from_slice(&index.0.to_be_bytes());
    }
    finish(out, start);
}

/// The sender has no way to the root; to be followed by its heartbeat.
pub fn cut_off(out: &mut Vec<u8>, sender: Ssrc) {
    let start = begin(out, APP, 0, sender);
    out.extend_from_slice(&CUT_OFF_NAME);
    finish(out, start);
}

//! RTCP of the hop: reading without allocation, and writing into a buffer. Reports (RFC 3550),
//! NACK and PLI (RFC 4585), congestion control feedback (RFC 8888) and our heartbeat (APP "SOLH").
//! Packets come alone or together (RFC 5506 allows the former). Sealing is
//! [`super::srtp::SrtcpSealer`]'s business.

mod write;

#[cfg(test)]
mod tests;

pub use write::{
    MAX_REPORT_BLOCKS, congestion, cut_off, heartbeat, nack, pli, receiver_report, sender_report,
};

use soleil_protocol::{PacketIndex, Ssrc};

/// Name of the heartbeat's APP packet.
pub const HEARTBEAT_NAME: [u8; 4] = *b"SOLH";

/// Name of the APP packet that a node without a way to the root puts before each heartbeat. It has
/// nothing else in it, and whoever does not know it passes over it.
pub const CUT_OFF_NAME: [u8; 4] = *b"SOLC";

/// Layers in one heartbeat; more go into another.
pub const MAX_HEARTBEAT_LAYERS: usize = 90;

/// Items read from one datagram; a peer has no reason to send more.
pub const MAX_ITEMS: usize = 128;

const SR: u8 = 200;
const RR: u8 = 201;
const APP: u8 = 204;
const RTPFB: u8 = 205;
const PSFB: u8 = 206;
const FMT_NACK: u8 = 1;
const FMT_PLI: u8 = 1;
const FMT_CONGESTION: u8 = 11;

/// Whether a datagram with RTP's version bits is RTCP (RFC 5761 section 4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.get(1).is_some_and(|b| (192..=223).contains(b))
}

/// One report block (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The layer reported on.
    pub ssrc: Ssrc,
    /// Share lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost in all (24 bits, signed).
    pub lost: i32,
    /// Highest sequence number with its roll-overs (low 16 bits of the counter).
    pub highest: u32,
    /// Interarrival jitter in units of the RTP clock.
    pub jitter: u32,
    /// Middle 32 bits of the last SR's NTP time; 0 if there was none.
    pub last_sr: u32,
    /// Time since that SR in 1/65536 s.
    pub delay: u32,
}

/// One thing that a peer says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item<'a> {
    /// Sender Report: NTP time, packets and octets sent.
    SenderReport {
        /// 64-bit NTP time of sending.
        ntp: u64,
        /// Packets sent on the link.
        packets: u32,
        /// Octets sent on the link.
        octets: u32,
    },
    /// A block of a Sender or Receiver Report.
    Report(ReportBlock),
    /// Sequence numbers that are missing.
    Nack {
        /// Of which layer.
        media: Ssrc,
        /// How many entries: iterate with [`nack_seqs`].
        entries: &'a [u8],
    },
    /// A key frame is needed.
    Pli {
        /// Of which layer.
        media: Ssrc,
    },
    /// RFC 8888: what of a layer arrived when.
    Congestion {
        /// Which layer.
        media: Ssrc,
        /// Sequence number of the first metric.
        begin: u16,
        /// 16 bits for each packet: iterate with [`metrics`].
        metrics: &'a [u8],
    },
    /// Highest indexes of layers: iterate with [`heartbeat_entries`]. May be empty.
    Heartbeat(&'a [u8]),
    /// The sender of the heartbeat that follows has no way to the root.
    CutOff,
}

/// Sequence numbers of a NACK's entries (RFC 4585 section 6.2.1).
pub fn nack_seqs(entries: &[u8]) -> impl Iterator<Item = u16> + '_ {
    entries.chunks_exact(4).flat_map(|e| {
        let (first, mask) = (u16::from_be_bytes([e[0], e[1]]), u16::from_be_bytes([e[2], e[3]]));
        std::iter::once(first).chain(
            (0..16u16).filter(move |i| mask >> i & 1 != 0).map(move |i| first.wrapping_add(i + 1)),
        )
    })
}

/// Arrival offsets of RFC 8888 metrics: `None` for a packet that has not arrived, else the time
/// between its arrival and the report in 1/1024 s.
pub fn metrics(metrics: &[u8]) -> impl Iterator<Item = Option<u16>> + '_ {
    metrics.chunks_exact(2).map(|m| {
        let m = u16::from_be_bytes([m[0], m[1]]);
        (m & 0x8000 != 0).then_some(m & 0x1fff)
    })
}

/// Layers and their highest indexes.
pub fn heartbeat_entries(entries: &[u8]) -> impl Iterator<Item = (Ssrc, PacketIndex)> + '_ {
    entries
        .chunks_exact(12)
        .map(|e| (Ssrc(be(&e[..4]) as u32), PacketIndex(be(&e[4..]) & PacketIndex::MAX.0)))
}

/// The 48-bit index that a 16-bit sequence number means: the one nearest to `near`.
pub fn resolve(seq: u16, near: PacketIndex) -> PacketIndex {
    let distance = seq.wrapping_sub(near.seq()) as i16;
    let index = near.0.saturating_add_signed(i64::from(distance));
    // Below 0 nothing can be: then it is the sequence number itself.
    if index as u16 == seq { PacketIndex(index) } else { PacketIndex(u64::from(seq)) }
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn be32(bytes: &[u8]) -> u32 {
    be(&bytes[..4]) as u32
}

/// Reads a (compound) packet and calls `each` for every item. Unknown packet types and formats are
/// skipped. Returns whether all of it was well-formed; what came before a fault has been given.
pub fn parse<'a>(mut packet: &'a [u8], mut each: impl FnMut(Item<'a>)) -> bool {
    let mut left = MAX_ITEMS;
    let mut each = move |item| {
        let go_on = left > 0;
        if go_on {
            left -= 1;
            each(item);
        }
        go_on
    };
    while !packet.is_empty() {
        if packet.len() < 8 || packet[0] >> 6 != 2 {
            return false;
        }
        let len = 4 + 4 * be(&packet[2..4]) as usize;
        let Some(whole) = packet.get(..len).filter(|w| w.len() >= 8) else { return false };
        let (count, kind) = (packet[0] & 0x1f, packet[1]);
        packet = &packet[len..];
        // Padding is for block ciphers: none here (RFC 3550 section 6.4.1).
        if whole[0] & 0x20 != 0 || !one(kind, count, whole, &mut each) {
            return false;
        }
    }
    true
}

fn one<'a>(kind: u8, count: u8, whole: &'a [u8], each: &mut impl FnMut(Item<'a>) -> bool) -> bool {
    match (kind, count) {
        (SR, _) => {
            let Some(info) = whole.get(8..28) else { return false };
            each(Item::SenderReport {
                ntp: be(&info[..8]),
                packets: be32(&info[12..]),
                octets: be32(&info[16..]),
            }) && report_blocks(&whole[28..], count, each)
        }
        (RR, _) => report_blocks(&whole[8..], count, each),
        (APP, 0) => match whole.get(8..12) {
            Some(name) if name == HEARTBEAT_NAME => {
                let entries = &whole[12..];
                entries.len().is_multiple_of(12)
                    && entries.len() / 12 <= MAX_HEARTBEAT_LAYERS
                    && each(Item::Heartbeat(entries))
            }
            Some(name) if name == CUT_OFF_NAME => each(Item::CutOff),
            Some(_) => true,
            None => false,
        },
        (RTPFB, FMT_NACK) => match whole.get(8..12) {
            Some(media) if whole.len() > 12 => {
                each(Item::Nack { media: Ssrc(be32(media)), entries: &whole[12..] })
            }
            _ => false,
        },
        (PSFB, FMT_PLI) => {
            whole.get(8..12).is_some_and(|media| each(Item::Pli { media: Ssrc(be32(media)) }))
        }
        (RTPFB, FMT_CONGESTION) => congestion_blocks(&whole[8..], each),
        _ => true,
    }
}

fn report_blocks<'a>(data: &[u8], count: u8, each: &mut impl FnMut(Item<'a>) -> bool) -> bool {
    // Profile-specific extensions may follow the blocks.
    data.len() >= 24 * usize::from(count)
        && data.chunks_exact(24).take(usize::from(count)).all(|b| {
            let lost = be(&b[5..8]) as i32;
            each(Item::Report(ReportBlock {
                ssrc: Ssrc(be32(b)),
                fraction_lost: b[4],
                lost: lost << 8 >> 8,
                highest: be32(&b[8..]),
                jitter: be32(&b[12..]),
                last_sr: be32(&b[16..]),
                delay: be32(&b[20..]),
            }))
        })
}

/// RFC 8888 section 3.1: blocks, padded to 32 bits, then the report timestamp.
fn congestion_blocks<'a>(data: &'a [u8], each: &mut impl FnMut(Item<'a>) -> bool) -> bool {
    let Some(end) = data.len().checked_sub(4) else { return false };
    let mut blocks = &data[..end];
    while !blocks.is_empty() {
        let Some(head) = blocks.get(..8) else { return false };
        let count = be(&head[6..8]) as usize;
        let Some(body) = blocks.get(8..8 + 2 * count) else { return false };
        let item = Item::Congestion {
            media: Ssrc(be32(head)),
            begin: be(&head[4..6]) as u16,
            metrics: body,
        };
        if !each(item) {
            return false;
        }
        match blocks.get(8 + (2 * count).next_multiple_of(4)..) {
            Some(rest) => blocks = rest,
            None => return false,
        }
    }
    true
}

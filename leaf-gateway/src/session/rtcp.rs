//! The RTCP that a viewer and the leaf speak (RFC 3550, RFC 4585, RFC 5104): reads Receiver
//! Reports, NACK, PLI, FIR and transport-wide feedback, writes Sender Reports with SDES, and BYE. Plain packets:
//! protection is SRTCP's business. It allocates nothing when it reads.

#[cfg(test)]
mod tests;

use crate::bandwidth::twcc;

const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// One report block (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// Whose packets it reports on: an SSRC of ours.
    pub ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning; negative if duplicates came.
    pub lost: i32,
    /// Interarrival jitter in clock ticks.
    pub jitter: u32,
    /// Middle 32 bits of the last Sender Report's NTP time; 0 if none came.
    pub last_sr: u32,
    /// Time since that report came, in 1/65536 s.
    pub delay: u32,
}

/// What a viewer's RTCP says, one item after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback<'a> {
    /// From an SR or RR.
    Report(ReportBlock),
    /// One field of a generic NACK (RFC 4585 section 6.2.1).
    Nack {
        /// Of which stream.
        ssrc: u32,
        /// First lost sequence number.
        seq: u16,
        /// Which of the 16 that follow are lost, too.
        mask: u16,
    },
    /// A key frame is wanted: PLI (RFC 4585 section 6.3.1) or FIR (RFC 5104 section 4.3.1).
    KeyFrame {
        /// Of which stream.
        ssrc: u32,
    },
    /// Transport-wide feedback, the whole RTCP packet, not looked into.
    Transport(&'a [u8]),
}

/// Reads a compound packet. Stops quietly at what is malformed; unknown packets are skipped.
pub fn read<'a>(mut data: &'a [u8], mut item: impl FnMut(Feedback<'a>)) {
    while let Some((packet, rest)) = split(data) {
        data = rest;
        let count = packet[0] & 0x1f;
        match packet[1] {
            SR => reports(packet.get(28..), count, &mut item),
            RR => reports(packet.get(8..), count, &mut item),
            TRANSPORT_FEEDBACK if count == 1 => {
                let Some(ssrc) = be32(packet, 8) else { continue };
                for field in packet.get(12..).unwrap_or_default().chunks_exact(4) {
                    item(Feedback::Nack {
                        ssrc,
                        seq: u16::from_be_bytes([field[0], field[1]]),
                        mask: u16::from_be_bytes([field[2], field[3]]),
                    });
                }
            }
            TRANSPORT_FEEDBACK if count == twcc::FORMAT => item(Feedback::Transport(packet)),
            PAYLOAD_FEEDBACK if count == 1 => {
                if let Some(ssrc) = be32(packet, 8) {
                    item(Feedback::KeyFrame { ssrc });
                }
            }
            PAYLOAD_FEEDBACK if count == 4 => {
                for entry in packet.get(12..).unwrap_or_default().chunks_exact(8) {
                    if let Some(ssrc) = be32(entry, 0) {
                        item(Feedback::KeyFrame { ssrc });
                    }
                }
            }
            _ => {}
        }
    }
}

/// The lost sequence numbers of one NACK field.
pub fn nacked(seq: u16, mask: u16) -> impl Iterator<Item = u16> {
    std::iter::once(seq).chain(
        (0..16u16)
            .filter(move |i| mask & (1 << i) != 0)
            .map(move |i| seq.wrapping_add(i).wrapping_add(1)),
    )
}

/// What a Sender Report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport {
    /// Of which stream.
    pub ssrc: u32,
    /// NTP time of the moment that it speaks of.
    pub ntp: u64,
    /// The stream's RTP time at that moment.
    pub rtp: u32,
    /// Packets sent so far.
    pub packets: u32,
    /// Payload bytes sent so far.
    pub octets: u32,
}

/// Appends a Sender Report and an SDES packet with the CNAME (RFC 3550 section 6.1: every compound
/// packet has one).
pub fn write_sender_report(out: &mut Vec<u8>, report: &SenderReport, cname: &str) {
    out.extend_from_slice(&[0x80, SR, 0, 6]);
    out.extend_from_slice(&report.ssrc.to_be_bytes());
    out.extend_from_slice(&report.ntp.to_be_bytes());
    out.extend_from_slice(&report.rtp.to_be_bytes());
    out.extend_from_slice(&report.packets.to_be_bytes());
    out.extend_from_slice(&report.octets.to_be_bytes());
    write_cname(out, report.ssrc, cname);
}

/// Appends an empty Receiver Report, SDES and BYE: the streams end (RFC 3550 section 6.6).
pub fn write_bye(out: &mut Vec<u8>, ssrcs: &[u32], cname: &str) {
    let Some(first) = ssrcs.first() else { return };
    let ssrcs = &ssrcs[..ssrcs.len().min(31)];
    out.extend_from_slice(&[0x80, RR, 0, 1]);
    out.extend_from_slice(&first.to_be_bytes());
    write_cname(out, *first, cname);
    out.extend_from_slice(&[0x80 | ssrcs.len() as u8, BYE, 0, ssrcs.len() as u8]);
    for ssrc in ssrcs {
        out.extend_from_slice(&ssrc.to_be_bytes());
    }
}

fn write_cname(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let cname = &cname.as_bytes()[..cname.len().min(64)];
    let start = out.len();
    out.extend_from_slice(&[0x81, SDES, 0, 0]);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&[1, cname.len() as u8]);
    out.extend_from_slice(cname);
    // At least one zero ends the list of items, then to the next 32-bit boundary.
    out.push(0);
    while !(out.len() - start).is_multiple_of(4) {
        out.push(0);
    }
    out[start + 3] = ((out.len() - start) / 4 - 1) as u8;
}

/// The first packet and the rest.
fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let header = data.get(..4)?;
    if header[0] >> 6 != 2 {
        return None;
    }
    let len = (usize::from(u16::from_be_bytes([header[2], header[3]])) + 1) * 4;
    (len <= data.len()).then(|| data.split_at(len))
}

fn reports<'a>(blocks: Option<&[u8]>, count: u8, item: &mut impl FnMut(Feedback<'a>)) {
    let blocks = blocks.unwrap_or_default().chunks_exact(24).take(usize::from(count));
    for b in blocks {
        let word = |at| be32(b, at).unwrap_or_default();
        // 24 bits, signed.
        let lost = ((word(4) << 8) as i32) >> 8;
        item(Feedback::Report(ReportBlock {
            ssrc: word(0),
            fraction_lost: b[4],
            lost,
            jitter: word(12),
            last_sr: word(16),
            delay: word(20),
        }));
    }
}

fn be32(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

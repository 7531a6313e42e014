//! RTP and RTCP as far as a viewer reads and writes them: headers (RFC 3550), the capture time
//! extension, key frames of four codecs, reports and feedback (RFC 4585).

use super::sdp::Codec;

/// The fields of an RTP header that the viewer uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Last packet of a frame.
    pub marker: bool,
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Media time.
    pub timestamp: u32,
    /// Stream.
    pub ssrc: u32,
    /// Where the payload begins.
    pub size: usize,
    /// Absolute capture time, NTP 32.32.
    pub capture: Option<u64>,
    /// The last byte counts padding.
    pub padding: bool,
}

fn be16(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

fn be32(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

fn be64(data: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(data.get(..8)?.try_into().ok()?))
}

impl Header {
    /// Reads a header; `capture_id` is the number of the capture time extension.
    #[must_use]
    pub fn parse(data: &[u8], capture_id: Option<u8>) -> Option<Self> {
        let (first, second) = (*data.first()?, *data.get(1)?);
        if first >> 6 != 2 {
            return None;
        }
        let (block, size) = extensions(data)?;
        let capture = capture_id.and_then(|id| extension(block, id)).and_then(be64);
        data.get(size..)?;
        Some(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7F,
            sequence: be16(data, 2)?,
            timestamp: be32(data, 4)?,
            ssrc: be32(data, 8)?,
            size,
            capture,
            padding: first & 0x20 != 0,
        })
    }

    /// The payload of an opened packet, without padding.
    #[must_use]
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let payload = packet.get(self.size..)?;
        if !self.padding {
            return Some(payload);
        }
        let padding = usize::from(*payload.last()?);
        payload.get(..payload.len().checked_sub(padding)?)
    }
}

/// The packet's transport-wide number, in the extension with this id.
#[must_use]
pub fn transport_number(data: &[u8], id: u8) -> Option<u16> {
    be16(extension(extensions(data)?.0, id)?, 0)
}

/// The extension block (empty if there is none) and where the payload begins.
fn extensions(data: &[u8]) -> Option<(&[u8], usize)> {
    let first = *data.first()?;
    let size = 12 + 4 * usize::from(first & 0x0F);
    if first & 0x10 == 0 {
        return Some((&[], size));
    }
    let profile = be16(data, size)?;
    let length = 4 * usize::from(be16(data, size + 2)?);
    let block = data.get(size + 4..size + 4 + length)?;
    // One-byte headers (RFC 8285 section 4.2); two-byte ones are not offered.
    Some((if profile == 0xBEDE { block } else { &[] }, size + 4 + length))
}

fn extension(block: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut at = 0;
    while at < block.len() {
        let (id, length) = (block[at] >> 4, usize::from(block[at] & 0x0F) + 1);
        if block[at] == 0 {
            at += 1;
            continue;
        }
        if id == 15 {
            return None;
        }
        let value = block.get(at + 1..at + 1 + length)?;
        if id == wanted {
            return Some(value);
        }
        at += 1 + length;
    }
    None
}

/// Whether a key frame begins in this payload.
#[must_use]
pub fn starts_key_frame(codec: Codec, payload: &[u8]) -> bool {
    key_frame(codec, payload).unwrap_or(false)
}

fn key_frame(codec: Codec, payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    Some(match codec {
        // RFC 6184: an IDR slice or its parameter sets, alone, aggregated or fragmented.
        Codec::H264 => match first & 0x1F {
            5 | 7 => true,
            24 => {
                let mut at = 1;
                while let Some(size) = be16(payload, at) {
                    if matches!(payload.get(at + 2)? & 0x1F, 5 | 7) {
                        return Some(true);
                    }
                    at += 2 + usize::from(size);
                }
                false
            }
            28 => {
                let fu = *payload.get(1)?;
                fu & 0x80 != 0 && matches!(fu & 0x1F, 5 | 7)
            }
            _ => false,
        },
        // RFC 7741: start of partition 0, then the frame tag's lowest bit is 0 for a key frame.
        Codec::Vp8 => first & 0x17 == 0x10 && vp8_frame(payload)?.first()? & 1 == 0,
        // RFC 9628: beginning of a frame, not predicted from others.
        Codec::Vp9 => first & 0x08 != 0 && first & 0x40 == 0,
        // RTP payload for AV1, section 4.4: the N bit starts a coded video sequence.
        Codec::Av1 => first & 0x08 != 0,
        Codec::Opus => false,
    })
}

/// What follows the payload descriptor (RFC 7741 section 4.2).
fn vp8_frame(payload: &[u8]) -> Option<&[u8]> {
    let mut at = 1;
    if payload.first()? & 0x80 != 0 {
        let x = *payload.get(1)?;
        at += 1;
        if x & 0x80 != 0 {
            at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(x & 0x40 != 0) + usize::from(x & 0x30 != 0);
    }
    payload.get(at..)
}

/// The width of the pictures that begin with this key frame; of VP8 only (RFC 6386 section 9.1).
#[must_use]
pub fn width(codec: Codec, payload: &[u8]) -> Option<u16> {
    if codec != Codec::Vp8 || !starts_key_frame(codec, payload) {
        return None;
    }
    match *vp8_frame(payload)? {
        [_, _, _, 0x9d, 0x01, 0x2a, low, high, ..] => {
            Some(u16::from_le_bytes([low, high]) & 0x3fff)
        }
        _ => None,
    }
}

/// What came in a compound RTCP packet that matters to a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rtcp {
    /// Sender Report: stream, NTP time, RTP time.
    SenderReport(u32, u64, u32),
    /// The stream is over.
    Bye(u32),
}

/// Reads a compound packet; stops at the first piece that is malformed.
#[must_use]
pub fn parse_rtcp(mut data: &[u8]) -> Vec<Rtcp> {
    let mut out = Vec::new();
    while let (Some(kind), Some(length)) = (data.get(1), be16(data, 2)) {
        let size = 4 * (usize::from(length) + 1);
        let Some(piece) = data.get(..size) else { break };
        match (kind, be32(piece, 4)) {
            (200, Some(ssrc)) => {
                if let (Some(ntp), Some(rtp)) = (piece.get(8..).and_then(be64), be32(piece, 16)) {
                    out.push(Rtcp::SenderReport(ssrc, ntp, rtp));
                }
            }
            (203, Some(ssrc)) => out.push(Rtcp::Bye(ssrc)),
            _ => {}
        }
        data = &data[size..];
    }
    out
}

/// One block of a Receiver Report (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// About which stream.
    pub ssrc: u32,
    /// Loss since the last report, in 1/256.
    pub fraction: u8,
    /// Loss since the beginning.
    pub lost: u32,
    /// Highest sequence number with its cycles.
    pub highest: u32,
    /// Jitter in clock ticks.
    pub jitter: u32,
    /// Middle of the last Sender Report's NTP time.
    pub lsr: u32,
    /// Time since then in 1/65536 s.
    pub dlsr: u32,
}

/// A Receiver Report with the CNAME that RFC 3550 wants in every compound packet.
#[must_use]
pub fn receiver_report(sender: u32, blocks: &[ReportBlock]) -> Vec<u8> {
    let count = blocks.len().min(31);
    let mut out = vec![0x80 | count as u8, 201];
    out.extend(((1 + 6 * count) as u16).to_be_bytes());
    out.extend(sender.to_be_bytes());
    for block in &blocks[..count] {
        out.extend(block.ssrc.to_be_bytes());
        out.push(block.fraction);
        out.extend(&block.lost.min(0x7F_FFFF).to_be_bytes()[1..]);
        for word in [block.highest, block.jitter, block.lsr, block.dlsr] {
            out.extend(word.to_be_bytes());
        }
    }
    // SDES: one chunk, CNAME "viewer", ended and padded to a word.
    out.extend([0x81, 202, 0, 4]);
    out.extend(sender.to_be_bytes());
    out.extend(*b"\x01\x06viewer\x00\x00\x00\x00");
    out
}

/// A generic NACK (RFC 4585 section 6.2.1) for the sequence numbers, which must rise.
#[must_use]
pub fn nack(sender: u32, media: u32, missing: &[u16]) -> Vec<u8> {
    let mut pairs: Vec<(u16, u16)> = Vec::new();
    for seq in missing {
        match pairs.last_mut() {
            Some((first, mask)) if (1..=16).contains(&seq.wrapping_sub(*first)) => {
                *mask |= 1 << (seq.wrapping_sub(*first) - 1);
            }
            _ => pairs.push((*seq, 0)),
        }
    }
    let mut out = vec![0x81, 205];
    out.extend(((2 + pairs.len()) as u16).to_be_bytes());
    out.extend(sender.to_be_bytes());
    out.extend(media.to_be_bytes());
    for (first, mask) in pairs {
        out.extend(first.to_be_bytes());
        out.extend(mask.to_be_bytes());
    }
    out
}

/// A Picture Loss Indication (RFC 4585 section 6.3.1).
#[must_use]
pub fn pli(sender: u32, media: u32) -> Vec<u8> {
    let mut out = vec![0x81, 206, 0, 2];
    out.extend(sender.to_be_bytes());
    out.extend(media.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc_rtcp::receiver_report::ReceiverReport;
    use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;

    #[test]
    fn header_with_capture_time_and_padding() {
        let mut packet = vec![0xB0, 0x80 | 102, 0, 7, 0, 0, 0, 9, 0, 0, 0, 5, 0xBE, 0xDE, 0, 3];
        packet.extend([0x40, b'0', 0x17]);
        packet.extend(0x1122_3344_5566_7788u64.to_be_bytes());
        packet.extend([0; 1]);
        packet.extend([1, 2, 3, 0, 2]);
        let header = Header::parse(&packet, Some(1)).unwrap();
        assert_eq!(header.capture, Some(0x1122_3344_5566_7788));
        assert_eq!((header.sequence, header.timestamp, header.ssrc), (7, 9, 5));
        assert!(header.marker && header.payload_type == 102 && header.size == 28);
        assert_eq!(header.payload(&packet), Some(&[1, 2, 3][..]));
        assert_eq!(Header::parse(&packet[..20], Some(1)), None);
        assert_eq!(Header::parse(&[0x40; 12], None), None);
    }

    #[test]
    fn key_frames() {
        assert!(starts_key_frame(Codec::H264, &[0x65, 1]));
        assert!(starts_key_frame(Codec::H264, &[24, 0, 1, 0x67, 0, 1, 0x68]));
        assert!(starts_key_frame(Codec::H264, &[28, 0x85]));
        assert!(!starts_key_frame(Codec::H264, &[28, 0x05]));
        assert!(!starts_key_frame(Codec::H264, &[0x41, 1]));
        assert!(starts_key_frame(Codec::Vp8, &[0x90, 0x80, 0x81, 0x01, 0x10]));
        assert!(!starts_key_frame(Codec::Vp8, &[0x90, 0x80, 0x81, 0x01, 0x11]));
        assert!(!starts_key_frame(Codec::Vp8, &[]));
    }

    #[test]
    fn a_key_frame_of_vp8_tells_how_wide_it_is() {
        // 640 wide, scaled by the decoder in the two upper bits.
        let key = [0x90, 0x80, 0x81, 0x01, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x42, 0x68, 0x01];
        assert_eq!(width(Codec::Vp8, &key), Some(640));
        assert_eq!(width(Codec::Vp8, &key[..11]), None);
        assert_eq!(width(Codec::Vp9, &key), None);
        let mut other = key;
        other[4] |= 1;
        assert_eq!(width(Codec::Vp8, &other), None, "no key frame");
    }

    #[test]
    fn others_read_our_rtcp() {
        let block = ReportBlock { ssrc: 2, fraction: 3, lost: 4, highest: 5, ..Default::default() };
        let mut bytes = bytes::Bytes::from(receiver_report(1, &[block]));
        let packets = rtc_rtcp::packet::unmarshal(&mut bytes).unwrap();
        let report = packets[0].as_any().downcast_ref::<ReceiverReport>().unwrap();
        assert_eq!((report.ssrc, report.reports[0].total_lost), (1, 4));
        assert_eq!(packets.len(), 2);

        let mut bytes = bytes::Bytes::from(nack(1, 2, &[65_534, 65_535, 1, 100]));
        let packets = rtc_rtcp::packet::unmarshal(&mut bytes).unwrap();
        let nack = packets[0].as_any().downcast_ref::<TransportLayerNack>().unwrap();
        let asked: Vec<u16> = nack.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
        assert_eq!(asked, [65_534, 65_535, 1, 100]);
    }

    #[test]
    fn reads_sender_reports_and_survives_rubbish() {
        let mut data = vec![0x80, 200, 0, 6];
        data.extend(9u32.to_be_bytes());
        data.extend(77u64.to_be_bytes());
        data.extend(88u32.to_be_bytes());
        data.extend([0; 8]);
        data.extend([0x81, 203, 0, 1, 0, 0, 0, 9, 0x80, 200, 0xFF, 0xFF]);
        assert_eq!(parse_rtcp(&data), [Rtcp::SenderReport(9, 77, 88), Rtcp::Bye(9)]);
        assert_eq!(parse_rtcp(&[0x80]), []);
    }
}

//! One sealed packet for one viewer: header, extensions, payload, seal. Pure.

use super::vp8;
use crate::rewriter::Skipped;
use relay_node::media::srtp::{SrtpSealer, TAG_LEN};
use soleil_protocol::PacketIndex;

/// RFC 3550 section 5.1, without contributors.
const RTP_HEADER: usize = 12;
/// The same with an extension block of three words: a capture time (1 + 8 bytes) and a number (1 +
/// 2 bytes) fill it, and one of them leaves the rest as padding. One length, or runs of equal
/// datagrams would break.
const EXTENDED_HEADER: usize = RTP_HEADER + 4 + 12;
/// With a block of one word, for the number alone.
const NUMBERED_HEADER: usize = RTP_HEADER + 4 + 4;

/// The RTP extension profile of one-byte headers (RFC 8285 section 4.2).
const ONE_BYTE_PROFILE: u16 = 0xbede;

/// What stands before the payload.
pub(super) struct Header {
    pub(super) payload_type: u8,
    pub(super) marker: bool,
    pub(super) index: PacketIndex,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    pub(super) capture: Option<(u8, u64)>,
    pub(super) number: Option<(u8, u16)>,
    /// Of VP8 frames that were left out.
    pub(super) skipped: Skipped,
}

/// Appends a sealed packet; on failure `out` is as before.
pub(super) fn write(
    sealer: &SrtpSealer,
    header: &Header,
    osn: Option<u16>,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    // Written as one piece: this runs once per viewer and packet.
    let mut fixed = [0; EXTENDED_HEADER];
    let header_len = match (header.capture, header.number) {
        (Some(_), _) => EXTENDED_HEADER,
        (None, Some(_)) => NUMBERED_HEADER,
        (None, None) => RTP_HEADER,
    };
    fixed[0] = if header_len > RTP_HEADER { 0x90 } else { 0x80 };
    fixed[1] = (u8::from(header.marker) << 7) | (header.payload_type & 0x7f);
    fixed[2..4].copy_from_slice(&header.index.seq().to_be_bytes());
    fixed[4..8].copy_from_slice(&header.timestamp.to_be_bytes());
    fixed[8..12].copy_from_slice(&header.ssrc.to_be_bytes());
    if header_len > RTP_HEADER {
        let words = (header_len - RTP_HEADER - 4) / 4;
        fixed[12..14].copy_from_slice(&ONE_BYTE_PROFILE.to_be_bytes());
        fixed[14..16].copy_from_slice(&(words as u16).to_be_bytes());
    }
    let mut at = 16;
    if let Some((id, capture)) = header.capture {
        fixed[16] = (id << 4) | 7;
        fixed[17..25].copy_from_slice(&capture.to_be_bytes());
        at = 25;
    }
    if let Some((id, number)) = header.number {
        fixed[at] = (id << 4) | 1;
        fixed[at + 1..at + 3].copy_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&fixed[..header_len]);
    if let Some(osn) = osn {
        out.extend_from_slice(&osn.to_be_bytes());
    }
    out.extend_from_slice(payload);
    if header.skipped != Skipped::default()
        && let Some(payload) = out.len().checked_sub(payload.len()).and_then(|at| out.get_mut(at..))
    {
        vp8::close_up(payload, header.skipped);
    }
    out.extend_from_slice(&[0; TAG_LEN]);
    if sealer.seal(&mut out[start..], header_len, header.index.roc()).is_err() {
        out.truncate(start);
        return false;
    }
    true
}

//! The RTP fixed header (RFC 3550 section 5.1), checked: everything that a stranger sends to an
//! ingest port goes through here first. It borrows the datagram and allocates nothing.

use super::reason::DropReason;

/// Length of the fixed header.
const HEADER: usize = 12;

/// The profile of extension blocks with two-byte headers (RFC 8285 section 4.3).
pub const TWO_BYTE_PROFILE: u16 = 0x1000;

/// The id of the dependency descriptor in packets of sources within this process, whatever id was agreed
/// on with the sender.
pub const DEPENDENCY_DESCRIPTOR: u8 = 1;

/// One RTP packet whose lengths all fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpView<'a> {
    /// The marker bit.
    pub marker: bool,
    /// The payload type.
    pub payload_type: u8,
    /// The sequence number.
    pub seq: u16,
    /// The timestamp.
    pub timestamp: u32,
    /// The sender's SSRC.
    pub ssrc: u32,
    /// The payload without padding; empty in a packet that is padding alone.
    pub payload: &'a [u8],
    /// The extension block without its profile and length; empty if there is none.
    extension: &'a [u8],
    /// The block's profile.
    profile: u16,
}

impl<'a> RtpView<'a> {
    /// A header extension with a two-byte header (RFC 8285 section 4.3): the only ones that sources within
    /// this process hand on.
    pub fn element(&self, id: u8) -> Option<&'a [u8]> {
        // The low four bits are the application's.
        if self.profile & 0xfff0 != TWO_BYTE_PROFILE {
            return None;
        }
        let mut rest = self.extension;
        loop {
            match *rest {
                [0, ..] => rest = &rest[1..],
                [found, length, ..] => {
                    let (element, after) = rest[2..].split_at_checked(usize::from(length))?;
                    if found == id {
                        return Some(element);
                    }
                    rest = after;
                }
                _ => return None,
            }
        }
    }
}

/// Whether a datagram on a shared port is RTCP (RFC 5761 section 4: packet types 192 to 223 lie
/// where RTP payload types 64 to 95 with the marker bit would).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [first, 192..=223, ..] if first >> 6 == 2)
}

/// Checks a datagram and takes it apart.
///
/// # Errors
/// The reason why it is not a valid RTP packet.
pub fn parse(datagram: &[u8]) -> Result<RtpView<'_>, DropReason> {
    let Some((header, mut rest)) = datagram.split_at_checked(HEADER) else {
        return Err(DropReason::Truncated);
    };
    if header[0] >> 6 != 2 {
        return Err(DropReason::Version);
    }
    let csrcs = usize::from(header[0] & 0x0f) * 4;
    rest = rest.get(csrcs..).ok_or(DropReason::Csrc)?;
    let (mut profile, mut extension): (u16, &[u8]) = (0, &[]);
    if header[0] & 0x10 != 0 {
        // RFC 3550 section 5.3.1: 16 bits of profile, 16 bits of length in words.
        let (head, after) = rest.split_first_chunk::<4>().ok_or(DropReason::Extension)?;
        profile = u16::from_be_bytes([head[0], head[1]]);
        let length = 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        (extension, rest) = after.split_at_checked(length).ok_or(DropReason::Extension)?;
    }
    if header[0] & 0x20 != 0 {
        let padding = usize::from(*rest.last().ok_or(DropReason::Padding)?);
        if padding == 0 || padding > rest.len() {
            return Err(DropReason::Padding);
        }
        rest = &rest[..rest.len() - padding];
    }
    Ok(RtpView {
        marker: header[1] & 0x80 != 0,
        payload_type: header[1] & 0x7f,
        seq: u16::from_be_bytes([header[2], header[3]]),
        timestamp: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        ssrc: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
        payload: rest,
        extension,
        profile,
    })
}

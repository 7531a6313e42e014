//! The hop packet (PROTOCOL "The media hop"): its layout, a strict parser, and the two ends that
//! have the pipeline's key: [`Sealer`] (root only) and [`Opener`] (verification on arrival, and
//! the payload where it is used).
//!
//! ```text
//! 12 RTP header | 4 0xBEDE, 4 words | 0x13 roc(4) | 0x27 capture(8) | 0x30 marks(1) |
//! sealed payload | 16 tag | 1 MKI
//! ```

#[cfg(test)]
mod tests;

use super::api::{FrameMarks, PipelineKey};
use super::sizes::{HOP_HEADER, HOP_OVERHEAD, MAX_HOP_PACKET, MAX_PAYLOAD, MKI, TAG};
use super::srtp::{SrtpError, SrtpKeys, SrtpOpener, SrtpSealer};
use soleil_protocol::{Epoch, PacketIndex, Ssrc};

/// RTP version 2 with an extension block, no padding, no CSRC: nothing else is a hop packet.
const FIRST: u8 = 0x90;
/// The block of RFC 8285 section 4.2 with its length in words.
const BLOCK: [u8; 4] = [0xbe, 0xde, 0, 4];
/// Element headers (id << 4 | length - 1): roll-over counter, absolute capture time, frame marks.
const ROC_ELEMENT: u8 = 0x13;
const CAPTURE_ELEMENT: u8 = 0x27;
const MARKS_ELEMENT: u8 = 0x30;

/// Everything that is readable in a hop packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HopHeader {
    /// The layer.
    pub ssrc: Ssrc,
    /// RTP payload type (7 bits).
    pub payload_type: u8,
    /// RTP marker bit.
    pub marker: bool,
    /// The 48-bit index; its low half is the RTP sequence number.
    pub index: PacketIndex,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Absolute capture time, NTP 32.32.
    pub capture: u64,
    /// Frame marks.
    pub marks: FrameMarks,
}

/// A parsed hop packet: sound in form, not yet verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopPacket {
    /// Its header.
    pub header: HopHeader,
    /// Which key it claims to be sealed with ([`Epoch::mki`]).
    pub mki: u8,
}

/// Why bytes are no hop packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than header, tag and MKI, or longer than [`MAX_HOP_PACKET`].
    #[error("a hop packet of {0} bytes is not possible")]
    Length(usize),
    /// Another header than ours.
    #[error("the header is not that of a hop packet")]
    Header,
    /// Not sealed by the root, or not with the key that it names.
    #[error(transparent)]
    Srtp(#[from] SrtpError),
}

impl HopHeader {
    /// The header's bytes.
    pub fn to_bytes(&self) -> [u8; HOP_HEADER] {
        let mut b = [0; HOP_HEADER];
        b[0] = FIRST;
        b[1] = self.payload_type & 0x7f | if self.marker { 0x80 } else { 0 };
        b[2..4].copy_from_slice(&self.index.seq().to_be_bytes());
        b[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        b[8..12].copy_from_slice(&self.ssrc.0.to_be_bytes());
        b[12..16].copy_from_slice(&BLOCK);
        b[16] = ROC_ELEMENT;
        b[17..21].copy_from_slice(&self.index.roc().to_be_bytes());
        b[21] = CAPTURE_ELEMENT;
        b[22..30].copy_from_slice(&self.capture.to_be_bytes());
        b[30] = MARKS_ELEMENT;
        b[31] = self.marks.0;
        b
    }
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

impl HopPacket {
    /// Reads the header. Accepts exactly what [`Sealer`] writes, whatever the payload.
    ///
    /// # Errors
    /// [`PacketError::Length`] and [`PacketError::Header`].
    pub fn parse(packet: &[u8]) -> Result<Self, PacketError> {
        if packet.len() < HOP_OVERHEAD || packet.len() > MAX_HOP_PACKET {
            return Err(PacketError::Length(packet.len()));
        }
        let b = packet;
        let ours = b[0] == FIRST
            && b[12..16] == BLOCK
            && b[16] == ROC_ELEMENT
            && b[21] == CAPTURE_ELEMENT
            && b[30] == MARKS_ELEMENT;
        if !ours {
            return Err(PacketError::Header);
        }
        let header = HopHeader {
            ssrc: Ssrc(be(&b[8..12]) as u32),
            payload_type: b[1] & 0x7f,
            marker: b[1] & 0x80 != 0,
            index: PacketIndex::new(be(&b[17..21]) as u32, be(&b[2..4]) as u16),
            timestamp: be(&b[4..8]) as u32,
            capture: be(&b[22..30]),
            marks: FrameMarks(b[31]),
        };
        Ok(Self { header, mki: b[b.len() - 1] })
    }
}

fn keys(key: &PipelineKey) -> SrtpKeys {
    SrtpKeys::new(key.key, key.salt)
}

/// Seals a pipeline's packets under the key of one epoch. Only the root has one, and it must never
/// seal twice under one (SSRC, index).
#[derive(Debug)]
pub struct Sealer {
    sealer: SrtpSealer,
    mki: u8,
}

impl Sealer {
    /// For the key of an epoch.
    pub fn new(key: &PipelineKey, epoch: Epoch) -> Self {
        Self { sealer: SrtpSealer::new(&keys(key)), mki: epoch.mki() }
    }

    /// Appends a sealed packet to `out`.
    ///
    /// # Errors
    /// [`PacketError::Length`] if the payload is longer than [`MAX_PAYLOAD`].
    pub fn seal(
        &self,
        header: &HopHeader,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), PacketError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(PacketError::Length(payload.len() + HOP_OVERHEAD));
        }
        let start = out.len();
        out.reserve(HOP_OVERHEAD + payload.len());
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(payload);
        out.extend_from_slice(&[0; TAG]);
        self.sealer.seal(&mut out[start..], HOP_HEADER, header.index.roc())?;
        out.push(self.mki);
        Ok(())
    }
}

/// Verifies and opens a pipeline's packets of one epoch.
#[derive(Debug)]
pub struct Opener {
    opener: SrtpOpener,
    epoch: Epoch,
}

impl Opener {
    /// For the key of an epoch.
    pub fn new(key: &PipelineKey, epoch: Epoch) -> Self {
        Self { opener: SrtpOpener::new(&keys(key)), epoch }
    }

    /// The epoch it is for.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Verifies a parsed packet and opens it in place; returns the plain payload. Replays are the
    /// caller's business. After an error the payload is unusable.
    ///
    /// # Errors
    /// [`PacketError::Srtp`].
    pub fn open<'p>(
        &self,
        packet: &'p mut [u8],
        header: &HopHeader,
    ) -> Result<&'p mut [u8], PacketError> {
        let end = packet.len().checked_sub(MKI).ok_or(PacketError::Length(0))?;
        Ok(self.opener.open_at(&mut packet[..end], HOP_HEADER, header.index.roc())?)
    }
}

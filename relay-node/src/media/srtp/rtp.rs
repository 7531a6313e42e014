//! SRTP: sealing and opening RTP packets.

use super::{Label, Session, SrtpError, SrtpKeys, TAG_LEN, be32};
use crate::media::replay::{ReplayWindow, Seen};
use ring::aead::{Aad, Nonce};
use soleil_protocol::{PacketIndex, Ssrc};

/// SSRCs that one opener keeps state for: a WebRTC peer has a handful (tracks, RTX, probing).
pub const MAX_SOURCES: usize = 32;

/// Replay window of an opener that tracks indexes itself, in packets: RFC 3711 section 3.3.2 asks
/// for 64 at least; repairs over a long path come back after many more.
const WINDOW: usize = 1024;

/// Length of an RTP header with its CSRCs and its extension block; `None` if the packet is not RTP
/// version 2 or does not hold it (RFC 3550 section 5.1, 5.3.1).
pub fn header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut len = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words = packet.get(len + 2..len + 4)?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    (packet.len() >= len).then_some(len)
}

/// RFC 7714 section 8.1: 2 zero octets, SSRC, roll-over counter, sequence number, XOR salt.
fn nonce(session: &Session, packet: &[u8], roc: u32) -> Nonce {
    let mut iv = [0; 12];
    iv[2..6].copy_from_slice(&packet[8..12]);
    iv[6..10].copy_from_slice(&roc.to_be_bytes());
    iv[10..12].copy_from_slice(&packet[2..4]);
    session.nonce(iv)
}

/// Seals RTP packets of one direction. It keeps no state: the caller owns SSRCs and indexes, and
/// must never seal other bytes under an (SSRC, roll-over counter, sequence number) that it has
/// used before: that would give the key away.
pub struct SrtpSealer(Session);

impl std::fmt::Debug for SrtpSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SrtpSealer(..)")
    }
}

impl SrtpSealer {
    /// Derives the session key.
    pub fn new(keys: &SrtpKeys) -> Self {
        Self(Session::derive(keys, Label::RtpKey, Label::RtpSalt))
    }

    #[cfg(test)]
    pub(super) fn from_session(key: [u8; 16], salt: [u8; 12]) -> Self {
        Self(Session::from_parts(&key, salt))
    }

    /// Seals `packet` in place: header, plain payload, and [`TAG_LEN`] bytes of room for the tag.
    /// `header_len` is where the payload begins (see [`header_len`]).
    ///
    /// # Errors
    /// [`SrtpError::Malformed`] if there is no room for header and tag.
    pub fn seal(&self, packet: &mut [u8], header_len: usize, roc: u32) -> Result<(), SrtpError> {
        if header_len < 12 || packet.len() < header_len.saturating_add(TAG_LEN) {
            return Err(SrtpError::Malformed);
        }
        let nonce = nonce(&self.0, packet, roc);
        let (header, rest) = packet.split_at_mut(header_len);
        let (payload, room) = rest.split_at_mut(rest.len() - TAG_LEN);
        let tag = self
            .0
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(&*header), payload)
            .map_err(|_| SrtpError::Malformed)?;
        room.copy_from_slice(tag.as_ref());
        Ok(())
    }

    /// Appends the tag to a vector that holds header and plain payload, and seals it.
    ///
    /// # Errors
    /// As [`SrtpSealer::seal`].
    pub fn seal_vec(
        &self,
        packet: &mut Vec<u8>,
        header_len: usize,
        roc: u32,
    ) -> Result<(), SrtpError> {
        packet.extend_from_slice(&[0; TAG_LEN]);
        self.seal(packet, header_len, roc)
    }
}

/// An opened packet.
#[derive(Debug)]
pub struct Opened<'p> {
    /// Its source.
    pub ssrc: Ssrc,
    /// Its 48-bit index.
    pub index: PacketIndex,
    /// Header and plain payload, without the tag.
    pub packet: &'p mut [u8],
    /// Where the payload begins.
    pub header_len: usize,
}

struct Source {
    ssrc: u32,
    window: ReplayWindow,
}

impl Source {
    /// RFC 3711 section 3.3.1: the index nearest to the highest one with this sequence number.
    fn estimate(&self, seq: u16) -> u64 {
        let Some(highest) = self.window.highest() else {
            return u64::from(seq);
        };
        let base = (highest & !0xffff) | u64::from(seq);
        let distance = i32::from(seq) - i32::from(highest as u16);
        if distance > 0x8000 {
            // Before the roll-over; there is nothing before 0.
            base.checked_sub(0x1_0000).unwrap_or(base)
        } else if distance < -0x8000 && base + 0x1_0000 <= PacketIndex::MAX.0 {
            base + 0x1_0000
        } else {
            base
        }
    }
}

/// Opens RTP packets of one direction; follows the roll-over counter and refuses replays where the
/// index is not explicit in the packet.
pub struct SrtpOpener {
    session: Session,
    sources: Vec<Source>,
}

impl std::fmt::Debug for SrtpOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SrtpOpener({} sources)", self.sources.len())
    }
}

impl SrtpOpener {
    /// Derives the session key.
    pub fn new(keys: &SrtpKeys) -> Self {
        Self { session: Session::derive(keys, Label::RtpKey, Label::RtpSalt), sources: Vec::new() }
    }

    #[cfg(test)]
    pub(super) fn from_session(key: [u8; 16], salt: [u8; 12]) -> Self {
        Self { session: Session::from_parts(&key, salt), sources: Vec::new() }
    }

    /// Opens a packet (header, sealed payload, tag) in place under a known roll-over counter and
    /// returns the payload. Replays are the caller's business. After an error the payload is
    /// unusable.
    ///
    /// # Errors
    /// [`SrtpError::Malformed`] or [`SrtpError::NotAuthentic`].
    pub fn open_at<'p>(
        &self,
        packet: &'p mut [u8],
        header_len: usize,
        roc: u32,
    ) -> Result<&'p mut [u8], SrtpError> {
        if header_len < 12 || packet.len() < header_len.saturating_add(TAG_LEN) {
            return Err(SrtpError::Malformed);
        }
        let nonce = nonce(&self.session, packet, roc);
        let (header, sealed) = packet.split_at_mut(header_len);
        self.session
            .key
            .open_in_place(nonce, Aad::from(&*header), sealed)
            .map_err(|_| SrtpError::NotAuthentic)
    }

    /// Opens a packet in place, estimates its index and refuses replays.
    ///
    /// # Errors
    /// Every [`SrtpError`] but `Exhausted`.
    pub fn open<'p>(&mut self, packet: &'p mut [u8]) -> Result<Opened<'p>, SrtpError> {
        let header_len = header_len(packet).ok_or(SrtpError::Malformed)?;
        let ssrc = be32(&packet[8..12]);
        let seq = u16::from_be_bytes([packet[2], packet[3]]);
        let known = self.sources.iter().position(|s| s.ssrc == ssrc);
        let index = match known {
            Some(i) => {
                let source = &self.sources[i];
                let index = source.estimate(seq);
                if source.window.check(index) != Seen::New {
                    return Err(SrtpError::Replay);
                }
                index
            }
            None if self.sources.len() < MAX_SOURCES => u64::from(seq),
            None => return Err(SrtpError::TooManySources),
        };
        let index = PacketIndex(index);
        let payload = self.open_at(packet, header_len, index.roc())?.len();
        let source = match known {
            Some(i) => &mut self.sources[i],
            None => {
                self.sources.push(Source { ssrc, window: ReplayWindow::new(WINDOW) });
                let last = self.sources.len() - 1;
                &mut self.sources[last]
            }
        };
        source.window.insert(index.0);
        Ok(Opened {
            ssrc: Ssrc(ssrc),
            index,
            packet: &mut packet[..header_len + payload],
            header_len,
        })
    }
}

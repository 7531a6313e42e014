//! SRTCP: sealing and opening compound RTCP packets (RFC 7714 section 9).

use super::{Label, SRTCP_OVERHEAD, Session, SrtpError, SrtpKeys, TAG_LEN, be32, rtp::MAX_SOURCES};
use crate::media::replay::{ReplayWindow, Seen};
use ring::aead::{Aad, Nonce};

/// Replay window in packets (RFC 3711 section 3.3.2: 64 at least). RTCP is sparse.
const WINDOW: usize = 128;

/// The E flag: the packet is encrypted, not only authenticated (RFC 3711 section 3.4).
const ENCRYPTED: u32 = 1 << 31;

/// Bytes that stay readable: RTCP header and sender's SSRC.
const CLEAR: usize = 8;

/// RFC 7714 section 9.1: 2 zero octets, SSRC, 2 zero octets, 0-bit and 31-bit index, XOR salt.
fn nonce(session: &Session, ssrc: &[u8], index: u32) -> Nonce {
    let mut iv = [0; 12];
    iv[2..6].copy_from_slice(ssrc);
    iv[8..12].copy_from_slice(&index.to_be_bytes());
    session.nonce(iv)
}

/// Seals RTCP of one direction; owns the index.
pub struct SrtcpSealer {
    session: Session,
    next: u32,
}

impl std::fmt::Debug for SrtcpSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SrtcpSealer(next {})", self.next)
    }
}

impl SrtcpSealer {
    /// Derives the session key. One sealer per key: two would use the same indexes.
    pub fn new(keys: &SrtpKeys) -> Self {
        Self { session: Session::derive(keys, Label::RtcpKey, Label::RtcpSalt), next: 0 }
    }

    #[cfg(test)]
    pub(super) fn from_session(key: [u8; 16], salt: [u8; 12], next: u32) -> Self {
        Self { session: Session::from_parts(&key, salt), next }
    }

    /// Seals the compound packet from `start` to the end of `buffer` in place; it grows by
    /// [`SRTCP_OVERHEAD`].
    ///
    /// # Errors
    /// [`SrtpError::Malformed`] if it is shorter than an RTCP header with SSRC,
    /// [`SrtpError::Exhausted`] after 2^31 packets.
    pub fn seal(&mut self, buffer: &mut Vec<u8>, start: usize) -> Result<(), SrtpError> {
        let Some(packet) = buffer.get_mut(start..).filter(|p| p.len() >= CLEAR) else {
            return Err(SrtpError::Malformed);
        };
        if self.next & ENCRYPTED != 0 {
            return Err(SrtpError::Exhausted);
        }
        let (index, word) = (self.next, (self.next | ENCRYPTED).to_be_bytes());
        self.next += 1;
        let nonce = nonce(&self.session, &packet[4..8], index);
        let mut aad = [0; CLEAR + 4];
        aad[..CLEAR].copy_from_slice(&packet[..CLEAR]);
        aad[CLEAR..].copy_from_slice(&word);
        let tag = self
            .session
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(&aad), &mut packet[CLEAR..])
            .map_err(|_| SrtpError::Malformed)?;
        buffer.extend_from_slice(tag.as_ref());
        buffer.extend_from_slice(&word);
        Ok(())
    }
}

struct Source {
    ssrc: u32,
    window: ReplayWindow,
}

/// Opens RTCP of one direction; refuses replays per sender SSRC.
pub struct SrtcpOpener {
    session: Session,
    sources: Vec<Source>,
}

impl std::fmt::Debug for SrtcpOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SrtcpOpener({} sources)", self.sources.len())
    }
}

impl SrtcpOpener {
    /// Derives the session key.
    pub fn new(keys: &SrtpKeys) -> Self {
        Self {
            session: Session::derive(keys, Label::RtcpKey, Label::RtcpSalt),
            sources: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn from_session(key: [u8; 16], salt: [u8; 12]) -> Self {
        Self { session: Session::from_parts(&key, salt), sources: Vec::new() }
    }

    /// Opens a packet in place and returns the plain compound packet.
    ///
    /// # Errors
    /// Every [`SrtpError`] but `Exhausted`. After an error the packet is unusable.
    pub fn open<'p>(&mut self, packet: &'p mut [u8]) -> Result<&'p mut [u8], SrtpError> {
        if packet.len() < CLEAR + SRTCP_OVERHEAD || packet[0] >> 6 != 2 {
            return Err(SrtpError::Malformed);
        }
        let ssrc = be32(&packet[4..8]);
        let (body, word) = packet.split_at_mut(packet.len() - 4);
        let word_value = be32(word);
        let index = word_value & !ENCRYPTED;
        let known = self.sources.iter().position(|s| s.ssrc == ssrc);
        match known {
            Some(i) if self.sources[i].window.check(u64::from(index)) != Seen::New => {
                return Err(SrtpError::Replay);
            }
            None if self.sources.len() >= MAX_SOURCES => return Err(SrtpError::TooManySources),
            _ => {}
        }
        let len = self.open_body(body, word_value, index)?;
        match known {
            Some(i) => {
                self.sources[i].window.insert(u64::from(index));
            }
            None => {
                let mut window = ReplayWindow::new(WINDOW);
                window.insert(u64::from(index));
                self.sources.push(Source { ssrc, window });
            }
        }
        Ok(&mut packet[..len])
    }

    /// Opens header, payload and tag; returns the length without the tag.
    fn open_body(&self, body: &mut [u8], word: u32, index: u32) -> Result<usize, SrtpError> {
        let nonce = nonce(&self.session, &body[4..8], index);
        let key = &self.session.key;
        let len = body.len() - TAG_LEN;
        if word & ENCRYPTED != 0 {
            let mut aad = [0; CLEAR + 4];
            aad[..CLEAR].copy_from_slice(&body[..CLEAR]);
            aad[CLEAR..].copy_from_slice(&word.to_be_bytes());
            key.open_in_place(nonce, Aad::from(&aad), &mut body[CLEAR..])
                .map_err(|_| SrtpError::NotAuthentic)?;
            return Ok(len);
        }
        // RFC 7714 section 9.3: nothing encrypted, the whole packet and the index word are
        // associated data. The tag lies between them, so the two are brought together; at most an
        // MTU, and rare: peers of ours encrypt.
        let (packet, tag) = body.split_at_mut(len);
        let mut aad = [0; 2048];
        let aad = aad.get_mut(..len + 4).ok_or(SrtpError::Malformed)?;
        aad[..len].copy_from_slice(packet);
        aad[len..].copy_from_slice(&word.to_be_bytes());
        key.open_in_place(nonce, Aad::from(&*aad), tag).map_err(|_| SrtpError::NotAuthentic)?;
        Ok(len)
    }
}

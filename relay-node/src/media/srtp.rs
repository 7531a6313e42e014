//! SRTP and SRTCP with AEAD_AES_128_GCM (RFC 7714; key derivation of RFC 3711 section 4.3), in
//! place and without allocation per packet. Used for hop packets (through
//! [`super::packet`]) and for each viewer at a leaf. It knows neither MKI (the hop adds it, it is
//! not authenticated) nor other ciphers.

mod rtcp;
mod rtp;

#[cfg(test)]
mod tests;

pub use rtcp::{SrtcpOpener, SrtcpSealer};
pub use rtp::{MAX_SOURCES, Opened, SrtpOpener, SrtpSealer, header_len};

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use ring::aead::{AES_128_GCM, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of the authentication tag (RFC 7714 section 13.1).
pub const TAG_LEN: usize = 16;
/// Bytes of a master key.
pub const KEY_LEN: usize = 16;
/// Bytes of a master salt (RFC 7714 section 12).
pub const SALT_LEN: usize = 12;
/// Bytes that SRTCP adds: tag and index word.
pub const SRTCP_OVERHEAD: usize = TAG_LEN + 4;
/// Label of the TLS exporter for DTLS-SRTP (RFC 5764 section 4.2).
pub const DTLS_EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// Bytes to export for this profile: two keys, two salts.
pub const DTLS_EXPORTER_LEN: usize = 2 * (KEY_LEN + SALT_LEN);

/// Why a packet can't be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// No whole header, or no room for the tag.
    #[error("the packet is too short or its header is malformed")]
    Malformed,
    /// The tag does not fit: forged, damaged, or another key.
    #[error("the packet is not authentic")]
    NotAuthentic,
    /// The index was seen before or is too old.
    #[error("the packet is a replay")]
    Replay,
    /// More sources than [`MAX_SOURCES`].
    #[error("too many SSRCs")]
    TooManySources,
    /// All indexes of this key are used up (RFC 3711 section 9.2).
    #[error("the key is used up")]
    Exhausted,
}

/// Master key and salt of one direction.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SrtpKeys {
    /// AES-128 master key.
    pub key: [u8; KEY_LEN],
    /// Master salt.
    pub salt: [u8; SALT_LEN],
}

impl std::fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SrtpKeys(..)")
    }
}

impl SrtpKeys {
    /// From a key and a salt.
    pub fn new(key: [u8; KEY_LEN], salt: [u8; SALT_LEN]) -> Self {
        Self { key, salt }
    }

    /// Splits exported DTLS key material into the client's and the server's keys (what each of
    /// them *sends* with; RFC 5764 section 4.2: both keys, then both salts).
    pub fn from_dtls_exporter(material: &[u8; DTLS_EXPORTER_LEN]) -> (SrtpKeys, SrtpKeys) {
        let part = |at: usize, salt_at: usize| {
            let mut keys = SrtpKeys { key: [0; KEY_LEN], salt: [0; SALT_LEN] };
            keys.key.copy_from_slice(&material[at..at + KEY_LEN]);
            keys.salt.copy_from_slice(&material[salt_at..salt_at + SALT_LEN]);
            keys
        };
        let salts = 2 * KEY_LEN;
        (part(0, salts), part(KEY_LEN, salts + SALT_LEN))
    }
}

/// Labels of RFC 3711 section 4.3.2 (there are no authentication keys with an AEAD).
#[derive(Clone, Copy)]
enum Label {
    RtpKey = 0x00,
    RtpSalt = 0x02,
    RtcpKey = 0x03,
    RtcpSalt = 0x05,
}

/// The PRF of RFC 3711 section 4.3.3 with a key derivation rate of 0. The salt of 96 bits is
/// padded to 112 with zeros on the right (RFC 7714 section 11). One block is all that is needed.
fn derive(keys: &SrtpKeys, label: Label) -> [u8; 16] {
    let mut block = [0u8; 16];
    block[..SALT_LEN].copy_from_slice(&keys.salt);
    block[7] ^= label as u8;
    let mut block = block.into();
    Aes128::new(&keys.key.into()).encrypt_block(&mut block);
    block.into()
}

/// A session key with its salt: what one direction of SRTP or SRTCP works with.
struct Session {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl Session {
    fn derive(keys: &SrtpKeys, key: Label, salt: Label) -> Self {
        let mut session_key = derive(keys, key);
        let mut session_salt = [0; SALT_LEN];
        session_salt.copy_from_slice(&derive(keys, salt)[..SALT_LEN]);
        let session = Self::from_parts(&session_key, session_salt);
        session_key.zeroize();
        session
    }

    fn from_parts(key: &[u8; KEY_LEN], salt: [u8; SALT_LEN]) -> Self {
        let unbound = match UnboundKey::new(&AES_128_GCM, key) {
            Ok(key) => key,
            // `ring` refuses wrong lengths only, and the type says 16.
            Err(_) => unreachable!("an AES-128 key has 16 bytes"),
        };
        Self { key: LessSafeKey::new(unbound), salt }
    }

    fn nonce(&self, mut iv: [u8; SALT_LEN]) -> Nonce {
        iv.iter_mut().zip(self.salt).for_each(|(b, s)| *b ^= s);
        Nonce::assume_unique_for_key(iv)
    }
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |n, b| n << 8 | u32::from(*b))
}

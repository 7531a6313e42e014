//! The little STUN that an ICE-lite agent needs (RFC 8489, RFC 8445): read a binding request or
//! response, check its integrity, write a response and a request. It allocates nothing and knows
//! no sessions.

#[cfg(test)]
mod tests;

use ring::hmac;
use std::net::{IpAddr, SocketAddr};

/// The longest STUN message that is looked at: browsers' checks have about 100 to 200 bytes, and
/// RFC 8489 section 6.1 keeps messages below 548 bytes where the MTU is unknown.
pub const MAX_STUN_LEN: usize = 548;

const HEADER: usize = 20;
const COOKIE: u32 = 0x2112_A442;
const INTEGRITY_LEN: usize = 20;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;

const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A binding request.
    Request,
    /// A success response to a binding request.
    Success,
    /// An error response to a binding request.
    Error,
}

/// Names a transaction.
pub type TransactionId = [u8; 12];

/// A STUN message that is well formed; nothing in it is authentic before
/// [`verify`](Message::verify).
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    raw: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// Its transaction.
    pub transaction: TransactionId,
    /// USERNAME, if it has one that is text.
    pub username: Option<&'a str>,
    /// PRIORITY.
    pub priority: Option<u32>,
    /// USE-CANDIDATE: the controlling side nominates this pair.
    pub use_candidate: bool,
    /// ICE-CONTROLLED: the sender thinks that it is the controlled side, as we are.
    pub controlled: bool,
    integrity: Option<usize>,
}

/// Whether a datagram is STUN and not DTLS or RTP (RFC 7983 section 7).
pub fn is_stun(data: &[u8]) -> bool {
    data.len() >= HEADER && data[0] < 4 && data[4..8] == COOKIE.to_be_bytes()
}

/// Reads a message; `None` for anything that is not a well-formed binding message with a
/// FINGERPRINT (RFC 8445 section 7.1.2 demands one where STUN shares a port).
pub fn parse(data: &[u8]) -> Option<Message<'_>> {
    if !is_stun(data) || data.len() > MAX_STUN_LEN {
        return None;
    }
    let length = usize::from(be16(data, 2)?);
    if length % 4 != 0 || length + HEADER != data.len() {
        return None;
    }
    let kind = match be16(data, 0)? {
        BINDING_REQUEST => Kind::Request,
        BINDING_SUCCESS => Kind::Success,
        BINDING_ERROR => Kind::Error,
        _ => return None,
    };
    let mut message = Message {
        raw: data,
        kind,
        transaction: data.get(8..20)?.try_into().ok()?,
        username: None,
        priority: None,
        use_candidate: false,
        controlled: false,
        integrity: None,
    };
    let mut at = HEADER;
    let mut fingerprint = false;
    while at < data.len() {
        let kind = be16(data, at)?;
        let len = usize::from(be16(data, at + 2)?);
        let value = data.get(at + 4..at + 4 + len)?;
        // Behind MESSAGE-INTEGRITY only FINGERPRINT counts (RFC 8489 section 14.5), and
        // FINGERPRINT is the last of all (section 14.7).
        if fingerprint || (message.integrity.is_some() && kind != FINGERPRINT) {
            return None;
        }
        match kind {
            USERNAME => message.username = std::str::from_utf8(value).ok(),
            PRIORITY => message.priority = Some(u32::from_be_bytes(value.try_into().ok()?)),
            USE_CANDIDATE => message.use_candidate = true,
            ICE_CONTROLLED => message.controlled = true,
            MESSAGE_INTEGRITY if len == INTEGRITY_LEN => message.integrity = Some(at),
            MESSAGE_INTEGRITY => return None,
            FINGERPRINT => {
                let stated = u32::from_be_bytes(value.try_into().ok()?);
                if stated != crc32(&data[..at]) ^ FINGERPRINT_XOR {
                    return None;
                }
                fingerprint = true;
            }
            // A comprehension-required attribute that we do not know (RFC 8489 section 6.3).
            ICE_CONTROLLING | XOR_MAPPED_ADDRESS | ERROR_CODE => {}
            unknown if unknown < 0x8000 => return None,
            _ => {}
        }
        at += 4 + len.next_multiple_of(4);
    }
    fingerprint.then_some(message)
}

impl Message<'_> {
    /// Whether MESSAGE-INTEGRITY is there and right for this password.
    pub fn verify(&self, password: &str) -> bool {
        let Some(at) = self.integrity else { return false };
        let Some(tag) = self.raw.get(at + 4..at + 4 + INTEGRITY_LEN) else { return false };
        // The length field as if the message ended with this attribute (RFC 8489 section 14.5).
        let mut head = [0u8; HEADER];
        head.copy_from_slice(&self.raw[..HEADER]);
        let length = (at + 4 + INTEGRITY_LEN - HEADER) as u16;
        head[2..4].copy_from_slice(&length.to_be_bytes());
        let key = key(password);
        let mut context = hmac::Context::with_key(&key);
        context.update(&head);
        context.update(&self.raw[HEADER..at]);
        constant_time_eq(context.sign().as_ref(), tag)
    }
}

/// Writes a success response: whom we answer to stands in it (XOR-MAPPED-ADDRESS; IPv4 as IPv4,
/// also where it is written as IPv6).
pub fn success(out: &mut Vec<u8>, to: &TransactionId, mapped: SocketAddr, password: &str) {
    begin(out, BINDING_SUCCESS, to);
    let port = mapped.port() ^ (COOKIE >> 16) as u16;
    match mapped.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let mut value = [0u8; 8];
            value[1] = 1;
            value[2..4].copy_from_slice(&port.to_be_bytes());
            value[4..].copy_from_slice(&(u32::from(ip) ^ COOKIE).to_be_bytes());
            attribute(out, XOR_MAPPED_ADDRESS, &value);
        }
        IpAddr::V6(ip) => {
            let mut mask = [0u8; 16];
            mask[..4].copy_from_slice(&COOKIE.to_be_bytes());
            mask[4..].copy_from_slice(to);
            let mut value = [0u8; 20];
            value[1] = 2;
            value[2..4].copy_from_slice(&port.to_be_bytes());
            let masked = u128::from(ip) ^ u128::from_be_bytes(mask);
            value[4..].copy_from_slice(&masked.to_be_bytes());
            attribute(out, XOR_MAPPED_ADDRESS, &value);
        }
    }
    finish(out, password);
}

/// Writes an error response 487 (role conflict, RFC 8445 section 7.3.1.1).
pub fn role_conflict(out: &mut Vec<u8>, to: &TransactionId, password: &str) {
    begin(out, BINDING_ERROR, to);
    attribute(out, ERROR_CODE, &[0, 0, 4, 87]);
    finish(out, password);
}

/// Writes a binding request of the controlled side, by which we see whether an address is real.
pub fn request(
    out: &mut Vec<u8>,
    transaction: &TransactionId,
    username: &str,
    tie_breaker: u64,
    password: &str,
) {
    begin(out, BINDING_REQUEST, transaction);
    attribute(out, USERNAME, username.as_bytes());
    // A peer-reflexive candidate's priority (RFC 8445 section 7.1.1): type preference 110.
    attribute(out, PRIORITY, &((110u32 << 24) | 0x00ff_ffff).to_be_bytes());
    attribute(out, ICE_CONTROLLED, &tie_breaker.to_be_bytes());
    finish(out, password);
}

fn begin(out: &mut Vec<u8>, kind: u16, transaction: &TransactionId) {
    out.clear();
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&COOKIE.to_be_bytes());
    out.extend_from_slice(transaction);
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn set_length(out: &mut [u8], length: usize) {
    out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
}

fn finish(out: &mut Vec<u8>, password: &str) {
    let length = out.len() - HEADER + 4 + INTEGRITY_LEN;
    set_length(out, length);
    let tag = hmac::sign(&key(password), out);
    attribute(out, MESSAGE_INTEGRITY, tag.as_ref());
    set_length(out, length + 8);
    let crc = crc32(out) ^ FINGERPRINT_XOR;
    attribute(out, FINGERPRINT, &crc.to_be_bytes());
}

fn key(password: &str) -> hmac::Key {
    // Short-term credentials (RFC 8489 section 9.1.1): the password itself.
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

fn be16(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

/// CRC-32 of ITU-T V.42, as FINGERPRINT uses it.
fn crc32(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc_table();
    !data
        .iter()
        .fold(!0u32, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

const fn crc_table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

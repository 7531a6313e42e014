//! The little of STUN (RFC 8489) that opens a media path: Binding requests and success responses
//! with USERNAME, XOR-MAPPED-ADDRESS, MESSAGE-INTEGRITY (short-term credential) and FINGERPRINT.
//! No allocation. Not ICE: the leaf's viewers have more attributes.

#[cfg(test)]
mod tests;

use ring::hmac;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The largest message that is read: ours have some 200 bytes.
pub const MAX_STUN: usize = 548;

/// Bytes of a transaction id.
pub const TRANSACTION_LEN: usize = 12;

const HEADER: usize = 20;
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;
/// RFC 8489 section 14.7: XORed onto the CRC.
const FINGERPRINT_XOR: u32 = 0x5354_554e;
const MAC_LEN: usize = 20;

/// A transaction's number.
pub type Transaction = [u8; TRANSACTION_LEN];

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Binding request.
    Request,
    /// Binding success response.
    Success,
}

/// A parsed message; not yet authenticated.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Request or response.
    pub class: Class,
    /// Its transaction.
    pub transaction: Transaction,
    /// USERNAME, if it is text.
    pub username: Option<&'a str>,
    /// XOR-MAPPED-ADDRESS.
    pub mapped: Option<SocketAddr>,
    /// What the MAC covers, and the MAC.
    integrity: (&'a [u8], &'a [u8]),
}

/// Whether a datagram may be STUN (RFC 7983 section 7: the first byte).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|b| *b < 4)
}

/// The key of a short-term credential (RFC 8489 section 9.1.1).
pub fn password_key(password: &str) -> hmac::Key {
    // SHA-1 is what STUN has; as a MAC it is not broken.
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

fn be16(b: &[u8]) -> u16 {
    u16::from_be_bytes([b[0], b[1]])
}

impl<'a> Message<'a> {
    /// Reads a Binding request or success response; `None` for anything else, for malformed
    /// attributes, a wrong FINGERPRINT or no MESSAGE-INTEGRITY.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        if data.len() < HEADER || data.len() > MAX_STUN || data[4..8] != MAGIC {
            return None;
        }
        if usize::from(be16(&data[2..])) + HEADER != data.len() {
            return None;
        }
        let class = match be16(data) {
            BINDING_REQUEST => Class::Request,
            BINDING_SUCCESS => Class::Success,
            _ => return None,
        };
        let mut transaction = [0; TRANSACTION_LEN];
        transaction.copy_from_slice(&data[8..HEADER]);
        let (mut username, mut mapped, mut integrity) = (None, None, None);
        let mut at = HEADER;
        while at < data.len() {
            let head = data.get(at..at + 4)?;
            let (kind, len) = (be16(head), usize::from(be16(&head[2..])));
            let value = data.get(at + 4..at + 4 + len)?;
            match kind {
                FINGERPRINT => {
                    let expected = crc32(&data[..at]) ^ FINGERPRINT_XOR;
                    if value != expected.to_be_bytes() || at + 8 != data.len() {
                        return None;
                    }
                }
                // RFC 8489 section 14.5: what follows the MAC is not covered and so ignored.
                _ if integrity.is_some() => {}
                USERNAME => username = std::str::from_utf8(value).ok(),
                XOR_MAPPED_ADDRESS => mapped = xor_address(value, &transaction),
                MESSAGE_INTEGRITY if len == MAC_LEN => integrity = Some((&data[..at], value)),
                _ => {}
            }
            at += 4 + len.next_multiple_of(4);
        }
        Some(Self { class, transaction, username, mapped, integrity: integrity? })
    }

    /// Whether the MESSAGE-INTEGRITY is made with this key.
    pub fn verify(&self, key: &hmac::Key) -> bool {
        let (covered, mac) = self.integrity;
        let expected = integrity(covered, key);
        // In constant time: the difference of all bytes, not the first.
        let difference = expected.as_ref().iter().zip(mac).fold(0, |d, (a, b)| d | (a ^ b));
        mac.len() == expected.as_ref().len() && std::hint::black_box(difference) == 0
    }
}

/// The MAC over a message whose length field counts the MAC as the last attribute.
fn integrity(covered: &[u8], key: &hmac::Key) -> hmac::Tag {
    let len = (covered.len() - HEADER + 4 + MAC_LEN) as u16;
    let mut context = hmac::Context::with_key(key);
    context.update(&covered[..2]);
    context.update(&len.to_be_bytes());
    context.update(&covered[4..]);
    context.sign()
}

fn xor_address(value: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    let port = be16(value.get(2..4)?) ^ be16(&MAGIC);
    let bytes = value.get(4..)?;
    let ip = match (value[1], bytes.len()) {
        (1, 4) => {
            let mut ip = [0; 4];
            ip.iter_mut().zip(bytes.iter().zip(MAGIC)).for_each(|(o, (a, b))| *o = a ^ b);
            IpAddr::V4(Ipv4Addr::from(ip))
        }
        (2, 16) => {
            let mask = MAGIC.iter().chain(transaction);
            let mut ip = [0; 16];
            ip.iter_mut().zip(bytes.iter().zip(mask)).for_each(|(o, (a, b))| *o = a ^ b);
            IpAddr::V6(Ipv6Addr::from(ip))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Appends a Binding request.
pub fn write_request(
    out: &mut Vec<u8>,
    transaction: &Transaction,
    username: &str,
    key: &hmac::Key,
) {
    let start = begin(out, BINDING_REQUEST, transaction);
    attribute(out, USERNAME, username.as_bytes());
    finish(out, start, key);
}

/// Appends the success response that tells the requester its address.
pub fn write_success(
    out: &mut Vec<u8>,
    transaction: &Transaction,
    mapped: SocketAddr,
    key: &hmac::Key,
) {
    let start = begin(out, BINDING_SUCCESS, transaction);
    let port = (mapped.port() ^ be16(&MAGIC)).to_be_bytes();
    let mut value = [0, 1, port[0], port[1], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mask = MAGIC.iter().chain(transaction);
    let len = match mapped.ip() {
        IpAddr::V4(ip) => {
            value[4..8].copy_from_slice(&ip.octets());
            8
        }
        IpAddr::V6(ip) => {
            value[1] = 2;
            value[4..].copy_from_slice(&ip.octets());
            20
        }
    };
    value[4..len].iter_mut().zip(mask).for_each(|(v, m)| *v ^= m);
    attribute(out, XOR_MAPPED_ADDRESS, &value[..len]);
    finish(out, start, key);
}

fn begin(out: &mut Vec<u8>, kind: u16, transaction: &Transaction) -> usize {
    let start = out.len();
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(transaction);
    start
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(&[0; 3][..value.len().next_multiple_of(4) - value.len()]);
}

fn finish(out: &mut Vec<u8>, start: usize, key: &hmac::Key) {
    let mac = integrity(&out[start..], key);
    attribute(out, MESSAGE_INTEGRITY, mac.as_ref());
    let len = (out.len() - start - HEADER + 8) as u16;
    out[start + 2..start + 4].copy_from_slice(&len.to_be_bytes());
    let crc = crc32(&out[start..]) ^ FINGERPRINT_XOR;
    attribute(out, FINGERPRINT, &crc.to_be_bytes());
}

/// CRC-32 of ITU V.42, as FINGERPRINT wants it; bit by bit, since messages are short and few.
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            if c & 1 != 0 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 }
        })
    })
}

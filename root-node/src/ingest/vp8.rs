//! VP8 in RTP (RFC 7741): the payload descriptor and the frame header's first bytes.

use super::codec::Info;
use super::fragment::{Part, Prefix};
use super::reason::DropReason;
use bytes::Bytes;

/// Descriptor bits (RFC 7741 section 4.2).
const X: u8 = 0x80;
const N: u8 = 0x20;
const S: u8 = 0x10;

struct Descriptor {
    length: usize,
    discardable: bool,
    start: bool,
    partition: u8,
    temporal: u8,
}

fn descriptor(payload: &[u8]) -> Result<Descriptor, DropReason> {
    let byte = |at: usize| payload.get(at).copied().ok_or(DropReason::Payload);
    let first = byte(0)?;
    let mut length = 1;
    let mut temporal = 0;
    if first & X != 0 {
        let extension = byte(1)?;
        length = 2;
        if extension & 0x80 != 0 {
            length += if byte(length)? & 0x80 != 0 { 2 } else { 1 };
        }
        if extension & 0x40 != 0 {
            length += 1;
        }
        if extension & 0x30 != 0 {
            if extension & 0x20 != 0 {
                temporal = byte(length)? >> 6;
            }
            length += 1;
        }
    }
    if payload.len() <= length {
        return Err(DropReason::Payload);
    }
    Ok(Descriptor {
        length,
        discardable: first & N != 0,
        start: first & S != 0,
        partition: first & 0x07,
        temporal,
    })
}

/// Reads a payload.
///
/// # Errors
/// [`DropReason::Payload`] if the descriptor does not fit.
pub fn inspect(payload: &[u8]) -> Result<Info, DropReason> {
    let d = descriptor(payload)?;
    let frame = &payload[d.length..];
    // RFC 7741 section 4.3: the P bit of the payload header is 0 in key frames.
    let key = d.start && d.partition == 0 && frame[0] & 1 == 0;
    // RFC 6386 section 9.1: start code, then 14 bits each of width and height, little endian.
    let size = match frame {
        [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] if key => Some((
            u32::from(u16::from_le_bytes([*w0, *w1]) & 0x3fff),
            u32::from(u16::from_le_bytes([*h0, *h1]) & 0x3fff),
        )),
        _ => None,
    };
    let Descriptor { discardable, temporal, .. } = d;
    Ok(Info { key, discardable, temporal, size, ..Info::default() })
}

/// The payload as a part of its partition. VP8 does not say where a partition ends: the marker
/// or the next partition does.
///
/// # Errors
/// [`DropReason::Payload`] if the descriptor does not fit.
pub fn part(payload: &Bytes) -> Result<Part, DropReason> {
    let d = descriptor(payload)?;
    let first = payload[..d.length].to_vec();
    let mut rest = first.clone();
    rest[0] &= !S;
    Ok(Part {
        prefix: Prefix { first, rest, end_bit: (0, 0) },
        start: d.start,
        end: false,
        body: payload.slice(d.length..),
    })
}

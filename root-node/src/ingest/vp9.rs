//! VP9 in RTP (RFC 9628): the payload descriptor.

use super::codec::Info;
use super::fragment::{Part, Prefix};
use super::reason::DropReason;
use bytes::Bytes;

/// Descriptor bits (RFC 9628 section 4.2).
const I: u8 = 0x80;
const P: u8 = 0x40;
const L: u8 = 0x20;
const F: u8 = 0x10;
const B: u8 = 0x08;
const E: u8 = 0x04;
const V: u8 = 0x02;

struct Descriptor {
    flags: u8,
    /// Where the scalability structure begins.
    structure: usize,
    length: usize,
    temporal: u8,
    spatial: u8,
    size: Option<(u32, u32)>,
}

fn descriptor(payload: &[u8]) -> Result<Descriptor, DropReason> {
    let byte = |at: usize| payload.get(at).copied().ok_or(DropReason::Payload);
    let flags = byte(0)?;
    let mut at = 1;
    if flags & I != 0 {
        at += if byte(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    let (mut temporal, mut spatial) = (0, 0);
    if flags & L != 0 {
        let layers = byte(at)?;
        temporal = layers >> 5;
        spatial = (layers >> 1) & 0x07;
        at += 1;
        if flags & F == 0 {
            at += 1;
        }
    }
    if flags & F != 0 && flags & P != 0 {
        // Up to three reference indices, each saying whether another follows.
        let mut references = 1;
        while byte(at)? & 1 != 0 {
            at += 1;
            references += 1;
            if references > 3 {
                return Err(DropReason::Payload);
            }
        }
        at += 1;
    }
    let structure = at;
    let mut size = None;
    if flags & V != 0 {
        let head = byte(at)?;
        at += 1;
        if head & 0x10 != 0 {
            for _ in 0..=(head >> 5) {
                let pair = |i: usize| Ok((u32::from(byte(i)?) << 8) | u32::from(byte(i + 1)?));
                size = Some((pair(at)?, pair(at + 2)?));
                at += 4;
            }
        }
        if head & 0x08 != 0 {
            let groups = byte(at)?;
            at += 1;
            for _ in 0..groups {
                at += 1 + usize::from((byte(at)? >> 2) & 0x03);
            }
        }
    }
    if payload.len() <= at {
        return Err(DropReason::Payload);
    }
    Ok(Descriptor { flags, structure, length: at, temporal, spatial, size })
}

/// Reads a payload.
///
/// # Errors
/// [`DropReason::Payload`] if the descriptor does not fit.
pub fn inspect(payload: &[u8]) -> Result<Info, DropReason> {
    let d = descriptor(payload)?;
    Ok(Info {
        key: d.flags & P == 0 && d.flags & B != 0 && d.spatial == 0,
        // The descriptor does not say whether a frame is referred to.
        discardable: false,
        temporal: d.temporal,
        size: d.size,
        profile: None,
    })
}

/// The payload as a part of its layer frame. Only the first fragment carries the scalability
/// structure.
///
/// # Errors
/// [`DropReason::Payload`] if the descriptor does not fit.
pub fn part(payload: &Bytes) -> Result<Part, DropReason> {
    let d = descriptor(payload)?;
    let mut first = payload[..d.length].to_vec();
    first[0] &= !E;
    let mut rest = first[..d.structure].to_vec();
    rest[0] &= !(B | V);
    Ok(Part {
        prefix: Prefix { first, rest, end_bit: (0, E) },
        start: d.flags & B != 0,
        end: d.flags & E != 0,
        body: payload.slice(d.length..),
    })
}

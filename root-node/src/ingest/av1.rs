//! AV1 in RTP (AV1 RTP payload specification 1.0): aggregation header and OBU elements.

mod header;

use super::codec::Info;
use super::reason::DropReason;
use bytes::{BufMut, Bytes, BytesMut};
use header::SequenceHeader;

/// Aggregation header bits (section 4.4).
const Z: u8 = 0x80;
const Y: u8 = 0x40;
const N: u8 = 0x08;
/// OBU header bits (AV1 specification section 5.3.2).
const EXTENSION: u8 = 0x04;
const HAS_SIZE: u8 = 0x02;
/// OBU type of a sequence header (AV1 specification section 6.2.2).
const SEQUENCE_HEADER: u8 = 1;
/// The most OBU elements that one packet may hold.
pub const MAX_ELEMENTS: usize = 64;
/// The longest length field that we write: 14 bits cover every payload that fits a packet.
const LENGTH_FIELD: usize = 2;

/// Reads a payload.
///
/// # Errors
/// [`DropReason::Payload`] if a length does not fit.
pub fn inspect(payload: &[u8]) -> Result<Info, DropReason> {
    let (header, elements) = elements(payload)?;
    let mut info = Info { key: header & N != 0, ..Info::default() };
    // The first element has no OBU header if it continues one.
    for obu in elements.iter().skip(usize::from(header & Z != 0)) {
        if obu[0] & EXTENSION != 0 {
            info.temporal = info.temporal.max(obu.get(1).copied().unwrap_or_default() >> 5);
        }
        if (obu[0] >> 3) & 0x0f == SEQUENCE_HEADER {
            info.key = true;
            if let Some(sequence) = body(obu).and_then(SequenceHeader::parse) {
                (info.size, info.layers) = (Some(sequence.size), sequence.layers);
            }
        }
    }
    Ok(info)
}

/// An OBU behind its header (AV1 specification section 5.3.1).
fn body(obu: &[u8]) -> Option<&[u8]> {
    let (&header, mut rest) = obu.split_first()?;
    if header & EXTENSION != 0 {
        rest = rest.get(1..)?;
    }
    if header & HAS_SIZE != 0 {
        let size = leb128(&mut rest).ok()?;
        rest = rest.get(..size)?;
    }
    Some(rest)
}

/// Cuts a payload: elements go into packets of at most `limit` bytes, one that does not fit goes
/// on in the next packet (Y, then Z).
///
/// # Errors
/// [`DropReason::Payload`] if a length does not fit.
pub fn split(payload: &Bytes, limit: usize) -> Result<Vec<Bytes>, DropReason> {
    let (header, elements) = elements(payload)?;
    let mut out = Vec::new();
    let mut flags = header & (Z | N);
    let mut packet = BytesMut::with_capacity(limit);
    packet.put_u8(0);
    for element in elements {
        let mut rest = element;
        loop {
            let room = limit.saturating_sub(packet.len() + LENGTH_FIELD);
            if room == 0 {
                packet[0] = flags;
                out.push(std::mem::take(&mut packet).freeze());
                packet.put_u8(0);
                flags = 0;
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(room));
            put_length(&mut packet, now.len());
            packet.put_slice(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
            packet[0] = flags | Y;
            out.push(std::mem::take(&mut packet).freeze());
            packet.put_u8(0);
            flags = Z;
        }
    }
    packet[0] = flags | (header & Y);
    out.push(packet.freeze());
    Ok(out)
}

fn put_length(packet: &mut BytesMut, length: usize) {
    // LEB128 of at most 14 bits: no payload of ours is longer.
    if length < 0x80 {
        packet.put_u8(length as u8);
    } else {
        packet.put_u8((length & 0x7f) as u8 | 0x80);
        packet.put_u8((length >> 7) as u8);
    }
}

/// The aggregation header and the OBU elements, none of them empty.
fn elements(payload: &[u8]) -> Result<(u8, Vec<&[u8]>), DropReason> {
    let (&header, mut rest) = payload.split_first().ok_or(DropReason::Payload)?;
    let count = usize::from((header >> 4) & 0x03);
    let mut elements = Vec::new();
    while !rest.is_empty() {
        if elements.len() >= MAX_ELEMENTS {
            return Err(DropReason::Payload);
        }
        let last_without_length = count != 0 && elements.len() + 1 == count;
        let length = if last_without_length { rest.len() } else { leb128(&mut rest)? };
        let (element, after) = rest.split_at_checked(length).ok_or(DropReason::Payload)?;
        if element.is_empty() {
            return Err(DropReason::Payload);
        }
        elements.push(element);
        rest = after;
        if count != 0 && elements.len() == count && !rest.is_empty() {
            return Err(DropReason::Payload);
        }
    }
    if elements.is_empty() || (count != 0 && elements.len() != count) {
        return Err(DropReason::Payload);
    }
    Ok((header, elements))
}

fn leb128(rest: &mut &[u8]) -> Result<usize, DropReason> {
    let mut value = 0usize;
    // Three bytes are 21 bits: more than a datagram holds.
    for shift in [0, 7, 14] {
        let (&byte, after) = rest.split_first().ok_or(DropReason::Payload)?;
        *rest = after;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DropReason::Payload)
}

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

/// Pictures of a group at most: their number has eight bits.
const MAX_GROUP: usize = 255;

/// What the descriptor says of the picture and its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Picture {
    /// Its number, of 7 or 15 bits.
    pub id: Option<u16>,
    /// It is made of earlier pictures (P).
    pub inter_picture: bool,
    /// It is made of the spatial layer below (D).
    pub inter_layer: bool,
    /// The frame of a spatial layer begins in this packet (B).
    pub begins: bool,
    /// Temporal layer.
    pub temporal: u8,
    /// Spatial layer.
    pub spatial: u8,
    /// How many pictures back those are that it is made of; 0: none. Only in flexible mode.
    pub diffs: [u8; 3],
    /// The scalability structure, if one is here.
    pub structure: Option<Structure>,
}

/// A scalability structure (RFC 9628 section 4.2.1), valid until the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structure {
    /// How many spatial layers.
    pub spatial: u8,
    /// Sizes go up by one and a half, where they are told.
    pub three_halves: bool,
    /// What repeats, if pictures come in a group that does.
    pub group: Option<Group>,
}

/// Pictures whose layers and references repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// How many temporal layers.
    pub temporal: u8,
    /// No picture is made of one of the highest temporal layer.
    pub spares_top: bool,
}

struct Descriptor {
    flags: u8,
    /// Where the scalability structure begins.
    structure: usize,
    length: usize,
    picture: Picture,
    size: Option<(u32, u32)>,
}

/// The bytes of a descriptor, one after the other.
struct Reader<'a> {
    payload: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, DropReason> {
        let byte = self.payload.get(self.at).copied().ok_or(DropReason::Payload)?;
        self.at += 1;
        Ok(byte)
    }

    fn pair(&mut self) -> Result<u32, DropReason> {
        Ok((u32::from(self.byte()?) << 8) | u32::from(self.byte()?))
    }
}

fn descriptor(payload: &[u8]) -> Result<Descriptor, DropReason> {
    let from = &mut Reader { payload, at: 0 };
    let flags = from.byte()?;
    let mut picture =
        Picture { inter_picture: flags & P != 0, begins: flags & B != 0, ..Picture::default() };
    if flags & I != 0 {
        let high = from.byte()?;
        picture.id = Some(match high & 0x80 {
            0 => u16::from(high),
            _ => (u16::from(high & 0x7f) << 8) | u16::from(from.byte()?),
        });
    }
    if flags & L != 0 {
        let layers = from.byte()?;
        picture.temporal = layers >> 5;
        picture.spatial = (layers >> 1) & 0x07;
        picture.inter_layer = layers & 1 != 0;
        if flags & F == 0 {
            from.byte()?;
        }
    }
    if flags & F != 0 && flags & P != 0 {
        // Up to three reference indices, each saying whether another follows.
        let mut more = true;
        for diff in &mut picture.diffs {
            if more {
                let reference = from.byte()?;
                (*diff, more) = (reference >> 1, reference & 1 != 0);
            }
        }
        if more {
            return Err(DropReason::Payload);
        }
    }
    let structure = from.at;
    let mut size = None;
    if flags & V != 0 {
        let read;
        (read, size) = scalability_structure(from)?;
        picture.structure = Some(read);
    }
    if payload.len() <= from.at {
        return Err(DropReason::Payload);
    }
    Ok(Descriptor { flags, structure, length: from.at, picture, size })
}

/// The structure, and the size of the highest layer.
fn scalability_structure(
    from: &mut Reader<'_>,
) -> Result<(Structure, Option<(u32, u32)>), DropReason> {
    let head = from.byte()?;
    let spatial = (head >> 5) + 1;
    let (mut size, mut three_halves): (Option<(u32, u32)>, bool) = (None, false);
    if head & 0x10 != 0 {
        for _ in 0..spatial {
            let next = (from.pair()?, from.pair()?);
            three_halves = size.is_some_and(|(width, _)| 2 * next.0 == 3 * width);
            size = Some(next);
        }
    }
    let group = if head & 0x08 != 0 { group(from)? } else { None };
    Ok((Structure { spatial, three_halves, group }, size))
}

/// A group of pictures; `None` if there are none in it.
fn group(from: &mut Reader<'_>) -> Result<Option<Group>, DropReason> {
    let count = usize::from(from.byte()?);
    let (mut layers, mut diffs) = ([0u8; MAX_GROUP], [[0u8; 3]; MAX_GROUP]);
    for (layer, diffs) in layers.iter_mut().zip(&mut diffs).take(count) {
        let picture = from.byte()?;
        *layer = picture >> 5;
        for diff in diffs.iter_mut().take(usize::from(picture >> 2) & 0x03) {
            *diff = from.byte()?;
        }
    }
    let (layers, diffs) = (&layers[..count], &diffs[..count]);
    let Some(top) = layers.iter().max() else { return Ok(None) };
    // The group repeats: what lies before its first picture is its last one.
    let referred = |at: usize, diff: u8| {
        let back = usize::from(diff) % count;
        layers.get((at + count - back) % count)
    };
    let mut all = diffs.iter().enumerate().flat_map(|(at, d)| d.iter().map(move |d| (at, *d)));
    let needs_top = all.any(|(at, diff)| diff != 0 && referred(at, diff) == Some(top));
    Ok(Some(Group { temporal: top + 1, spares_top: *top > 0 && !needs_top }))
}

/// Reads a payload.
///
/// # Errors
/// [`DropReason::Payload`] if the descriptor does not fit.
pub fn inspect(payload: &[u8]) -> Result<Info, DropReason> {
    let d = descriptor(payload)?;
    Ok(Info {
        key: !d.picture.inter_picture && d.picture.begins && d.picture.spatial == 0,
        // Whether later frames need it, the structure says, and what they refer to.
        discardable: false,
        temporal: d.picture.temporal,
        size: d.size,
        vp9: Some(d.picture),
        ..Info::default()
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

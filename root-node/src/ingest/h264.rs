//! H.264 in RTP (RFC 6184): reading NAL unit headers, and taking single NAL units, STAP-A and
//! FU-A apart for cutting. Interleaved packetisation (STAP-B, MTAP, FU-B) is refused: browsers
//! only know `packetization-mode=1`.

use super::codec::Info;
use super::fragment::{Part, Prefix};
use super::reason::DropReason;
use super::sps::Sps;
use bytes::Bytes;

/// NAL unit types (H.264 table 7-1, RFC 6184 table 1).
mod nal {
    pub const IDR: u8 = 5;
    pub const SPS: u8 = 7;
    pub const STAP_A: u8 = 24;
    pub const FU_A: u8 = 28;
}

/// FU header bits (RFC 6184 section 5.8).
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;
/// The most NAL units that one STAP-A may hold: parameter sets, SEI and the slices of a small
/// frame. A packet full of one-byte units would otherwise cost hundreds of packets out.
pub const MAX_AGGREGATED: usize = 32;
/// An SPS longer than this is not looked into (it is forwarded all the same).
const MAX_SPS: usize = 256;

/// Reads a payload.
///
/// # Errors
/// [`DropReason::Payload`] if a length does not fit, [`DropReason::Unsupported`] for interleaved
/// packetisation.
pub fn inspect(payload: &[u8]) -> Result<Info, DropReason> {
    let header = *payload.first().ok_or(DropReason::Payload)?;
    let mut info = Info::default();
    match header & 0x1f {
        1..=23 => unit(payload, &mut info),
        nal::STAP_A => {
            let mut count = 0;
            for nal in Aggregated(&payload[1..]) {
                unit(nal?, &mut info);
                count += 1;
            }
            if count == 0 || count > MAX_AGGREGATED {
                return Err(DropReason::Payload);
            }
        }
        nal::FU_A => {
            let [indicator, fu, _, ..] = *payload else {
                return Err(DropReason::Payload);
            };
            let kind = fu & 0x1f;
            if !(1..=23).contains(&kind) || fu & (FU_START | FU_END) == (FU_START | FU_END) {
                return Err(DropReason::Payload);
            }
            info.key = fu & FU_START != 0 && matches!(kind, nal::IDR | nal::SPS);
            info.discardable = discardable(indicator, kind);
        }
        25..=27 | 29 => return Err(DropReason::Unsupported),
        _ => return Err(DropReason::Payload),
    }
    Ok(info)
}

/// Takes a payload apart: one part, or one for each aggregated NAL unit.
///
/// # Errors
/// [`DropReason::Payload`] if a length does not fit.
pub fn parts(payload: &Bytes) -> Result<Vec<Part>, DropReason> {
    let header = *payload.first().ok_or(DropReason::Payload)?;
    match header & 0x1f {
        nal::STAP_A => Aggregated(&payload[1..])
            .map(|nal| nal.map(|n| single(&payload.slice_ref(n))))
            .collect(),
        nal::FU_A => {
            let fu = *payload.get(1).ok_or(DropReason::Payload)?;
            Ok(vec![Part {
                prefix: fu_prefix(header & 0xe0, fu & 0x1f),
                start: fu & FU_START != 0,
                end: fu & FU_END != 0,
                body: payload.slice(2..),
            }])
        }
        _ => Ok(vec![single(payload)]),
    }
}

/// The NAL unit of a part that begins and ends in it, for sending it uncut.
pub fn whole(part: &Part) -> Bytes {
    let mut nal = Vec::with_capacity(1 + part.body.len());
    nal.push((part.prefix.first[0] & 0xe0) | (part.prefix.rest[1] & 0x1f));
    nal.extend_from_slice(&part.body);
    nal.into()
}

fn single(nal: &Bytes) -> Part {
    let header = nal.first().copied().unwrap_or_default();
    Part {
        prefix: fu_prefix(header & 0xe0, header & 0x1f),
        start: true,
        end: true,
        body: nal.slice(1.min(nal.len())..),
    }
}

fn fu_prefix(f_nri: u8, kind: u8) -> Prefix {
    Prefix {
        first: vec![f_nri | nal::FU_A, FU_START | kind],
        rest: vec![f_nri | nal::FU_A, kind],
        end_bit: (1, FU_END),
    }
}

/// Slices with `nal_ref_idc` 0 are not referred to (H.264 section 7.4.1). For other types 0 is the
/// normal value and says nothing.
fn discardable(header: u8, kind: u8) -> bool {
    header & 0x60 == 0 && (1..=4).contains(&kind)
}

fn unit(nal: &[u8], info: &mut Info) {
    let Some((&header, body)) = nal.split_first() else { return };
    let kind = header & 0x1f;
    info.key |= matches!(kind, nal::IDR | nal::SPS);
    info.discardable |= discardable(header, kind);
    if kind == nal::SPS && body.len() <= MAX_SPS {
        if let [profile, constraints, level, ..] = *body {
            info.profile = Some([profile, constraints, level]);
        }
        info.size = Sps::parse(body).and_then(|sps| sps.size);
    }
}

/// NAL units in a STAP-A, behind its header (RFC 6184 section 5.7.1).
struct Aggregated<'a>(&'a [u8]);

impl<'a> Iterator for Aggregated<'a> {
    type Item = Result<&'a [u8], DropReason>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let taken = self.0.split_at_checked(2).and_then(|(len, rest)| {
            let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
            rest.split_at_checked(len).filter(|(nal, _)| !nal.is_empty())
        });
        let Some((nal, rest)) = taken else {
            self.0 = &[];
            return Some(Err(DropReason::Payload));
        };
        self.0 = rest;
        Some(Ok(nal))
    }
}

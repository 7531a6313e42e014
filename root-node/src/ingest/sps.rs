//! H.264's sequence parameter set (H.264 section 7.3.2.1.1 and annex E.1.1): the few things in it
//! that decide how a stream is handled. Pure; whatever does not parse gives nothing.

use super::bits::BitReader;

/// The sequence has at most this many cycles of picture order counts.
const MAX_CYCLE: u32 = 255;
/// Buffers of one hypothetical decoder (H.264 section E.2.2).
const MAX_CPB: u32 = 32;

/// What an SPS says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sps {
    /// Width and height, if they make sense.
    pub size: Option<(u32, u32)>,
    /// `profile_idc`.
    pub profile: u32,
    /// `pic_order_cnt_type`: 2 means that pictures come in the order in which they are shown.
    pub order_type: u32,
    /// `max_num_reorder_frames`, where the SPS says it: 0 means the same.
    pub reorder: Option<u32>,
}

impl Sps {
    /// Reads an SPS without its NAL unit header.
    pub fn parse(sps: &[u8]) -> Option<Sps> {
        let rbsp = unescape(sps);
        let mut r = BitReader::new(&rbsp);
        let profile = r.bits(8)?;
        r.bits(16)?;
        r.ue()?;
        let mut chroma = 1;
        if matches!(
            profile,
            100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
        ) {
            chroma = r.ue()?;
            if chroma == 3 {
                r.bits(1)?;
            }
            r.ue()?;
            r.ue()?;
            r.bits(1)?;
            if r.bits(1)? == 1 {
                for i in 0..(if chroma == 3 { 12 } else { 8 }) {
                    if r.bits(1)? == 1 {
                        skip_scaling_list(&mut r, if i < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        r.ue()?;
        let order_type = r.ue()?;
        match order_type {
            0 => {
                r.ue()?;
            }
            1 => {
                r.bits(1)?;
                r.se()?;
                r.se()?;
                let cycle = r.ue()?;
                if cycle > MAX_CYCLE {
                    return None;
                }
                for _ in 0..cycle {
                    r.se()?;
                }
            }
            _ => {}
        }
        r.ue()?;
        r.bits(1)?;
        let size = size(&mut r, chroma)?;
        // Many have no more than this, and some break off in what follows.
        let reorder = reorder(&mut r);
        Some(Sps { size, profile, order_type, reorder })
    }
}

/// From `pic_width_in_mbs_minus1` to the cropping; the outer `None` if it does not parse.
fn size(r: &mut BitReader<'_>, chroma: u32) -> Option<Option<(u32, u32)>> {
    let width = r.ue()?.checked_add(1)?.checked_mul(16)?;
    let map_units = r.ue()?.checked_add(1)?;
    let frame_only = r.bits(1)?;
    let height = map_units.checked_mul(16)?.checked_mul(2 - frame_only)?;
    if frame_only == 0 {
        r.bits(1)?;
    }
    r.bits(1)?;
    let (mut crop_x, mut crop_y) = (0u32, 0u32);
    if r.bits(1)? == 1 {
        let (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
        let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
        let unit_y = (if chroma == 1 { 2 } else { 1 }) * (2 - frame_only);
        crop_x = left.checked_add(right)?.checked_mul(unit_x)?;
        crop_y = top.checked_add(bottom)?.checked_mul(unit_y)?;
    }
    let size = (width.checked_sub(crop_x)?, height.checked_sub(crop_y)?);
    Some((size.0 > 0 && size.1 > 0 && size.0 <= 16_384 && size.1 <= 16_384).then_some(size))
}

/// `max_num_reorder_frames` out of the VUI parameters (annex E.1.1), if it stands there.
fn reorder(r: &mut BitReader<'_>) -> Option<u32> {
    const EXTENDED_SAR: u32 = 255;
    let flag = |r: &mut BitReader<'_>| r.bits(1).map(|bit| bit == 1);
    if !flag(r)? {
        return None;
    }
    if flag(r)? && r.bits(8)? == EXTENDED_SAR {
        r.bits(32)?;
    }
    if flag(r)? {
        r.bits(1)?;
    }
    if flag(r)? {
        r.bits(4)?;
        if flag(r)? {
            r.bits(24)?;
        }
    }
    if flag(r)? {
        r.ue()?;
        r.ue()?;
    }
    if flag(r)? {
        r.bits(32)?;
        r.bits(32)?;
        r.bits(1)?;
    }
    let nal = flag(r)?;
    if nal {
        skip_hrd(r)?;
    }
    let vcl = flag(r)?;
    if vcl {
        skip_hrd(r)?;
    }
    if nal || vcl {
        r.bits(1)?;
    }
    r.bits(1)?;
    if !flag(r)? {
        return None;
    }
    r.bits(1)?;
    for _ in 0..4 {
        r.ue()?;
    }
    r.ue()
}

fn skip_hrd(r: &mut BitReader<'_>) -> Option<()> {
    let count = r.ue()?;
    if count >= MAX_CPB {
        return None;
    }
    r.bits(8)?;
    for _ in 0..=count {
        r.ue()?;
        r.ue()?;
        r.bits(1)?;
    }
    r.bits(20)?;
    Some(())
}

fn skip_scaling_list(r: &mut BitReader<'_>, entries: u32) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..entries {
        if next != 0 {
            next = last.wrapping_add(r.se()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// Removes emulation prevention bytes (H.264 section 7.4.1).
fn unescape(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut zeros = 0;
    for &b in data {
        if zeros >= 2 && b == 3 {
            zeros = 0;
            continue;
        }
        zeros = if b == 0 { zeros + 1 } else { 0 };
        out.push(b);
    }
    out
}

//! Whether an H.264 stream has B-frames: pictures that are shown in another order than they come in.
//! Browsers' WebRTC decoders show what comes at once, so such a stream has to be encoded anew. Pure.
//!
//! Nothing in a GStreamer pipeline tells, so four things are looked at, the sure ones first:
//!
//! 1. slices of type B (H.264 table 7-6) in the first pictures;
//! 2. presentation times that go back from one picture to the next: the order of the input is the
//!    order of decoding, so this is the very thing, whatever the headers say. This is looked at for
//!    ever;
//! 3. the SPS: the baseline profile has no B slices, picture order count type 2 and
//!    `max_num_reorder_frames` 0 promise that there is no reordering; above 0 it is announced, and
//!    taken as such, also when the first second has none;
//! 4. nothing of that in the first second: there are none, until one shows.

use crate::ingest::bits::BitReader;
use crate::ingest::sps::Sps;

/// Steps back in time that are none: clocks of network inputs are adjusted by some.
const TOLERANCE_NS: i64 = 4_000_000;
/// A step back of more than this is another timeline.
const JUMP_NS: i64 = 2_000_000_000;
/// So many steps back are no accident.
const STEPS: u32 = 2;
/// Pictures whose slices are looked at.
const LOOKED_AT: u32 = 90;
/// Bytes of a slice that are looked at: its type is in the first few.
const HEADER: usize = 16;

/// What has been found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet, either way.
    Open,
    /// There are none, says the SPS.
    None,
    /// There are, and how it shows.
    Some(String),
}

/// One H.264 stream.
#[derive(Debug, Default)]
pub struct Reorder {
    sps: Option<Sps>,
    pictures: u32,
    latest: Option<i64>,
    steps: u32,
    found: Option<String>,
}

impl Reorder {
    /// Takes a picture (one access unit with start codes, H.264 annex B) in the order of decoding,
    /// with its presentation time in nanoseconds.
    pub fn picture(&mut self, time: Option<i64>, unit: &[u8]) {
        if self.found.is_some() {
            return;
        }
        if self.pictures < LOOKED_AT {
            self.pictures += 1;
            self.look(unit);
        }
        let Some(time) = time else { return };
        let back = self.latest.map_or(0, |latest| latest - time);
        if back > JUMP_NS || back <= 0 {
            self.latest = Some(time);
        } else if back > TOLERANCE_NS {
            self.steps += 1;
            if self.steps >= STEPS {
                self.found = Some("it has B-frames (times go back)".into());
            }
        }
    }

    /// What is known.
    pub fn verdict(&self) -> Verdict {
        if let Some(how) = &self.found {
            return Verdict::Some(how.clone());
        }
        match self.sps {
            Some(Sps { reorder: Some(frames @ 1..), .. }) => Verdict::Some(format!(
                "its SPS announces B-frames (max_num_reorder_frames {frames})"
            )),
            Some(
                Sps { profile: 66, .. } | Sps { order_type: 2, .. } | Sps { reorder: Some(0), .. },
            ) => Verdict::None,
            _ => Verdict::Open,
        }
    }

    fn look(&mut self, unit: &[u8]) {
        for nal in nal_units(unit) {
            let Some((header, body)) = nal.split_first() else { continue };
            match header & 0x1f {
                7 => self.sps = Sps::parse(body).or(self.sps),
                1 | 2 | 5 if is_b_slice(body) => {
                    self.found = Some("it has B-frames".into());
                    return;
                }
                _ => {}
            }
        }
    }
}

/// Slice types 1 and 6 (H.264 table 7-6).
fn is_b_slice(body: &[u8]) -> bool {
    let mut reader = BitReader::new(&body[..body.len().min(HEADER)]);
    let kind = reader.ue().and_then(|_first_macroblock| reader.ue());
    matches!(kind, Some(1 | 6))
}

/// The NAL units between start codes (H.264 annex B), without these.
fn nal_units(unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(unit);
    std::iter::from_fn(move || {
        let from = rest?;
        let end = start_code(from).unwrap_or(from.len());
        rest = after_start_code(&from[end..]);
        Some(&from[..end])
    })
}

fn start_code(data: &[u8]) -> Option<usize> {
    data.windows(3).position(|w| w == [0, 0, 1])
}

fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    start_code(data).map(|at| &data[at + 3..])
}

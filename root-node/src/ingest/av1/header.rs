//! AV1's sequence header (AV1 specification section 5.5): how large the picture is and how many layers
//! the encoding has. Pure; whatever does not parse gives nothing.

use crate::ingest::bits::BitReader;

/// What a sequence header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SequenceHeader {
    /// The largest width and height.
    pub size: (u32, u32),
    /// Spatial and temporal layers of the first operating point, which has them all; `None` if the
    /// encoding has no layers.
    pub layers: Option<(u8, u8)>,
}

impl SequenceHeader {
    /// Reads the OBU's payload.
    pub(super) fn parse(obu: &[u8]) -> Option<Self> {
        let bits = &mut BitReader::new(obu);
        // Profile, then whether it is a single picture.
        bits.bits(4)?;
        let reduced = bits.bits(1)? == 1;
        let mut layers = 0;
        if reduced {
            bits.bits(5)?;
        } else {
            layers = operating_points(bits)?;
        }
        let (width, height) = (bits.bits(4)? + 1, bits.bits(4)? + 1);
        let size = (bits.bits(width)? + 1, bits.bits(height)? + 1);
        // Section 6.4.1: eight bits of temporal layers, above them four of spatial ones.
        let count = |mask: u32| (u32::BITS - mask.leading_zeros()) as u8;
        let (spatial, temporal) = (count(layers >> 8), count(layers & 0xff));
        let layers = (spatial > 0 && temporal > 0).then_some((spatial, temporal));
        Some(Self { size, layers })
    }
}

/// The layers of the first operating point; the others are passed over.
fn operating_points(bits: &mut BitReader<'_>) -> Option<u32> {
    let mut delay_length = None;
    if bits.bits(1)? == 1 {
        // Timing: two numbers of 32 bits, and how long a picture is shown if all are as long.
        bits.bits(32)?;
        bits.bits(32)?;
        if bits.bits(1)? == 1 {
            bits.ue()?;
        }
        if bits.bits(1)? == 1 {
            delay_length = Some(bits.bits(5)? + 1);
            bits.bits(32)?;
            bits.bits(10)?;
        }
    }
    let delays = bits.bits(1)? == 1;
    let count = bits.bits(5)? + 1;
    let mut first = None;
    for _ in 0..count {
        first = first.or(Some(bits.bits(12)?));
        if bits.bits(5)? > 7 {
            bits.bits(1)?;
        }
        if let Some(length) = delay_length
            && bits.bits(1)? == 1
        {
            bits.bits(length)?;
            bits.bits(length)?;
            bits.bits(1)?;
        }
        if delays && bits.bits(1)? == 1 {
            bits.bits(4)?;
        }
    }
    first
}

//! One rung of a ladder as operators write it: `360p`, or `360p@600k` with a bit rate of its own.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What `ladder = "default"` means.
pub const DEFAULT: [Rung; 3] = [Rung::new(1080), Rung::new(720), Rung::new(360)];
/// Smaller is no picture, larger is no smaller layer of anything.
const LINES: std::ops::RangeInclusive<u16> = 90..=2160;
/// Bounds of a bit rate, kbit/s.
const KBITS: std::ops::RangeInclusive<u32> = 50..=50_000;
/// Bits for each pixel of each frame: 2.8 Mbit/s for 720p30, what services recommend.
const BITS_PER_PIXEL: f64 = 0.1;
/// Bounds of a bit rate that nobody has named, kbit/s.
const OWN_KBITS: (f64, f64) = (150.0, 12_000.0);

/// One rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rung {
    /// The shorter side of the picture in pixels: 720 makes 1280x720, or 720x1280 of a picture that
    /// stands upright.
    pub lines: u16,
    /// Bit rate in kbit/s; none: by size and frame rate.
    pub kbit: Option<u32>,
}

impl Rung {
    /// One without a bit rate of its own.
    pub const fn new(lines: u16) -> Rung {
        Rung { lines, kbit: None }
    }

    /// Width and height for a source of that size; both even, as encoders want it.
    pub fn size(self, source: (u32, u32)) -> (u32, u32) {
        let lines = u32::from(self.lines);
        let (short, long) = (source.0.min(source.1).max(1), source.0.max(source.1));
        let long = (u64::from(long) * u64::from(lines) / u64::from(short)) as u32;
        let (short, long) = (lines & !1, (long + 1) & !1);
        if source.0 < source.1 { (short, long) } else { (long, short) }
    }

    /// Bit rate in kbit/s for pictures of that size, so many a second.
    pub fn kbits(self, size: (u32, u32), rate: f64) -> u32 {
        let pixels = f64::from(size.0) * f64::from(size.1) * rate;
        let own = (pixels * BITS_PER_PIXEL / 1000.0).clamp(OWN_KBITS.0, OWN_KBITS.1) as u32;
        self.kbit.unwrap_or(own)
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}p", self.lines)?;
        self.kbit.map_or(Ok(()), |kbit| write!(f, "@{kbit}k"))
    }
}

impl FromStr for Rung {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (lines, kbit) = match text.split_once('@') {
                Some((lines, kbit)) => (lines, Some(kbit.strip_suffix('k')?.parse().ok()?)),
                None => (text, None),
            };
            let lines = lines.strip_suffix('p')?.parse().ok()?;
            let fits = LINES.contains(&lines) && kbit.is_none_or(|kbit| KBITS.contains(&kbit));
            fits.then_some(Rung { lines, kbit })
        };
        read().ok_or_else(|| {
            format!(
                "{text:?} is no rung: write it like \"360p\", or \"360p@600k\" for 600 kbit/s ({} to {} lines, \
                 {} to {} kbit/s)",
                LINES.start(),
                LINES.end(),
                KBITS.start(),
                KBITS.end()
            )
        })
    }
}

impl TryFrom<String> for Rung {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Rung> for String {
    fn from(rung: Rung) -> String {
        rung.to_string()
    }
}

//! What a ladder costs, in processor cores, and whether the machine has that. Estimated out of a
//! table, before anything is encoded: whoever asks for too much hears at once what would fit. What the
//! encoders then really manage is measured while they run (`load`).
//!
//! The table was measured with GStreamer 1.22 on an AMD EPYC (processor time of 300 pictures of 720p, a
//! moving zone plate) and then lowered by a third, since other cores are slower; VP8, for which that
//! picture is the worst there is, was left as measured. docs/ladder.md has the figures.

use super::rung::Rung;
use serde::Deserialize;
use soleil_protocol::pipeline::Codec;

/// Million pixels a second that one core decodes.
const DECODE: f64 = 200.0;
/// Million pixels a second of the source that one core scales, for each layer.
const SCALE: f64 = 300.0;
/// Million pixels a second that one core encodes as H.264 (x264 "superfast", zerolatency).
const H264: f64 = 95.0;
/// The same for VP8 (libvpx, realtime, speed 8).
const VP8: f64 = 10.0;
/// A source that has not shown itself is taken for one of so many lines, or of as many as the best rung,
const ASSUMED_LINES: u16 = 1080;
/// with so many pictures a second.
pub const ASSUMED_RATE: f64 = 30.0;
/// The part of the machine that ladders may take if nobody says it: the rest forwards packets.
const SHARE: f64 = 0.75;
/// More is no machine.
const MAX_CORES: f64 = 1024.0;

/// Processor cores.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "f64")]
pub struct Cores(f64);

impl TryFrom<f64> for Cores {
    type Error = String;

    fn try_from(cores: f64) -> Result<Self, String> {
        if (0.0..=MAX_CORES).contains(&cores) {
            return Ok(Self(cores));
        }
        Err(format!("must be 0 to {MAX_CORES} processor cores"))
    }
}

impl Eq for Cores {}

impl Cores {
    /// None.
    pub const NONE: Cores = Cores(0.0);

    /// More than there are.
    pub const ALL: Cores = Cores(f64::INFINITY);

    /// What ladders may take of a machine with so many.
    pub fn of_machine(cores: usize) -> Cores {
        Cores(cores as f64 * SHARE)
    }

    /// What is left when so much of it is taken.
    pub fn without(self, taken: Cores) -> Cores {
        Cores((self.0 - taken.0).max(0.0))
    }

    /// With more.
    pub fn and(self, more: Cores) -> Cores {
        Cores(self.0 + more.0)
    }
}

impl std::fmt::Display for Cores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2}", self.0)
    }
}

/// What pictures of the source, of that size and so many a second, cost to make these rungs of.
pub fn cost(codec: Codec, source: (u32, u32), rate: f64, rungs: &[Rung]) -> Cores {
    if rungs.is_empty() {
        return Cores::NONE;
    }
    let mega = |size: (u32, u32)| f64::from(size.0) * f64::from(size.1) * rate / 1e6;
    let encode = if codec == Codec::Vp8 { VP8 } else { H264 };
    let each = |rung: &Rung| mega(source) / SCALE + mega(rung.size(source)) / encode;
    Cores(mega(source) / DECODE + rungs.iter().map(each).sum::<f64>())
}

/// What a ladder costs whose source has not shown itself.
pub fn assumed(codec: Codec, rungs: &[Rung]) -> Cores {
    let lines = rungs.first().map_or(0, |best| best.lines).max(ASSUMED_LINES);
    let size = (u32::from(lines) * 16 / 9, u32::from(lines));
    cost(codec, size, ASSUMED_RATE, rungs)
}

/// Whether a ladder fits into what is left.
///
/// # Errors
/// What it takes, what there is, and what would fit.
pub fn check(codec: Codec, rungs: &[Rung], left: Cores) -> Result<Cores, String> {
    let cost = assumed(codec, rungs);
    if cost <= left {
        return Ok(cost);
    }
    let fits = (1..rungs.len()).map(|from| &rungs[from..]).find(|r| assumed(codec, r) <= left);
    let names = |rungs: &[Rung]| {
        rungs.iter().map(|rung| format!("\"{rung}\"")).collect::<Vec<_>>().join(", ")
    };
    let advice = match fits {
        Some(fits) => format!("[{}] would fit", names(fits)),
        None => "none of its rungs would fit".to_owned(),
    };
    Err(format!(
        "the ladder [{}] takes about {cost} processor cores, and {left} are left for ladders \
         (ingest.cores): {advice}",
        names(rungs)
    ))
}

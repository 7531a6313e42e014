//! What is made of a ladder for a source that has shown its size: rungs that are not below the source
//! are left out, and so are the best ones if all together take more than the machine has.

use super::budget::{self, Cores};
use super::rung::Rung;
use serde::{Deserialize, Serialize};
use soleil_protocol::pipeline::Codec;

/// The source's layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Source {
    /// The codec, which is that of all layers.
    pub codec: Codec,
    /// Width and height.
    pub size: (u32, u32),
    /// Pictures a second.
    pub rate: f64,
}

/// A layer to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Making {
    /// Which rung of the ladder, 0 is the best.
    pub rung: usize,
    /// As it was written.
    pub name: Rung,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bit rate in kbit/s.
    pub kbit: u32,
}

/// What becomes of a ladder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What is made, best first.
    pub making: Vec<Making>,
    /// What is not (number of the rung), and why.
    pub left_out: Vec<(usize, String)>,
}

/// Makes the plan.
pub fn plan(source: Source, rungs: &[Rung], cores: Cores) -> Plan {
    let mut plan = Plan::default();
    let lines = source.size.0.min(source.size.1);
    let below = |rung: &Rung| u32::from(rung.lines) < lines;
    let count = rungs.iter().filter(|rung| below(rung)).count();
    let fitting: Vec<Rung> = rungs.iter().copied().filter(below).collect();
    let cost = |from: usize| {
        let rungs = fitting.get(from..).unwrap_or_default();
        budget::cost(source.codec, source.size, source.rate, rungs)
    };
    let first = (0..count).find(|from| cost(*from) <= cores).unwrap_or(count);
    let mut seen = 0;
    for (number, rung) in rungs.iter().enumerate() {
        if !below(rung) {
            let (width, height) = source.size;
            plan.left_out.push((number, format!("the source is {width}x{height}")));
            continue;
        }
        seen += 1;
        if seen <= first {
            let needs = cost(seen - 1);
            let text = format!(
                "with it the ladder takes about {needs} processor cores, and it may take {cores}"
            );
            plan.left_out.push((number, text));
            continue;
        }
        let size = rung.size(source.size);
        plan.making.push(Making {
            rung: number,
            name: *rung,
            width: size.0,
            height: size.1,
            kbit: rung.kbits(size, source.rate),
        });
    }
    plan
}

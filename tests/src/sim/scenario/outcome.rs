//! What came of a scenario: figures with their bounds, as a table and as JSON. The picture is in
//! `plot`.

use super::Size;
use serde::Serialize;
use std::fmt::Write;

/// The middle, nearly the end and the end of many figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half of them are not above it.
    pub median: f64,
    /// 99 of 100 are not above it.
    pub p99: f64,
    /// None is above it.
    pub max: f64,
}

impl Quantiles {
    /// Of figures in any order; zeros if there are none.
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = figures.len().saturating_sub(1);
            figures.get((last as f64 * share).ceil() as usize).copied().unwrap_or_default()
        };
        Self { median: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

/// One simulated second.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Its end, in simulated seconds since the beginning.
    pub at: f64,
    /// Nodes that run, the root not counted.
    pub nodes: usize,
    /// Those that hang below the root by their own word.
    pub attached: usize,
    /// Those that the root believes to be attached.
    pub believed: usize,
    /// Viewers at the leaves that run.
    pub viewers: f64,
    /// Viewers by the root's statistics.
    pub viewers_at_root: f64,
    /// Control messages that a node sent and got in that second, the root not counted.
    pub messages: Quantiles,
    /// Their bytes.
    pub bytes: Quantiles,
    /// Their bytes for each node of the node's burden: what passes through a relay grows with what is
    /// below it, and with the nodes whose backup it is.
    pub bytes_each: Quantiles,
    /// The most of any node, for each node of its burden at the beginning or at the end of the second,
    /// whichever was larger: who has just lost its children has had their messages.
    pub bytes_most: f64,
    /// Bytes of control that the root sent and got.
    pub root_bytes: f64,
    /// Moves that the root has ordered so far.
    pub moves: u64,
    /// ERROR messages so far.
    pub errors: u64,
}

/// Something that was done to the tree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Happening {
    /// When, in simulated seconds.
    pub at: f64,
    /// What.
    pub what: String,
    /// Seconds until tree, routing tables, media links and forwarding tables were the truth.
    pub routing: Option<f64>,
    /// Seconds until the root's statistics were the truth, since it happened or since the last move that
    /// the root ordered thereafter.
    pub statistics: Option<f64>,
    /// Seconds from the event itself until then, moves or not.
    pub settled: Option<f64>,
    /// What is promised of the former, in seconds.
    pub routing_bound: Option<f64>,
    /// And of the latter.
    pub statistics_bound: Option<f64>,
    /// And of the time from the event itself.
    pub settled_bound: Option<f64>,
}

/// An invariant with what was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What must hold.
    pub what: String,
    /// What was found.
    pub found: f64,
    /// The most that may be found.
    pub bound: f64,
    /// The unit of both.
    pub unit: &'static str,
    /// Whether it held.
    pub holds: bool,
    /// What was wrong, if it can be said.
    pub detail: Option<String>,
}

/// A figure without a bound.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What it says.
    pub what: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
}

/// What came of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The scenario's name.
    pub name: String,
    /// How large it was.
    pub size: Size,
    /// The seed, to play it again.
    pub seed: u64,
    /// How long it lasted, in simulated seconds.
    pub simulated: f64,
    /// A digest of everything that happened: the same seed has the same one.
    pub digest: String,
    /// Every simulated second.
    pub samples: Vec<Sample>,
    /// What was done, in order.
    pub happenings: Vec<Happening>,
    /// What had to hold.
    pub checks: Vec<Check>,
    /// What is good to know.
    pub figures: Vec<Figure>,
}

impl Outcome {
    /// Whether every invariant held.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    /// For tests.
    ///
    /// # Panics
    /// If an invariant did not hold; says which, and the seed.
    #[track_caller]
    pub fn assert_holds(&self) {
        assert!(self.holds(), "seed {}:\n{}", self.seed, self.table());
    }

    /// Another invariant: at most so much. What is not a number does not hold.
    pub fn at_most(&mut self, what: &str, found: f64, bound: f64, unit: &'static str) {
        let holds = found <= bound;
        self.checks.push(Check { what: what.into(), found, bound, unit, holds, detail: None });
    }

    /// Checks and figures in lines, for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let state = if self.holds() { "holds" } else { "FAILS" };
        // Writing to a string can't fail.
        let _ = writeln!(
            text,
            "{} ({:?}, seed {}): {state}, {:.0} simulated seconds",
            self.name, self.size, self.seed, self.simulated
        );
        for check in &self.checks {
            let mark = if check.holds { "ok  " } else { "FAIL" };
            let (found, bound) = (number(check.found), number(check.bound));
            let _ = write!(text, "  {mark} {:<58} {found:>10} of {bound:>8}", check.what);
            let _ = writeln!(text, " {}", check.unit);
            if let Some(detail) = &check.detail {
                let _ = writeln!(text, "       {detail}");
            }
        }
        for figure in &self.figures {
            let value = number(figure.value);
            let _ = writeln!(text, "       {:<58} {value:>10} {}", figure.what, figure.unit);
        }
        text
    }
}

/// As many digits as one wants to read.
fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else if value.abs() < 100.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_figures_themselves() {
        let q = Quantiles::of((0..=100).rev().map(f64::from).collect());
        assert_eq!(q, Quantiles { median: 50.0, p99: 99.0, max: 100.0 });
        assert_eq!(Quantiles::of(vec![7.0]), Quantiles { median: 7.0, p99: 7.0, max: 7.0 });
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }

    #[test]
    fn what_is_no_number_does_not_hold() {
        let mut outcome = outcome();
        outcome.at_most("a", 1.0, 1.0, "s");
        assert!(outcome.holds());
        outcome.at_most("b", f64::NAN, 1.0, "s");
        assert!(!outcome.holds());
        let table = outcome.table();
        assert!(table.contains("ok   a") && table.contains("FAIL b"), "{table}");
        assert!(table.contains("seed 9"), "{table}");
    }

    fn outcome() -> Outcome {
        Outcome {
            name: "example".into(),
            size: Size::Small,
            seed: 9,
            simulated: 60.0,
            digest: String::new(),
            samples: Vec::new(),
            happenings: Vec::new(),
            checks: Vec::new(),
            figures: Vec::new(),
        }
    }
}

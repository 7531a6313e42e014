//! Scenarios: a seed, a script of things that happen to a simulated tree, and invariants that have
//! to hold all the while. Each ends in an [`Outcome`]: checks with their bounds, how long it took
//! until the tree was the truth again after each event, and samples of every simulated second, to be
//! printed, written as JSON and drawn.
//!
//! How to write one: make a [`Sim`](super::Sim), put it into a [`Watch`], do things to `watch.sim`,
//! say each time that they happened ([`Watch::happens`]), let time pass ([`Watch::run`],
//! [`Watch::calm`]), and [`Watch::finish`].

mod audience;
mod churn;
pub mod crowd;
mod growth;
mod outcome;
mod partition;
pub mod plot;
mod region;
mod watch;

pub use outcome::{Check, Figure, Happening, Outcome, Quantiles, Sample};
pub use watch::{Bounds, PROMISED, UNSEEN, Watch};

/// How large a scenario is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// For `make test`: a few seconds of a test's time.
    Small,
    /// For `make scenarios`: as docs/scenarios.md tells.
    Full,
}

/// One scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What happens, in a line.
    pub about: &'static str,
    /// Plays it: the same size and seed are the same history.
    pub run: fn(Size, u64) -> Outcome,
}

/// All scenarios, in the order of docs/scenarios.md.
pub fn all() -> Vec<Scenario> {
    let mut all = vec![
        growth::SCENARIO,
        audience::SCENARIO,
        churn::SCENARIO,
        region::SCENARIO,
        partition::SCENARIO,
    ];
    all.extend(super::odd::SCENARIOS);
    all
}

/// The scenario of that name.
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

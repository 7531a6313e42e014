//! Statistics and their aggregation on the way to the root (thesis 3.1.2, DESIGN 7).
//!
//! Each node merges its own figures with those of its children and sends the result up. A mean is
//! the thesis' formula S = Σ s·p / Σ p, and the sum of the weights p goes up with it
//! ([`crate::message::Stat::weight`]), so that merging in steps gives the same as merging all at once. Quantile
//! sketches are not here yet.

mod aggregate;
#[cfg(test)]
mod tests;

pub use aggregate::{Aggregator, absurd};

/// What FULLSTATS calls the version of the protocol that the node speaks. It belongs to one node, so
/// STATS do not have it; version 1 does not say it.
pub const VERSION_STAT: &str = "version";

/// How figures of one name are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Weighted mean, the thesis' formula.
    Mean,
    /// Plain sum; weights are added too but do not change it.
    Sum,
}

/// What the weight of a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Nodes. Without a weight a figure speaks for the whole subtree of the child that sent it.
    Nodes,
    /// Viewers. Without a weight a figure speaks for the subtree as well (as in the thesis): state
    /// the weight.
    Viewers,
}

/// What is known of a statistic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// The name on the wire.
    pub name: &'static str,
    /// The unit, for people.
    pub unit: &'static str,
    /// How it is aggregated.
    pub merge: Merge,
    /// What its weight counts.
    pub scope: Scope,
    /// Largest value that one node or viewer can have; more is clamped. Sums may reach this times
    /// the nodes of the subtree.
    pub max: f64,
    /// What it says.
    pub meaning: &'static str,
}

/// Every name that we know. `docs/protocol.md` prints this table.
pub const RULES: &[Rule] = &[
    Rule {
        name: "cpuload",
        unit: "%",
        merge: Merge::Mean,
        scope: Scope::Nodes,
        max: 100.0,
        meaning: "CPU use of the node's machine, all cores together",
    },
    Rule {
        name: "memory",
        unit: "bytes",
        merge: Merge::Mean,
        scope: Scope::Nodes,
        max: 1e13,
        meaning: "resident memory of the node's process",
    },
    Rule {
        name: "injitter",
        unit: "ms",
        merge: Merge::Mean,
        scope: Scope::Nodes,
        max: 60_000.0,
        meaning: "inter-arrival jitter on the hop from the parent (RFC 3550 section 6.4.1)",
    },
    Rule {
        name: "cumpktlost",
        unit: "packets",
        merge: Merge::Mean,
        scope: Scope::Nodes,
        max: 4_294_967_295.0,
        meaning: "packets lost on the hop from the parent since it began, after repair",
    },
    Rule {
        name: "hoploss",
        unit: "0 to 1",
        merge: Merge::Mean,
        scope: Scope::Nodes,
        max: 1.0,
        meaning: "share of packets lost on the hop from the parent of late, before repair",
    },
    Rule {
        name: "hoprtt",
        unit: "ms",
        merge: Merge::Mean,
        scope: Scope::Nodes,
        max: 60_000.0,
        meaning: "round-trip time of the media on the hop from the parent",
    },
    Rule {
        name: "egress",
        unit: "bit/s",
        merge: Merge::Sum,
        scope: Scope::Nodes,
        max: 1e12,
        meaning: "what the nodes send, to children and viewers together",
    },
    Rule {
        name: "drops",
        unit: "packets",
        merge: Merge::Sum,
        scope: Scope::Nodes,
        max: 1e12,
        meaning: "packets dropped since the node began: no route, forged, or over a budget",
    },
    Rule {
        name: "viewers",
        unit: "viewers",
        merge: Merge::Sum,
        scope: Scope::Nodes,
        max: crate::limits::MAX_VIEWERS_PER_NODE as f64,
        meaning: "viewers who are connected now",
    },
    Rule {
        name: "nacks",
        unit: "packets",
        merge: Merge::Sum,
        scope: Scope::Nodes,
        max: 1e12,
        meaning: "packets asked for again since the node began, by children and viewers",
    },
    Rule {
        name: "plis",
        unit: "requests",
        merge: Merge::Sum,
        scope: Scope::Nodes,
        max: 1e12,
        meaning: "key frames asked for since the node began, before merging",
    },
    Rule {
        name: "fractionlost",
        unit: "0 to 1",
        merge: Merge::Mean,
        scope: Scope::Viewers,
        max: 1.0,
        meaning: "share of packets that viewers miss (RFC 3550 section 6.4.1)",
    },
    Rule {
        name: "rtt",
        unit: "ms",
        merge: Merge::Mean,
        scope: Scope::Viewers,
        max: 60_000.0,
        meaning: "round-trip time between leaf and viewer",
    },
    Rule {
        name: "bitrate",
        unit: "bit/s",
        merge: Merge::Mean,
        scope: Scope::Viewers,
        max: 1e10,
        meaning: "what a viewer receives",
    },
    Rule {
        name: "viewerjitter",
        unit: "ms",
        merge: Merge::Mean,
        scope: Scope::Viewers,
        max: 60_000.0,
        meaning: "inter-arrival jitter that a viewer reports (RFC 3550 section 6.4.1)",
    },
    Rule {
        name: "viewerlost",
        unit: "packets",
        merge: Merge::Mean,
        scope: Scope::Viewers,
        max: 4_294_967_295.0,
        meaning: "packets lost between leaf and viewer since the session began, before repair",
    },
];

/// The rule of a name; `None` for names that this version does not know. Those are aggregated as
/// means, and a missing weight is the subtree.
pub fn rule(name: &str) -> Option<&'static Rule> {
    let name = canonical(name);
    RULES.iter().find(|rule| rule.name == name)
}

/// The right spelling: the thesis' FULLSTATS example prints `cumpklost` for `cumpktlost`.
pub fn canonical(name: &str) -> &str {
    if name == "cumpklost" { "cumpktlost" } else { name }
}

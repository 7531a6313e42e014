//! Merges containers of a node and of its children, per pipeline.

use super::{Merge, Scope, canonical, rule};
use crate::ids::PipelineId;
use crate::limits;
use crate::message::{Stat, StatsContainer};
use std::collections::BTreeMap;

/// Collects what a node and its children report and makes the containers to send up.
///
/// A child can only speak for what it has: weights above its subtree (or above
/// [`limits::MAX_VIEWERS_PER_NODE`] viewers for each node of it) and values beyond reason are
/// clamped; negative or non-finite ones are refused and counted.
#[derive(Debug, Clone, Default)]
pub struct Aggregator {
    groups: BTreeMap<Option<PipelineId>, Group>,
    refused: usize,
}

#[derive(Debug, Clone, Default)]
struct Group {
    start: u64,
    end: u64,
    totals: BTreeMap<String, Total>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Total {
    /// Σ s·p for means, Σ s for sums.
    sum: f64,
    /// Σ p.
    weight: f64,
}

impl Aggregator {
    /// Nothing collected yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what this node measured itself. A missing weight counts as 1: the node.
    pub fn add_own(&mut self, containers: &[StatsContainer]) {
        self.add(1, containers);
    }

    /// Takes a child's STATS. `subtree` is the number of nodes in the child's subtree, itself
    /// included, as this node knows it (the thesis' weight: 4, 1 and 1 for A's children).
    pub fn add_child(&mut self, subtree: u32, containers: &[StatsContainer]) {
        self.add(subtree.max(1), containers);
    }

    /// How many values or containers were refused so far.
    pub fn refused(&self) -> usize {
        self.refused
    }

    fn add(&mut self, subtree: u32, containers: &[StatsContainer]) {
        for container in containers {
            let known = self.groups.contains_key(&container.id);
            if !known && self.groups.len() >= limits::MAX_CONTAINERS {
                self.refused += 1;
                continue;
            }
            let group = self.groups.entry(container.id).or_default();
            group.widen(container);
            for stat in &container.stats {
                if !group.add(subtree, stat) {
                    self.refused += 1;
                }
            }
        }
    }

    /// The merged containers, in order of the pipelines, the node's own (without id) first.
    /// `children` is the number of direct children (`numOfChildren`). Means that nobody speaks for
    /// are left out.
    pub fn finish(self, children: u32) -> Vec<StatsContainer> {
        let container = |(id, group): (Option<PipelineId>, Group)| StatsContainer {
            start: group.start,
            end: group.end,
            children,
            id,
            stats: group.totals.into_iter().filter_map(Total::stat).collect(),
        };
        self.groups.into_iter().map(container).collect()
    }
}

impl Group {
    /// The interval that covers all that was merged.
    fn widen(&mut self, container: &StatsContainer) {
        if self.end == 0 && self.start == 0 {
            (self.start, self.end) = (container.start, container.end);
        } else {
            self.start = self.start.min(container.start);
            self.end = self.end.max(container.end);
        }
    }

    /// Whether the figure was taken.
    fn add(&mut self, subtree: u32, stat: &Stat) -> bool {
        let name = canonical(&stat.name);
        if !self.totals.contains_key(name) && self.totals.len() >= limits::MAX_STATS {
            return false;
        }
        let Some((value, weight)) = believable(subtree, stat) else { return false };
        let total = self.totals.entry(name.to_owned()).or_default();
        match merge_of(name) {
            Merge::Mean => total.sum += value * weight,
            Merge::Sum => total.sum += value,
        }
        total.weight += weight;
        true
    }
}

impl Total {
    fn stat((name, total): (String, Total)) -> Option<Stat> {
        let value = match merge_of(&name) {
            Merge::Sum => total.sum,
            Merge::Mean if total.weight > 0.0 => total.sum / total.weight,
            Merge::Mean => return None,
        };
        Some(Stat { name, value, weight: Some(total.weight) })
    }
}

/// How many figures of a child's STATS no subtree whatever can have: negative ones, means that are a
/// thousand times what one node or viewer can have, weights above all the nodes that a tree can
/// have (and [`limits::MAX_VIEWERS_PER_NODE`] viewers for each). Who says that lies, or is broken; what is
/// less wrong is clamped by [`Aggregator`].
pub fn absurd(containers: &[StatsContainer]) -> usize {
    containers.iter().flat_map(|c| &c.stats).filter(|stat| is_absurd(stat)).count()
}

fn is_absurd(stat: &Stat) -> bool {
    let nodes = limits::MAX_DESCENDANTS as f64;
    let viewers = nodes * f64::from(limits::MAX_VIEWERS_PER_NODE);
    let weight = stat.weight.unwrap_or(0.0);
    if !stat.value.is_finite() || !weight.is_finite() || weight < 0.0 {
        return true;
    }
    // What a later version counts we do not know.
    let Some(rule) = rule(&stat.name) else { return false };
    let most = match rule.scope {
        Scope::Nodes => nodes,
        Scope::Viewers => viewers,
    };
    let beyond = rule.merge == Merge::Mean && stat.value > 1_000.0 * rule.max;
    stat.value < 0.0 || weight > most || beyond
}

fn merge_of(name: &str) -> Merge {
    rule(name).map_or(Merge::Mean, |rule| rule.merge)
}

/// Value and weight within what a subtree of that many nodes can say; `None` if they make no
/// sense at all.
fn believable(subtree: u32, stat: &Stat) -> Option<(f64, f64)> {
    let nodes = f64::from(subtree);
    let viewers = nodes * f64::from(limits::MAX_VIEWERS_PER_NODE);
    let weight = stat.weight.unwrap_or(nodes);
    if !stat.value.is_finite() || !weight.is_finite() || weight < 0.0 {
        return None;
    }
    let Some(rule) = rule(&stat.name) else {
        let bound = limits::MAX_STAT_VALUE;
        return Some((stat.value.clamp(-bound, bound), weight.min(viewers)));
    };
    if stat.value < 0.0 {
        return None;
    }
    let most = match rule.merge {
        Merge::Mean => rule.max,
        Merge::Sum => (rule.max * nodes).min(limits::MAX_STAT_VALUE),
    };
    let weights = match rule.scope {
        Scope::Nodes => nodes,
        Scope::Viewers => viewers,
    };
    Some((stat.value.min(most), weight.min(weights)))
}

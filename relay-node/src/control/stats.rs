//! What a node knows of itself and of its subtree, and how it tells: STATS each second, FULLSTATS
//! when asked. The arithmetic is `soleil_protocol::stats`.

use super::NodeCore;
use super::api::{ConnId, LinkReport, PlaneReport};
use super::limits::{MAX_CONTAINERS, STATS_INTERVAL};
use super::timers::Timer;
use super::upcall::Upcall;
use crate::refusals::Refusal;
use soleil_protocol::message::{ErrorCode, Stat, StatsContainer};
use soleil_protocol::stats::{Aggregator, VERSION_STAT, absurd};
use soleil_protocol::{Body, Message, NodeId, PipelineId};
use std::collections::BTreeMap;

/// What was measured and reported.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    /// From the program around the core.
    local: Vec<StatsContainer>,
    /// The last STATS of each child.
    children: BTreeMap<NodeId, Vec<StatsContainer>>,
}

impl Statistics {
    pub(super) fn set_local(&mut self, containers: Vec<StatsContainer>) {
        self.local = containers;
    }

    pub(super) fn forget_child(&mut self, child: &NodeId) {
        self.children.remove(child);
    }
}

fn stat(name: &str, value: f64) -> Stat {
    Stat { name: name.to_owned(), value, weight: Some(1.0) }
}

/// The plane's report as containers: one for the node, one for each pipeline that is played.
/// `parent` is the hop above. Its loss and round-trip time have names of their own:
/// `fractionlost` and `rtt` are of viewers and weigh by viewers, these are of nodes (DESIGN 7).
fn measured(
    report: &PlaneReport,
    parent: Option<&LinkReport>,
    played: impl Fn(PipelineId) -> bool,
    root: bool,
    end: u64,
) -> Vec<StatsContainer> {
    let start = end.saturating_sub(STATS_INTERVAL.as_secs());
    let container = |id, stats| StatsContainer { start, end, children: 0, id, stats };
    let mut node = vec![
        stat("cpuload", report.cpu),
        stat("memory", report.memory as f64),
        stat("egress", report.egress as f64),
    ];
    // What is not known yet is left out: it would pull the mean down.
    if let Some(hop) = parent {
        node.extend(hop.fraction_lost.map(|share| stat("hoploss", share)));
        node.extend(hop.rtt_ms.map(|time| stat("hoprtt", time)));
    }
    let mut containers = vec![container(None, node)];
    let mut pipelines: BTreeMap<PipelineId, Vec<&super::api::LayerReport>> = BTreeMap::new();
    for layer in report.layers.iter().filter(|l| played(l.pipeline)) {
        pipelines.entry(layer.pipeline).or_default().push(layer);
    }
    for (id, layers) in pipelines {
        let sum = |f: fn(&super::api::LayerReport) -> u64| {
            layers.iter().map(|l| f(l) as f64).sum::<f64>()
        };
        let mut stats = vec![
            stat("nacks", sum(|l| l.nacks)),
            stat("plis", sum(|l| l.plis)),
            stat("drops", sum(|l| l.drops)),
        ];
        if !root {
            // The root has no hop above it.
            let worst = layers.iter().map(|l| l.jitter_ms).fold(0.0, f64::max);
            stats.push(stat("injitter", worst));
            stats.push(stat("cumpktlost", sum(|l| l.lost)));
        }
        containers.push(container(Some(id), stats));
    }
    containers
}

impl NodeCore {
    /// What this node itself measures, as of now.
    fn own_stats(&self) -> Vec<StatsContainer> {
        let end = self.now.wall.0 / 1_000_000;
        let report = &self.pipelines.report;
        let media = self.up.parent.as_ref().map(|p| p.media);
        let hop = report.links.iter().find(|l| Some(l.link) == media);
        measured(report, hop, |id| self.pipelines.is_played(id), self.is_root(), end)
    }

    /// What FULLSTATS says: this node alone.
    pub fn full_stats(&self, only: Option<PipelineId>) -> Vec<StatsContainer> {
        let mut all = Aggregator::new();
        all.add_own(&self.own_stats());
        all.add_own(&self.stats.local);
        let mut containers = all.finish(self.child_count());
        if let Some(node) = containers.iter_mut().find(|c| c.id.is_none()) {
            node.stats.extend(self.hop_times());
            if self.speaks > 1 {
                node.stats.push(stat(VERSION_STAT, f64::from(self.speaks)));
            }
        }
        containers.retain(|c| only.is_none() || c.id == only);
        containers
    }

    /// Round-trip times to the parent and the backup in milliseconds, as `rtt.` and the node's id:
    /// what the planner knows of distances. They belong to this node, so STATS don't have them.
    fn hop_times(&self) -> Vec<Stat> {
        let links = &self.pipelines.report.links;
        let parent = self.up.parent.as_ref().map(|p| (&p.id, p.media));
        let hops = parent.into_iter().chain(self.backup_link());
        let time = |media| links.iter().find(|l| l.link == media).and_then(|l| l.rtt_ms);
        hops.filter_map(|(id, media)| Some(stat(&format!("rtt.{id}"), time(media)?))).collect()
    }

    /// What STATS says: this node and everybody below.
    pub fn tree_stats(&self) -> Vec<StatsContainer> {
        let mut all = Aggregator::new();
        all.add_own(&self.own_stats());
        all.add_own(&self.stats.local);
        for (child, containers) in &self.stats.children {
            all.add_child(self.table.weight(child), containers);
        }
        all.finish(self.child_count())
    }

    fn child_count(&self) -> u32 {
        u32::try_from(self.links.child_count()).unwrap_or(u32::MAX)
    }

    /// STATS of a child.
    pub(super) fn on_stats(
        &mut self,
        conn: ConnId,
        message: &Message,
        mut containers: Vec<StatsContainer>,
    ) {
        let Some(child) = self.links.get(conn).and_then(|l| l.id.clone()) else { return };
        let wrong = absurd(&containers);
        if wrong > 0 {
            // What it said before stands, and is clamped to its subtree as ever.
            let text = format!("{wrong} statistics that no subtree can have");
            let why = Some(Refusal::Statistics);
            return self.refuse_as(why, conn, message, ErrorCode::Malformed, &text);
        }
        containers.truncate(MAX_CONTAINERS);
        self.stats.children.insert(child, containers);
        if self.is_root() {
            self.upcalls.push_back(Upcall::Stats);
        }
    }

    /// It is time for STATS.
    pub(super) fn send_stats(&mut self) {
        self.timers.set(Timer::Stats, self.now.mono.after(STATS_INTERVAL));
        if let Some(parent) = self.parent_conn() {
            let containers = self.tree_stats();
            self.send(parent, None, Body::Stats(containers));
        }
    }
}

//! The tree as the outside sees it, and how often it is shown.

use super::api::{NodeView, PipelineView, RootOutput, RootView};
use super::{RootCore, RootTimer};
use soleil_protocol::{PipelineId, Rank, Role};
use std::sync::Arc;
use std::time::Duration;

/// Pause between two views: people and load balancing need no more, and a storm of joins would
/// make thousands.
const VIEW_INTERVAL: Duration = Duration::from_millis(100);

/// Nodes that are shown at that pace. A view is a copy of all nodes: with more of them views are
/// rarer, so that no more nodes are copied in a second than are with these.
const VIEW_NODES: usize = 2_000;

/// The pause between two views of so many nodes.
pub(super) fn pause(nodes: usize) -> Duration {
    let times = nodes.div_ceil(VIEW_NODES).max(1);
    VIEW_INTERVAL.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))
}

impl RootCore {
    /// The tree and its statistics as of now.
    pub fn view(&self) -> RootView {
        let stats = self.node.tree_stats();
        let of = |id: Option<PipelineId>| stats.iter().find(|c| c.id == id);
        let pipelines = self
            .pipelines
            .iter()
            .map(|(id, p)| PipelineView {
                def: p.def.clone(),
                epoch: p.current,
                stats: of(Some(*id)).map(|c| c.stats.clone()).unwrap_or_default(),
            })
            .collect();
        let mut nodes = vec![self.own_view()];
        nodes.extend(self.tree.views());
        RootView { at: self.now.wall, nodes, pipelines }
    }

    fn own_view(&self) -> NodeView {
        NodeView {
            id: self.config.id.clone(),
            role: Role::Root,
            incarnation: Default::default(),
            parent: None,
            rank: Rank(0),
            depth: 0,
            backups: Vec::new(),
            attached: true,
            leaving: self.node.is_stopping(),
            server: Some(self.config.server.clone()),
            media: self.config.media.clone(),
            http: None,
            region: self.config.region.clone(),
            labels: Vec::new(),
            capacity: self.config.capacity,
            children: self.tree.root_children(),
            viewers: 0,
            stats: self.node.full_stats(None),
        }
    }

    /// Something has changed that people want to see.
    pub(super) fn touch(&mut self) {
        let pause = pause(self.viewed);
        self.timers.set_if_idle(RootTimer::View, self.now.mono.after(pause));
        self.plan_soon();
    }

    /// Shows what has changed.
    pub(super) fn show(&mut self) {
        let view = Arc::new(self.view());
        self.viewed = view.nodes.len();
        self.outputs.push_back(RootOutput::View(view));
    }
}

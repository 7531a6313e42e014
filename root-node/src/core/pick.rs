//! Which leaf a viewer is sent to: the least loaded one that is ready. Pure: a snapshot of the
//! tree and the time come in, a leaf goes out.

use super::api::{NodeView, RootView};
use soleil_protocol::{Mono, NodeId, PipelineId, Role};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long an issued ticket counts as a viewer: by then the viewer is in the leaf's own count
/// (which is asked for every 2 s), or has not come.
pub const TICKET_COUNTS: Duration = Duration::from_secs(4);

/// Tickets remembered at most; beyond, the oldest are believed to have arrived.
pub const MAX_RECENT_TICKETS: usize = 10_000;

/// Where a viewer can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// There is no such stream.
    UnknownStream,
    /// It is not on air.
    NotLive,
    /// No leaf is there to send viewers to.
    NoLeaf,
    /// All leaves are full.
    Full,
    /// This one.
    Leaf {
        /// Its id, for the play ticket.
        leaf: NodeId,
        /// Its public base URL.
        http: String,
        /// The stream's pipeline.
        pipeline: PipelineId,
    },
}

/// Remembers the tickets that were issued a moment ago.
#[derive(Debug, Default)]
pub struct LeafPicker {
    recent: VecDeque<(Mono, NodeId)>,
    counts: BTreeMap<NodeId, u32>,
    last: BTreeMap<NodeId, u64>,
    turn: u64,
}

impl LeafPicker {
    /// Nobody was sent anywhere yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Picks a leaf for a viewer of `stream` and counts the viewer there.
    pub fn pick(&mut self, now: Mono, view: &RootView, stream: &str) -> Pick {
        let Some(pipeline) = view.pipelines.iter().find(|p| p.def.name == stream) else {
            return Pick::UnknownStream;
        };
        if !pipeline.def.live {
            return Pick::NotLive;
        }
        self.forget_old(now);
        self.last.retain(|id, _| view.nodes.iter().any(|n| n.id == *id));
        let best = view
            .nodes
            .iter()
            .filter(|n| is_ready(n))
            .filter_map(|n| {
                let recent = self.counts.get(&n.id).copied().unwrap_or(0);
                let load = n.viewers.saturating_add(recent);
                (load < n.capacity.viewers).then_some((n, load))
            })
            .min_by(|(a, load_a), (b, load_b)| {
                let left = u64::from(*load_a) * u64::from(b.capacity.viewers);
                let right = u64::from(*load_b) * u64::from(a.capacity.viewers);
                let turn = |n: &NodeView| self.last.get(&n.id).copied().unwrap_or(0);
                left.cmp(&right).then(turn(a).cmp(&turn(b))).then(a.id.cmp(&b.id))
            });
        let Some((leaf, _)) = best else {
            let any = view.nodes.iter().any(is_ready);
            return if any { Pick::Full } else { Pick::NoLeaf };
        };
        let (leaf, http) = (leaf.id.clone(), leaf.http.clone().unwrap_or_default());
        self.turn += 1;
        self.last.insert(leaf.clone(), self.turn);
        *self.counts.entry(leaf.clone()).or_default() += 1;
        self.recent.push_back((now, leaf.clone()));
        Pick::Leaf { leaf, http, pipeline: pipeline.def.id }
    }

    fn forget_old(&mut self, now: Mono) {
        while let Some((at, id)) = self.recent.front() {
            if now.since(*at) < TICKET_COUNTS && self.recent.len() < MAX_RECENT_TICKETS {
                return;
            }
            if let Some(count) = self.counts.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(id);
                }
            }
            self.recent.pop_front();
        }
    }
}

fn is_ready(node: &NodeView) -> bool {
    node.role == Role::Leaf && node.attached && !node.leaving && node.http.is_some()
}

#[cfg(test)]
mod tests {
    use super::super::api::PipelineView;
    use super::*;
    use soleil_protocol::message::Capacity;
    use soleil_protocol::pipeline::PipelineDef;
    use soleil_protocol::{Epoch, Incarnation, Rank, Wall};

    fn leaf(id: &str, viewers: u32, capacity: u32) -> NodeView {
        NodeView {
            id: NodeId::new(id).unwrap(),
            role: Role::Leaf,
            incarnation: Incarnation(1),
            parent: None,
            rank: Rank(2),
            depth: 2,
            backups: Vec::new(),
            attached: true,
            leaving: false,
            server: None,
            media: Vec::new(),
            http: Some(format!("http://{id}")),
            region: String::new(),
            labels: Vec::new(),
            capacity: Capacity { children: 0, viewers: capacity, egress: 0 },
            children: 0,
            viewers,
            stats: Vec::new(),
        }
    }

    fn view(nodes: Vec<NodeView>, live: bool) -> RootView {
        let def = PipelineDef { id: PipelineId(7), name: "demo".into(), live, tracks: Vec::new() };
        let pipelines = vec![PipelineView { def, epoch: Epoch(1), stats: Vec::new() }];
        RootView { at: Wall(0), nodes, pipelines }
    }

    fn names(picker: &mut LeafPicker, now: Mono, view: &RootView, n: usize) -> Vec<String> {
        let pick = |picker: &mut LeafPicker| match picker.pick(now, view, "demo") {
            Pick::Leaf { leaf, pipeline: PipelineId(7), .. } => leaf.to_string(),
            other => format!("{other:?}"),
        };
        (0..n).map(|_| pick(picker)).collect()
    }

    #[test]
    fn refusals() {
        let mut picker = LeafPicker::new();
        let on_air = view(vec![leaf("a", 5, 5)], true);
        assert_eq!(picker.pick(Mono(0), &on_air, "other"), Pick::UnknownStream);
        assert_eq!(picker.pick(Mono(0), &view(vec![], false), "demo"), Pick::NotLive);
        assert_eq!(picker.pick(Mono(0), &on_air, "demo"), Pick::Full, "full");
        let mut gone = leaf("a", 0, 5);
        gone.attached = false;
        let mut leaving = leaf("b", 0, 5);
        leaving.leaving = true;
        let mut mute = leaf("c", 0, 5);
        mute.http = None;
        let mut relay = leaf("d", 0, 5);
        relay.role = Role::Relay;
        let none = view(vec![gone, leaving, mute, relay], true);
        assert_eq!(picker.pick(Mono(0), &none, "demo"), Pick::NoLeaf);
    }

    #[test]
    fn equal_leaves_share_evenly_and_in_turn() {
        let view = view(vec![leaf("a", 0, 100), leaf("b", 0, 100), leaf("c", 0, 100)], true);
        let mut picker = LeafPicker::new();
        assert_eq!(names(&mut picker, Mono(0), &view, 6), ["a", "b", "c", "a", "b", "c"]);
    }

    #[test]
    fn load_is_relative_to_capacity() {
        let view = view(vec![leaf("big", 50, 200), leaf("small", 10, 20)], true);
        let mut picker = LeafPicker::new();
        assert_eq!(names(&mut picker, Mono(0), &view, 2), ["big", "big"]);
    }

    #[test]
    fn tickets_count_for_a_while() {
        let view = view(vec![leaf("a", 0, 2), leaf("b", 0, 1)], true);
        let mut picker = LeafPicker::new();
        assert_eq!(names(&mut picker, Mono(0), &view, 4), ["a", "b", "a", "Full"]);
        let later = Mono(0).after(TICKET_COUNTS);
        assert_eq!(names(&mut picker, later, &view, 1), ["b"], "b was picked longest ago");
    }
}

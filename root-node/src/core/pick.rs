//! Which leaf a viewer is sent to: the least loaded one that is ready. Pure: a snapshot of the
//! tree and the time come in, a leaf goes out.

use super::api::{NodeView, RootView};
use soleil_protocol::{Mono, NodeId, PipelineId, Role};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long an issued ticket counts as a viewer: by then the viewer is in the leaf's own count
/// (which is asked for every 2 s), or has not come.
pub const TICKET_COUNTS: Duration = Duration::from_secs(4);

/// Tickets remembered at most (some 10 MB); beyond, the oldest are believed to have arrived. Enough
/// for 25,000 viewers a second.
pub const MAX_RECENT_TICKETS: usize = 100_000;

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

/// Remembers the tickets that were issued a moment ago, and which leaf comes next.
#[derive(Debug, Default)]
pub struct LeafPicker {
    recent: VecDeque<(Mono, NodeId)>,
    counts: BTreeMap<NodeId, u32>,
    /// The view that `leaves` and `order` are of.
    view: Option<Arc<RootView>>,
    /// Whether the view has any leaf to send viewers to, full ones included.
    any: bool,
    /// Each leaf's load, and its place in the view.
    leaves: BTreeMap<NodeId, (Load, usize)>,
    order: BTreeSet<(Load, NodeId)>,
    turn: u64,
}

/// How full a leaf is. The least comes first: of equally loaded ones that whose turn is longest ago.
#[derive(Debug, Clone, Copy)]
struct Load {
    viewers: u32,
    capacity: u32,
    turn: u64,
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> Ordering {
        let left = u64::from(self.viewers) * u64::from(other.capacity);
        let right = u64::from(other.viewers) * u64::from(self.capacity);
        left.cmp(&right).then(self.turn.cmp(&other.turn))
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Load {}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl LeafPicker {
    /// Nobody was sent anywhere yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Picks a leaf for a viewer of `stream` and counts the viewer there. A new view is gone through
    /// once; after that a viewer costs the logarithm of the number of leaves.
    pub fn pick(&mut self, now: Mono, view: &Arc<RootView>, stream: &str) -> Pick {
        let Some(pipeline) = view.pipelines.iter().find(|p| p.def.name == stream) else {
            return Pick::UnknownStream;
        };
        if !pipeline.def.live {
            return Pick::NotLive;
        }
        self.forget_old(now);
        self.look_at(view);
        let best = self.order.first().filter(|(load, _)| load.viewers < load.capacity);
        let Some(leaf) = best.map(|(_, leaf)| leaf.clone()) else {
            return if self.any { Pick::Full } else { Pick::NoLeaf };
        };
        self.turn += 1;
        let turn = self.turn;
        self.change(&leaf, |load| {
            load.viewers = load.viewers.saturating_add(1);
            load.turn = turn;
        });
        *self.counts.entry(leaf.clone()).or_default() += 1;
        self.recent.push_back((now, leaf.clone()));
        let found = self.leaves.get(&leaf).and_then(|(_, at)| view.nodes.get(*at));
        let http = found.and_then(|n| n.http.clone()).unwrap_or_default();
        Pick::Leaf { leaf, http, pipeline: pipeline.def.id }
    }

    /// Takes up a view that is not the one of last time.
    fn look_at(&mut self, view: &Arc<RootView>) {
        if self.view.as_ref().is_some_and(|known| Arc::ptr_eq(known, view)) {
            return;
        }
        self.any = view.nodes.iter().any(is_ready);
        let old = std::mem::take(&mut self.leaves);
        // A capacity of none would be as good as any other in `Load`'s order.
        let ready = |n: &NodeView| is_ready(n) && n.capacity.viewers > 0;
        for (at, node) in view.nodes.iter().enumerate().filter(|(_, n)| ready(n)) {
            let recent = self.counts.get(&node.id).copied().unwrap_or(0);
            let load = Load {
                viewers: node.viewers.saturating_add(recent),
                capacity: node.capacity.viewers,
                turn: old.get(&node.id).map_or(0, |(load, _)| load.turn),
            };
            self.leaves.insert(node.id.clone(), (load, at));
        }
        self.order = self.leaves.iter().map(|(id, (load, _))| (*load, id.clone())).collect();
        self.view = Some(view.clone());
    }

    fn change(&mut self, leaf: &NodeId, change: impl FnOnce(&mut Load)) {
        if let Some((load, _)) = self.leaves.get_mut(leaf) {
            self.order.remove(&(*load, leaf.clone()));
            change(load);
            self.order.insert((*load, leaf.clone()));
        }
    }

    fn forget_old(&mut self, now: Mono) {
        while let Some((at, _)) = self.recent.front() {
            if now.since(*at) < TICKET_COUNTS && self.recent.len() < MAX_RECENT_TICKETS {
                return;
            }
            let Some((_, id)) = self.recent.pop_front() else { return };
            if let Some(count) = self.counts.get_mut(&id) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&id);
                }
            }
            self.change(&id, |load| load.viewers = load.viewers.saturating_sub(1));
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

    fn view(nodes: Vec<NodeView>, live: bool) -> Arc<RootView> {
        let def = PipelineDef { id: PipelineId(7), name: "demo".into(), live, tracks: Vec::new() };
        let pipelines = vec![PipelineView { def, epoch: Epoch(1), stats: Vec::new() }];
        Arc::new(RootView { at: Wall(0), nodes, pipelines })
    }

    fn names(picker: &mut LeafPicker, now: Mono, view: &Arc<RootView>, n: usize) -> Vec<String> {
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

    /// Where each viewer goes by going through all leaves.
    fn by_all(leaves: &[NodeView], counts: &BTreeMap<NodeId, u32>) -> Option<f64> {
        let load = |n: &NodeView| n.viewers + counts.get(&n.id).copied().unwrap_or(0);
        let open = leaves.iter().filter(|n| load(n) < n.capacity.viewers);
        open.map(|n| f64::from(load(n)) / f64::from(n.capacity.viewers)).min_by(f64::total_cmp)
    }

    #[test]
    fn views_that_change_make_no_difference_to_the_least_load() {
        let mut picker = LeafPicker::new();
        let mut arrived: BTreeMap<NodeId, u32> = BTreeMap::new();
        for round in 0..20_u32 {
            // Leaves come, grow and go from view to view; what was picked has arrived meanwhile.
            let now = Mono(0).after(TICKET_COUNTS * round);
            let leaves: Vec<NodeView> = (round..round + 12)
                .map(|n| {
                    let mut leaf = leaf(&format!("leaf-{n}"), 0, 7 + 13 * (n % 5));
                    leaf.viewers = arrived.get(&leaf.id).copied().unwrap_or(0);
                    leaf
                })
                .collect();
            let view = view(leaves.clone(), true);
            let mut sent: BTreeMap<NodeId, u32> = BTreeMap::new();
            for _ in 0..30 {
                let least = by_all(&leaves, &sent);
                let Pick::Leaf { leaf: id, http, .. } = picker.pick(now, &view, "demo") else {
                    assert_eq!(least, None, "there was room");
                    continue;
                };
                assert_eq!(http, format!("http://{id}"));
                let chosen = leaves.iter().find(|n| n.id == id).unwrap();
                let load = chosen.viewers + sent.get(&id).copied().unwrap_or(0);
                let load = f64::from(load) / f64::from(chosen.capacity.viewers);
                assert_eq!(Some(load), least, "round {round}: {id}");
                *sent.entry(id).or_default() += 1;
            }
            for (id, more) in sent {
                *arrived.entry(id).or_default() += more;
            }
        }
    }
}

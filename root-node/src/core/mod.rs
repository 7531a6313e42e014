//! The root's core: joins, the model of the tree, what the planner makes of it, pipelines and
//! their keys, statistics of the whole tree. Pure (DESIGN 2); sockets and secrets are elsewhere.
//!
//! It stands around a [`NodeCore`] of role root, which handles links, routing, rows and media
//! links as on any node, and hands up what only the root can decide.

pub mod adopt;
pub mod api;
mod demand;
mod join;
mod moves;
pub mod pick;
mod pipelines;
mod polling;
pub mod steadiness;
#[cfg(test)]
mod tests;
pub mod tree;
mod waiting;

pub use pick::{LeafPicker, Pick};

use api::{Authority, NodeView, PipelineView, RootCommand, RootConfig, RootOutput, RootView};
use pipelines::RootPipeline;
use polling::{POLL_INTERVAL, POLL_SLOTS};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relay_node::control::api::{Action, ConnId, Core, Event, NodeCommand, NodeParams, Vault};
use relay_node::control::timers::Timers;
use relay_node::control::{NodeCore, Upcall};
use soleil_protocol::message::{ChildsUpdate, ErrorCode, ErrorReport, Kill, StatsContainer};
use soleil_protocol::{Body, Message, Mono, NodeId, Now, PipelineId, Rank, Role};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tree::{Node, Place, Tree};
use waiting::Waiting;

/// How long a node may take from its REDIRECT to its place in the tree: it has 5 s for the attach,
/// and the news must come up.
const PENDING_FOR: Duration = Duration::from_secs(10);

/// How often the tree is looked over for nodes that never arrived.
const SWEEP_INTERVAL: Duration = Duration::from_secs(2);

/// Pause between two views: people and load balancing need no more, and a storm of joins would
/// make thousands.
const VIEW_INTERVAL: Duration = Duration::from_millis(100);

/// How long removals are gathered before their new epoch: nodes that are killed together, one command
/// after the other, share one, which none of them gets.
const GATHER: Duration = Duration::from_millis(100);

/// How long a node whose join token was revoked may take to go: its viewers and what it holds on to
/// need a moment, as with SIGTERM.
const REVOKED_GRACE_SECS: u32 = 10;

/// Nodes that are shown at that pace. A view is a copy of all nodes: with more of them views are
/// rarer, so that no more nodes are copied in a second than are with these.
const VIEW_NODES: usize = 2_000;

/// The pause between two views of so many nodes.
fn view_pause(nodes: usize) -> Duration {
    let times = nodes.div_ceil(VIEW_NODES).max(1);
    VIEW_INTERVAL.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))
}

/// Why the root's core wants to be woken, beyond what its node wants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum RootTimer {
    /// Ask a group of leaves for statistics.
    Poll,
    /// Look for nodes that never arrived.
    Sweep,
    /// Publish what has changed.
    View,
    /// Tell nodes what has changed for them.
    Plan,
    /// Removals have been gathered: new keys.
    Rotate,
    /// A pipeline's new key is everywhere.
    UseKey(PipelineId),
    /// A pipeline's old keys are over.
    DropKeys(PipelineId),
}

/// The root's control core.
pub struct RootCore {
    config: RootConfig,
    node: NodeCore,
    authority: Box<dyn Authority>,
    now: Now,
    started: bool,
    tree: Tree,
    pipelines: BTreeMap<PipelineId, RootPipeline>,
    timers: Timers<RootTimer>,
    outputs: VecDeque<RootOutput>,
    next_link: u64,
    poll_slot: u32,
    /// Nodes in the last view.
    viewed: usize,
    /// Moves that may be made now.
    moves_left: usize,
    /// What a child costs, as measured.
    demand: demand::Demand,
    told: adopt::Told,
    /// Joins that wait for a place.
    waiting: VecDeque<Waiting>,
    /// Nodes that speak another version than they did: what others were told of them is out of date.
    versions_changed: BTreeSet<NodeId>,
}

impl RootCore {
    /// A root without nodes and pipelines.
    pub fn new(
        config: RootConfig,
        vault: Box<dyn Vault>,
        authority: Box<dyn Authority>,
        seed: [u8; 32],
    ) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let params = NodeParams {
            name: config.id.clone(),
            role: Role::Root,
            server: Some(config.server.clone()),
            media: config.media.clone(),
            http: None,
            capacity: config.capacity,
            region: config.region.clone(),
            labels: Vec::new(),
        };
        let node = NodeCore::root(params, vault, rng.random(), authority.ticket_key());
        let tree = Tree::new(config.id.clone(), config.capacity, config.region.clone());
        // Link ids must not repeat after a restart: parents may still hold old links.
        let next_link = rng.random::<u64>() >> 1;
        Self {
            config,
            node,
            authority,
            now: Now::default(),
            started: false,
            tree,
            pipelines: BTreeMap::new(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            next_link,
            poll_slot: 0,
            viewed: 0,
            moves_left: 0,
            demand: demand::Demand::default(),
            told: adopt::Told::default(),
            waiting: VecDeque::new(),
            versions_changed: BTreeSet::new(),
        }
    }

    /// The same, but it speaks no newer version of the protocol than this one.
    #[must_use]
    pub fn speaking(mut self, version: u32) -> Self {
        self.node = self.node.speaking(version);
        self
    }

    /// The next thing that the program around the root has to know; call it until it is `None`
    /// after every `handle`.
    pub fn poll_output(&mut self) -> Option<RootOutput> {
        self.outputs.pop_front()
    }

    /// The root's node, for metrics and tests.
    pub fn node(&self) -> &NodeCore {
        &self.node
    }

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

    /// What STATS say of all nodes together (CPU, memory, egress).
    pub fn tree_stats(&self) -> Vec<StatsContainer> {
        self.node.tree_stats()
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
    fn touch(&mut self) {
        let pause = view_pause(self.viewed);
        self.timers.set_if_idle(RootTimer::View, self.now.mono.after(pause));
        self.plan_soon();
    }

    fn start(&mut self) {
        self.started = true;
        self.timers.set(RootTimer::Poll, self.now.mono.after(POLL_INTERVAL / POLL_SLOTS));
        self.timers.set(RootTimer::Sweep, self.now.mono.after(SWEEP_INTERVAL));
        self.timers.set(RootTimer::View, self.now.mono);
    }

    fn on_command(&mut self, command: RootCommand) {
        match command {
            RootCommand::Node(command) => {
                self.node.handle(self.now, Event::Command(command));
            }
            RootCommand::DefinePipeline(def) => self.define(def),
            RootCommand::SetLive(id, live) => self.set_live(id, live),
            RootCommand::RemovePipeline(id, reason) => self.remove(id, reason),
            RootCommand::Rotate(id) => self.rotate(id),
            RootCommand::Kill { node, grace_secs, reason } => self.kill(&node, grace_secs, reason),
            RootCommand::Move { node, parent } => {
                if self.move_node(&node, &parent) {
                    self.tree.change(&node, |node| node.pinned = true);
                } else {
                    tracing::warn!(%node, %parent, "this move is not possible");
                }
            }
        }
    }

    fn kill(&mut self, id: &NodeId, grace_secs: u32, reason: String) {
        let known = self.tree.change(id, |node| {
            node.leaving = true;
            node.killed = true;
        });
        if !known {
            tracing::warn!(node = %id, "no such node to kill");
            return;
        }
        self.move_children_of(id);
        self.node.send_to(id, Body::Kill(Kill { grace_secs, reason }));
        self.timers.set_if_idle(RootTimer::Rotate, self.now.mono.after(GATHER));
        self.touch();
    }

    /// Nodes have been removed: every pipeline gets a key that they don't.
    fn rotate_all(&mut self) {
        let ids: Vec<PipelineId> = self.pipelines.keys().copied().collect();
        for pipeline in ids {
            self.rotate(pipeline);
        }
    }

    /// Removes the nodes whose join token has been taken back since.
    fn remove_revoked(&mut self) {
        let mut tokens: BTreeMap<&str, bool> = BTreeMap::new();
        for (_, node) in self.tree.iter().filter(|(_, node)| !node.killed) {
            tokens.entry(&node.token).or_insert_with(|| self.authority.token_stands(&node.token));
        }
        let revoked = |node: &Node| !node.killed && tokens.get(node.token.as_str()) == Some(&false);
        let gone: Vec<NodeId> =
            self.tree.iter().filter(|(_, n)| revoked(n)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            tracing::warn!(node = %id, "its join token was revoked: it is removed");
            self.kill(&id, REVOKED_GRACE_SECS, "the join token was revoked".to_owned());
        }
    }

    fn on_upcall(&mut self, upcall: Upcall) {
        match upcall {
            Upcall::Join { conn, peer, message, hello } => {
                self.on_join(conn, &peer, &message, &hello);
            }
            Upcall::Message { from, conn, message } => self.on_message(&from, conn, &message),
            Upcall::Subtree(update) => self.on_subtree(update),
            Upcall::Stats => self.touch(),
            Upcall::KeyFrameWanted(pipeline, ssrc) => {
                self.outputs.push_back(RootOutput::KeyFrameWanted(pipeline, ssrc));
            }
        }
    }

    fn on_message(&mut self, from: &NodeId, conn: ConnId, message: &Message) {
        match &message.body {
            Body::Hello(hello) => self.on_renewal(from, conn, message, hello),
            Body::Bye(bye) => {
                tracing::info!(node = %from, reason = %bye.reason, "is about to leave");
                self.tree.change(from, |node| node.leaving = true);
                self.move_children_of(from);
                self.touch();
            }
            Body::FullStats(full) => {
                if let Some(node) = self.tree.get_mut(from) {
                    node.stats.clone_from(&full.containers);
                    self.take_rtts(from, &full.containers);
                    self.take_version(from, &full.containers);
                    self.touch();
                }
            }
            Body::Error(report) if report.failed_type == "redirect" => {
                // A move that failed: the node stays where it is, until it loses its parent. (To try
                // again and again would cost it its warm link each time.)
                self.tree.change(from, |node| {
                    node.pinned |= node.moving_to.take().is_some();
                });
                // It hears where it is by the plan, and so that the way to it stands: soon, with
                // others, however often it says that.
                self.tree.planner_mut().forget_told(from);
                self.plan_soon();
                self.touch();
            }
            _ => {}
        }
    }

    /// The tree has changed.
    fn on_subtree(&mut self, update: ChildsUpdate) {
        let now = self.now.mono;
        for (id, incarnation) in update.removed {
            self.tree.change(&id, |node| {
                if node.place == Place::Attached && node.incarnation <= incarnation {
                    node.place = Place::Away { since: now };
                    node.lost = node.parent.take();
                    node.moving_to = None;
                    node.pinned = false;
                }
            });
        }
        for child in update.added {
            let Some(node) = self.tree.get(&child.id) else {
                // It joined before this root was started: it has to join again.
                let report = ErrorReport {
                    code: ErrorCode::UnknownNode,
                    text: "this root does not know you: join again".into(),
                    failed_time: None,
                    failed_type: "childsupdate".into(),
                };
                self.node.send_to(&child.id, Body::Error(report));
                continue;
            };
            if child.incarnation < node.incarnation {
                continue;
            }
            let killed = node.killed;
            let joined = matches!(node.place, Place::Pending { .. });
            self.tree.change(&child.id, |node| {
                node.incarnation = child.incarnation;
                node.place = Place::Attached;
                if node.parent.as_ref() != Some(&child.parent) {
                    // It has arrived, or gone over to a backup instead.
                    node.moving_to = None;
                }
                node.parent = Some(child.parent);
                node.lost = None;
            });
            if killed {
                // It went elsewhere instead of stopping: its new parent is told to end it, too.
                let reason = "removed".to_owned();
                self.node.send_to(&child.id, Body::Kill(Kill { grace_secs: 0, reason }));
                continue;
            }
            if !joined {
                // What it was told on its old way may not have come.
                self.tree.planner_mut().forget_told(&child.id);
            }
            self.send_pipelines(&child.id);
        }
        self.try_waiting();
        self.touch();
    }

    fn on_timer(&mut self, timer: RootTimer) {
        match timer {
            RootTimer::Poll => self.poll(),
            RootTimer::Sweep => {
                self.timers.set(RootTimer::Sweep, self.now.mono.after(SWEEP_INTERVAL));
                if self.tree.expire(self.now.mono, PENDING_FOR) {
                    self.touch();
                    self.try_waiting();
                }
                self.remove_revoked();
                self.refuse_waiting();
                self.give_up_moves();
                self.tidy();
            }
            RootTimer::Plan => self.on_plan(),
            RootTimer::View => {
                let view = Arc::new(self.view());
                self.viewed = view.nodes.len();
                self.outputs.push_back(RootOutput::View(view));
            }
            RootTimer::Rotate => self.rotate_all(),
            RootTimer::UseKey(pipeline) => self.use_key(pipeline),
            RootTimer::DropKeys(pipeline) => self.drop_keys(pipeline),
        }
    }
}

/// A root's event as its node sees it; commands are the root's own.
fn for_node(event: Event<RootCommand>) -> Result<Event<NodeCommand>, RootCommand> {
    Ok(match event {
        Event::Command(command) => return Err(command),
        Event::Accepted { conn, peer, remote } => Event::Accepted { conn, peer, remote },
        Event::Dialed { dial, conn, local } => Event::Dialed { dial, conn, local },
        Event::DialFailed { dial, error, refused } => Event::DialFailed { dial, error, refused },
        Event::Message(conn, message) => Event::Message(conn, message),
        Event::Malformed { conn, report } => Event::Malformed { conn, report },
        Event::Closed(conn) => Event::Closed(conn),
        Event::Plane(event) => Event::Plane(event),
        Event::PlaneReport(report) => Event::PlaneReport(report),
        Event::Timeout => Event::Timeout,
    })
}

impl Core for RootCore {
    type Command = RootCommand;

    fn handle(&mut self, now: Now, event: Event<RootCommand>) {
        self.now = now;
        if !self.started {
            self.start();
        }
        if let Event::PlaneReport(report) = &event {
            self.measure(report);
        }
        match for_node(event) {
            Ok(event) => self.node.handle(now, event),
            Err(command) => {
                self.node.handle(now, Event::Timeout);
                self.on_command(command);
            }
        }
        while let Some(upcall) = self.node.poll_upcall() {
            self.on_upcall(upcall);
        }
        while let Some(timer) = self.timers.expired(now.mono) {
            self.on_timer(timer);
        }
        self.remember();
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.node.poll_action()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        if !self.started {
            return Some(Mono(0));
        }
        let own = self.timers.next();
        match self.node.poll_timeout() {
            Some(node) => Some(own.map_or(node, |own| own.min(node))),
            None if self.node.is_stopping() => None,
            None => own,
        }
    }
}

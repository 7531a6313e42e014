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
mod removal;
pub mod steadiness;
#[cfg(test)]
mod tests;
pub mod tree;
mod views;
mod waiting;

pub use pick::{LeafPicker, Pick};

use api::{Authority, RootCommand, RootConfig, RootOutput};
use pipelines::RootPipeline;
use polling::{POLL_INTERVAL, POLL_SLOTS};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relay_node::control::api::{Action, ConnId, Core, Event, NodeCommand, NodeParams, Vault};
use relay_node::control::timers::Timers;
use relay_node::control::{NodeCore, Upcall};
use soleil_protocol::message::{ChildsUpdate, ErrorCode, ErrorReport, Kill, StatsContainer};
use soleil_protocol::{Body, Incarnation, Message, Mono, NodeId, Now, PipelineId, Role};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tree::{Place, Tree};
use waiting::Waiting;

/// How long a node may take from its REDIRECT to its place in the tree: it has 5 s for the attach,
/// and the news must come up.
const PENDING_FOR: Duration = Duration::from_secs(10);

/// How often the tree is looked over for nodes that never arrived.
const SWEEP_INTERVAL: Duration = Duration::from_secs(2);

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
    /// Pipelines that are over, and since when: a node that was away meanwhile has to hear of it.
    ended: BTreeMap<PipelineId, Mono>,
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
    /// The last nodes that were removed, each with the last incarnation that a ticket of its names.
    removed: VecDeque<(NodeId, Incarnation)>,
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
            ended: BTreeMap::new(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            next_link,
            poll_slot: 0,
            viewed: 0,
            moves_left: 0,
            demand: demand::Demand::default(),
            told: adopt::Told::default(),
            waiting: VecDeque::new(),
            removed: VecDeque::new(),
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

    /// What STATS say of all nodes together (CPU, memory, egress).
    pub fn tree_stats(&self) -> Vec<StatsContainer> {
        self.node.tree_stats()
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
            // Once is enough: its children are moved by the planner's rounds as well.
            Body::Bye(_) if self.tree.get(from).is_none_or(|node| node.leaving) => {}
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
        // Whoever is on the way to one of them gets nowhere.
        let gone: BTreeSet<NodeId> = update.removed.iter().map(|(id, _)| id.clone()).collect();
        for (id, incarnation) in update.removed {
            let to = self.tree.get(&id).and_then(|node| node.moving_to.clone());
            let to = to.filter(|to| self.tree.is_attached(to) && !gone.contains(to));
            self.tree.change(&id, |node| {
                if node.place == Place::Attached && node.incarnation <= incarnation {
                    node.lost = node.parent.take();
                    node.moving_to = None;
                    node.parent = to;
                    node.place = match node.parent {
                        Some(_) => Place::Pending { since: now },
                        None => Place::Away { since: now },
                    };
                    node.pinned = false;
                }
            });
        }
        for child in update.added {
            match self.tree.get(&child.id) {
                // It is on its way to a newer place, or there.
                Some(node) if child.incarnation < node.incarnation && !node.is_away() => {}
                Some(_) => self.arrived(&child.id, child.incarnation, child.parent),
                None => {
                    // It joined before this root was started: it has to join again.
                    let report = ErrorReport {
                        code: ErrorCode::UnknownNode,
                        text: "this root does not know you: join again".into(),
                        failed_time: None,
                        failed_type: "childsupdate".into(),
                    };
                    self.node.send_to(&child.id, Body::Error(report));
                }
            }
        }
        self.try_waiting();
        self.touch();
    }

    /// A node is where the ways lead.
    fn arrived(&mut self, id: &NodeId, incarnation: Incarnation, parent: NodeId) {
        let Some(node) = self.tree.get(id) else { return };
        let killed = node.killed;
        let joined = matches!(node.place, Place::Pending { .. });
        let gone = match node.place {
            Place::Away { since } | Place::Pending { since } => since,
            Place::Attached => self.now.mono,
        };
        self.tree.change(id, |node| {
            if node.parent.as_ref() != Some(&parent) || node.incarnation < incarnation {
                // It has arrived, or gone over to a backup instead.
                node.moving_to = None;
            }
            node.incarnation = incarnation;
            node.place = Place::Attached;
            node.parent = Some(parent);
            node.lost = None;
        });
        if killed {
            // It went elsewhere instead of stopping: its new parent is told to end it, too.
            let reason = "removed".to_owned();
            self.node.send_to(id, Body::Kill(Kill { grace_secs: 0, reason }));
            return;
        }
        if !joined {
            // What it was told on its old way may not have come.
            self.tree.planner_mut().forget_told(id);
        }
        self.send_pipelines(id, gone);
    }

    /// Nodes that have not come where they were sent: those that there is a way to are where it leads. They
    /// have not heard where they should go, or got nowhere.
    fn find_lost(&mut self, lost: &[NodeId]) {
        for id in lost {
            let table = self.node.subtree();
            if let (Some(parent), Some(incarnation)) = (table.parent(id), table.incarnation(id)) {
                let parent = parent.clone();
                self.arrived(id, incarnation, parent);
                self.tree.planner_mut().forget_told(id);
                self.plan_soon();
            }
        }
    }

    fn on_timer(&mut self, timer: RootTimer) {
        match timer {
            RootTimer::Poll => self.poll(),
            RootTimer::Sweep => {
                self.timers.set(RootTimer::Sweep, self.now.mono.after(SWEEP_INTERVAL));
                if let Some(late) = self.tree.expire(self.now.mono, PENDING_FOR) {
                    self.find_lost(&late);
                    self.touch();
                    self.try_waiting();
                }
                self.remove_revoked();
                self.refuse_waiting();
                self.give_up_moves();
                self.tidy();
            }
            RootTimer::Plan => self.on_plan(),
            RootTimer::View => self.show(),
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

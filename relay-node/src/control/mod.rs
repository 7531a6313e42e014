//! The control plane: who forwards what to whom (DESIGN 2 and 6).
//!
//! [`NodeCore`] is the state machine of a node; the files beside this one are its parts: the way
//! up (`join`, `attach`, `parent`, `backup`, `cutoff`, `identity`), the way down (`children`, `expiry`),
//! what happens to a message (`messages`), pipelines and rows of the forwarding table (`pipelines`,
//! `play`), statistics (`stats`), the end (`stopping`). No sockets, no clock.

pub mod api;
mod attach;
mod backup;
mod children;
mod cutoff;
mod expiry;
mod identity;
mod join;
pub mod limits;
mod links;
mod messages;
mod parent;
mod pipelines;
mod play;
mod rootclock;
mod spent;
mod stats;
mod stopping;
#[cfg(test)]
mod tests;
pub mod timers;
mod upcall;

pub use upcall::Upcall;

use crate::media::api::{PlaneCommand, PlaneEvent};
use crate::refusals::{Refusal, RefusalLog};
use api::{Action, ConnId, Core, Event, NodeCommand, NodeParams, Vault};
use attach::Uplink;
use expiry::Removed;
use limits::{MAX_MISSED_PINGS, PING_INTERVAL};
use links::{Link, Links, Use};
use pipelines::Pipelines;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rootclock::RootClock;
use soleil_protocol::message::{Echo, ErrorCode, ErrorReport, Identity, VERSION, common};
use soleil_protocol::routing::SubtreeTable;
use soleil_protocol::{Address, Body, Message, Mono, NodeId, Now, Role};
use spent::Spent;
use stats::Statistics;
use std::collections::VecDeque;
use timers::{Timer, Timers};

/// The control core of any node. The root's is inside `root_node::core::RootCore`.
pub struct NodeCore {
    params: NodeParams,
    vault: Box<dyn Vault>,
    rng: StdRng,
    now: Now,
    started: bool,
    actions: VecDeque<Action>,
    upcalls: VecDeque<Upcall>,
    timers: Timers<Timer>,
    links: Links,
    table: SubtreeTable,
    up: Uplink,
    pipelines: Pipelines,
    stats: Statistics,
    identity: Option<Identity>,
    /// Children that the root has removed.
    removed: Removed,
    /// The root's own ticket key; others have it in their identity.
    root_key: Option<Vec<u8>>,
    /// Why we stop, while children still have time to go.
    stopping: Option<String>,
    stopped: bool,
    refused: u64,
    /// Keeps the log short where neighbours could fill it.
    log: RefusalLog,
    /// The time of day by the root.
    root_clock: RootClock,
    /// Tickets that have made a child.
    spent: Spent,
    /// The newest version of the protocol that it speaks.
    speaks: u32,
}

impl NodeCore {
    /// A relay or leaf that has not joined yet.
    pub fn new(params: NodeParams, vault: Box<dyn Vault>, seed: [u8; 32]) -> Self {
        Self {
            params,
            vault,
            rng: StdRng::from_seed(seed),
            now: Now::default(),
            started: false,
            actions: VecDeque::new(),
            upcalls: VecDeque::new(),
            timers: Timers::default(),
            links: Links::default(),
            table: SubtreeTable::new(),
            up: Uplink::default(),
            pipelines: Pipelines::default(),
            stats: Statistics::default(),
            identity: None,
            removed: Removed::default(),
            root_key: None,
            stopping: None,
            stopped: false,
            refused: 0,
            log: RefusalLog::default(),
            root_clock: RootClock::default(),
            spent: Spent::default(),
            speaks: VERSION,
        }
    }

    /// The same, but it speaks no newer version of the protocol than this one: what it says and
    /// what it understands is that version's.
    #[must_use]
    pub fn speaking(mut self, version: u32) -> Self {
        self.speaks = version.min(VERSION);
        self
    }

    /// The newest version of the protocol that it speaks.
    pub fn speaks(&self) -> u32 {
        self.speaks
    }

    /// The version that this node and a neighbour speak.
    fn common_version(&self, theirs: u32) -> Option<u32> {
        common(self.speaks, theirs)
    }

    /// The root's node: it has its name from the start and checks tickets with `ticket_key`.
    pub fn root(
        params: NodeParams,
        vault: Box<dyn Vault>,
        seed: [u8; 32],
        ticket_key: Vec<u8>,
    ) -> Self {
        let mut core = Self::new(params, vault, seed);
        core.params.role = Role::Root;
        core.root_key = Some(ticket_key);
        core
    }

    /// This node's id: what the root gave, before that the name that it asks for.
    pub fn id(&self) -> &NodeId {
        self.identity.as_ref().map_or(&self.params.name, |identity| &identity.id)
    }

    /// The identity that the root gave.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.params.role == Role::Root
    }

    /// Who is below.
    pub fn subtree(&self) -> &SubtreeTable {
        &self.table
    }

    /// The connection of a direct child.
    pub fn child_conn(&self, id: &NodeId) -> Option<ConnId> {
        self.links.child(id)
    }

    /// Round-trip times of the links by PING, for metrics.
    pub fn link_rtts(&self) -> impl Iterator<Item = (&NodeId, std::time::Duration)> {
        self.links.iter().filter_map(|(_, link)| Some((link.id.as_ref()?, link.rtt?)))
    }

    /// How many messages were refused with ERROR (or would have been), for metrics.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The vault, for the root's core: its wrap key goes into tickets.
    pub fn vault(&self) -> &dyn Vault {
        self.vault.as_ref()
    }

    /// The next thing that only the root's core can decide.
    pub fn poll_upcall(&mut self) -> Option<Upcall> {
        self.upcalls.pop_front()
    }

    /// Sends a message down the tree; `false` if there is no such node.
    pub fn send_to(&mut self, id: &NodeId, body: Body) -> bool {
        let Some(conn) = self.table.next_hop(id).and_then(|child| self.links.child(child)) else {
            return false;
        };
        self.send(conn, Some(Address::Node(id.clone())), body);
        true
    }

    /// Sends a message to everybody below.
    pub fn broadcast(&mut self, body: Body) {
        let message = self.message(Some(Address::All), body);
        self.send_down(&message);
    }

    /// Answers on a joiner's connection.
    pub fn answer(&mut self, conn: ConnId, body: Body) {
        self.send(conn, None, body);
    }

    /// Whether a connection is there still.
    pub fn has_link(&self, conn: ConnId) -> bool {
        self.links.get(conn).is_some()
    }

    /// Answers a message with ERROR and closes if asked to. Never answers an ERROR.
    pub fn refuse_join(&mut self, conn: ConnId, message: &Message, code: ErrorCode, text: &str) {
        self.refuse_and_close(conn, message, code, text);
    }

    /// Answers a message of the tree with ERROR.
    pub fn refuse_message(&mut self, conn: ConnId, message: &Message, code: ErrorCode, text: &str) {
        self.refuse(conn, message, code, text);
    }

    /// Whether the node is stopping or has stopped.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_some() || self.stopped
    }

    fn ticket_key(&self) -> Option<&[u8]> {
        let own = self.identity.as_ref().map(|i| i.ticket_key.as_slice());
        self.root_key.as_deref().or(own)
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Something of a neighbour is refused: for metrics and the log.
    fn note_refusal(&mut self, conn: ConnId, why: Refusal, text: &str) {
        let who = self.links.get(conn).and_then(|link| link.id.clone());
        self.act(Action::Refused { why, who, text: text.to_owned() });
    }

    fn message(&self, to: Option<Address>, body: Body) -> Message {
        let from = if self.is_root() {
            Some(Address::Root)
        } else if self.identity.is_some() {
            Some(Address::Node(self.id().clone()))
        } else {
            // Before the root has given a name there is none to use.
            None
        };
        Message { time: self.now.wall.millis(), from, to, body }
    }

    fn send(&mut self, conn: ConnId, to: Option<Address>, body: Body) {
        let message = self.message(to, body);
        self.post(conn, message);
    }

    fn post(&mut self, conn: ConnId, message: Message) {
        self.witness(conn, &message);
        self.act(Action::Send(conn, message));
    }

    fn forward(&mut self, conn: ConnId, message: Message) {
        self.post(conn, message);
    }

    fn send_down(&mut self, message: &Message) {
        let children: Vec<ConnId> = self.links.children().map(|(_, conn)| conn).collect();
        for conn in children {
            self.forward(conn, message.clone());
        }
    }

    /// Forgets a connection with its timers.
    fn forget(&mut self, conn: ConnId) -> Option<Link> {
        self.timers.clear(&Timer::Ping(conn));
        self.timers.clear(&Timer::Greeting(conn));
        self.timers.clear(&Timer::Certificate(conn));
        self.timers.clear(&Timer::Evict(conn));
        self.links.remove(conn)
    }

    /// Closes a connection whose end has no consequences any more.
    fn close(&mut self, conn: ConnId, why: &str) {
        if self.forget(conn).is_some() {
            self.act(Action::Close(conn, why.to_owned()));
        }
    }

    /// Sends a PING, or gives the link up after too many without an answer.
    fn ping(&mut self, conn: ConnId) {
        let token = format!("{:08x}", self.rng.random::<u32>());
        let now = self.now.mono;
        let Some(link) = self.links.get_mut(conn) else { return };
        if link.pinged(token.clone(), now) >= MAX_MISSED_PINGS {
            if matches!(link.purpose, Use::Child(_) | Use::Reserve(_)) {
                self.note_refusal(conn, Refusal::NotReading, "no answer to PING");
            }
            return self.lose(conn, "no answer to PING");
        }
        self.timers.set(Timer::Ping(conn), now.after(PING_INTERVAL));
        self.send(conn, None, Body::Ping(Echo { token }));
    }

    fn on_malformed(&mut self, conn: ConnId, report: ErrorReport) {
        if self.links.get(conn).is_none() {
            return;
        }
        self.refused += 1;
        let known = report.code == ErrorCode::UnknownType;
        if report.failed_type != "error" {
            self.send(conn, None, Body::Error(report));
        }
        if known {
            self.count_error(conn);
        } else {
            self.lose(conn, "malformed message");
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Seek => self.seek(),
            Timer::Join => self.on_join_timeout(),
            Timer::Attach => self.attempt_failed("the parent did not answer"),
            Timer::Renew => self.renew(),
            Timer::Overlap => self.on_overlap_timeout(),
            Timer::Return => self.on_return_timeout(),
            Timer::Warm => self.on_warm_timer(),
            Timer::Positions => self.on_positions(None),
            Timer::Stats => self.send_stats(),
            Timer::Ping(conn) => self.ping(conn),
            Timer::Greeting(conn) => self.on_greeting_timeout(conn),
            Timer::Linger(pipeline) => self.on_linger(pipeline),
            Timer::PlayAgain(pipeline) => self.settle(pipeline),
            Timer::Silence => self.on_silence_timeout(),
            Timer::Unheard => self.on_unheard(),
            Timer::CutOff => self.on_cut_off_timeout(),
            Timer::Look => self.on_look_timeout(),
            Timer::Grace => self.stop(),
            Timer::Certificate(conn) => self.on_certificate_end(conn),
            Timer::Evict(conn) => self.evict(conn),
        }
    }

    fn start(&mut self) {
        self.started = true;
        self.send_stats();
        self.seek();
    }

    fn on_command(&mut self, command: NodeCommand) {
        match command {
            NodeCommand::Play(pipeline) => self.want_local(pipeline, true),
            NodeCommand::Stop(pipeline) => self.want_local(pipeline, false),
            NodeCommand::KeyFrame(pipeline, ssrc) => {
                self.act(Action::Plane(PlaneCommand::RequestKeyFrame(pipeline, ssrc)));
            }
            NodeCommand::LocalStats(containers) => self.stats.set_local(containers),
            NodeCommand::Drain(reason) => self.drain(&reason),
        }
    }

    fn on_plane(&mut self, event: PlaneEvent) {
        match event {
            PlaneEvent::LinkOpen(media, remote) => {
                tracing::debug!(%media, %remote, "media path open");
                self.on_media_open(media);
            }
            PlaneEvent::LinkSilent(media) => self.on_media_silent(media),
            PlaneEvent::CutOff(media, cut_off) => self.on_cut_off(media, cut_off),
            PlaneEvent::KeyFrameWanted(pipeline, ssrc) if self.is_root() => {
                self.upcalls.push_back(Upcall::KeyFrameWanted(pipeline, ssrc));
            }
            PlaneEvent::Positions(positions) => self.on_positions(Some(positions)),
            PlaneEvent::KeyFrameWanted(..) => {}
        }
    }
}

impl Core for NodeCore {
    type Command = NodeCommand;

    fn handle(&mut self, now: Now, event: Event<NodeCommand>) {
        self.now = self.root_clock.now(now);
        if self.stopped {
            return;
        }
        if !self.started {
            self.start();
        }
        match event {
            Event::Accepted { conn, peer, .. } => self.on_accepted(conn, peer),
            Event::Dialed { dial, conn, .. } => self.on_dialed(dial, conn),
            Event::DialFailed { dial, error, refused } => {
                self.on_dial_failed(dial, &error, refused);
            }
            Event::Message(conn, message) => self.on_message(conn, message),
            Event::Malformed { conn, report } => self.on_malformed(conn, report),
            Event::Closed(conn) => self.on_closed(conn),
            Event::Plane(event) => self.on_plane(event),
            Event::PlaneReport(report) => self.on_plane_report(report),
            Event::Command(command) => self.on_command(command),
            Event::Timeout => {}
        }
        while !self.stopped
            && let Some(timer) = self.timers.expired(now.mono)
        {
            self.on_timer(timer);
        }
        self.mind_the_way();
        self.say_lack();
        self.say_reserve();
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        match (self.started, self.stopped) {
            (false, _) => Some(Mono(0)),
            (true, true) => None,
            (true, false) => self.timers.next(),
        }
    }
}

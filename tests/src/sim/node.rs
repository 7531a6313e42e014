//! One node of the simulation: a core, perhaps a plane, and a shadow of what the plane was told.

use super::fake::SimVault;
use relay_node::control::NodeCore;
use relay_node::control::api::{Action, Core, Event, KeyHash, NodeCommand, NodeParams, Vault};
use relay_node::media::api::{HopLink, LocalPacket, LocalSink, NextHop, PeerSide, PlaneCommand};
use relay_node::media::plane::Plane;
use root_node::core::RootCore;
use root_node::core::api::{RootCommand, RootOutput};
use soleil_protocol::message::{Identity, VERSION};
use soleil_protocol::{
    Epoch, LinkId, Mono, NodeId, Now, PacketIndex, PipelineId, Role, Ssrc, Wall,
};
use std::collections::{BTreeMap, BTreeSet};

/// Takes what is delivered locally.
#[derive(Debug, Default)]
pub struct SimSink {
    /// Indexes in order of arrival, by layer.
    pub got: BTreeMap<Ssrc, Vec<PacketIndex>>,
    /// Payloads that were not what the source sent under that index.
    pub wrong: u64,
}

impl LocalSink for SimSink {
    fn deliver(&mut self, packet: LocalPacket<'_>) {
        let expected = super::source::payload(packet.ssrc, packet.index);
        self.wrong += u64::from(packet.payload != expected);
        self.got.entry(packet.ssrc).or_default().push(packet.index);
    }

    fn flush(&mut self) {}
}

/// The core of a node.
pub(super) enum AnyCore {
    Root(Box<RootCore>),
    Node(Box<NodeCore>),
}

impl AnyCore {
    pub(super) fn node(&self) -> &NodeCore {
        match self {
            AnyCore::Root(core) => core.node(),
            AnyCore::Node(core) => core,
        }
    }

    pub(super) fn handle(&mut self, now: Now, event: Event<NodeCommand>) {
        match self {
            AnyCore::Node(core) => core.handle(now, event),
            AnyCore::Root(core) => core.handle(now, for_root(event)),
        }
    }

    pub(super) fn command(&mut self, now: Now, command: RootCommand) {
        if let AnyCore::Root(core) = self {
            core.handle(now, Event::Command(command));
        }
    }

    pub(super) fn poll_action(&mut self) -> Option<Action> {
        match self {
            AnyCore::Root(core) => core.poll_action(),
            AnyCore::Node(core) => core.poll_action(),
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<RootOutput> {
        match self {
            AnyCore::Root(core) => core.poll_output(),
            AnyCore::Node(_) => None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        match self {
            AnyCore::Root(core) => core.poll_timeout(),
            AnyCore::Node(core) => core.poll_timeout(),
        }
    }
}

fn for_root(event: Event<NodeCommand>) -> Event<RootCommand> {
    match event {
        Event::Command(command) => Event::Command(RootCommand::Node(command)),
        Event::Accepted { conn, peer, remote } => Event::Accepted { conn, peer, remote },
        Event::Dialed { dial, conn, local } => Event::Dialed { dial, conn, local },
        Event::DialFailed { dial, error, refused } => Event::DialFailed { dial, error, refused },
        Event::Message(conn, message) => Event::Message(conn, message),
        Event::Malformed { conn, report } => Event::Malformed { conn, report },
        Event::Closed(conn) => Event::Closed(conn),
        Event::Plane(event) => Event::Plane(event),
        Event::PlaneReport(report) => Event::PlaneReport(report),
        Event::Timeout => Event::Timeout,
    }
}

/// A row of the forwarding table in an order of its own (`None`: this node itself).
pub type Row = (PipelineId, Ssrc, Option<LinkId>);

/// What the plane was told, checked for orders that make no sense.
#[derive(Debug, Default)]
pub struct Shadow {
    /// Links by number.
    pub links: BTreeMap<LinkId, HopLink>,
    /// Rows of the table.
    pub rows: BTreeSet<Row>,
    /// Keys.
    pub keys: BTreeSet<(PipelineId, Epoch)>,
    /// Pipelines.
    pub pipelines: BTreeSet<PipelineId>,
}

impl Shadow {
    fn apply(&mut self, command: &PlaneCommand) {
        let target = |next: &NextHop| match next {
            NextHop::Link(link) => Some(*link),
            NextHop::Local => None,
        };
        match command {
            PlaneCommand::AddLink(link) => {
                let old = self.links.insert(link.id, link.clone());
                assert!(old.is_none(), "link {} was there", link.id);
            }
            PlaneCommand::RemoveLink(link) => {
                assert!(self.links.remove(link).is_some(), "no link {link} to remove");
                self.rows.retain(|(_, _, to)| *to != Some(*link));
            }
            PlaneCommand::Promote(link) => {
                let link = self.links.get_mut(link).expect("a link to promote");
                assert!(std::mem::take(&mut link.standby), "promoted twice");
            }
            PlaneCommand::TellPositions => {}
            PlaneCommand::DefinePipeline(id, _) => {
                self.pipelines.insert(*id);
            }
            PlaneCommand::RemovePipeline(id) => {
                assert!(self.pipelines.remove(id), "no pipeline {id} to remove");
                self.rows.retain(|(pipeline, _, _)| pipeline != id);
                self.keys.retain(|(pipeline, _)| pipeline != id);
            }
            PlaneCommand::AddKey(id, epoch, _) => {
                assert!(self.pipelines.contains(id), "a key without a pipeline");
                assert!(self.keys.insert((*id, *epoch)), "a key twice");
            }
            PlaneCommand::RemoveKey(id, epoch) => {
                assert!(self.keys.remove(&(*id, *epoch)), "no key to remove");
            }
            PlaneCommand::AddRoute { pipeline, ssrc, next, .. } => {
                let target = target(next);
                let used = |link| self.links.get(&link).is_some_and(|l| !l.standby);
                let known = target.is_none_or(used);
                assert!(known && self.pipelines.contains(pipeline), "a row to nowhere");
                assert!(self.rows.insert((*pipeline, *ssrc, target)), "a row twice");
            }
            PlaneCommand::RemoveRoute { pipeline, ssrc, next } => {
                let row = (*pipeline, *ssrc, target(next));
                assert!(self.rows.remove(&row), "no row {row:?} to remove");
            }
            PlaneCommand::RequestKeyFrame(..) | PlaneCommand::SayCutOff(_) => {}
        }
    }
}

/// What control costs a node: what it sent and got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Bytes of their XML.
    pub bytes: u64,
}

impl Traffic {
    /// What has come since an earlier count.
    pub fn since(self, before: Traffic) -> Traffic {
        Traffic {
            messages: self.messages.saturating_sub(before.messages),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }

    pub(super) fn count(&mut self, xml: &str) {
        self.messages += 1;
        self.bytes += xml.len() as u64;
    }
}

/// One node.
pub struct SimNode {
    pub(super) core: AnyCore,
    pub(super) vault: SimVault,
    /// Its role.
    pub role: Role,
    pub(super) plane: Option<Plane>,
    /// What it got itself.
    pub sink: SimSink,
    /// What its plane was told.
    pub shadow: Shadow,
    pub(super) identity: Option<Identity>,
    /// The root was told to remove it.
    pub(super) removed: bool,
    /// Whether the process runs.
    pub alive: bool,
    /// Whether it runs but nothing comes or goes.
    pub frozen: bool,
    /// Whether it said that it has stopped.
    pub stopped: bool,
    /// How often it became attached.
    pub attaches: u32,
    /// How often its backup took over.
    pub failovers: u32,
    /// What it has refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// By how many microseconds its machine's clock is ahead of the others'.
    pub clock_ahead: i64,
    /// The version of the protocol that its program speaks.
    pub version: u32,
    /// When it last became attached, in microseconds.
    pub attached_at: u64,
    /// What it says its viewers are.
    pub viewers: u32,
    /// The mean round trip of its viewers in milliseconds, if it says one.
    pub rtt_ms: Option<f64>,
    /// Control messages that it sent and got.
    pub traffic: Traffic,
    /// Where it stands.
    pub region: String,
    /// As what it was started (not the root).
    pub(super) params: Option<NodeParams>,
    /// On which side of a partition it is.
    pub(super) side: u8,
    /// Whether its machine has no power: nobody answers there.
    pub(super) dark: bool,
    /// Links that were said to be silent, where there is no plane.
    pub(super) silent: BTreeSet<LinkId>,
    /// The parent that the root has last told it of.
    pub(super) told: Option<NodeId>,
    pub(super) next_wake: u64,
}

impl SimNode {
    pub(super) fn new(core: AnyCore, vault: SimVault, role: Role, plane: Option<Plane>) -> Self {
        Self {
            core,
            vault,
            role,
            plane,
            sink: SimSink::default(),
            shadow: Shadow::default(),
            identity: None,
            alive: true,
            frozen: false,
            stopped: false,
            removed: false,
            attaches: 0,
            failovers: 0,
            refused: BTreeMap::new(),
            clock_ahead: 0,
            version: VERSION,
            attached_at: 0,
            viewers: 0,
            rtt_ms: None,
            traffic: Traffic::default(),
            region: String::new(),
            params: None,
            side: 0,
            dark: false,
            silent: BTreeSet::new(),
            told: None,
            next_wake: u64::MAX,
        }
    }

    pub(super) fn of(mut self, params: NodeParams) -> Self {
        self.region.clone_from(&params.region);
        self.params = Some(params);
        self
    }

    /// Whether its process runs and has not said that it has stopped.
    pub fn runs(&self) -> bool {
        self.alive && !self.stopped
    }

    /// Whether it runs on the root's side of a partition. A node that was removed and has not heard
    /// of it finds every door shut.
    pub fn takes_part(&self) -> bool {
        let shut_out = self.removed && self.core().parent().is_none();
        self.runs() && self.side == 0 && !shut_out
    }

    /// The node's core.
    pub fn core(&self) -> &NodeCore {
        self.core.node()
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.core().id().clone()
    }

    /// Itself, the nodes below it and those that keep a warm link to it: whose messages it has.
    pub fn burden(&self) -> usize {
        let kept = |link: &&HopLink| link.standby && link.peer == PeerSide::Child;
        1 + self.core().subtree().len() + self.shadow.links.values().filter(kept).count()
    }

    /// The plane's counters.
    pub fn plane(&self) -> Option<&Plane> {
        self.plane.as_ref()
    }

    pub(super) fn key(&self) -> KeyHash {
        self.vault.key()
    }

    /// When its certificate runs out.
    pub(super) fn certified_until(&self) -> Wall {
        let identity = self.identity.as_ref();
        identity.and_then(|i| self.vault.validity(&i.certificate)).unwrap_or_default().1
    }

    /// Carries out an order to the plane.
    pub(super) fn plane_command(&mut self, now: Now, command: PlaneCommand) {
        self.shadow.apply(&command);
        if let Some(plane) = &mut self.plane {
            plane.handle_command(now, command, &mut self.sink);
        }
    }
}

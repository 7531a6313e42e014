//! What goes in and out of a control core: events in, actions out. The driver (`io`) moves bytes
//! between these and sockets; the simulator moves them between cores on virtual time.
//!
//! Once a second the driver also hands in what the forwarding plane and the process measured
//! ([`Event::PlaneReport`]); STATS, FULLSTATS and the positions in PLAYPIPELINE and PIPEDEFINFO
//! come from it. The order of actions matters: an [`Action::Identity`] holds for every
//! [`Action::Dial`] that comes after it, and plane commands are executed in their order.

use crate::media::api::{HopCredential, PlaneCommand, PlaneEvent};
use crate::refusals::Refusal;
use soleil_protocol::message::{Capacity, HostPort, Identity, StatsContainer};
use soleil_protocol::pipeline::{PipelineDef, Wrapped};
use soleil_protocol::{
    Epoch, LinkId, Message, Mono, NodeId, Now, PacketIndex, PipelineId, Rank, Role, Ssrc, Wall,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// One control connection, numbered by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

impl std::fmt::Display for ConnId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "connection {}", self.0)
    }
}

/// One attempt to dial, numbered by the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialId(pub u64);

/// SHA-256 of a certificate's SubjectPublicKeyInfo.
pub type KeyHash = [u8; 32];

/// Who TLS says is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A client that proved a join token (at the root only).
    Joining {
        /// The token's number, for the log.
        token: String,
        /// The role that the token grants.
        role: Role,
    },
    /// A node with a certificate of our CA that has not run out.
    Node {
        /// The id in the certificate.
        id: NodeId,
        /// Its key.
        key: KeyHash,
        /// When its certificate runs out: so does a child's link, unless the root renews it.
        until: Wall,
        /// The join token that it has proved beside its certificate, and the role that it grants
        /// (at the root only): a root that does not know the node can take it by that.
        token: Option<(String, Role)>,
    },
}

/// Whom to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialTarget {
    /// The root, with the join token (and the certificate, if there is one already).
    Root,
    /// A parent, with mutual TLS; its certificate must carry this id.
    Node(NodeId, HostPort),
}

/// What happens to a node.
#[derive(Debug, Clone)]
pub enum Event<C> {
    /// Somebody connected to us.
    Accepted {
        /// The connection.
        conn: ConnId,
        /// Who it is.
        peer: Peer,
        /// From where.
        remote: SocketAddr,
    },
    /// A dial worked.
    Dialed {
        /// Which attempt.
        dial: DialId,
        /// The connection.
        conn: ConnId,
        /// Our address on it.
        local: SocketAddr,
    },
    /// A dial failed.
    DialFailed {
        /// Which attempt.
        dial: DialId,
        /// Why; for the log.
        error: String,
        /// The root refused the token: trying again soon is no use.
        refused: bool,
    },
    /// A message came.
    Message(ConnId, Message),
    /// Something came that is not a message (the core answers ERROR and closes, or answers ERROR
    /// alone for an unknown type).
    Malformed {
        /// The connection.
        conn: ConnId,
        /// What is wrong with it, ready to be sent.
        report: soleil_protocol::message::ErrorReport,
    },
    /// The connection is gone.
    Closed(ConnId),
    /// From the forwarding plane.
    Plane(PlaneEvent),
    /// What the forwarding plane and the process measured: once a second.
    PlaneReport(PlaneReport),
    /// From the program around the core.
    Command(C),
    /// `poll_timeout`'s time has come.
    Timeout,
}

/// What the driver measured since the node began (counters) or at present (the rest).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlaneReport {
    /// CPU load of the process in percent of the whole machine (0 to 100).
    pub cpu: f64,
    /// Resident memory in bytes.
    pub memory: u64,
    /// What the media socket sends at present, bits per second.
    pub egress: u64,
    /// One row per (pipeline, SSRC) that the plane knows.
    pub layers: Vec<LayerReport>,
    /// One row per media link.
    pub links: Vec<LinkReport>,
}

/// One layer as the forwarding plane sees it on arrival. Counters run since the plane began.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerReport {
    /// Its pipeline.
    pub pipeline: PipelineId,
    /// Its SSRC.
    pub ssrc: Ssrc,
    /// Packets received, duplicates left out.
    pub received: u64,
    /// Packets that never came, repair included (RFC 3550 cumulative number lost).
    pub lost: u64,
    /// Interarrival jitter (RFC 3550 section 6.4.1) in milliseconds.
    pub jitter_ms: f64,
    /// Bits per second received at present.
    pub bitrate: u64,
    /// NACKs sent to the parent for it.
    pub nacks: u64,
    /// Key-frame requests sent to the parent for it.
    pub plis: u64,
    /// Packets thrown away: no route, over budget.
    pub drops: u64,
    /// Lowest index that can still be resent.
    pub first: Option<PacketIndex>,
    /// Highest index received (sealed, at the root).
    pub last: Option<PacketIndex>,
    /// Epoch of the newest packet.
    pub epoch: Option<Epoch>,
}

/// One media link as the forwarding plane sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkReport {
    /// Which link.
    pub link: LinkId,
    /// Round-trip time from RTCP in milliseconds, once known.
    pub rtt_ms: Option<f64>,
    /// Share of packets lost on this hop in the last interval before repair, 0 to 1.
    pub fraction_lost: Option<f64>,
}

/// The HPKE `info` for the hop credential of a link, wrapped for the child in a
/// [`soleil_protocol::message::ParentOffer`]. Tickets have a context of their own.
pub fn credential_context(child: &NodeId, link: LinkId) -> String {
    format!("soleil hop credential {child} {link}")
}

/// The HPKE `info` for a pipeline's key (16 bytes key, 12 bytes salt) in a PIPEDEF.
pub fn pipeline_key_context(receiver: &NodeId, pipeline: PipelineId, epoch: Epoch) -> String {
    format!("soleil pipeline key {receiver} {pipeline} {epoch}")
}

/// Who a node is, as its configuration says it: the arguments of
/// `NodeCore::new(params, vault, seed)` beside the vault and the seed. The core begins with the
/// first [`Event::Timeout`], which it asks for at once through `poll_timeout`.
#[derive(Debug, Clone)]
pub struct NodeParams {
    /// The name that it asks for (the root: its id).
    pub name: NodeId,
    /// Its role.
    pub role: Role,
    /// Where it takes control links; `None` for nodes that take no children.
    pub server: Option<HostPort>,
    /// Where its media port can be reached.
    pub media: Vec<SocketAddr>,
    /// Public base URL of its HTTP service (leaves).
    pub http: Option<String>,
    /// What it can carry.
    pub capacity: Capacity,
    /// Where it stands, in the operator's words.
    pub region: String,
    /// Labels of the operator.
    pub labels: Vec<(String, String)>,
}

/// What the program around any node can ask of it. The root has more of its own.
#[derive(Debug, Clone)]
pub enum NodeCommand {
    /// This node itself wants a pipeline (a leaf has viewers for it).
    Play(PipelineId),
    /// It no longer does.
    Stop(PipelineId),
    /// One of its viewers needs a key frame.
    KeyFrame(PipelineId, Ssrc),
    /// What it measured itself: merged into the next STATS and answered to REQFULLSTATS.
    LocalStats(Vec<StatsContainer>),
    /// Say BYE and stop, children first.
    Drain(String),
}

/// What a core wants done.
#[derive(Debug, Clone)]
pub enum Action {
    /// Dial somebody; answered by `Dialed` or `DialFailed`.
    Dial(DialId, DialTarget),
    /// Send a message.
    Send(ConnId, Message),
    /// Close a connection after what was sent has left.
    Close(ConnId, String),
    /// Tell the forwarding plane.
    Plane(PlaneCommand),
    /// A new identity: use it for every TLS connection from now on.
    Identity(Identity),
    /// The pipelines have changed.
    Pipelines(Arc<BTreeMap<PipelineId, PipelineDef>>),
    /// Attached to a parent (`true`) or not: readiness.
    Attached(bool),
    /// What it lacks has changed: readiness. Before the first one it lacks a parent.
    Lacks(Option<Lack>),
    /// Whether a backup stands by that could take over at once: for metrics.
    Reserve(bool),
    /// The backup has taken the parent's place without being told to: for metrics.
    FailedOver,
    /// Something was refused: for metrics and the log, which does not tell of each one.
    Refused {
        /// Why.
        why: Refusal,
        /// Whose link it came on, if that has a name.
        who: Option<NodeId>,
        /// For people.
        text: String,
    },
    /// The node has drained or was killed: the program ends.
    Stopped(String),
}

/// What a node needs from above and does not have: while it lacks anything it can promise no media
/// to anybody. The root lacks nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// It has no parent.
    Parent,
    /// The media path to its parent has not opened.
    Media,
    /// The root has not asked a leaf for its statistics for a while: somewhere above it the tree is
    /// cut.
    Root,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Lack::Parent => "the node has no parent",
            Lack::Media => {
                "the media path to the parent does not open: is UDP let through, and is the                  parent's media.announce right?"
            }
            Lack::Root => "the root is not heard: a node above has no way to it",
        })
    }
}

/// A control core: pure, driven by events and time.
pub trait Core: Send {
    /// The commands that it takes.
    type Command: Send + 'static;
    /// Takes an event.
    fn handle(&mut self, now: Now, event: Event<Self::Command>);
    /// The next thing to be done; call until it is `None`.
    fn poll_action(&mut self) -> Option<Action>;
    /// When to call `handle` with [`Event::Timeout`] at the latest.
    fn poll_timeout(&self) -> Option<Mono>;
}

/// What a parent learns from a valid ticket.
#[derive(Debug, Clone)]
pub struct TicketClaims {
    /// The child that may attach.
    pub child: NodeId,
    /// Its key.
    pub child_key: KeyHash,
    /// Its incarnation from now on: every offer of a parent has a new one.
    pub incarnation: soleil_protocol::Incarnation,
    /// The media link.
    pub link: LinkId,
    /// The link's secret, unwrapped.
    pub credential: HopCredential,
    /// For a backup: the child's rank in the plan, which the parent's has to be below, so that two
    /// orphans can't adopt each other (DESIGN 6.4). `None` if the root sends the child there itself.
    pub backup: Option<Rank>,
}

/// A node's own secrets, as the core uses them. The real one is in `identity`; the simulator has
/// a cheap one.
pub trait Vault: Send {
    /// A PKCS #10 request (DER) for this node's key.
    fn certificate_request(&mut self, name: &NodeId) -> Vec<u8>;
    /// The X25519 public key for HPKE.
    fn wrap_key(&self) -> Vec<u8>;
    /// Opens what was wrapped for this node; `None` if it was not.
    fn unwrap(&self, context: &str, wrapped: &Wrapped) -> Option<Vec<u8>>;
    /// Whether this node can use an identity: the certificate names it, is for this node's key,
    /// was issued by the identity's authority, and is valid now. Whether it is the right authority
    /// the core knows.
    ///
    /// # Errors
    /// A sentence that says why it is refused.
    fn check_identity(&self, identity: &Identity, now: Now) -> Result<(), String>;
    /// When a certificate (DER) begins and ends to be valid; `None` if it can't be read. The core
    /// renews its own at two thirds of the time between.
    fn validity(&self, certificate: &[u8]) -> Option<(Wall, Wall)>;
    /// Checks a ticket that a child shows: signature, that it names `parent`, expiry; unwraps the
    /// credential. The error is for the log and the ERROR message.
    ///
    /// # Errors
    /// A sentence that says why the ticket is refused.
    fn check_ticket(
        &self,
        ticket_key: &[u8],
        parent: &NodeId,
        ticket: &[u8],
        now: Now,
    ) -> Result<TicketClaims, String>;
}

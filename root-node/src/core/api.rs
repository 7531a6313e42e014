//! What goes in and out of the root's core beyond what every node has: the authority that signs
//! and wraps, the commands of the program around it, and what it tells that program. Not for the
//! wire: that is `soleil_protocol`.

use super::adopt::Memory;
use relay_node::control::api::{KeyHash, NodeCommand};
use relay_node::media::api::{HopCredential, PipelineKey};
use soleil_protocol::message::{Capacity, HostPort, Stat, StatsContainer};
use soleil_protocol::pipeline::{PipelineDef, Wrapped};
use soleil_protocol::{
    Epoch, Incarnation, LinkId, NodeId, Now, PipelineId, Rank, Role, Ssrc, Wall,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a link ticket says. The authority wraps the credential for the parent and signs.
#[derive(Debug, Clone)]
pub struct TicketRequest {
    /// Who may attach.
    pub child: NodeId,
    /// Its key.
    pub child_key: KeyHash,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// To whom.
    pub parent: NodeId,
    /// The parent's HPKE public key.
    pub parent_wrap_key: Vec<u8>,
    /// The media link.
    pub link: LinkId,
    /// The link's secret.
    pub credential: HopCredential,
    /// The child's rank, if the parent is a backup.
    pub backup: Option<Rank>,
    /// The version of the protocol that the parent speaks: it has to understand the ticket.
    pub version: u32,
    /// How long the ticket is good for.
    pub lives: Duration,
}

/// The root's secrets, as its core uses them. The real one is in `authority`; the simulator has
/// a cheap one.
pub trait Authority: Send {
    /// Checks a PKCS #10 request's own signature and returns the hash of its key.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    fn request_key(&self, csr: &[u8]) -> Result<KeyHash, String>;
    /// Issues a short-lived certificate (DER) for the request's key. Only the id and the role
    /// given here go into it, nothing that the request asks for.
    ///
    /// # Errors
    /// A sentence that says why not.
    fn issue(&mut self, now: Now, id: &NodeId, role: Role, csr: &[u8]) -> Result<Vec<u8>, String>;
    /// The CA's certificate (DER).
    fn ca_certificate(&self) -> Vec<u8>;
    /// The Ed25519 public key (32 bytes) that verifies tickets.
    fn ticket_key(&self) -> Vec<u8>;
    /// Wraps the credential for the parent and signs a ticket.
    ///
    /// # Errors
    /// A sentence that says why not (a wrap key that is no point on the curve).
    fn sign_ticket(&mut self, now: Now, ticket: &TicketRequest) -> Result<Vec<u8>, String>;
    /// Wraps a secret (HPKE; `context` is the `info`) for the owner of `wrap_key`.
    ///
    /// # Errors
    /// A sentence that says why not.
    fn wrap(&mut self, wrap_key: &[u8], context: &str, secret: &[u8]) -> Result<Wrapped, String>;
    /// Bytes that nobody can guess: credentials and pipeline keys are made of them.
    fn random(&mut self, out: &mut [u8]);
    /// Whether a join token has not been taken back. One that has only expired stands: it lets
    /// nobody in any more, and who came by it stays.
    fn token_stands(&self, token: &str) -> bool;
}

/// What the root is told at its start.
#[derive(Debug, Clone)]
pub struct RootConfig {
    /// Its id, as its certificate has it.
    pub id: NodeId,
    /// Where nodes reach its overlay listener.
    pub server: HostPort,
    /// Where nodes reach its media port.
    pub media: Vec<SocketAddr>,
    /// Its capacity: children that it takes itself.
    pub capacity: Capacity,
    /// Where it stands.
    pub region: String,
    /// Whether nodes that keep falling over are nobody's parent for a while ([`super::steadiness`]).
    pub avoid_unsteady: bool,
}

/// What the program around the root can ask of it.
#[derive(Debug, Clone)]
pub enum RootCommand {
    /// What any node can be asked.
    Node(NodeCommand),
    /// A new pipeline, or a new definition of one. A new one gets a key, which comes back as
    /// [`RootOutput::Key`].
    DefinePipeline(PipelineDef),
    /// The source has come on air or gone.
    SetLive(PipelineId, bool),
    /// The pipeline is over.
    RemovePipeline(PipelineId, String),
    /// A new key epoch for a pipeline (revocation).
    Rotate(PipelineId),
    /// Stop a node; its children move first. Every pipeline gets a new epoch.
    Kill {
        /// Which node.
        node: NodeId,
        /// How long it may take, in seconds.
        grace_secs: u32,
        /// Why, for the log.
        reason: String,
    },
    /// Move a node under another parent, make before break.
    Move {
        /// Which node.
        node: NodeId,
        /// Its new parent.
        parent: NodeId,
    },
}

impl From<NodeCommand> for RootCommand {
    fn from(command: NodeCommand) -> Self {
        RootCommand::Node(command)
    }
}

/// What the root's core tells the program around it, through `RootCore::poll_output`.
#[derive(Debug, Clone)]
pub enum RootOutput {
    /// The tree or its statistics have changed (at most every 100 ms).
    View(Arc<RootView>),
    /// Seal this pipeline with this key from now on: the nodes have it.
    Key {
        /// Which pipeline.
        pipeline: PipelineId,
        /// The epoch.
        epoch: Epoch,
        /// The key.
        key: PipelineKey,
    },
    /// Viewers need a key frame: ask the source (merged already).
    KeyFrameWanted(PipelineId, Ssrc),
    /// The store shall keep this, so that a later start knows it.
    Remember(Memory),
}

/// A snapshot of the tree and its statistics for pages and play redirects.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RootView {
    /// When it was taken.
    pub at: Wall,
    /// Every node that has joined and is not forgotten, the root first, then by id.
    pub nodes: Vec<NodeView>,
    /// Every pipeline, by number.
    pub pipelines: Vec<PipelineView>,
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// Its role.
    pub role: Role,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its parent, in the tree or planned; `None` for the root and for nodes without a place.
    pub parent: Option<NodeId>,
    /// Its place in the plan.
    pub rank: Rank,
    /// Hops from the root; 0 for a node without a place.
    pub depth: u32,
    /// Where it goes when it loses its parent, in this order.
    pub backups: Vec<NodeId>,
    /// Whether the whole path to the root stands.
    pub attached: bool,
    /// Whether it is about to leave (BYE or KILL): nothing new is sent to it.
    pub leaving: bool,
    /// Where it takes control links.
    pub server: Option<HostPort>,
    /// Its media addresses.
    pub media: Vec<SocketAddr>,
    /// Public base URL of its HTTP service.
    pub http: Option<String>,
    /// Where it stands.
    pub region: String,
    /// Labels of the operator.
    pub labels: Vec<(String, String)>,
    /// What it can carry.
    pub capacity: Capacity,
    /// Child nodes that it has or will have soon.
    pub children: u32,
    /// Its viewers by its last FULLSTATS.
    pub viewers: u32,
    /// Its last FULLSTATS.
    pub stats: Vec<StatsContainer>,
}

/// One pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineView {
    /// Its definition.
    pub def: PipelineDef,
    /// The key epoch in use.
    pub epoch: Epoch,
    /// What STATS says of the whole tree.
    pub stats: Vec<Stat>,
}

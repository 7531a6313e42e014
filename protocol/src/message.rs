//! Every message of the protocol as typed data. The XML is in [`crate::xml`], the rules of who may
//! send what to whom in [`crate::routing`], the words of enumerations in `message/words.rs`.

mod methods;
mod words;

pub use words::UnknownWord;

use crate::address::Address;
use crate::ids::{Epoch, Incarnation, LinkId, NodeId, PacketIndex, PipelineId, Rank, Role, Ssrc};
use crate::pipeline::{EpochKey, PipelineDef, Wrapped};
use crate::time::Millis;
use std::net::SocketAddr;

/// The protocol version that this crate speaks. The thesis' messages carry none and count as 0.
/// What each version has brought is in docs/protocol.md.
pub const VERSION: u32 = 2;

/// The version that brought warm links to backups: [`Hello::warm`], the rank in tickets, and
/// [`ParentOffer::version`].
pub const WARM_VERSION: u32 = 2;

/// The version that two neighbours speak: the lower of the two, if they are at most one apart
/// (PROTOCOL "Versions": a version and its predecessor always interwork).
pub fn common(ours: u32, theirs: u32) -> Option<u32> {
    (theirs.abs_diff(ours) <= 1).then_some(theirs.min(ours))
}

/// The version that this crate and a neighbour speak.
pub fn common_version(theirs: u32) -> Option<u32> {
    common(VERSION, theirs)
}

/// One message: the envelope and its body (thesis 3.1).
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// When it was sent; FULLSTATS echoes its request's time.
    pub time: Millis,
    /// The sender; absent means the direct neighbour.
    pub from: Option<Address>,
    /// The destination; absent means the direct neighbour.
    pub to: Option<Address>,
    /// What it says.
    pub body: Body,
}

/// The body, one variant per message type (thesis 3.1.1).
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A node presents itself.
    Hello(Box<Hello>),
    /// A graceful leave.
    Bye(Bye),
    /// Which nodes were added to or removed from the sender's subtree.
    ChildsUpdate(ChildsUpdate),
    /// Something that was sent could not be handled.
    Error(ErrorReport),
    /// The root stops a node.
    Kill(Kill),
    /// Neighbours measure their round-trip time.
    Ping(Echo),
    /// The answer to a PING.
    Pong(Echo),
    /// The root gives a node its identity, parent and backups.
    Redirect(Box<Redirect>),
    /// A pipeline's definition and keys.
    PipeDef(PipeDef),
    /// What a node knows of a pipeline.
    PipeDefInfo(PipeDefInfo),
    /// Start forwarding to the sender.
    PlayPipeline(Play),
    /// Stop forwarding to the sender.
    StopPipeline(Stop),
    /// The pipeline is over.
    RemovePipeline(RemovePipeline),
    /// An explicit path for a pipeline.
    RoutePipeline(RoutePipeline),
    /// Aggregated statistics, child to parent.
    Stats(Vec<StatsContainer>),
    /// The root asks one node for its unaggregated statistics.
    ReqFullStats(ReqFullStats),
    /// The answer to REQFULLSTATS.
    FullStats(FullStats),
}

/// A host name or address with a port, as in the thesis' `minaServerAddress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, without brackets for IPv6.
    pub host: String,
    /// TCP or UDP port.
    pub port: u16,
}

/// HELLO: node → root (join, renewal, with a certificate request), then node → its parent (with a
/// ticket); the parent answers with its own HELLO, which makes the link primary, or warm if that
/// was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// The name the node asks for, or has.
    pub name: NodeId,
    /// Where it accepts control links (`minaServerAddress`); absent for nodes that take no children.
    pub server: Option<HostPort>,
    /// Where it sends from (`minaClientAddress`), as far as it knows.
    pub client: Option<HostPort>,
    /// Pipelines that it already carries.
    pub pipelines: Vec<PipelineId>,
    /// Protocol version that it speaks; 0 when the element is absent, as in the thesis.
    pub version: u32,
    /// Its role; absent in the thesis' message.
    pub role: Option<Role>,
    /// Which life of this name it is; 0 before the root gave one.
    pub incarnation: Incarnation,
    /// How much it can carry.
    pub capacity: Capacity,
    /// Where it stands, in the operator's words; may be empty.
    pub region: String,
    /// Free labels of the operator.
    pub labels: Vec<(String, String)>,
    /// UDP addresses of its media port.
    pub media: Vec<SocketAddr>,
    /// Public base URL of its HTTP service (leaves).
    pub http: Option<String>,
    /// PKCS #10 certificate request, DER (to the root).
    pub csr: Option<Vec<u8>>,
    /// X25519 public key for HPKE (to the root).
    pub wrap_key: Option<Vec<u8>>,
    /// The ticket for this parent (to a parent).
    pub ticket: Option<Vec<u8>>,
    /// 16 random bytes that make the link's RTCP keys fresh (between child and parent).
    pub nonce: Option<Vec<u8>>,
    /// The link is to be kept in reserve: no routes and no pipelines go over it until a second HELLO
    /// without this makes it primary. A parent that understands it says it in its answer too.
    pub warm: bool,
}

/// How much a node can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capacity {
    /// Child nodes it will take.
    pub children: u32,
    /// Viewers it will take.
    pub viewers: u32,
    /// Bits per second it may send; 0 means not stated.
    pub egress: u64,
}

/// BYE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bye {
    /// Why, for the log.
    pub reason: String,
}

/// CHILDSUPDATE: differences of the sender's subtree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChildsUpdate {
    /// Nodes that are in the subtree now.
    pub added: Vec<Child>,
    /// Nodes that are no longer in it, with the incarnation that left.
    pub removed: Vec<(NodeId, Incarnation)>,
}

/// A node below the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Its id.
    pub id: NodeId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its parent.
    pub parent: NodeId,
    /// Nodes in its subtree, itself included, when it was announced. Receivers count for themselves
    /// ([`crate::routing::SubtreeTable::weight`]).
    pub weight: u32,
}

/// Reasons in an ERROR message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Not well formed, over a limit, or a value that makes no sense.
    Malformed,
    /// A type that this version does not know.
    UnknownType,
    /// No node of that name.
    UnknownNode,
    /// `from` is not the sender's to use.
    Forged,
    /// Token or ticket refused.
    Unauthorized,
    /// No capacity left.
    Full,
    /// A pipeline that is not known.
    UnknownPipeline,
    /// Versions do not overlap.
    Version,
    /// Anything else.
    Internal,
}

/// ERROR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReport {
    /// What kind of failure.
    pub code: ErrorCode,
    /// For people.
    pub text: String,
    /// `time` of the message that failed.
    pub failed_time: Option<Millis>,
    /// `type` of the message that failed.
    pub failed_type: String,
}

/// KILL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// How long the node may take to move its children and viewers, in seconds.
    pub grace_secs: u32,
    /// Why, for the log.
    pub reason: String,
}

/// PING and PONG: the receiver echoes the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// At most 32 characters, opaque.
    pub token: String,
}

/// How a node goes over to its new parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveMode {
    /// Make before break.
    Overlap,
    /// Leave the old parent first.
    AtOnce,
}

/// REDIRECT.
#[derive(Debug, Clone, PartialEq)]
pub struct Redirect {
    /// The node's place in the plan.
    pub rank: Rank,
    /// How to move.
    pub mode: MoveMode,
    /// A new identity (answer to a join or a renewal).
    pub identity: Option<Identity>,
    /// New parent first, then backups; empty means keep the parent.
    pub parents: Vec<ParentOffer>,
}

/// Who a node is, as the root certified it.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The id that the root gave.
    pub id: NodeId,
    /// The incarnation that the root gave.
    pub incarnation: Incarnation,
    /// The node's certificate (DER).
    pub certificate: Vec<u8>,
    /// The root CA's certificate (DER).
    pub authority: Vec<u8>,
    /// Ed25519 public key (32 bytes) that verifies tickets.
    pub ticket_key: Vec<u8>,
}

/// One parent that a node may attach to.
#[derive(Debug, Clone, PartialEq)]
pub struct ParentOffer {
    /// The parent's id.
    pub id: NodeId,
    /// Where it accepts control links.
    pub server: HostPort,
    /// Where it accepts media.
    pub media: Vec<SocketAddr>,
    /// The media link's number.
    pub link: LinkId,
    /// The version that this parent and the receiver speak; version 1 does not say it.
    pub version: u32,
    /// The signed ticket, to be shown to the parent.
    pub ticket: Vec<u8>,
    /// The hop credential (32 bytes), wrapped for the child.
    pub credential: Wrapped,
}

/// PIPEDEF.
#[derive(Debug, Clone, PartialEq)]
pub struct PipeDef {
    /// The definition.
    pub def: PipelineDef,
    /// Keys of the epochs in use, wrapped for the receiver; empty when the message goes to `*`.
    pub keys: Vec<EpochKey>,
    /// Nodes that were removed of late and have not got the newest key, each with the last incarnation
    /// that is not wanted: the receiver keeps no link below it to any of them. At most
    /// [`MAX_REMOVALS`](crate::limits::MAX_REMOVALS).
    pub removed: Vec<(NodeId, Incarnation)>,
}

/// PIPEDEFINFO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipeDefInfo {
    /// Which pipeline.
    pub pipeline: PipelineId,
    /// Whether it flows.
    pub state: PipelineState,
    /// What is known of each layer that flows.
    pub layers: Vec<LayerInfo>,
}

/// Whether a pipeline flows at the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipelineState {
    /// Defined, nothing arrives.
    Idle,
    /// Packets arrive.
    Flowing,
    /// Not known here.
    Unknown,
}

/// One layer in PIPEDEFINFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerInfo {
    /// Which SSRC.
    pub ssrc: Ssrc,
    /// Highest index seen.
    pub last: PacketIndex,
    /// Lowest index that can still be resent.
    pub first: PacketIndex,
    /// Epoch of the newest packet.
    pub epoch: Epoch,
}

/// PLAYPIPELINE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Play {
    /// Which pipeline.
    pub pipeline: PipelineId,
    /// Which layers, each from a given index on if one is named; empty means all, from now.
    pub layers: Vec<(Ssrc, Option<PacketIndex>)>,
}

/// STOPPIPELINE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Which pipeline.
    pub pipeline: PipelineId,
    /// Which layers; empty means all.
    pub layers: Vec<Ssrc>,
}

/// REMOVEPIPELINE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovePipeline {
    /// Which pipeline.
    pub pipeline: PipelineId,
    /// Why, for the log.
    pub reason: String,
}

/// ROUTEPIPELINE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePipeline {
    /// Which pipeline.
    pub pipeline: PipelineId,
    /// The path from the root down, the root left out.
    pub path: Vec<NodeId>,
}

/// One `statsContainer` (thesis 3.1.2).
#[derive(Debug, Clone, PartialEq)]
pub struct StatsContainer {
    /// Start of the interval, seconds since the epoch.
    pub start: u64,
    /// End of the interval, seconds since the epoch.
    pub end: u64,
    /// Children of the sender.
    pub children: u32,
    /// The pipeline it speaks of; `None` for what belongs to the node itself (CPU, memory).
    pub id: Option<PipelineId>,
    /// Name and value pairs.
    pub stats: Vec<Stat>,
}

/// One `DBValue`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stat {
    /// The name as written: `cumpklost` is read as `cumpktlost`.
    pub name: String,
    /// The (weighted mean) value. Always finite.
    pub value: f64,
    /// How many nodes or viewers it speaks for; `None` in the thesis' messages, where the
    /// receiver weighs by the sender's subtree.
    pub weight: Option<f64>,
}

/// REQFULLSTATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReqFullStats {
    /// Only this pipeline; `None` asks for all.
    pub pipeline: Option<PipelineId>,
}

/// FULLSTATS.
#[derive(Debug, Clone, PartialEq)]
pub struct FullStats {
    /// The containers, unaggregated.
    pub containers: Vec<StatsContainer>,
    /// End of the interval, seconds since the epoch.
    pub end: Option<u64>,
}

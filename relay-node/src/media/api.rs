//! The seam between the control core and the forwarding plane (DESIGN 2): commands go down,
//! events come up, and opened packets are delivered to the node's own use (leaf: viewers).

use soleil_protocol::pipeline::MediaKind;
use soleil_protocol::{Epoch, LinkId, NodeId, PacketIndex, PipelineId, Ssrc};
use std::net::SocketAddr;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The secret of one media link, made by the root, known to child and parent (PROTOCOL "Opening").
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct HopCredential(pub [u8; 32]);

/// SRTP master key and salt of one epoch of a pipeline (RFC 7714 section 12: 16 and 12 bytes).
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PipelineKey {
    /// AES-128 master key.
    pub key: [u8; 16],
    /// Master salt.
    pub salt: [u8; 12],
}

impl std::fmt::Debug for HopCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HopCredential(..)")
    }
}

impl std::fmt::Debug for PipelineKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PipelineKey(..)")
    }
}

/// Who the peer of a media link is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerSide {
    /// It sends media to us; we open the path.
    Parent,
    /// We send media to it; it opens the path.
    Child,
}

/// A media link as the control plane knows it.
#[derive(Debug, Clone)]
pub struct HopLink {
    /// Its number, half of the STUN user name.
    pub id: LinkId,
    /// Who the peer is.
    pub peer: PeerSide,
    /// The child's node id (ours if the peer is the parent), the other half of the user name.
    pub child: NodeId,
    /// The parent's media addresses, tried in order; empty if the peer is the child.
    pub addresses: Vec<SocketAddr>,
    /// The shared secret.
    pub credential: HopCredential,
    /// From the child's HELLO; with `parent_nonce` the salt of the link's RTCP keys.
    pub child_nonce: [u8; 16],
    /// From the parent's HELLO.
    pub parent_nonce: [u8; 16],
    /// Between a node and its backup: the path is open and heartbeats run, but nothing is routed
    /// over it. The child asks here for what its parent is late with.
    pub standby: bool,
}

/// What the forwarding plane has to know of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSpec {
    /// Its SSRC.
    pub ssrc: Ssrc,
    /// RTP clock rate in Hz, for jitter.
    pub clock_rate: u32,
    /// Sound or picture.
    pub kind: MediaKind,
}

/// Where packets of a layer go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// A child's link.
    Link(LinkId),
    /// This node's own use: opened and delivered to the [`LocalSink`].
    Local,
}

/// What the control core tells the forwarding plane.
#[derive(Debug, Clone)]
pub enum PlaneCommand {
    /// A new media link; a parent's is opened at once, a child's waits for its STUN request.
    AddLink(HopLink),
    /// Forget the link, its address and all routes over it.
    RemoveLink(LinkId),
    /// The backup has become the parent: the link is an ordinary one from now on.
    Promote(LinkId),
    /// Answered by [`PlaneEvent::Positions`].
    TellPositions,
    /// A pipeline's layers; replaces an earlier definition, rings of layers that stay are kept.
    DefinePipeline(PipelineId, Vec<LayerSpec>),
    /// Forget a pipeline, its keys, rings and routes.
    RemovePipeline(PipelineId),
    /// The key of an epoch, for verification (and opening at a leaf).
    AddKey(PipelineId, Epoch, PipelineKey),
    /// The epoch is over.
    RemoveKey(PipelineId, Epoch),
    /// One row of the table: (pipeline, SSRC) → next hop, resending from `from` on if it is given.
    AddRoute {
        /// Which pipeline.
        pipeline: PipelineId,
        /// Which layer.
        ssrc: Ssrc,
        /// To whom.
        next: NextHop,
        /// First index wanted; what the ring still has from there on is sent at once.
        from: Option<PacketIndex>,
    },
    /// Takes one row out of the table.
    RemoveRoute {
        /// Which pipeline.
        pipeline: PipelineId,
        /// Which layer.
        ssrc: Ssrc,
        /// To whom no longer.
        next: NextHop,
    },
    /// Tells all children with each heartbeat that this node has no way to the root, or no longer.
    SayCutOff(bool),
    /// A viewer of this node needs a key frame: merged with those of children (one PLI per SSRC
    /// and 500 ms goes up).
    RequestKeyFrame(PipelineId, Ssrc),
}

/// What the forwarding plane tells the control core.
#[derive(Debug, Clone, PartialEq)]
pub enum PlaneEvent {
    /// The peer's address has been validated: media may flow.
    LinkOpen(LinkId, SocketAddr),
    /// Nothing authenticated has come from the peer for the heartbeat time-out.
    LinkSilent(LinkId),
    /// A parent or backup says that it has no way to the root (`true`), or has one again.
    CutOff(LinkId, bool),
    /// For each layer that has been received: the first index that has not been heard of.
    Positions(Vec<(Ssrc, PacketIndex)>),
    /// A merged key-frame request that has no parent to go to (at the root: ask the source).
    KeyFrameWanted(PipelineId, Ssrc),
}

/// An opened packet of a layer that this node uses itself.
#[derive(Debug, Clone, Copy)]
pub struct LocalPacket<'a> {
    /// Its pipeline.
    pub pipeline: PipelineId,
    /// Its layer.
    pub ssrc: Ssrc,
    /// Its 48-bit index.
    pub index: PacketIndex,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// RTP payload type on the hop.
    pub payload_type: u8,
    /// Absolute capture time, NTP 32.32 (header extension id 2).
    pub capture: u64,
    /// Frame marks (header extension id 3).
    pub marks: FrameMarks,
    /// The plain payload.
    pub payload: &'a [u8],
}

/// Header extension id 3: one byte that lets a node drop frames without decoding.
///
/// Bit 7: first packet of a key frame; bit 6: discardable; bits 0-2: temporal layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameMarks(pub u8);

impl FrameMarks {
    /// First packet of a key frame (video).
    pub const KEY_START: u8 = 0x80;
    /// No other frame needs this one.
    pub const DISCARDABLE: u8 = 0x40;

    /// Whether a key frame starts here.
    pub fn key_start(self) -> bool {
        self.0 & Self::KEY_START != 0
    }

    /// Whether no other frame needs this one.
    pub fn discardable(self) -> bool {
        self.0 & Self::DISCARDABLE != 0
    }

    /// Temporal layer, 0 is the base.
    pub fn temporal_layer(self) -> u8 {
        self.0 & 0x07
    }
}

/// Takes the packets that are routed to [`NextHop::Local`]. Called on the media thread: it must
/// neither block nor allocate more than it must.
pub trait LocalSink: Send {
    /// One packet, in order of arrival (repair may deliver an older index later).
    fn deliver(&mut self, packet: LocalPacket<'_>);
    /// The batch is over: wake whoever waits for it.
    fn flush(&mut self);
}

/// A sink for nodes that use nothing themselves.
#[derive(Debug, Default)]
pub struct NoSink;

impl LocalSink for NoSink {
    fn deliver(&mut self, _packet: LocalPacket<'_>) {}
    fn flush(&mut self) {}
}

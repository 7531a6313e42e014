//! What the forwarding plane counts. Counters only rise; rates are the reader's business.

use super::api::PeerSide;
use super::rtcp::ReportBlock;
use soleil_protocol::{Epoch, LinkId, PacketIndex, PipelineId, Ssrc};
use std::net::SocketAddr;
use std::time::Duration;

/// A snapshot of everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlaneStats {
    /// One entry per layer.
    pub layers: Vec<LayerStats>,
    /// One entry per link.
    pub links: Vec<LinkStats>,
    /// Datagrams that concern no layer and no link.
    pub strays: StrayStats,
    /// What the I/O layer adds.
    pub io: IoStats,
}

/// Counters of one layer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LayerStats {
    /// Its pipeline.
    pub pipeline: PipelineId,
    /// Its SSRC.
    pub ssrc: Ssrc,
    /// The highest index that has come.
    pub highest: Option<PacketIndex>,
    /// The lowest index that can still be resent.
    pub oldest: Option<PacketIndex>,
    /// Epoch of the latest packet.
    pub epoch: Option<Epoch>,
    /// Authentic packets, each counted once.
    pub packets: u64,
    /// Their bytes as UDP payload.
    pub bytes: u64,
    /// Copies handed to links and to this node's own use.
    pub forwarded: u64,
    /// Packets that did not come on their own: lost on the hop before repair.
    pub missed: u64,
    /// Packets that came after they had been asked for.
    pub repaired: u64,
    /// Packets given up: lost after repair.
    pub lost: u64,
    /// Packets that are looked for now.
    pub missing: u64,
    /// Packets seen before, dropped.
    pub duplicates: u64,
    /// Packets older than the replay window, dropped.
    pub too_old: u64,
    /// Packets that are not authentic, dropped.
    pub forged: u64,
    /// Packets of an unknown epoch, dropped.
    pub unknown_key: u64,
    /// Packets that nobody here has asked for, dropped ("sink or swim", thesis 7.2).
    pub no_route: u64,
    /// Packets with the start of a key frame.
    pub key_frames: u64,
    /// Merged key-frame requests that went up (or to the source).
    pub key_frame_requests: u64,
    /// Packets asked for by NACK (each request counts).
    pub nacks: u64,
    /// Packets that children asked for and that were missing here too, or that had just been
    /// sent on: one request goes up, one copy goes down.
    pub absorbed: u64,
    /// Interarrival jitter (RFC 3550 section 6.4.1).
    pub jitter: Duration,
}

/// Counters of one link.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkStats {
    /// Its number.
    pub id: LinkId,
    /// Who the peer is.
    pub peer: PeerSide,
    /// The validated address; `None` while the link is not open.
    pub address: Option<SocketAddr>,
    /// Whether the peer is silent at present.
    pub silent: bool,
    /// Smoothed round-trip time, once measured.
    pub rtt: Option<Duration>,
    /// Share of packets lost on this hop in the last interval, before repair (0 to 1): as we see
    /// it (peer is the parent) or as the peer reports it, the mean of its layers.
    pub fraction_lost: Option<f64>,
    /// Media packets sent, those sent again included.
    pub packets_sent: u64,
    /// Their bytes as UDP payload.
    pub bytes_sent: u64,
    /// Authentic media packets received (no duplicates).
    pub packets_received: u64,
    /// Their bytes as UDP payload.
    pub bytes_received: u64,
    /// Packets sent again for a NACK.
    pub resent: u64,
    /// Packets that we asked the peer for (each request counts).
    pub nacks_sent: u64,
    /// Packets that the peer asked us for.
    pub nacks_received: u64,
    /// Of these, what we neither have nor can get.
    pub unavailable: u64,
    /// Key-frame requests sent to the peer.
    pub plis_sent: u64,
    /// Key-frame requests from the peer.
    pub plis_received: u64,
    /// RTCP under the peer's name that is not authentic, or malformed.
    pub rtcp_refused: u64,
    /// Packets not sent since a limit was reached.
    pub dropped: u64,
    /// Packets that the peer's RFC 8888 feedback speaks of.
    pub feedback_packets: u64,
    /// Of these, those that had not arrived.
    pub feedback_lost: u64,
    /// The peer's latest report on each layer.
    pub reports: Vec<ReportBlock>,
}

impl LinkStats {
    pub(super) fn new(id: LinkId, peer: PeerSide) -> Self {
        Self {
            id,
            peer,
            address: None,
            silent: false,
            rtt: None,
            fraction_lost: None,
            packets_sent: 0,
            bytes_sent: 0,
            packets_received: 0,
            bytes_received: 0,
            resent: 0,
            nacks_sent: 0,
            nacks_received: 0,
            unavailable: 0,
            plis_sent: 0,
            plis_received: 0,
            rtcp_refused: 0,
            dropped: 0,
            feedback_packets: 0,
            feedback_lost: 0,
            reports: Vec::new(),
        }
    }
}

/// Datagrams that were dropped before they could be given to a layer or a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StrayStats {
    /// Neither STUN nor RTP nor RTCP.
    pub unknown: u64,
    /// STUN that is malformed, of no link of ours or not authentic.
    pub stun_refused: u64,
    /// RTCP that is too short or of no link of ours.
    pub rtcp_refused: u64,
    /// Media from an address that is not a validated parent's.
    pub not_validated: u64,
    /// Media in another form than the hop's.
    pub malformed: u64,
    /// Media of an SSRC that no pipeline has.
    pub unknown_layer: u64,
    /// Layers not defined since another pipeline has their SSRC.
    pub conflicts: u64,
    /// Links not made since there has been one of the same secrets.
    pub links_refused: u64,
}

/// What the socket adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoStats {
    /// Datagrams received.
    pub received: u64,
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// Datagrams that the kernel refused.
    pub refused: u64,
    /// Datagrams dropped since the socket's buffer stayed full.
    pub dropped: u64,
    /// Commands that came while the queue was full, lost.
    pub commands_lost: u64,
    /// Packets injected while the queue was full, lost.
    pub injected_lost: u64,
}

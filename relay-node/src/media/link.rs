//! One media link: its keys, its address and whether that is validated, its timers, and what is
//! queued for it. What it does is decided in [`super::plane`].

use super::api::{HopLink, PeerSide};
use super::pace::Pace;
use super::srtp::{SrtcpOpener, SrtcpSealer, SrtpKeys};
use super::stats::LinkStats;
use super::stun::{self, Transaction};
use ring::{digest, hkdf, hmac};
use soleil_protocol::{LinkId, Mono, PacketIndex, Ssrc};
use std::collections::VecDeque;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// Layers that a link keeps the peer's reports of.
pub const MAX_PEER_REPORTS: usize = 256;

/// Binding requests of the peer that a link remembers: none of them means anything twice. A path
/// takes a handful to open; afterwards the keepalives of a minute.
pub const MAX_SEEN_REQUESTS: usize = 64;

/// Where a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The address is not validated (again).
    Opening,
    /// Media may flow.
    Open,
    /// A parent that has not been heard for too long: media is accepted still, and its addresses
    /// are tried again.
    Silent,
}

/// A STUN request of ours that has not been answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    pub to: SocketAddr,
    pub transaction: Transaction,
    pub sent: Mono,
}

/// When a link has to do what next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timers {
    /// A child's binding request: opening, then keepalive.
    pub binding: Mono,
    /// A parent's heartbeat.
    pub heartbeat: Mono,
    /// Sender Report (parent) or Receiver Report (child).
    pub report: Mono,
    /// A child's RFC 8888 feedback.
    pub feedback: Mono,
}

/// A layer that goes over the link.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkRoute {
    pub layer: usize,
    /// Next index to take from the ring while the link catches up; `None` when it is live.
    pub cursor: Option<PacketIndex>,
    /// What it may be given while it catches up.
    pub pace: Pace,
}

/// A token bucket for packets that are sent again.
#[derive(Debug)]
pub(super) struct RateLimit {
    tokens: u64,
    at: Mono,
}

impl RateLimit {
    /// Takes a token, with `rate` new ones a second and at most as many saved.
    pub fn take(&mut self, now: Mono, rate: u64) -> bool {
        let fresh = now.since(self.at).as_micros() as u64 * rate / 1_000_000;
        if fresh > 0 {
            self.tokens = (self.tokens + fresh).min(rate);
            self.at = now;
        }
        let taken = self.tokens > 0;
        self.tokens -= u64::from(taken);
        taken
    }
}

/// One media link.
#[derive(Debug)]
pub(super) struct Link {
    pub id: LinkId,
    pub peer: PeerSide,
    /// See [`HopLink::standby`].
    pub standby: bool,
    /// STUN user name: child's node id, colon, link id.
    pub username: String,
    pub key: hmac::Key,
    pub addresses: Vec<SocketAddr>,
    pub state: State,
    /// The validated address.
    pub address: Option<SocketAddr>,
    pub check: Option<Check>,
    /// The peer's last binding requests.
    requests: VecDeque<Transaction>,
    /// Binding requests since the link was last well.
    pub attempts: u32,
    pub heard: Mono,
    /// The peer has sent RTCP since opening: it regards the path as open too.
    pub heard_rtcp: bool,
    /// The peer has just said that it has no way to the root; its heartbeat follows.
    pub says_cut_off: bool,
    /// As of its last heartbeat.
    pub cut_off: bool,
    /// With how many reports it is said again that this has changed: an event may be dropped where too
    /// many wait.
    pub repeats: u8,
    pub timers: Timers,
    pub sealer: SrtcpSealer,
    pub opener: SrtcpOpener,
    pub routes: Vec<LinkRoute>,
    /// Media for the next flush: layer and index in its ring.
    pub queue: Vec<(usize, PacketIndex)>,
    pub resends: RateLimit,
    /// Middle 32 bits of the peer's last Sender Report, and when it came.
    pub last_sr: Option<(u32, Mono)>,
    pub stats: LinkStats,
    /// Reports in a row that showed the loss of a lossy hop (to a parent).
    pub lossy_for: u32,
    /// Hash of what the link was made from: the same again changes nothing.
    pub secrets: [u8; 32],
}

/// SSRC of the link's RTCP: the low half of its id. It narrows the search for the link down; which
/// one it is the key decides.
pub(super) fn rtcp_ssrc(id: LinkId) -> Ssrc {
    Ssrc(id.0 as u32)
}

impl Link {
    pub fn new(now: Mono, hop: &HopLink) -> Self {
        let mut password = String::with_capacity(64);
        for byte in hop.credential.0 {
            // Writing to a string does not fail.
            let _ = write!(password, "{byte:02x}");
        }
        let key = stun::password_key(&password);
        zeroize::Zeroize::zeroize(&mut password);
        let up = rtcp_keys(hop, b"soleil hop rtcp child->parent");
        let down = rtcp_keys(hop, b"soleil hop rtcp parent->child");
        let (ours, theirs) = match hop.peer {
            PeerSide::Parent => (up, down),
            PeerSide::Child => (down, up),
        };
        Self {
            id: hop.id,
            peer: hop.peer,
            standby: hop.standby,
            username: format!("{}:{}", hop.child, hop.id),
            key,
            addresses: hop.addresses.clone(),
            state: State::Opening,
            address: None,
            check: None,
            requests: VecDeque::new(),
            attempts: 0,
            heard: now,
            heard_rtcp: false,
            says_cut_off: false,
            cut_off: false,
            repeats: 0,
            timers: Timers { binding: now, ..Timers::default() },
            sealer: SrtcpSealer::new(&ours),
            opener: SrtcpOpener::new(&theirs),
            routes: Vec::new(),
            queue: Vec::new(),
            resends: RateLimit { tokens: 0, at: Mono(0) },
            last_sr: None,
            stats: LinkStats::new(hop.id, hop.peer),
            lossy_for: 0,
            secrets: secrets(hop),
        }
    }

    /// Whether the peer's binding request is one that we have not had before.
    pub fn is_new_request(&mut self, transaction: &Transaction) -> bool {
        if self.requests.contains(transaction) {
            return false;
        }
        if self.requests.len() >= MAX_SEEN_REQUESTS {
            self.requests.pop_front();
        }
        self.requests.push_back(*transaction);
        true
    }

    /// Whether media may be sent to or accepted from the peer.
    pub fn is_open(&self) -> bool {
        self.state != State::Opening && self.address.is_some()
    }

    pub fn route_mut(&mut self, layer: usize) -> Option<&mut LinkRoute> {
        self.routes.iter_mut().find(|r| r.layer == layer)
    }

    /// Queues a packet of a layer's ring; `len` is its size.
    pub fn enqueue(&mut self, layer: usize, index: PacketIndex, len: usize, limit: usize) -> bool {
        if self.queue.len() >= limit {
            self.stats.dropped += 1;
            return false;
        }
        self.queue.push((layer, index));
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += len as u64;
        true
    }

    pub fn measured_rtt(&mut self, sample: Duration) {
        // RFC 6298 section 2: an eighth of the new sample.
        self.stats.rtt = Some(match self.stats.rtt {
            Some(rtt) => (rtt * 7 + sample) / 8,
            None => sample,
        });
    }

    pub fn keep_report(&mut self, block: super::rtcp::ReportBlock) {
        let reports = &mut self.stats.reports;
        match reports.iter().position(|b| b.ssrc == block.ssrc) {
            Some(i) => reports[i] = block,
            None if reports.len() < MAX_PEER_REPORTS => reports.push(block),
            None => {}
        }
        let sum: u32 = reports.iter().map(|b| u32::from(b.fraction_lost)).sum();
        self.stats.fraction_lost = Some(f64::from(sum) / (256.0 * reports.len() as f64));
    }

    pub fn snapshot(&self) -> LinkStats {
        LinkStats {
            address: self.address.filter(|_| self.is_open()),
            silent: self.state == State::Silent,
            ..self.stats.clone()
        }
    }
}

/// Hash of everything that the RTCP keys are made of.
pub(super) fn secrets(hop: &HopLink) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&hop.credential.0);
    context.update(&hop.child_nonce);
    context.update(&hop.parent_nonce);
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// HKDF-SHA-256 of the credential with both nonces as salt (DESIGN 3): fresh at each connect.
fn rtcp_keys(hop: &HopLink, label: &[u8]) -> SrtpKeys {
    struct Len;
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            28
        }
    }
    let mut salt = [0; 32];
    salt[..16].copy_from_slice(&hop.child_nonce);
    salt[16..].copy_from_slice(&hop.parent_nonce);
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(&hop.credential.0);
    let mut bytes = [0u8; 28];
    let filled = prk.expand(&[label], Len).and_then(|okm| okm.fill(&mut bytes));
    // HKDF gives up to 255 times 32 bytes (RFC 5869 section 2.3).
    debug_assert!(filled.is_ok());
    let mut keys = SrtpKeys::new([0; 16], [0; 12]);
    keys.key.copy_from_slice(&bytes[..16]);
    keys.salt.copy_from_slice(&bytes[16..]);
    zeroize::Zeroize::zeroize(&mut bytes);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::api::HopCredential;

    fn hop(peer: PeerSide, nonce: u8) -> HopLink {
        HopLink {
            id: LinkId(0x1_0000_0007),
            peer,
            child: soleil_protocol::NodeId::new("leaf-1").unwrap(),
            addresses: vec![],
            credential: HopCredential([7; 32]),
            child_nonce: [nonce; 16],
            parent_nonce: [2; 16],
            standby: false,
        }
    }

    #[test]
    fn both_ends_derive_the_same_keys_and_fresh_ones_for_fresh_nonces() {
        let mut parent = Link::new(Mono(0), &hop(PeerSide::Child, 1));
        let mut child = Link::new(Mono(0), &hop(PeerSide::Parent, 1));
        let mut later = Link::new(Mono(0), &hop(PeerSide::Parent, 3));
        assert_eq!(parent.username, "leaf-1:4294967303");
        assert_eq!(rtcp_ssrc(parent.id), Ssrc(7));
        let mut packet = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
        parent.sealer.seal(&mut packet, 0).unwrap();
        assert!(later.opener.open(&mut packet.clone()).is_err());
        // Not back to where it came from: the directions have different keys.
        assert!(parent.opener.open(&mut packet.clone()).is_err());
        assert!(child.opener.open(&mut packet).is_ok());
    }

    #[test]
    fn resends_have_a_rate() {
        let mut limit = RateLimit { tokens: 0, at: Mono(0) };
        let taken =
            |limit: &mut RateLimit, now| (0..1000).filter(|_| limit.take(Mono(now), 100)).count();
        assert_eq!(taken(&mut limit, 0), 0);
        assert_eq!(taken(&mut limit, 500_000), 50);
        assert_eq!(taken(&mut limit, 10_000_000), 100);
    }
}

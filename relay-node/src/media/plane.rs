//! The forwarding plane's pure core: datagrams, commands and time in; datagrams and events out.
//! It owns the table (pipeline, SSRC) → next hops and every rule of DESIGN 3 and 4 on what is
//! sent to whom. It has no socket, no clock and no randomness of its own.
//!
//! ```text
//! handle_datagram / inject / handle_command / handle_timeout
//!     then transmits() until sent, clear_transmits(), poll_event() until empty, poll_timeout()
//! ```

mod arrival;
mod commands;
mod config;
mod feedback;
mod opening;
mod output;
mod reports;
mod retired;
mod timers;

#[cfg(test)]
mod tests;

pub use config::PlaneConfig;
pub use retired::MAX_RETIRED;

use super::api::{LocalSink, PlaneEvent};
use super::layer::Layer;
use super::link::Link;
use super::packet::Opener;
use super::repair::Request;
use super::rtcp;
use super::sizes::MAX_HOP_PACKET;
use super::slab::Slab;
use super::stats::{IoStats, PlaneStats, StrayStats};
use super::stun::{self, Transaction};
use output::ControlQueue;
use rand::SeedableRng;
use rand::rngs::StdRng;
use retired::Retired;
use smallvec::SmallVec;
use soleil_protocol::{LinkId, Mono, Now, PipelineId};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

/// Key epochs of one pipeline that are valid at a time: old ones live as long as rings do, so two
/// or three are usual.
pub const MAX_EPOCHS: usize = 8;

/// Events that wait to be polled; beyond, the oldest are dropped.
pub const MAX_EVENTS: usize = 4096;

/// A pipeline's keys and layers.
#[derive(Debug, Default)]
struct Pipeline {
    /// Newest last.
    openers: Vec<Opener>,
    layers: Vec<usize>,
}

impl Pipeline {
    /// The opener of the newest epoch with this MKI.
    fn opener(&self, mki: u8) -> Option<&Opener> {
        self.openers.iter().rev().find(|o| o.epoch().mki() == mki)
    }
}

/// The forwarding plane.
#[derive(Debug)]
pub struct Plane {
    config: PlaneConfig,
    rng: StdRng,
    links: Slab<Link>,
    layers: Slab<Layer>,
    pipelines: HashMap<PipelineId, Pipeline>,
    link_ids: HashMap<LinkId, usize>,
    /// Links by the SSRC of their RTCP, half a link id: two in four thousand million may share one.
    link_ssrcs: HashMap<u32, SmallVec<[usize; 1]>>,
    /// Links that are over and must not be made again.
    retired: Retired,
    layer_ssrcs: HashMap<u32, usize>,
    /// Validated addresses.
    addresses: HashMap<SocketAddr, usize>,
    /// Our STUN requests under way.
    transactions: HashMap<Transaction, usize>,
    events: VecDeque<PlaneEvent>,
    control: ControlQueue,
    /// Whose media goes first in the next flush.
    rotation: usize,
    /// Next time that something has to be done.
    due: Option<Mono>,
    /// Next time that links which catch up get more of the ring.
    pump_due: Option<Mono>,
    strays: StrayStats,
    /// A packet is opened here, so that the sealed one stays whole.
    scratch: Vec<u8>,
    wanted: Vec<Request>,
    /// Children are told that we have no way to the root.
    cut_off: bool,
}

impl Plane {
    /// An empty plane. The seed makes STUN transaction ids: it must not be guessable in service.
    pub fn new(config: PlaneConfig, seed: [u8; 32]) -> Self {
        Self {
            config,
            rng: StdRng::from_seed(seed),
            links: Slab::default(),
            layers: Slab::default(),
            pipelines: HashMap::new(),
            link_ids: HashMap::new(),
            link_ssrcs: HashMap::new(),
            retired: Retired::default(),
            layer_ssrcs: HashMap::new(),
            addresses: HashMap::new(),
            transactions: HashMap::new(),
            events: VecDeque::new(),
            control: ControlQueue::default(),
            rotation: 0,
            due: None,
            pump_due: None,
            strays: StrayStats::default(),
            scratch: vec![0; MAX_HOP_PACKET],
            wanted: Vec::new(),
            cut_off: false,
        }
    }

    /// Takes a datagram from the socket. STUN, RTCP and RTP are told apart as in RFC 7983 and
    /// RFC 5761; anything else is counted and ignored. RTCP is opened in place.
    pub fn handle_datagram(
        &mut self,
        now: Now,
        from: SocketAddr,
        datagram: &mut [u8],
        sink: &mut dyn LocalSink,
    ) {
        match datagram.first() {
            Some(0..=3) if stun::is_stun(datagram) => self.handle_stun(now.mono, from, datagram),
            Some(128..=191) if rtcp::is_rtcp(datagram) => self.handle_rtcp(now, from, datagram),
            Some(128..=191) => self.handle_media(now.mono, from, datagram, sink),
            _ => self.strays.unknown += 1,
        }
    }

    /// The next event for the control core.
    pub fn poll_event(&mut self) -> Option<PlaneEvent> {
        self.events.pop_front()
    }

    /// When [`Plane::handle_timeout`] has to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Mono> {
        match (self.due, self.pump_due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// All counters.
    pub fn stats(&self) -> PlaneStats {
        PlaneStats {
            layers: self.layers.iter().map(|(_, l)| l.snapshot()).collect(),
            links: self.links.iter().map(|(_, l)| l.snapshot()).collect(),
            strays: self.strays,
            io: IoStats::default(),
        }
    }

    fn event(&mut self, event: PlaneEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn wake_at(&mut self, at: Mono) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

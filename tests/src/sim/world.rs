//! The world: nodes, connections, datagrams, and one queue of what happens when.

use super::disaster::Hop;
use super::fake::{SimAuthority, SimVault};
use super::node::{AnyCore, SimNode};
use super::queue::{Item, What};
use super::wire::{media_address, server};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relay_node::clock::Clock;
use relay_node::control::NodeCore;
use relay_node::control::api::{ConnId, NodeParams};
use relay_node::media::packet::Sealer;
use relay_node::media::plane::{Plane, PlaneConfig};
use ring::digest::{Context, SHA256};
use root_node::core::RootCore;
use root_node::core::api::{RootConfig, RootView};
use root_node::store::writer::Batch;
use soleil_protocol::message::{Capacity, VERSION};
use soleil_protocol::{Epoch, LinkId, Message, Mono, NodeId, Now, PipelineId, Role, Wall};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

/// What every link does to what passes over it.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// One way.
    pub delay: Duration,
    /// Up to so much more, evenly spread: datagrams overtake each other, messages wait.
    pub jitter: Duration,
    /// Share of datagrams that are lost; a message is late by a retransmission instead.
    pub loss: f64,
    /// Bits a second that go from one node to another; `None`: whatever is sent.
    pub rate: Option<u64>,
    /// How long a datagram waits for that at most: what would have to wait longer is dropped.
    /// Messages wait as long as it takes, and make others wait.
    pub queue: Duration,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(4),
            loss: 0.0,
            rate: None,
            queue: Duration::from_millis(100),
        }
    }
}

/// How a simulation begins.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Fixes everything.
    pub seed: u64,
    /// The links.
    pub weather: Weather,
    /// With forwarding planes, or control alone (many more nodes).
    pub media: bool,
    /// Children that the root takes.
    pub root_children: u32,
}

/// A child and its parent by place in [`Sim::nodes`].
pub type Peering = (usize, usize);

/// Wall-clock time at which simulations begin: any.
const EPOCH_MICROS: u64 = 1_700_000_000_000_000;

/// One end of a connection.
pub(super) struct End {
    pub(super) peer_conn: ConnId,
    pub(super) peer: usize,
    /// What was sent last arrives then: TCP keeps the order.
    pub(super) last: u64,
}

/// The simulation. Node 0 is the root.
pub struct Sim {
    pub(super) setup: Setup,
    pub(super) now: u64,
    pub(super) seq: u64,
    pub(super) queue: BinaryHeap<Reverse<Item>>,
    /// All nodes.
    pub nodes: Vec<SimNode>,
    pub(super) ends: BTreeMap<(usize, ConnId), End>,
    /// Until when the way from one node to another is taken, where links have a rate.
    pub(super) busy: BTreeMap<(usize, usize), u64>,
    /// Datagrams that found such a way's queue full.
    pub drowned: u64,
    /// What waits for frozen nodes.
    pub(super) parked: BTreeMap<usize, Vec<What>>,
    pub(super) next_conn: u64,
    pub(super) rng: StdRng,
    pub(super) trace: Context,
    /// The root's last view.
    pub view: Arc<RootView>,
    pub(super) sealers: BTreeMap<PipelineId, Sealer>,
    /// What the root had its store remember.
    pub store: Batch,
    /// Key frames that the source was asked for.
    pub key_frames: u64,
    /// Messages delivered.
    pub messages: u64,
    /// Type of every message delivered, counted.
    pub kinds: BTreeMap<&'static str, u64>,
    /// What ERROR messages said.
    pub errors: BTreeSet<String>,
    /// Moves that the root has ordered.
    pub moves: u64,
    /// Programs that are started from now on speak this version of the protocol.
    pub speaks: u32,
    /// What was said to nodes of an older version that they do not know.
    pub unknown_words: BTreeSet<String>,
    /// How much longer a link between regions is.
    pub(super) far: Duration,
    /// Since when some nodes are cut off, and what has still to come over the cut.
    pub(super) cut_at: Option<u64>,
    pub(super) held: Vec<What>,
    /// Who has which media link.
    pub(super) hops: BTreeMap<LinkId, Hop>,
    /// Places of nodes by the id that the root gave.
    pub(super) named: BTreeMap<NodeId, usize>,
    /// What the root's core has taken of real time, and at one go at most.
    pub root_took: (Duration, Duration),
    pub(super) stopwatch: Clock,
    /// Drops datagrams before the weather does: from, to, bytes.
    pub filter: Option<DatagramFilter>,
    /// Breaks a connection when a message would arrive on it.
    pub breaks: Option<MessageFilter>,
}

/// Whether a datagram passes.
pub type DatagramFilter = Box<dyn FnMut(usize, usize, &[u8]) -> bool>;

/// Whether a message never arrives at a node: its connection breaks instead.
pub type MessageFilter = Box<dyn FnMut(usize, &Message) -> bool>;

impl Sim {
    /// A root alone.
    pub fn new(setup: Setup) -> Self {
        Self::of_version(setup, VERSION)
    }

    /// The same, and all that is started speaks this version of the protocol until
    /// [`Sim::speaks`] is changed.
    pub fn of_version(setup: Setup, speaks: u32) -> Self {
        let mut sim = Self {
            now: 0,
            seq: 0,
            queue: BinaryHeap::new(),
            nodes: Vec::new(),
            ends: BTreeMap::new(),
            busy: BTreeMap::new(),
            drowned: 0,
            parked: BTreeMap::new(),
            next_conn: 0,
            rng: StdRng::seed_from_u64(setup.seed),
            trace: Context::new(&SHA256),
            view: Arc::default(),
            sealers: BTreeMap::new(),
            store: Batch::default(),
            key_frames: 0,
            messages: 0,
            kinds: BTreeMap::new(),
            errors: BTreeSet::new(),
            moves: 0,
            root_took: (Duration::ZERO, Duration::ZERO),
            stopwatch: Clock::start(),
            speaks,
            unknown_words: BTreeSet::new(),
            far: Duration::ZERO,
            cut_at: None,
            held: Vec::new(),
            hops: BTreeMap::new(),
            named: BTreeMap::new(),
            filter: None,
            breaks: None,
            setup,
        };
        let vault = SimVault::new(sim.rng.random()).speaking(speaks);
        let core = sim.new_root(&vault);
        sim.named.insert(core.node().id().clone(), 0);
        sim.add(AnyCore::Root(Box::new(core)), vault, Role::Root);
        sim
    }

    fn new_root(&mut self, vault: &SimVault) -> RootCore {
        let config = RootConfig {
            id: NodeId::new("root").unwrap(),
            server: server(0),
            media: vec![media_address(0)],
            capacity: Capacity { children: self.setup.root_children, viewers: 0, egress: 0 },
            region: String::new(),
            avoid_unsteady: true,
        };
        let authority = Box::new(SimAuthority::new(self.rng.random()));
        let core = RootCore::new(config, Box::new(vault.clone()), authority, self.rng.random());
        core.speaking(self.speaks)
    }

    /// A root that was killed starts again with what its store has; without the nodes that
    /// `forgotten` names, as if they had not been written any more.
    pub fn start_root_again(&mut self, forgotten: impl Fn(&NodeId) -> bool) {
        assert!(!self.nodes[0].alive, "the root runs");
        let vault = self.nodes[0].vault.clone().speaking(self.speaks);
        let mut core = self.new_root(&vault);
        let kept = self.store.nodes.values().flatten().filter(|n| !forgotten(&n.id));
        let epoch = self.store.epoch.map_or(1, |epoch| epoch.0 + 1);
        core.restore(self.clock(0).mono, kept.cloned().collect(), Epoch(epoch));
        let plane = self.new_plane();
        self.nodes[0] = SimNode::new(AnyCore::Root(Box::new(core)), vault, Role::Root, plane);
        self.nodes[0].version = self.speaks;
        self.view = Arc::default();
        self.sealers.clear();
        self.push(self.now, What::Wake(0));
    }

    pub(super) fn new_plane(&mut self) -> Option<Plane> {
        self.setup.media.then(|| Plane::new(PlaneConfig::default(), self.rng.random()))
    }

    pub(super) fn add(&mut self, core: AnyCore, vault: SimVault, role: Role) -> usize {
        let plane = self.new_plane();
        let index = self.nodes.len();
        let version = self.speaks;
        self.nodes.push(SimNode { version, ..SimNode::new(core, vault, role, plane) });
        self.push(self.now, What::Wake(index));
        // Drivers don't report in step.
        let first = self.now + self.rng.random_range(0..1_000_000);
        self.push(first, What::Report(index));
        index
    }

    /// Starts a node; returns its place in [`Sim::nodes`].
    pub fn start(&mut self, role: Role, name: &str, children: u32, viewers: u32) -> usize {
        self.start_in("", role, name, children, viewers)
    }

    /// Starts a node in a region; returns its place in [`Sim::nodes`].
    pub fn start_in(
        &mut self,
        region: &str,
        role: Role,
        name: &str,
        children: u32,
        viewers: u32,
    ) -> usize {
        let index = self.nodes.len();
        let vault = SimVault::new(self.rng.random()).speaking(self.speaks);
        let params = NodeParams {
            name: NodeId::new(name).unwrap(),
            role,
            server: (role == Role::Relay).then(|| server(index)),
            media: vec![media_address(index)],
            http: (role == Role::Leaf).then(|| format!("http://{name}.example")),
            capacity: Capacity { children, viewers, egress: 0 },
            region: region.to_owned(),
            labels: Vec::new(),
        };
        let core = NodeCore::new(params.clone(), Box::new(vault.clone()), self.rng.random());
        let core = core.speaking(self.speaks);
        let place = self.add(AnyCore::Node(Box::new(core)), vault, role);
        let node = &mut self.nodes[place];
        node.region.clone_from(&params.region);
        node.params = Some(params);
        place
    }

    /// The process dies: its connections break.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
        for conn in self.connections_of(node) {
            self.close(node, conn);
        }
    }

    /// Stops the process without ending it, or lets it go on: no connection breaks, what TCP
    /// brings waits, datagrams are lost.
    pub fn freeze(&mut self, node: usize, frozen: bool) {
        self.nodes[node].frozen = frozen;
        if !frozen && let Some(parked) = self.parked.remove(&node) {
            for what in parked {
                self.push(self.now, what);
            }
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.setup.seed
    }

    /// Time since the simulation began.
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// Both clocks of a node. Monotonic clocks differ between nodes, wall clocks agree unless a test
    /// has set one wrong.
    pub(super) fn clock(&self, node: usize) -> Now {
        let ahead = self.nodes.get(node).map_or(0, |node| node.clock_ahead);
        let wall = self.time().0.saturating_add_signed(ahead);
        Now { mono: Mono(self.now + node as u64 * 7_777_777), wall: Wall(wall) }
    }

    /// The true time of day.
    pub(super) fn time(&self) -> Wall {
        Wall(EPOCH_MICROS + self.now)
    }

    /// When the simulation began.
    pub(super) fn beginning() -> Wall {
        Wall(EPOCH_MICROS)
    }

    pub(super) fn push(&mut self, at: u64, what: What) {
        self.seq += 1;
        self.queue.push(Reverse(Item { at, seq: self.seq, what }));
    }

    pub(super) fn flight(&mut self, from: usize, to: usize) -> u64 {
        let jitter = self.setup.weather.jitter.as_micros() as u64;
        let extra = if jitter == 0 { 0 } else { self.rng.random_range(0..=jitter) };
        self.distance(from, to) + extra
    }

    pub(super) fn lost(&mut self) -> bool {
        let loss = self.setup.weather.loss;
        loss > 0.0 && self.rng.random_bool(loss)
    }

    /// Changes the weather from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.setup.weather = weather;
    }

    /// Runs for a while.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time.as_micros() as u64;
        while let Some(Reverse(item)) = self.queue.peek() {
            if item.at > until {
                break;
            }
            let Some(Reverse(item)) = self.queue.pop() else { break };
            self.now = self.now.max(item.at);
            self.happen(item.what);
        }
        self.now = until;
    }

    /// Runs until a condition holds.
    ///
    /// # Panics
    /// If it does not within `limit` of simulated time.
    pub fn until(&mut self, limit: Duration, what: &str, condition: impl Fn(&Sim) -> bool) {
        let end = self.now + limit.as_micros() as u64;
        while !condition(self) {
            assert!(self.now < end, "not within {limit:?}: {what}");
            self.run(Duration::from_millis(20));
        }
    }

    /// A digest of everything that has happened: the same seed gives the same one.
    pub fn digest(&self) -> String {
        let digest = self.trace.clone().finish();
        digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
    }

    pub(super) fn note(&mut self, node: usize, kind: &str, detail: &[u8]) {
        self.trace.update(&self.now.to_be_bytes());
        self.trace.update(&(node as u64).to_be_bytes());
        self.trace.update(kind.as_bytes());
        self.trace.update(detail);
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "simulation failed: seed {} after {:?} of simulated time",
                self.setup.seed,
                self.elapsed()
            );
        }
    }
}

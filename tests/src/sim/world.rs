//! The world: nodes, connections, datagrams, and one queue of what happens when.

use super::fake::{SimAuthority, SimVault};
use super::node::{AnyCore, SimNode};
use super::report;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relay_node::control::NodeCore;
use relay_node::control::api::{
    Action, ConnId, DialId, DialTarget, Event, NodeCommand, NodeParams, Peer, PlaneReport,
};
use relay_node::media::api::FrameMarks;
use relay_node::media::packet::{HopHeader, Sealer};
use relay_node::media::plane::{Plane, PlaneConfig};
use ring::digest::{Context, SHA256};
use root_node::core::RootCore;
use root_node::core::api::{RootCommand, RootConfig, RootOutput, RootView};
use soleil_protocol::message::{Capacity, ErrorReport, HostPort, Stat, StatsContainer};
use soleil_protocol::pipeline::{Codec, Layer, PipelineDef, Track};
use soleil_protocol::{
    LinkId, Message, Mono, NodeId, Now, PacketIndex, PipelineId, Role, Ssrc, Wall,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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
}

impl Default for Weather {
    fn default() -> Self {
        Self { delay: Duration::from_millis(10), jitter: Duration::from_millis(4), loss: 0.0 }
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

/// What a lost message costs: a retransmission time-out of TCP (RFC 6298: at least 200 ms in
/// practice).
const RETRANSMISSION: u64 = 200_000;

enum What {
    Wake(usize),
    Report(usize),
    Message { to: usize, conn: ConnId, xml: String },
    Accepted { to: usize, conn: ConnId, peer: Peer, from: usize },
    Dialed { to: usize, dial: DialId, conn: ConnId },
    DialFailed { to: usize, dial: DialId, refused: bool },
    Closed { to: usize, conn: ConnId },
    Datagram { to: usize, from: SocketAddr, bytes: Vec<u8> },
}

impl What {
    /// To whom it happens.
    fn node(&self) -> usize {
        match self {
            What::Wake(node) | What::Report(node) => *node,
            What::Message { to, .. }
            | What::Accepted { to, .. }
            | What::Dialed { to, .. }
            | What::DialFailed { to, .. }
            | What::Closed { to, .. }
            | What::Datagram { to, .. } => *to,
        }
    }
}

struct Item {
    at: u64,
    seq: u64,
    what: What,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// One end of a connection.
struct End {
    peer_conn: ConnId,
    peer: usize,
    /// What was sent last arrives then: TCP keeps the order.
    last: u64,
}

/// The simulation. Node 0 is the root.
pub struct Sim {
    setup: Setup,
    now: u64,
    seq: u64,
    queue: BinaryHeap<Reverse<Item>>,
    /// All nodes.
    pub nodes: Vec<SimNode>,
    ends: BTreeMap<(usize, ConnId), End>,
    /// What waits for frozen nodes.
    parked: BTreeMap<usize, Vec<What>>,
    next_conn: u64,
    rng: StdRng,
    trace: Context,
    /// The root's last view.
    pub view: Arc<RootView>,
    sealers: BTreeMap<PipelineId, Sealer>,
    /// Key frames that the source was asked for.
    pub key_frames: u64,
    /// Messages delivered.
    pub messages: u64,
    /// Type of every message delivered, counted.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Drops datagrams before the weather does: from, to, bytes.
    pub filter: Option<DatagramFilter>,
}

/// Whether a datagram passes.
pub type DatagramFilter = Box<dyn FnMut(usize, usize, &[u8]) -> bool>;

/// What the source sends under an index.
pub(super) fn payload(ssrc: Ssrc, index: PacketIndex) -> Vec<u8> {
    let length = 200 + (index.0 % 7) as usize;
    (0..length).map(|i| (index.0 as usize + ssrc.0 as usize + i) as u8).collect()
}

fn media_address(node: usize) -> SocketAddr {
    let [_, _, high, low] = (node as u32).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), 4_000)
}

fn node_at(address: SocketAddr) -> Option<usize> {
    match address.ip() {
        IpAddr::V4(ip) => {
            let [ten, _, high, low] = ip.octets();
            (ten == 10).then(|| usize::from(high) << 8 | usize::from(low))
        }
        IpAddr::V6(_) => None,
    }
}

fn server(node: usize) -> HostPort {
    HostPort { host: format!("node-{node}.example"), port: 10_000 + node as u16 }
}

impl Sim {
    /// A root alone.
    pub fn new(setup: Setup) -> Self {
        let mut sim = Self {
            now: 0,
            seq: 0,
            queue: BinaryHeap::new(),
            nodes: Vec::new(),
            ends: BTreeMap::new(),
            parked: BTreeMap::new(),
            next_conn: 0,
            rng: StdRng::seed_from_u64(setup.seed),
            trace: Context::new(&SHA256),
            view: Arc::default(),
            sealers: BTreeMap::new(),
            key_frames: 0,
            messages: 0,
            kinds: BTreeMap::new(),
            filter: None,
            setup,
        };
        let vault = SimVault::new(sim.rng.random());
        let config = RootConfig {
            id: NodeId::new("root").unwrap(),
            server: server(0),
            media: vec![media_address(0)],
            capacity: Capacity { children: sim.setup.root_children, viewers: 0, egress: 0 },
            region: String::new(),
        };
        let authority = Box::new(SimAuthority::new(sim.rng.random()));
        let core = RootCore::new(config, Box::new(vault.clone()), authority, sim.rng.random());
        sim.add(AnyCore::Root(Box::new(core)), vault, Role::Root);
        sim
    }

    fn add(&mut self, core: AnyCore, vault: SimVault, role: Role) -> usize {
        let plane = self.setup.media.then(|| Plane::new(PlaneConfig::default(), self.rng.random()));
        let index = self.nodes.len();
        self.nodes.push(SimNode::new(core, vault, role, plane));
        self.push(self.now, What::Wake(index));
        // Drivers don't report in step.
        let first = self.now + self.rng.random_range(0..1_000_000);
        self.push(first, What::Report(index));
        index
    }

    /// Starts a node; returns its place in [`Sim::nodes`].
    pub fn start(&mut self, role: Role, name: &str, children: u32, viewers: u32) -> usize {
        let index = self.nodes.len();
        let vault = SimVault::new(self.rng.random());
        let params = NodeParams {
            name: NodeId::new(name).unwrap(),
            role,
            server: (role == Role::Relay).then(|| server(index)),
            media: vec![media_address(index)],
            http: (role == Role::Leaf).then(|| format!("http://{name}.example")),
            capacity: Capacity { children, viewers, egress: 0 },
            region: String::new(),
            labels: Vec::new(),
        };
        let core = NodeCore::new(params, Box::new(vault.clone()), self.rng.random());
        self.add(AnyCore::Node(Box::new(core)), vault, role)
    }

    /// The process dies: its connections break.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
        let ours: Vec<ConnId> =
            self.ends.keys().filter(|(n, _)| *n == node).map(|(_, conn)| *conn).collect();
        for conn in ours {
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

    /// Time since the simulation began.
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// Both clocks of a node. Monotonic clocks differ between nodes, wall clocks agree.
    fn clock(&self, node: usize) -> Now {
        Now { mono: Mono(self.now + node as u64 * 7_777_777), wall: Wall(EPOCH_MICROS + self.now) }
    }

    fn push(&mut self, at: u64, what: What) {
        self.seq += 1;
        self.queue.push(Reverse(Item { at, seq: self.seq, what }));
    }

    fn flight(&mut self) -> u64 {
        let jitter = self.setup.weather.jitter.as_micros() as u64;
        let extra = if jitter == 0 { 0 } else { self.rng.random_range(0..=jitter) };
        self.setup.weather.delay.as_micros() as u64 + extra
    }

    fn lost(&mut self) -> bool {
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

    fn note(&mut self, node: usize, kind: &str, detail: &[u8]) {
        self.trace.update(&self.now.to_be_bytes());
        self.trace.update(&(node as u64).to_be_bytes());
        self.trace.update(kind.as_bytes());
        self.trace.update(detail);
    }

    fn happen(&mut self, what: What) {
        let node = what.node();
        if self.nodes[node].frozen {
            if !matches!(what, What::Datagram { .. }) {
                self.parked.entry(node).or_default().push(what);
            }
            return;
        }
        match what {
            What::Wake(node) => self.wake(node),
            What::Report(node) => {
                self.push(self.now + 1_000_000, What::Report(node));
                let plane = self.nodes[node].plane.as_ref();
                let report = match plane {
                    Some(plane) => report::of(&plane.stats()),
                    None => PlaneReport { cpu: 10.0, ..PlaneReport::default() },
                };
                self.give(node, Event::PlaneReport(report));
            }
            What::Message { to, conn, xml } => self.deliver(to, conn, &xml),
            What::Accepted { to, conn, peer, from } => {
                self.note(to, "accepted", &conn.0.to_be_bytes());
                let remote = media_address(from);
                self.give(to, Event::Accepted { conn, peer, remote });
            }
            What::Dialed { to, dial, conn } => {
                self.note(to, "dialed", &dial.0.to_be_bytes());
                let local = media_address(to);
                self.give(to, Event::Dialed { dial, conn, local });
            }
            What::DialFailed { to, dial, refused } => {
                self.note(to, "dial failed", &dial.0.to_be_bytes());
                let error = "simulated".to_owned();
                self.give(to, Event::DialFailed { dial, error, refused });
            }
            What::Closed { to, conn } => {
                if self.ends.remove(&(to, conn)).is_some() {
                    self.note(to, "closed", &conn.0.to_be_bytes());
                    self.give(to, Event::Closed(conn));
                }
            }
            What::Datagram { to, from, mut bytes } => {
                self.note(to, "datagram", &bytes);
                let now = self.clock(to);
                let node = &mut self.nodes[to];
                if node.alive
                    && let Some(plane) = &mut node.plane
                {
                    plane.handle_datagram(now, from, &mut bytes, &mut node.sink);
                    self.after(to);
                }
            }
        }
    }

    fn deliver(&mut self, to: usize, conn: ConnId, xml: &str) {
        if !self.ends.contains_key(&(to, conn)) {
            return;
        }
        self.note(to, "message", xml.as_bytes());
        self.messages += 1;
        let event = match Message::from_xml(xml) {
            Ok(message) => {
                *self.kinds.entry(message.body.kind()).or_default() += 1;
                Event::Message(conn, message)
            }
            Err(error) => Event::Malformed { conn, report: ErrorReport::from(error) },
        };
        self.give(to, event);
    }

    /// Sends text to a node as if its neighbour on a connection had: for what no core would say.
    pub fn say(&mut self, from: usize, to: usize, xml: &str) {
        let conn = self
            .ends
            .iter()
            .find(|((n, _), end)| *n == from && end.peer == to)
            .map(|(_, end)| end.peer_conn)
            .expect("no connection between these nodes");
        self.push(self.now, What::Message { to, conn, xml: xml.to_owned() });
    }

    fn wake(&mut self, node: usize) {
        let now = self.clock(node);
        let entry = &mut self.nodes[node];
        if entry.next_wake <= self.now {
            entry.next_wake = u64::MAX;
        }
        if let Some(plane) = &mut entry.plane
            && entry.alive
            && plane.poll_timeout().is_some_and(|at| at <= now.mono)
        {
            plane.handle_timeout(now);
        }
        if entry.core.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.give(node, Event::Timeout);
        } else {
            self.after(node);
        }
    }

    /// Gives an event to a node's core, if its process runs.
    pub fn give(&mut self, node: usize, event: Event<NodeCommand>) {
        let now = self.clock(node);
        if self.nodes[node].alive && !self.nodes[node].frozen {
            self.nodes[node].core.handle(now, event);
            self.after(node);
        }
    }

    /// A command to a node.
    pub fn command(&mut self, node: usize, command: NodeCommand) {
        self.give(node, Event::Command(command));
    }

    /// A command to the root.
    pub fn root(&mut self, command: RootCommand) {
        let now = self.clock(0);
        self.nodes[0].core.command(now, command);
        self.after(0);
    }

    /// What this leaf's viewers are from now on.
    pub fn set_viewers(&mut self, node: usize, pipeline: PipelineId, viewers: u32) {
        self.nodes[node].viewers = viewers;
        let stat = Stat { name: "viewers".into(), value: f64::from(viewers), weight: Some(1.0) };
        let stats = vec![stat];
        let container = StatsContainer { start: 0, end: 0, children: 0, id: Some(pipeline), stats };
        self.command(node, NodeCommand::LocalStats(vec![container]));
    }

    /// Defines a live pipeline of one video (SSRC `10 * id`) and one audio layer (`10 * id + 1`).
    pub fn define(&mut self, id: u32) -> PipelineId {
        let track = |name: &str, codec, ssrc| Track {
            name: name.into(),
            codec,
            clock_rate: if codec == Codec::Opus { 48_000 } else { 90_000 },
            channels: 0,
            fmtp: String::new(),
            layers: vec![Layer {
                ssrc: Ssrc(ssrc),
                payload_type: 96,
                width: None,
                height: None,
                bitrate: None,
            }],
        };
        self.root(RootCommand::DefinePipeline(PipelineDef {
            id: PipelineId(id),
            name: format!("stream-{id}"),
            live: true,
            tracks: vec![
                track("video", Codec::H264, 10 * id),
                track("audio", Codec::Opus, 10 * id + 1),
            ],
        }));
        PipelineId(id)
    }

    /// The source sends one packet.
    pub fn send_media(&mut self, pipeline: PipelineId, ssrc: Ssrc, index: PacketIndex) {
        let now = self.clock(0);
        let header = HopHeader {
            ssrc,
            payload_type: 96,
            marker: true,
            index,
            timestamp: (self.now / 11) as u32,
            capture: now.wall.ntp(),
            marks: FrameMarks::default(),
        };
        let mut packet = Vec::new();
        let sealer = self.sealers.get(&pipeline).expect("the pipeline has a key");
        sealer.seal(&header, &payload(ssrc, index), &mut packet).expect("it fits");
        let root = &mut self.nodes[0];
        let plane = root.plane.as_mut().expect("a simulation with media");
        plane.inject(now, &packet, &mut root.sink);
        self.after(0);
    }

    /// Takes everything that a node wants done.
    fn after(&mut self, node: usize) {
        loop {
            let now = self.clock(node);
            let entry = &mut self.nodes[node];
            if let Some(action) = entry.core.poll_action() {
                self.act(node, action);
                continue;
            }
            if let Some(output) = entry.core.poll_output() {
                self.output(output);
                continue;
            }
            let event = entry.plane.as_mut().and_then(Plane::poll_event);
            let Some(event) = event else { break };
            entry.core.handle(now, Event::Plane(event));
        }
        self.transmit(node);
        self.schedule(node);
    }

    fn output(&mut self, output: RootOutput) {
        match output {
            RootOutput::View(view) => self.view = view,
            RootOutput::Key { pipeline, epoch, key } => {
                self.sealers.insert(pipeline, Sealer::new(&key, epoch));
            }
            RootOutput::KeyFrameWanted(..) => self.key_frames += 1,
        }
    }

    fn transmit(&mut self, node: usize) {
        let Some(plane) = &mut self.nodes[node].plane else { return };
        let out: Vec<(SocketAddr, Vec<u8>)> =
            plane.transmits().map(|(to, bytes)| (to, bytes.to_vec())).collect();
        plane.clear_transmits();
        for (address, bytes) in out {
            let Some(to) = node_at(address).filter(|n| *n < self.nodes.len()) else { continue };
            let passes = self.filter.as_mut().is_none_or(|filter| filter(node, to, &bytes));
            if passes && !self.lost() {
                let at = self.now + self.flight();
                self.push(at, What::Datagram { to, from: media_address(node), bytes });
            }
        }
    }

    fn schedule(&mut self, node: usize) {
        let offset = self.clock(node).mono.0 - self.now;
        let entry = &mut self.nodes[node];
        if !entry.alive {
            return;
        }
        let plane = entry.plane.as_ref().and_then(Plane::poll_timeout);
        let next = entry.core.poll_timeout().into_iter().chain(plane).min();
        if let Some(next) = next {
            let at = next.0.saturating_sub(offset).max(self.now);
            if at < entry.next_wake {
                entry.next_wake = at;
                self.push(at, What::Wake(node));
            }
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Dial(dial, target) => self.dial(node, dial, &target),
            Action::Send(conn, message) => self.transport(node, conn, &message),
            Action::Close(conn, _) => {
                if self.ends.contains_key(&(node, conn)) {
                    self.close(node, conn);
                }
            }
            Action::Plane(command) => {
                let now = self.clock(node);
                self.nodes[node].plane_command(now, command);
            }
            Action::Identity(identity) => self.nodes[node].identity = Some(identity),
            Action::Pipelines(_) => {}
            Action::Attached(yes) => {
                let now = self.now;
                let entry = &mut self.nodes[node];
                entry.attaches += u32::from(yes);
                if yes {
                    entry.attached_at = now;
                }
            }
            Action::Stopped(_) => self.nodes[node].stopped = true,
        }
    }

    /// TCP and TLS take a round trip and a half each way of the handshake.
    fn dial(&mut self, node: usize, dial: DialId, target: &DialTarget) {
        let way = self.flight();
        let to = match target {
            DialTarget::Root => Some(0),
            DialTarget::Node(_, server) => usize::from(server.port).checked_sub(10_000),
        };
        let to = to.filter(|to| self.nodes.get(*to).is_some_and(|n| n.alive && !n.frozen));
        let right = match (to, target) {
            (Some(to), DialTarget::Node(id, _)) => self.nodes[to].id() == *id,
            (to, _) => to.is_some(),
        };
        let Some(to) = to.filter(|_| right) else {
            // A dead process' port answers at once; a frozen one never would, but drivers give up.
            return self
                .push(self.now + 2 * way, What::DialFailed { to: node, dial, refused: false });
        };
        let entry = &self.nodes[node];
        let peer = match target {
            DialTarget::Root => Peer::Joining { token: node.to_string(), role: entry.role },
            DialTarget::Node(..) => Peer::Node { id: entry.id(), key: entry.key() },
        };
        let (ours, theirs) = (ConnId(self.next_conn + 1), ConnId(self.next_conn + 2));
        self.next_conn += 2;
        let accepted = self.now + 3 * way;
        let dialed = accepted + way;
        self.ends.insert((node, ours), End { peer_conn: theirs, peer: to, last: dialed });
        self.ends.insert((to, theirs), End { peer_conn: ours, peer: node, last: dialed });
        self.push(accepted, What::Accepted { to, conn: theirs, peer, from: node });
        self.push(dialed, What::Dialed { to: node, dial, conn: ours });
    }

    fn transport(&mut self, node: usize, conn: ConnId, message: &Message) {
        let mut at = self.now + self.flight();
        if self.lost() {
            at += RETRANSMISSION;
        }
        let Some(end) = self.ends.get_mut(&(node, conn)) else { return };
        at = at.max(end.last);
        end.last = at;
        let (to, conn) = (end.peer, end.peer_conn);
        let xml = message.to_xml();
        self.push(at, What::Message { to, conn, xml });
    }

    fn close(&mut self, node: usize, conn: ConnId) {
        let way = self.now + self.flight();
        if let Some(end) = self.ends.remove(&(node, conn)) {
            let at = way.max(end.last);
            self.push(at, What::Closed { to: end.peer, conn: end.peer_conn });
        }
    }

    /// How many connections are open (both ends).
    pub fn connections(&self) -> usize {
        self.ends.len() / 2
    }

    /// The place of the node with an id.
    pub fn place(&self, id: &NodeId) -> Option<usize> {
        self.nodes.iter().position(|n| n.core().id() == id)
    }

    /// The media link between a child and its parent, as the child's plane knows it.
    pub fn link_of(&self, child: usize) -> Option<LinkId> {
        let parent = self.nodes[child].core().parent()?;
        let parent = self.place(parent)?;
        let ours = &self.nodes[child].shadow.links;
        ours.keys().find(|link| self.nodes[parent].shadow.links.contains_key(link)).copied()
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

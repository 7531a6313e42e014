//! A core under test, a vault that trusts plain text, and words for actions.

use crate::control::NodeCore;
use crate::control::api::*;
use crate::media::api::{HopCredential, NextHop, PeerSide, PlaneCommand, PlaneEvent};
use soleil_protocol::message::*;
use soleil_protocol::pipeline::{Codec, EpochKey, Layer, PipelineDef, Track, Wrapped};
use soleil_protocol::*;

/// A vault without cryptography: a ticket is text, a wrapped secret is the secret behind its
/// receiver's name.
pub struct PlainVault(pub String);

impl Vault for PlainVault {
    fn certificate_request(&mut self, name: &NodeId) -> Vec<u8> {
        format!("csr of {name}").into_bytes()
    }

    fn wrap_key(&self) -> Vec<u8> {
        self.0.clone().into_bytes()
    }

    fn unwrap(&self, context: &str, wrapped: &Wrapped) -> Option<Vec<u8>> {
        let own = wrapped.enc == format!("{}/{context}", self.0).as_bytes();
        own.then(|| wrapped.sealed.clone())
    }

    fn check_identity(&self, identity: &Identity, now: Now) -> Result<(), String> {
        match self.validity(&identity.certificate) {
            Some((_, until)) if until >= now.wall => Ok(()),
            _ => Err("not a certificate, or it has run out".into()),
        }
    }

    fn validity(&self, certificate: &[u8]) -> Option<(Wall, Wall)> {
        // `until`, or `from-until`.
        let text = std::str::from_utf8(certificate).ok()?;
        let (from, until) = text.split_once('-').unwrap_or(("0", text));
        Some((Wall(from.parse().ok()?), Wall(until.parse().ok()?)))
    }

    /// `parent child incarnation link key-byte`, for a backup with the rank behind, under the ticket
    /// key.
    fn check_ticket(
        &self,
        ticket_key: &[u8],
        parent: &NodeId,
        ticket: &[u8],
        _now: Now,
    ) -> Result<TicketClaims, String> {
        let text = std::str::from_utf8(ticket).map_err(|e| e.to_string())?;
        let parts: Vec<&str> = text.split(' ').collect();
        let (parts, rank) = match parts[..] {
            [.., rank] if parts.len() == 6 => (&parts[..5], Some(rank)),
            _ => (&parts[..], None),
        };
        let [to, child, incarnation, link, key] = parts[..] else {
            return Err("not signed".into());
        };
        if ticket_key != b"ticket key" || to != parent.as_str() {
            return Err("for another parent".into());
        }
        Ok(TicketClaims {
            child: id(child),
            child_key: [key.parse().unwrap(); 32],
            incarnation: Incarnation(incarnation.parse().unwrap()),
            link: LinkId(link.parse().unwrap()),
            credential: HopCredential([7; 32]),
            backup: rank.map(|rank| Rank(rank.parse().unwrap())),
        })
    }
}

pub fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

/// A core and its time.
pub struct Rig {
    pub core: NodeCore,
    pub now: Now,
    /// What the core has said that it lacks.
    pub lack: Option<Lack>,
    /// What it has told its children of its way to the root.
    pub cut_off: bool,
    /// Whether it has said that a backup stands by.
    pub reserve: bool,
    /// How often it has failed over.
    pub failovers: u32,
    /// Why it has refused something, in order.
    pub refused: Vec<&'static str>,
    /// How far the root's clock is ahead of ours.
    pub root_ahead_ms: u64,
}

pub const ROOT_CONN: ConnId = ConnId(1);
pub const PARENT: ConnId = ConnId(2);
pub const CHILD: ConnId = ConnId(10);
pub const MS: u64 = 1_000;
pub const SEC: u64 = 1_000_000;

impl Rig {
    pub fn new(role: Role, children: u32) -> Self {
        Self::speaking(VERSION, role, children)
    }

    /// One that speaks no newer version than this.
    pub fn speaking(version: u32, role: Role, children: u32) -> Self {
        let params = NodeParams {
            name: id("me"),
            role,
            server: Some(HostPort { host: "me.example".into(), port: 1 }),
            media: Vec::new(),
            http: None,
            capacity: Capacity { children, viewers: 0, egress: 0 },
            region: "here".into(),
            labels: Vec::new(),
        };
        let vault = Box::new(PlainVault("me".into()));
        let core = match role {
            Role::Root => NodeCore::root(params, vault, [1; 32], b"ticket key".to_vec()),
            _ => NodeCore::new(params, vault, [1; 32]),
        };
        let core = core.speaking(version);
        let now = Now { mono: Mono(SEC), wall: Wall(1_000 * SEC) };
        Self {
            core,
            now,
            lack: None,
            cut_off: false,
            reserve: false,
            failovers: 0,
            refused: Vec::new(),
            root_ahead_ms: 0,
        }
    }

    /// A relay that is attached to `p`, the child of the root.
    pub fn attached() -> Self {
        let mut rig = Self::without_media();
        rig.open(5);
        rig
    }

    /// Attached, but the media path has not opened yet.
    pub fn without_media() -> Self {
        let mut rig = Self::new(Role::Relay, 2);
        rig.step(Event::Timeout);
        rig.dialed(1, ROOT_CONN);
        rig.message(ROOT_CONN, from_root(None, redirect(3_600 * SEC, vec![offer("p", 5)])));
        rig.dialed(2, PARENT);
        rig.message(PARENT, greeting("p", "me"));
        rig
    }

    /// [`Rig::attached`] with the child `c` on media link 20.
    pub fn with_child() -> Self {
        let mut rig = Self::attached();
        rig.add_child(CHILD, "c", 20);
        rig
    }

    /// A child whose media path opens at once.
    pub fn add_child(&mut self, conn: ConnId, name: &str, link: u64) -> Vec<String> {
        let mut said = self.hidden_child(conn, name, link);
        said.extend(self.open(link));
        said
    }

    /// A child whose media path has not opened yet.
    pub fn hidden_child(&mut self, conn: ConnId, name: &str, link: u64) -> Vec<String> {
        self.accept(conn, name);
        self.message(conn, child_hello(name, &format!("me {name} 1 {link} 9"), "me"))
    }

    /// A media path opens.
    pub fn open(&mut self, link: u64) -> Vec<String> {
        let open = PlaneEvent::LinkOpen(LinkId(link), "192.0.2.1:1".parse().unwrap());
        self.step(Event::Plane(open))
    }

    pub fn accept(&mut self, conn: ConnId, name: &str) -> Vec<String> {
        let peer =
            Peer::Node { id: id(name), key: [9; 32], until: Wall(10_000 * SEC), token: None };
        self.step(Event::Accepted { conn, peer, remote: "192.0.2.1:1".parse().unwrap() })
    }

    pub fn dialed(&mut self, dial: u64, conn: ConnId) -> Vec<String> {
        let local = "192.0.2.9:9".parse().unwrap();
        self.step(Event::Dialed { dial: DialId(dial), conn, local })
    }

    pub fn message(&mut self, conn: ConnId, mut message: Message) -> Vec<String> {
        if matches!(message.body, Body::Redirect(_)) {
            // The root's clock is as ours, unless a test says otherwise.
            message.time = Millis(self.now.wall.millis().0 + self.root_ahead_ms);
        }
        self.step(Event::Message(conn, message))
    }

    pub fn wait(&mut self, micros: u64) -> Vec<String> {
        self.now.mono.0 += micros;
        self.now.wall.0 += micros;
        self.step(Event::Timeout)
    }

    /// As if the last PING on a connection had been answered, if it is there.
    pub fn answer_ping(&mut self, conn: ConnId) {
        if let Some(link) = self.core.links.get_mut(conn) {
            link.forgive();
        }
    }

    /// Handles one event and takes everything that follows from it.
    pub fn step(&mut self, event: Event<NodeCommand>) -> Vec<String> {
        self.core.handle(self.now, event);
        let mut said = Vec::new();
        while let Some(action) = self.core.poll_action() {
            match action {
                // Seen in `lack`: it comes with nearly everything.
                Action::Lacks(lack) => self.lack = lack,
                // Likewise, in `cut_off`.
                Action::Plane(PlaneCommand::SayCutOff(cut_off)) => self.cut_off = cut_off,
                Action::Reserve(ready) => self.reserve = ready,
                Action::FailedOver => self.failovers += 1,
                Action::Refused { why, .. } => self.refused.push(why.as_str()),
                action => said.push(words(&action)),
            }
        }
        said
    }

    /// Waits until the core asks for nothing but its clockwork (PING, STATS), which is left out.
    pub fn quiet(said: Vec<String>) -> Vec<String> {
        said.into_iter().filter(|s| !s.contains(" ping ") && !s.contains(" stats ")).collect()
    }
}

pub fn message(from: Option<&str>, to: Option<&str>, body: Body) -> Message {
    let address = |a: &str| a.parse().unwrap();
    Message { time: Millis(77), from: from.map(address), to: to.map(address), body }
}

pub fn from_root(to: Option<&str>, body: Body) -> Message {
    message(Some("^"), to, body)
}

pub fn redirect(valid_until: u64, parents: Vec<ParentOffer>) -> Body {
    Body::Redirect(Box::new(Redirect {
        rank: Rank(2),
        mode: MoveMode::AtOnce,
        identity: Some(Identity {
            id: id("me"),
            incarnation: Incarnation(1),
            certificate: valid_until.to_string().into_bytes(),
            authority: Vec::new(),
            ticket_key: b"ticket key".to_vec(),
        }),
        parents,
    }))
}

pub fn offer(parent: &str, link: u64) -> ParentOffer {
    let context = credential_context(&id("me"), LinkId(link));
    ParentOffer {
        id: id(parent),
        server: HostPort { host: parent.into(), port: 1 },
        media: Vec::new(),
        link: LinkId(link),
        version: VERSION,
        ticket: b"for the parent".to_vec(),
        credential: wrapped(&context, vec![1; 32]),
    }
}

pub fn wrapped(context: &str, secret: Vec<u8>) -> Wrapped {
    Wrapped { enc: format!("me/{context}").into_bytes(), sealed: secret }
}

pub fn greeting(from: &str, to: &str) -> Message {
    let mut hello = Hello::new(id(from));
    hello.nonce = Some(vec![3; 16]);
    message(Some(from), Some(to), Body::Hello(Box::new(hello)))
}

pub fn child_hello(name: &str, ticket: &str, to: &str) -> Message {
    let mut hello = Hello::new(id(name));
    hello.incarnation = Incarnation(1);
    hello.ticket = Some(ticket.as_bytes().to_vec());
    hello.nonce = Some(vec![4; 16]);
    message(Some(name), Some(to), Body::Hello(Box::new(hello)))
}

/// Pipeline 1: SSRC 100 (video) and 200 (audio).
pub fn pipe_def() -> PipelineDef {
    let track = |name: &str, codec: Codec, ssrc| Track {
        name: name.into(),
        codec,
        clock_rate: 90_000,
        channels: 0,
        fmtp: String::new(),
        layers: vec![Layer {
            ssrc: Ssrc(ssrc),
            payload_type: 96,
            width: None,
            height: None,
            bitrate: None,
            scalability: None,
        }],
    };
    let tracks = vec![track("video", Codec::H264, 100), track("audio", Codec::Opus, 200)];
    PipelineDef { id: PipelineId(1), name: "demo".into(), live: true, tracks }
}

pub fn pipe_def_message(epoch: u32) -> Message {
    let context = pipeline_key_context(&id("me"), PipelineId(1), Epoch(epoch));
    let key = EpochKey { epoch: Epoch(epoch), key: wrapped(&context, vec![5; 28]) };
    from_root(
        Some("me"),
        Body::PipeDef(PipeDef { def: pipe_def(), keys: vec![key], removed: vec![] }),
    )
}

pub fn play(layers: Vec<(Ssrc, Option<PacketIndex>)>) -> Body {
    Body::PlayPipeline(Play { pipeline: PipelineId(1), layers })
}

pub fn stop(layers: Vec<Ssrc>) -> Body {
    Body::StopPipeline(Stop { pipeline: PipelineId(1), layers })
}

fn next(hop: &NextHop) -> String {
    match hop {
        NextHop::Local => "local".into(),
        NextHop::Link(link) => format!("link {link}"),
    }
}

/// An action in words.
pub fn words(action: &Action) -> String {
    match action {
        Action::Dial(dial, DialTarget::Root) => format!("dial {} root", dial.0),
        Action::Dial(dial, DialTarget::Node(id, _)) => format!("dial {} {id}", dial.0),
        Action::Send(conn, message) => format!("{} {}", conn.0, message_words(message)),
        Action::Close(conn, _) => format!("close {}", conn.0),
        Action::Plane(command) => plane_words(command),
        Action::Identity(identity) => format!("identity {}", identity.id),
        Action::Pipelines(all) => format!("pipelines {}", all.len()),
        Action::Attached(yes) => format!("attached {yes}"),
        Action::Lacks(lack) => format!("lacks {lack:?}"),
        Action::Reserve(ready) => format!("reserve {ready}"),
        Action::FailedOver => "failed over".into(),
        Action::Refused { why, .. } => format!("refused {}", why.as_str()),
        Action::Stopped(_) => "stopped".into(),
    }
}

fn plane_words(command: &PlaneCommand) -> String {
    match command {
        PlaneCommand::SayCutOff(cut_off) => format!("cut off {cut_off}"),
        PlaneCommand::AddLink(link) => {
            let side = if link.peer == PeerSide::Parent { "parent" } else { "child" };
            let standby = if link.standby { " standby" } else { "" };
            format!("add link {} {side}{standby}", link.id)
        }
        PlaneCommand::RemoveLink(link) => format!("remove link {link}"),
        PlaneCommand::Promote(link) => format!("promote link {link}"),
        PlaneCommand::TellPositions => "tell positions".into(),
        PlaneCommand::DefinePipeline(id, layers) => format!("define {id} {}", layers.len()),
        PlaneCommand::RemovePipeline(id) => format!("undefine {id}"),
        PlaneCommand::AddKey(id, epoch, _) => format!("add key {id} {epoch}"),
        PlaneCommand::RemoveKey(id, epoch) => format!("remove key {id} {epoch}"),
        PlaneCommand::AddRoute { ssrc, next: hop, from, .. } => {
            let from = from.map(|f| format!(" from {f}")).unwrap_or_default();
            format!("add row {ssrc} {}{from}", next(hop))
        }
        PlaneCommand::RemoveRoute { ssrc, next: hop, .. } => {
            format!("remove row {ssrc} {}", next(hop))
        }
        PlaneCommand::RequestKeyFrame(_, ssrc) => format!("key frame {ssrc}"),
    }
}

fn message_words(message: &Message) -> String {
    let address = |a: &Option<Address>| a.as_ref().map_or("-".into(), Address::to_string);
    let detail = match &message.body {
        Body::Error(report) => format!("{} {}", report.code, report.failed_type),
        Body::ChildsUpdate(update) => {
            let added: Vec<String> = update.added.iter().map(|c| format!("+{}", c.id)).collect();
            let removed: Vec<String> =
                update.removed.iter().map(|(id, n)| format!("-{id}/{n}")).collect();
            [added, removed].concat().join(" ")
        }
        Body::PlayPipeline(play) => play
            .layers
            .iter()
            .map(|(s, from)| from.map_or(s.to_string(), |f| format!("{s}@{f}")))
            .collect::<Vec<_>>()
            .join(" "),
        Body::StopPipeline(stop) => {
            stop.layers.iter().map(Ssrc::to_string).collect::<Vec<_>>().join(" ")
        }
        Body::Hello(hello) if hello.warm => "warm".into(),
        Body::PipeDefInfo(info) => info.state.to_string(),
        Body::FullStats(full) => format!("{} time {}", full.containers.len(), message.time.0),
        _ => String::new(),
    };
    let text = format!(
        "{} {}>{} {detail}",
        message.body.kind(),
        address(&message.from),
        address(&message.to)
    );
    text.trim_end().to_owned()
}

pub fn ping() -> Body {
    Body::Ping(Echo { token: "t".into() })
}

pub fn bye() -> Body {
    Body::Bye(Bye { reason: String::new() })
}

//! Step tests of the root's core: each step drains actions and outputs to nothing and compares
//! them all. Whole trees are simulated in the tests crate.

mod egress;
mod epochs;
mod joins;
mod places;
mod plans;
mod restart;
mod streams;
mod turns;
mod unsteady;
mod versions;

use super::RootCore;
use super::adopt::{Memory, Remembered};
use super::api::*;
use relay_node::control::api::*;
use relay_node::media::api::{HopCredential, PlaneCommand, PlaneEvent};
use soleil_protocol::message::*;
use soleil_protocol::pipeline::{PipelineDef, Wrapped};
use soleil_protocol::*;

thread_local! {
    /// Tokens that were taken back, in this test.
    static REVOKED: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Vault and authority without cryptography. A certificate request is its key's number; a ticket
/// is text.
struct Plain;

impl Vault for Plain {
    fn certificate_request(&mut self, _name: &NodeId) -> Vec<u8> {
        vec![0]
    }

    fn wrap_key(&self) -> Vec<u8> {
        vec![0; 32]
    }

    fn unwrap(&self, _context: &str, _wrapped: &Wrapped) -> Option<Vec<u8>> {
        None
    }

    fn check_identity(&self, _identity: &Identity, _now: Now) -> Result<(), String> {
        Err("the root joins nobody".into())
    }

    fn validity(&self, _certificate: &[u8]) -> Option<(Wall, Wall)> {
        None
    }

    fn check_ticket(
        &self,
        _ticket_key: &[u8],
        _parent: &NodeId,
        ticket: &[u8],
        _now: Now,
    ) -> Result<TicketClaims, String> {
        let text = String::from_utf8(ticket.to_vec()).map_err(|e| e.to_string())?;
        let parts: Vec<&str> = text.split(' ').collect();
        let [child, key, incarnation, link, rank, _] = &parts[..] else {
            return Err("nonsense".into());
        };
        Ok(TicketClaims {
            child: id(child),
            child_key: [key.parse().unwrap(); 32],
            incarnation: Incarnation(incarnation.parse().unwrap()),
            link: LinkId(link.parse().unwrap()),
            credential: HopCredential([1; 32]),
            backup: (*rank != "-").then(|| Rank(rank.parse().unwrap())),
        })
    }
}

impl Authority for Plain {
    fn request_key(&self, csr: &[u8]) -> Result<KeyHash, String> {
        match csr {
            [key] => Ok([*key; 32]),
            _ => Err("not a request".into()),
        }
    }

    fn issue(&mut self, _now: Now, id: &NodeId, role: Role, _: &[u8]) -> Result<Vec<u8>, String> {
        Ok(format!("{id} {role}").into_bytes())
    }

    fn ca_certificate(&self) -> Vec<u8> {
        b"ca".to_vec()
    }

    fn ticket_key(&self) -> Vec<u8> {
        vec![9; 32]
    }

    fn sign_ticket(&mut self, _now: Now, t: &TicketRequest) -> Result<Vec<u8>, String> {
        let rank = t.backup.map_or("-".to_owned(), |rank| rank.to_string());
        let (child, key) = (&t.child, t.child_key[0]);
        let (number, link, version) = (t.incarnation, t.link, t.version);
        Ok(format!("{child} {key} {number} {link} {rank} {version}").into_bytes())
    }

    fn wrap(&mut self, key: &[u8], context: &str, secret: &[u8]) -> Result<Wrapped, String> {
        if key == [0xff; 32] {
            return Err("not on the curve".into());
        }
        Ok(Wrapped { enc: context.as_bytes().to_vec(), sealed: secret.to_vec() })
    }

    fn random(&mut self, out: &mut [u8]) {
        out.fill(4);
    }

    fn token_stands(&self, token: &str) -> bool {
        !REVOKED.with(|revoked| revoked.borrow().contains(&token.to_owned()))
    }
}

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

/// A root under test.
struct Rig {
    core: RootCore,
    now: Now,
    /// REDIRECTs that were sent, for their tickets.
    redirects: Vec<(ConnId, Redirect)>,
    /// PINGs that were sent and not answered.
    pings: Vec<(ConnId, Echo)>,
    /// What the store was told.
    kept: Vec<Memory>,
    next_conn: u64,
}

const SEC: u64 = 1_000_000;

impl Rig {
    fn new(children: u32) -> Self {
        Self::with(children, |_| {})
    }

    /// With a configuration that is another one.
    fn with(children: u32, change: impl FnOnce(&mut RootConfig)) -> Self {
        let mut config = RootConfig {
            id: id("root"),
            server: HostPort { host: "root.example".into(), port: 7443 },
            media: Vec::new(),
            capacity: Capacity { children, viewers: 0, egress: 0 },
            region: String::new(),
            avoid_unsteady: true,
        };
        change(&mut config);
        let core = RootCore::new(config, Box::new(Plain), Box::new(Plain), [1; 32]);
        let now = Now { mono: Mono(SEC), wall: Wall(1_000 * SEC) };
        let (redirects, kept) = (Vec::new(), Vec::new());
        let pings = Vec::new();
        let mut rig = Self { core, now, redirects, pings, kept, next_conn: 0 };
        assert_eq!(rig.step(Event::Timeout), ["view 1"]);
        rig
    }

    fn step(&mut self, event: Event<RootCommand>) -> Vec<String> {
        self.core.handle(self.now, event);
        let mut said = Vec::new();
        while let Some(action) = self.core.poll_action() {
            if let Action::Send(conn, message) = &action
                && let Body::Redirect(redirect) = &message.body
            {
                self.redirects.push((*conn, redirect.as_ref().clone()));
            }
            if let Action::Send(conn, message) = &action
                && let Body::Ping(echo) = &message.body
            {
                self.pings.push((*conn, echo.clone()));
            }
            // For metrics and the log; what is answered is here.
            if !matches!(action, Action::Refused { .. }) {
                said.push(words(&action));
            }
        }
        while let Some(output) = self.core.poll_output() {
            said.push(match output {
                RootOutput::View(view) => format!("view {}", view.nodes.len()),
                RootOutput::Key { pipeline, epoch, .. } => format!("key {pipeline} {epoch}"),
                RootOutput::KeyFrameWanted(pipeline, ssrc) => format!("wanted {pipeline} {ssrc}"),
                RootOutput::Remember(memory) => {
                    self.kept.push(memory);
                    continue;
                }
            });
        }
        said
    }

    fn command(&mut self, command: RootCommand) -> Vec<String> {
        self.step(Event::Command(command))
    }

    fn wait(&mut self, micros: u64) -> Vec<String> {
        self.now.mono.0 += micros;
        self.now.wall.0 += micros;
        self.step(Event::Timeout)
    }

    /// Everything but the clockwork.
    fn quiet(said: Vec<String>) -> Vec<String> {
        let noise = ["ping", "view", "reqfullstats"];
        said.into_iter().filter(|s| !noise.iter().any(|n| s.contains(n))).collect()
    }

    fn message(&mut self, conn: ConnId, from: &str, to: Option<&str>, body: Body) -> Vec<String> {
        let from = Some(Address::Node(id(from)));
        let to = to.map(|a| a.parse().unwrap());
        self.step(Event::Message(conn, Message { time: Millis(7), from, to, body }))
    }

    fn accept(&mut self, peer: Peer) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let remote = "192.0.2.1:1".parse().unwrap();
        assert_eq!(self.step(Event::Accepted { conn, peer, remote }), [""; 0]);
        conn
    }

    /// A join with a token of this role; what is said is without the connection.
    fn join(&mut self, role: Role, hello: Hello) -> Vec<String> {
        self.join_as(Peer::Joining { token: "1".into(), role }, hello)
    }

    fn join_as(&mut self, peer: Peer, hello: Hello) -> Vec<String> {
        let conn = self.accept(peer);
        let body = Body::Hello(Box::new(hello));
        let message = Message { time: Millis(7), from: None, to: Some(Address::Root), body };
        let (prefix, close) = (format!("{} ", conn.0), format!("close {}", conn.0));
        self.step(Event::Message(conn, message))
            .into_iter()
            .map(|s| if s == close { "close it".into() } else { s })
            .map(|s| s.strip_prefix(&prefix).map(str::to_owned).unwrap_or(s))
            .collect()
    }

    /// Joins and attaches a node below the root; returns its connection and what came of it.
    fn attach(&mut self, role: Role, name: &str, key: u8) -> (ConnId, Vec<String>) {
        self.attach_as(role, hello(role, name, key), key)
    }

    /// Likewise, by this HELLO.
    fn attach_by(&mut self, hello: Hello, key: u8) -> (ConnId, Vec<String>) {
        self.attach_as(hello.role.unwrap(), hello, key)
    }

    fn attach_as(&mut self, role: Role, hello: Hello, key: u8) -> (ConnId, Vec<String>) {
        let version = hello.version;
        let said = self.join(role, hello);
        assert!(said[0].starts_with("redirect"), "{said:?}");
        let (_, redirect) = self.redirects.last().cloned().unwrap();
        let identity = redirect.identity.unwrap();
        let conn = self.accept(node_peer(identity.id.as_str(), key));
        let mut hello = Hello { version, ..Hello::new(identity.id.clone()) };
        hello.incarnation = identity.incarnation;
        hello.ticket = Some(redirect.parents[0].ticket.clone());
        hello.nonce = Some(vec![1; 16]);
        let body = Body::Hello(Box::new(hello));
        let mut said = self.message(conn, identity.id.as_str(), Some("root"), body);
        let open = PlaneEvent::LinkOpen(redirect.parents[0].link, "192.0.2.1:1".parse().unwrap());
        said.extend(self.step(Event::Plane(open)));
        (conn, said)
    }
}

/// A node that TLS has proved, with a certificate that ends in 2,000 s.
fn node_peer(name: &str, key: u8) -> Peer {
    Peer::Node { id: id(name), key: [key; 32], until: Wall(3_000 * SEC), token: None }
}

fn hello(role: Role, name: &str, key: u8) -> Hello {
    let mut hello = Hello::new(id(name));
    hello.role = Some(role);
    hello.csr = Some(vec![key]);
    hello.wrap_key = Some(vec![key; 32]);
    hello.capacity = Capacity { children: 4, viewers: 10, egress: 0 };
    if role == Role::Relay {
        hello.server = Some(HostPort { host: "relay.example".into(), port: 1 });
    }
    hello
}

fn def(name: &str) -> PipelineDef {
    PipelineDef { id: PipelineId(1), name: name.into(), live: false, tracks: Vec::new() }
}

fn words(action: &Action) -> String {
    match action {
        Action::Send(conn, message) => {
            let to = message.to.as_ref().map_or("-".into(), Address::to_string);
            let kind = message.body.kind();
            let detail = match &message.body {
                Body::Error(report) => format!(" {} {}", report.code, report.failed_type),
                Body::Redirect(redirect) => {
                    let who = redirect
                        .identity
                        .as_ref()
                        .map_or("-".into(), |i| format!("{}/{}", i.id, i.incarnation));
                    let parents: Vec<&str> =
                        redirect.parents.iter().map(|p| p.id.as_str()).collect();
                    format!(" {who} below {}", parents.join(","))
                }
                Body::PipeDef(body) => {
                    let removed =
                        body.removed.iter().map(|(id, last)| format!(" without {id}/{last}"));
                    let removed: String = removed.collect();
                    format!(" {} keys {}{removed}", body.def.id, body.keys.len())
                }
                _ => String::new(),
            };
            format!("{} {kind} >{to}{detail}", conn.0)
        }
        Action::Close(conn, _) => format!("close {}", conn.0),
        Action::Plane(PlaneCommand::AddLink(_)) => "add link".into(),
        Action::Plane(PlaneCommand::RemoveLink(_)) => "remove link".into(),
        Action::Plane(PlaneCommand::DefinePipeline(id, _)) => format!("define {id}"),
        Action::Plane(PlaneCommand::RemovePipeline(id)) => format!("undefine {id}"),
        Action::Plane(PlaneCommand::AddKey(id, _, _)) => format!("add key {id}"),
        Action::Plane(PlaneCommand::RemoveKey(id, _)) => format!("remove key {id}"),
        Action::Plane(other) => format!("{other:?}"),
        Action::Pipelines(all) => format!("pipelines {}", all.len()),
        Action::Lacks(_) => "lacks".into(),
        Action::Reserve(_) | Action::FailedOver => "backup".into(),
        Action::Refused { why, .. } => format!("refused {}", why.as_str()),
        Action::Stopped(_) => "stopped".into(),
        other => format!("{other:?}"),
    }
}

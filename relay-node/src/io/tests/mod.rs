//! Real sockets on loopback with a small test core: what a driver does for its core, and what it
//! keeps away from it.

mod abuse;
mod join;
mod links;

use super::TokenCheck;
use super::accept::{PATH, SUBPROTOCOL};
use super::driver::{self, DriverHandle, DriverOptions, Plane};
use super::limits::LinkLimits;
use crate::clock::Clock;
use crate::control::api::{
    Action, ConnId, Core, DialId, DialTarget, Event, NodeCommand, Peer, PlaneReport,
};
use crate::identity::{Authority, JoinToken, NodeKey, NodeVault};
use crate::media::api::PlaneCommand;
use soleil_protocol::message::{Bye, Echo, ErrorCode, HostPort, Identity};
use soleil_protocol::{Body, Incarnation, Message, Millis, Mono, NodeId, Now, Role, Wall};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(86_400);

/// A core that tells the test what happens and does what the test says. It answers PING by PONG
/// and malformed messages by ERROR, as the real one does.
struct Probe {
    events: mpsc::UnboundedSender<Event<ProbeCommand>>,
    actions: VecDeque<Action>,
    /// Whether a drain ends it.
    obedient: bool,
}

#[derive(Debug, Clone)]
enum ProbeCommand {
    Do(Action),
    Node(NodeCommand),
}

impl From<NodeCommand> for ProbeCommand {
    fn from(command: NodeCommand) -> Self {
        ProbeCommand::Node(command)
    }
}

fn message(body: Body) -> Message {
    Message { time: Millis(1), from: None, to: None, body }
}

fn ping(token: &str) -> Message {
    message(Body::Ping(Echo { token: token.into() }))
}

impl Core for Probe {
    type Command = ProbeCommand;

    fn handle(&mut self, _now: Now, event: Event<ProbeCommand>) {
        match &event {
            Event::Message(conn, Message { body: Body::Ping(echo), .. }) => {
                let pong = message(Body::Pong(echo.clone()));
                self.actions.push_back(Action::Send(*conn, pong));
            }
            Event::Malformed { conn, report } => {
                let body = Body::Error(report.clone());
                self.actions.push_back(Action::Send(*conn, message(body)));
                if report.code != ErrorCode::UnknownType {
                    self.actions.push_back(Action::Close(*conn, "malformed".into()));
                }
            }
            Event::Command(ProbeCommand::Do(action)) => self.actions.push_back(action.clone()),
            Event::Command(ProbeCommand::Node(NodeCommand::Drain(reason))) if self.obedient => {
                self.actions.push_back(Action::Stopped(reason.clone()));
            }
            _ => {}
        }
        let _ = self.events.send(event);
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        None
    }
}

struct NoPlane;

impl Plane for NoPlane {
    fn command(&mut self, _command: PlaneCommand) {}
    fn report(&mut self, _now: Now) -> PlaneReport {
        PlaneReport::default()
    }
}

/// One running driver.
struct TestNode {
    handle: DriverHandle<ProbeCommand>,
    task: JoinHandle<String>,
    events: mpsc::UnboundedReceiver<Event<ProbeCommand>>,
    address: SocketAddr,
    vault: NodeVault,
}

impl TestNode {
    fn act(&self, action: Action) {
        assert!(self.handle.command(ProbeCommand::Do(action)));
    }

    fn dial(&self, number: u64, target: DialTarget) {
        self.act(Action::Dial(DialId(number), target));
    }

    /// The next event that `pick` takes; others are passed over.
    async fn next<T>(&mut self, mut pick: impl FnMut(Event<ProbeCommand>) -> Option<T>) -> T {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the driver has ended");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("the event does not come")
    }

    async fn accepted(&mut self) -> (ConnId, Peer) {
        self.next(|event| match event {
            Event::Accepted { conn, peer, .. } => Some((conn, peer)),
            _ => None,
        })
        .await
    }

    async fn dialed(&mut self) -> Result<ConnId, (String, bool)> {
        self.next(|event| match event {
            Event::Dialed { conn, .. } => Some(Ok(conn)),
            Event::DialFailed { error, refused, .. } => Some(Err((error, refused))),
            _ => None,
        })
        .await
    }

    async fn message_on(&mut self, wanted: ConnId) -> Message {
        self.next(|event| match event {
            Event::Message(conn, message) if conn == wanted => Some(message),
            _ => None,
        })
        .await
    }

    async fn closed(&mut self, wanted: ConnId) {
        self.next(|event| (matches!(event, Event::Closed(conn) if conn == wanted)).then_some(()))
            .await;
    }

    /// A PING and its PONG: the link works.
    async fn works(&mut self, conn: ConnId, token: &str) {
        self.act(Action::Send(conn, ping(token)));
        self.next(|event| match event {
            Event::Message(on, Message { body: Body::Pong(echo), .. }) => {
                (on == conn && echo.token == token).then_some(())
            }
            _ => None,
        })
        .await;
    }
}

/// A root's tokens: one of each kind.
struct Tokens {
    good: JoinToken,
    expired: JoinToken,
    revoked: JoinToken,
}

impl TokenCheck for Tokens {
    fn check(&self, id: &str, secret: &str) -> Result<Role, String> {
        for (token, answer) in [
            (&self.good, Ok(Role::Relay)),
            (&self.expired, Err("this token has expired")),
            (&self.revoked, Err("this token is revoked")),
        ] {
            if token.id == id {
                let same = crate::identity::encoding::same_secret(
                    token.secret().as_bytes(),
                    secret.as_bytes(),
                );
                return if same { answer.map_err(Into::into) } else { Err("wrong token".into()) };
            }
        }
        Err("wrong token".into())
    }
}

/// A CA with its tokens, and nodes around it.
struct World {
    clock: Clock,
    authority: Authority,
    tokens: Arc<Tokens>,
    limits: LinkLimits,
}

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

impl World {
    fn new() -> World {
        World::with_limits(LinkLimits::default())
    }

    fn with_limits(limits: LinkLimits) -> World {
        let clock = Clock::start();
        let authority = Authority::create(clock.now().wall).unwrap();
        let token = || JoinToken::generate(Role::Relay, authority.fingerprint()).unwrap();
        let tokens = Arc::new(Tokens { good: token(), expired: token(), revoked: token() });
        World { clock, authority, tokens, limits }
    }

    fn identity(&self, name: &str, certificate: Vec<u8>) -> Identity {
        Identity {
            id: id(name),
            incarnation: Incarnation(1),
            certificate,
            authority: self.authority.certificate().to_vec(),
            ticket_key: vec![0; 32],
        }
    }

    /// A certificate of this CA for a node's key.
    fn certify(&self, node: &NodeVault, name: &str, issued: Wall) -> Identity {
        let request = node.key().request(name).unwrap();
        let certificate = self.authority.issue(&request, &id(name), issued, DAY).unwrap();
        self.identity(name, certificate)
    }

    async fn root(&self) -> TestNode {
        let vault = NodeVault::open(None).unwrap();
        let now = self.clock.now().wall;
        let certificate = self.authority.issue_root(vault.key(), &id("root"), now, DAY).unwrap();
        let identity = self.identity("root", certificate);
        self.start(vault, Some(identity), None, Some(self.tokens.clone()), true).await
    }

    async fn node(&self, root: &TestNode, token: &JoinToken) -> TestNode {
        self.node_at(root.address, token).await
    }

    async fn node_at(&self, root: SocketAddr, token: &JoinToken) -> TestNode {
        let vault = NodeVault::open(None).unwrap();
        let root = (host_port(root), token.clone());
        self.start(vault, None, Some(root), None, true).await
    }

    /// A relay that has its identity already.
    async fn relay(&self, name: &str, root: &TestNode) -> TestNode {
        let node = self.node(root, &self.tokens.good).await;
        let identity = self.certify(&node.vault, name, self.clock.now().wall);
        node.act(Action::Identity(identity));
        let mut seen = node.handle.identity();
        timeout(PATIENCE, seen.wait_for(Option::is_some)).await.unwrap().unwrap();
        node
    }

    async fn start(
        &self,
        vault: NodeVault,
        identity: Option<Identity>,
        root: Option<(HostPort, JoinToken)>,
        tokens: Option<Arc<dyn TokenCheck>>,
        obedient: bool,
    ) -> TestNode {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, events) = mpsc::unbounded_channel();
        let core = Probe { events: sender, actions: VecDeque::new(), obedient };
        let options = DriverOptions {
            clock: self.clock,
            limits: self.limits.clone(),
            vault: vault.clone(),
            listener: Some(listener),
            root,
            tokens,
            identity,
            drain_timeout: Duration::from_millis(200),
        };
        let (_, plane_events) = mpsc::channel(1);
        let (handle, task) = driver::start(options, core, NoPlane, plane_events).unwrap();
        TestNode { handle, task, events, address, vault }
    }

    /// A root, a relay that joined it, and both ends of their link.
    async fn joined(&self) -> (TestNode, TestNode, ConnId, ConnId) {
        let mut root = self.root().await;
        let mut node = self.node(&root, &self.tokens.good).await;
        node.dial(1, DialTarget::Root);
        let theirs = node.dialed().await.unwrap();
        let (ours, _) = root.accepted().await;
        (root, node, ours, theirs)
    }

    /// TLS to the root as somebody without a certificate.
    async fn tls(&self, to: SocketAddr) -> TlsStream<TcpStream> {
        use crate::identity::tls::{Expect, client, unused_server_name};
        let expect = Expect::Root(self.authority.fingerprint());
        let config = client(None, expect, self.clock).unwrap();
        let tcp = TcpStream::connect(to).await.unwrap();
        tokio_rustls::TlsConnector::from(config).connect(unused_server_name(), tcp).await.unwrap()
    }

    /// A raw WebSocket to the root with the good token.
    async fn raw(&self, to: SocketAddr) -> WebSocketStream<TlsStream<TcpStream>> {
        use tungstenite::client::IntoClientRequest;
        let mut request = format!("wss://localhost{PATH}").into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", SUBPROTOCOL.parse().unwrap());
        let bearer = format!("Bearer {}", self.tokens.good.bearer());
        headers.insert("Authorization", bearer.parse().unwrap());
        tokio_tungstenite::client_async(request, self.tls(to).await).await.unwrap().0
    }
}

fn host_port(address: SocketAddr) -> HostPort {
    HostPort { host: address.ip().to_string(), port: address.port() }
}

/// Waits for a condition that has no event.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    let wait = async {
        while !condition() {
            look.tick().await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

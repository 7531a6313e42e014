//! A node that does not play by the rules. It has joined by a good token, and it even has the root's
//! ticket key, so that it can make tickets of every kind.

use futures_util::{SinkExt, StreamExt};
use relay_node::clock::Clock;
use relay_node::control::api::TicketClaims;
use relay_node::identity::tls::{Credentials, Expect, client, unused_server_name};
use relay_node::identity::{JoinToken, LinkTicket, NodeVault};
use relay_node::io::accept::{PATH, SUBPROTOCOL};
use relay_node::media::api::HopCredential;
use root_node::store::{Keys, Store};
use soleil_protocol::message::{ErrorCode, Hello, Identity};
use soleil_protocol::{Address, Body, Incarnation, LinkId, Message, Millis, NodeId, Role, Wall};
use soleil_tests::harness::Tree;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub type Socket = WebSocketStream<TlsStream<TcpStream>>;

pub fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

pub fn message(from: Option<&str>, to: Option<&str>, body: Body) -> Message {
    let address = |text: &str| text.parse::<Address>().unwrap();
    Message { time: Millis(1), from: from.map(address), to: to.map(address), body }
}

pub struct Evil {
    clock: Clock,
    key: Arc<relay_node::identity::NodeKey>,
    identity: Identity,
    keys: Keys,
    /// The relay that it attacks.
    pub relay: NodeId,
    relay_key: Vec<u8>,
    pub overlay: SocketAddr,
    next: u64,
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

async fn upgrade(tls: Arc<ClientConfig>, to: SocketAddr, bearer: Option<&str>) -> Socket {
    let tcp = TcpStream::connect(to).await.unwrap();
    let stream = TlsConnector::from(tls).connect(unused_server_name(), tcp).await.unwrap();
    let mut request = format!("wss://localhost{PATH}").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("Sec-WebSocket-Protocol", SUBPROTOCOL.parse().unwrap());
    if let Some(bearer) = bearer {
        headers.insert("Authorization", format!("Bearer {bearer}").parse().unwrap());
    }
    tokio_tungstenite::client_async(request, stream).await.unwrap().0
}

pub async fn say(socket: &mut Socket, message: &Message) -> bool {
    socket.send(Frame::text(message.to_xml())).await.is_ok()
}

/// The next message but PING and what else the clockwork says; `None` when the link has ended.
pub async fn hear(socket: &mut Socket) -> Option<Message> {
    let next = async {
        while let Some(Ok(frame)) = socket.next().await {
            let Frame::Text(text) = frame else { continue };
            let message = Message::from_xml(&text).unwrap();
            if !matches!(message.body, Body::Ping(_) | Body::Pong(_)) {
                return Some(message);
            }
        }
        None
    };
    timeout(PATIENCE, next).await.expect("neither a word nor the end of the link")
}

/// What the link ends with: codes of ERRORs.
pub async fn errors(socket: &mut Socket) -> Vec<ErrorCode> {
    let mut codes = Vec::new();
    while let Some(message) = hear(socket).await {
        if let Body::Error(report) = message.body {
            codes.push(report.code);
        }
    }
    codes
}

impl Evil {
    /// Joins a tree as a leaf, to attack its first relay.
    pub async fn join(tree: &Tree) -> Self {
        let clock = Clock::start();
        let ports = tree.tcp_ports();
        let port = |name: &str| local(ports.iter().find(|(n, _)| n == name).unwrap().1);
        let token: JoinToken = tree.token("leaf", &[]).unwrap().parse().unwrap();
        let vault = NodeVault::open(None).unwrap();
        let key = vault.key().clone();
        let tls = client(None, Expect::Root(token.authority), clock).unwrap();
        let mut socket = upgrade(tls, port("root overlay"), Some(&token.bearer())).await;
        let mut hello = Hello::new(id("evil"));
        hello.role = Some(Role::Leaf);
        hello.csr = Some(key.request("evil").unwrap());
        hello.wrap_key = Some(relay_node::control::api::Vault::wrap_key(&vault));
        say(&mut socket, &message(None, Some("^"), Body::Hello(Box::new(hello)))).await;
        let answer = hear(&mut socket).await.expect("an answer");
        let Body::Redirect(redirect) = answer.body else { panic!("{answer:?}") };
        let store = Store::open(&tree.directory().join("root")).unwrap();
        let relay = id("relay-1");
        let nodes = store.nodes().unwrap();
        let relay_key = nodes.into_iter().find(|n| n.id == relay).unwrap().wrap_key;
        Self {
            clock,
            key,
            identity: redirect.identity.expect("an identity"),
            keys: store.keys(clock.now().wall).unwrap(),
            relay,
            relay_key,
            overlay: port("relay overlay"),
            next: 1_000,
        }
    }

    pub fn name(&self) -> &str {
        self.identity.id.as_str()
    }

    /// What a good ticket would say; every one has numbers of its own.
    pub fn claims(&mut self) -> TicketClaims {
        self.next += 1;
        TicketClaims {
            child: self.identity.id.clone(),
            child_key: self.key.hash(),
            incarnation: Incarnation(self.next),
            link: LinkId(self.next),
            credential: HopCredential([7; 32]),
            backup: None,
        }
    }

    /// A ticket, signed by the root's key, that is good for so many seconds (or has not been).
    pub fn ticket(&self, claims: &TicketClaims, parent: &NodeId, lives: i64) -> Vec<u8> {
        let now = self.clock.now().wall.0;
        let until = Wall(now.saturating_add_signed(lives * 1_000_000));
        let ticket = LinkTicket::new(claims, parent, &self.relay_key, until).unwrap();
        ticket.sign(&self.keys.tickets, 2)
    }

    pub fn good_ticket(&mut self) -> Vec<u8> {
        let claims = self.claims();
        self.ticket(&claims, &self.relay.clone(), 60)
    }

    pub fn tls(&self) -> Arc<ClientConfig> {
        let own = Credentials {
            certificate: self.identity.certificate.clone(),
            authority: self.identity.authority.clone(),
            key: self.key.clone(),
        };
        let authority = self.identity.authority.clone();
        let expect = Expect::Node { authority, id: self.relay.clone() };
        client(Some(&own), expect, self.clock).unwrap()
    }

    /// A control link to the relay, without a word so far.
    pub async fn connect(&self) -> Socket {
        upgrade(self.tls(), self.overlay, None).await
    }

    /// HELLO with a ticket; the relay's answer.
    pub async fn greet(&self, ticket: Vec<u8>) -> (Socket, Option<Message>) {
        let mut socket = self.connect().await;
        let mut hello = Hello::new(self.identity.id.clone());
        hello.ticket = Some(ticket);
        hello.nonce = Some(vec![1; 16]);
        let (name, relay) = (self.identity.id.as_str(), self.relay.as_str());
        say(&mut socket, &message(Some(name), Some(relay), Body::Hello(Box::new(hello)))).await;
        let answer = hear(&mut socket).await;
        (socket, answer)
    }

    /// A child of the relay.
    pub async fn attach(&mut self) -> Socket {
        let ticket = self.good_ticket();
        let (socket, answer) = self.greet(ticket).await;
        assert!(matches!(answer, Some(Message { body: Body::Hello(_), .. })), "{answer:?}");
        socket
    }

    /// Whether the relay refuses a ticket by ERROR `unauthorized`, and ends the link.
    pub async fn is_refused(&self, ticket: Vec<u8>) -> bool {
        let (mut socket, answer) = self.greet(ticket).await;
        let code = match answer.map(|m| m.body) {
            Some(Body::Error(report)) => Some(report.code),
            _ => None,
        };
        code == Some(ErrorCode::Unauthorized) && errors(&mut socket).await.is_empty()
    }
}

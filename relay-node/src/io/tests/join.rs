//! Joining: tokens good and bad, and who the root sees.

use super::*;
use crate::refusals::Refusal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_good_token_opens_a_link_both_ways() {
    let world = World::new();
    let (mut root, mut node, ours, theirs) = world.joined().await;
    node.works(theirs, "from the node").await;
    root.works(ours, "from the root").await;
    assert_eq!(root.handle.counters().open(), 1);
    node.act(Action::Close(theirs, "enough".into()));
    root.closed(ours).await;
    until("the link is counted out", || root.handle.counters().open() == 0).await;
}

#[tokio::test]
async fn the_root_learns_token_and_role() {
    let world = World::new();
    let mut root = world.root().await;
    let node = world.node(&root, &world.tokens.good).await;
    node.dial(1, DialTarget::Root);
    let (_, peer) = root.accepted().await;
    let token = world.tokens.good.id.clone();
    assert_eq!(peer, Peer::Joining { token, role: Role::Relay });
}

#[tokio::test]
async fn wrong_expired_and_revoked_tokens_are_refused_with_a_sentence() {
    let world = World::new();
    let root = world.root().await;
    let unknown = JoinToken::generate(Role::Relay, world.authority.fingerprint()).unwrap();
    // The right id with another's secret.
    let text = world.tokens.good.to_string().replace(world.tokens.good.secret(), unknown.secret());
    let forged: JoinToken = text.parse().unwrap();
    for (i, (token, sentence)) in [
        (&unknown, "wrong token"),
        (&forged, "wrong token"),
        (&world.tokens.expired, "this token has expired"),
        (&world.tokens.revoked, "this token is revoked"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut node = world.node(&root, token).await;
        node.dial(1, DialTarget::Root);
        let (error, refused) = node.dialed().await.unwrap_err();
        assert!(refused && error.contains(sentence), "{error}");
        let counters = root.handle.counters();
        until("it is counted", || counters.refusals(Refusal::Token) == i as u64 + 1).await;
    }
    assert_eq!(root.handle.counters().open(), 0);
}

#[tokio::test]
async fn a_token_of_another_ca_keeps_the_node_from_talking_at_all() {
    let (world, other) = (World::new(), World::new());
    let root = world.root().await;
    let mut node = world.node(&root, &other.tokens.good).await;
    node.dial(1, DialTarget::Root);
    let (error, refused) = node.dialed().await.unwrap_err();
    assert!(!refused && error.contains("TLS"), "{error}");
    assert_eq!(root.handle.counters().refusals(Refusal::Token), 0);
}

#[tokio::test]
async fn a_node_that_comes_back_shows_its_certificate() {
    let world = World::new();
    let mut root = world.root().await;
    let node = world.relay("relay-1", &root).await;
    node.dial(1, DialTarget::Root);
    let (_, peer) = root.accepted().await;
    assert!(matches!(peer, Peer::Node { id: who, key, until, .. } if who == id("relay-1")
        && key == node.vault.key().hash() && until > world.clock.now().wall));
}

#[tokio::test]
async fn a_revoked_token_is_refused_beside_a_certificate_too() {
    let world = World::new();
    let root = world.root().await;
    let mut node = world.node(&root, &world.tokens.revoked).await;
    node.act(Action::Identity(world.certify(&node.vault, "relay-1", world.clock.now().wall)));
    node.dial(1, DialTarget::Root);
    let (error, refused) = node.dialed().await.unwrap_err();
    assert!(refused && error.contains("revoked"), "{error}");
}

#[tokio::test]
async fn who_has_lost_its_certificate_joins_with_the_token() {
    // Run out by our clock: not shown. Of a CA that the root no longer has: refused in TLS, and
    // the dial goes on without it. Here the first.
    let world = World::new();
    let mut root = world.root().await;
    let mut node = world.node(&root, &world.tokens.good).await;
    let old = Wall(world.clock.now().wall.0 - 2 * 86_400_000_000);
    node.act(Action::Identity(world.certify(&node.vault, "relay-1", old)));
    node.dial(1, DialTarget::Root);
    node.dialed().await.unwrap();
    assert!(matches!(root.accepted().await.1, Peer::Joining { .. }));
}

#[tokio::test]
async fn without_token_or_certificate_or_on_another_path_there_is_nothing() {
    let world = World::new();
    let root = world.root().await;
    let upgrade = |path: &str, headers: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {headers}\r\n"
        )
    };
    let ours = "Sec-WebSocket-Protocol: soleil.1\r\n";
    for (request, status, sentence) in [
        (upgrade("/soleil", ours), "401", "a certificate or a join token is needed"),
        (upgrade("/other", ours), "404", "there is nothing here"),
        (upgrade("/soleil", ""), "400", "soleil.1"),
        (upgrade("/soleil", &format!("{ours}Authorization: Basic eA==\r\n")), "401", "not a join"),
        (upgrade("/soleil", &format!("{ours}Authorization: Bearer x.y\r\n")), "401", "not a join"),
    ] {
        let mut stream = world.tls(root.address).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The server may end TLS without a farewell.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains(sentence), "{answer}");
    }
}

#[tokio::test]
async fn nobody_there_is_a_failed_dial() {
    let world = World::new();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut node = world.node_at(address, &world.tokens.good).await;
    node.dial(1, DialTarget::Root);
    let (error, refused) = node.dialed().await.unwrap_err();
    assert!(!refused && error.starts_with("127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn a_root_that_accepts_and_is_silent_is_given_up() {
    let limits = LinkLimits { dial_timeout: Duration::from_millis(200), ..LinkLimits::default() };
    let world = World::with_limits(limits);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut node = world.node_at(silent.local_addr().unwrap(), &world.tokens.good).await;
    node.dial(1, DialTarget::Root);
    let (error, refused) = node.dialed().await.unwrap_err();
    assert!(!refused && error.contains("too long"), "{error}");
}

//! Links between nodes: mutual TLS, identities, and how a driver ends.

use super::*;
use crate::refusals::Refusal;

#[tokio::test]
async fn parent_and_child_know_each_other() {
    let world = World::new();
    let root = world.root().await;
    let mut parent = world.relay("relay-1", &root).await;
    let mut child = world.relay("relay-2", &root).await;
    child.dial(1, DialTarget::Node(id("relay-1"), host_port(parent.address)));
    let conn = child.dialed().await.unwrap();
    let (_, peer) = parent.accepted().await;
    assert!(matches!(peer, Peer::Node { id: who, key, .. } if who == id("relay-2")
        && key == child.vault.key().hash()));
    child.works(conn, "up").await;
}

#[tokio::test]
async fn another_node_at_the_parents_address_is_not_taken_for_it() {
    let world = World::new();
    let root = world.root().await;
    let parent = world.relay("relay-1", &root).await;
    let mut child = world.relay("relay-2", &root).await;
    child.dial(1, DialTarget::Node(id("relay-9"), host_port(parent.address)));
    let (error, _) = child.dialed().await.unwrap_err();
    assert!(error.contains("TLS"), "{error}");
}

#[tokio::test]
async fn a_relay_takes_nobody_without_a_certificate_of_the_tree() {
    let (world, other) = (World::new(), World::new());
    let root = world.root().await;
    let mut parent = world.relay("relay-1", &root).await;
    let to_parent = || DialTarget::Node(id("relay-1"), host_port(parent.address));

    // No identity yet: the dial does not even begin.
    let mut nobody = world.node(&root, &world.tokens.good).await;
    nobody.dial(1, to_parent());
    assert!(nobody.dialed().await.is_err());
    // Run out: the same.
    let old = Wall(world.clock.now().wall.0 - 2 * 86_400_000_000);
    let mut late = world.node(&root, &world.tokens.good).await;
    late.act(Action::Identity(world.certify(&late.vault, "relay-3", old)));
    late.dial(1, to_parent());
    assert!(late.dialed().await.is_err());
    // Of another tree.
    let foreign_root = other.root().await;
    let mut foreign = other.relay("relay-4", &foreign_root).await;
    foreign.dial(1, to_parent());
    assert!(foreign.dialed().await.is_err());
    // With a good token only: a relay has no use for tokens.
    let mut joiner = world.node_at(parent.address, &world.tokens.good).await;
    joiner.dial(1, DialTarget::Root);
    assert!(joiner.dialed().await.is_err());

    let counters = parent.handle.counters().clone();
    until("the refusals are counted", || counters.refusals(Refusal::Handshake) >= 2).await;
    assert_eq!(counters.open(), 0);
    // Nothing of it reached the core, and a good child still gets in.
    let mut child = world.relay("relay-2", &root).await;
    child.dial(1, to_parent());
    child.dialed().await.unwrap();
    assert!(
        matches!(parent.accepted().await.1, Peer::Node { id: who, .. } if who == id("relay-2"))
    );
}

#[tokio::test]
async fn before_its_first_identity_a_node_accepts_nobody() {
    let world = World::new();
    let root = world.root().await;
    let mut parent = world.node(&root, &world.tokens.good).await;
    let mut child = world.relay("relay-2", &root).await;
    child.dial(1, DialTarget::Node(id("relay-1"), host_port(parent.address)));
    // The connection waits in the listener's backlog and is served once there is a certificate.
    let identity = world.certify(&parent.vault, "relay-1", world.clock.now().wall);
    parent.act(Action::Identity(identity));
    child.dialed().await.unwrap();
    parent.accepted().await;
}

#[tokio::test]
async fn identities_that_are_not_ours_are_not_used() {
    let (world, other) = (World::new(), World::new());
    let root = world.root().await;
    let mut node = world.node(&root, &world.tokens.good).await;
    let now = world.clock.now().wall;
    let stranger = NodeVault::new(NodeKey::generate().unwrap()).unwrap();
    let mut renamed = world.certify(&node.vault, "relay-1", now);
    renamed.id = id("relay-2");
    let mut garbage = world.certify(&node.vault, "relay-1", now);
    garbage.certificate.truncate(100);
    for bad in [
        other.certify(&node.vault, "relay-1", now),
        world.certify(&stranger, "relay-1", now),
        renamed,
        garbage,
    ] {
        node.act(Action::Identity(bad));
    }
    // Actions are done in order: when this dial has failed, the identities have been looked at.
    node.dial(1, DialTarget::Node(id("root"), host_port(root.address)));
    let (error, _) = node.dialed().await.unwrap_err();
    assert!(error.contains("no valid one"), "{error}");
    assert!(node.handle.identity().borrow().is_none());
}

#[tokio::test]
async fn a_renewed_identity_is_used_for_the_next_connection_and_links_stay() {
    let world = World::new();
    let mut root = world.root().await;
    let mut node = world.relay("relay-1", &root).await;
    node.dial(1, DialTarget::Node(id("root"), host_port(root.address)));
    let first = node.dialed().await.unwrap();
    root.accepted().await;
    node.act(Action::Identity(world.certify(&node.vault, "relay-1b", world.clock.now().wall)));
    node.dial(2, DialTarget::Node(id("root"), host_port(root.address)));
    node.dialed().await.unwrap();
    let (_, peer) = root.accepted().await;
    assert!(matches!(peer, Peer::Node { id: who, .. } if who == id("relay-1b")));
    node.works(first, "still there").await;
}

#[tokio::test]
async fn a_drain_goes_through_the_core_and_last_words_arrive() {
    let world = World::new();
    let (mut root, node, ours, theirs) = world.joined().await;
    let bye = message(Body::Bye(Bye { reason: "drained".into() }));
    node.act(Action::Send(theirs, bye.clone()));
    node.act(Action::Stopped("done".into()));
    assert_eq!(root.message_on(ours).await.body, bye.body);
    root.closed(ours).await;
    assert_eq!(timeout(PATIENCE, node.task).await.unwrap().unwrap(), "done");

    root.handle.drain("SIGTERM");
    assert_eq!(timeout(PATIENCE, root.task).await.unwrap().unwrap(), "SIGTERM");
}

#[tokio::test]
async fn a_core_that_does_not_stop_is_stopped() {
    let world = World::new();
    let vault = NodeVault::open(None).unwrap();
    let node = world.start(vault, None, None, None, false).await;
    node.handle.drain("SIGTERM");
    let reason = timeout(PATIENCE, node.task).await.unwrap().unwrap();
    assert!(reason.contains("too long"), "{reason}");
    assert!(!node.handle.command(ProbeCommand::Node(NodeCommand::Drain("again".into()))));
}

#[tokio::test]
async fn attached_and_pipelines_are_seen_outside() {
    let world = World::new();
    let root = world.root().await;
    let mut attached = root.handle.attached();
    root.act(Action::Attached(true));
    timeout(PATIENCE, attached.wait_for(|attached| *attached)).await.unwrap().unwrap();
    root.act(Action::Pipelines(Arc::default()));
    let mut pipelines = root.handle.pipelines();
    timeout(PATIENCE, pipelines.changed()).await.unwrap().unwrap();
}

//! Where the root takes a node to be whose question or answer has got lost, and who is let in where all
//! places are taken.

use super::plans::{below, pass};
use super::*;

/// Two relays with four places each.
fn two(rig: &mut Rig) -> [(ConnId, &'static str); 2] {
    [("a", 1), ("b", 2)].map(|(name, key)| (rig.attach(Role::Relay, name, key).0, name))
}

/// A leaf's HELLO for the root, in its life of this number (0: it has just been started).
fn asks(rig: &mut Rig, life: u64) -> Vec<String> {
    let incarnation = Incarnation(life);
    rig.join(Role::Leaf, Hello { incarnation, ..hello(Role::Leaf, "leaf", 3) })
}

/// A leaf below `a`, and two relays.
fn leaf_below_a(rig: &mut Rig) -> [(ConnId, &'static str); 2] {
    let relays = two(rig);
    asks(rig, 0);
    below(rig, relays[0].0, "a", "leaf", 1);
    relays
}

fn removed(rig: &mut Rig, from: (ConnId, &str), nodes: &[(&str, u64)]) {
    let removed = nodes.iter().map(|(name, life)| (id(name), Incarnation(*life))).collect();
    let update = ChildsUpdate { added: vec![], removed };
    rig.message(from.0, from.1, None, Body::ChildsUpdate(update));
}

/// Where the leaf is, whether it is in the tree, and the children of `a` and `b`, those on their way
/// included.
fn seen(rig: &Rig) -> (Option<String>, bool, [u32; 2]) {
    let view = rig.core.view();
    let node = |name: &str| view.nodes.iter().find(|n| n.id == id(name));
    let leaf = node("leaf").unwrap();
    let parent = leaf.parent.as_ref().map(NodeId::to_string);
    (parent, leaf.attached, ["a", "b"].map(|name| node(name).map_or(0, |n| n.children)))
}

fn at(parent: &str) -> Option<String> {
    Some(parent.to_owned())
}

fn seconds(rig: &mut Rig, relays: &[(ConnId, &str)], count: u64) {
    for _ in 0..count {
        pass(rig, relays, SEC);
    }
}

#[test]
fn who_asks_for_a_place_while_it_has_one_counts_at_both() {
    let mut rig = Rig::new(4);
    let relays = leaf_below_a(&mut rig);
    let said = asks(&mut rig, 1);
    assert!(said[0].contains(" below b,"), "the other one: {said:?}");
    assert_eq!(seen(&rig), (at("a"), true, [1, 1]));
    // It has not heard the answer, or has not got there.
    seconds(&mut rig, &relays, 24);
    assert_eq!(seen(&rig), (at("a"), true, [1, 0]), "20 s, and a sweep");
    // It goes there.
    asks(&mut rig, 1);
    below(&mut rig, relays[1].0, "b", "leaf", 20);
    removed(&mut rig, relays[0], &[("leaf", 1)]);
    assert_eq!(seen(&rig), (at("b"), true, [0, 1]));
    // By an answer that names the place where it is, it is not on the move.
    let mut rig = Rig::new(2);
    let alone = rig.attach(Role::Relay, "a", 1).0;
    asks(&mut rig, 0);
    below(&mut rig, alone, "a", "leaf", 1);
    let said = asks(&mut rig, 1);
    assert!(said[0].contains(" below a"), "{said:?}");
    assert_eq!(seen(&rig), (at("a"), true, [1, 0]));
    seconds(&mut rig, &[(alone, "a")], 24);
    assert_eq!(seen(&rig), (at("a"), true, [1, 0]));
}

#[test]
fn a_new_process_has_lost_its_place() {
    let mut rig = Rig::new(4);
    let relays = leaf_below_a(&mut rig);
    let said = asks(&mut rig, 0);
    assert!(said[0].contains(" below b,"), "{said:?}");
    assert_eq!(seen(&rig), (at("b"), false, [0, 1]));
    // It does not come, and a way still leads to where it was: it is there.
    seconds(&mut rig, &relays, 13);
    assert_eq!(seen(&rig), (at("a"), true, [1, 0]));
}

#[test]
fn who_is_on_the_move_and_loses_its_old_place_is_awaited_at_the_new_one() {
    let mut rig = Rig::new(4);
    let relays = leaf_below_a(&mut rig);
    asks(&mut rig, 1);
    removed(&mut rig, relays[0], &[("leaf", 1)]);
    assert_eq!(seen(&rig), (at("b"), false, [0, 1]));
    seconds(&mut rig, &relays, 13);
    assert_eq!(seen(&rig), (None, false, [0, 0]));
    // It has never heard the answer, and is where it was.
    below(&mut rig, relays[0].0, "a", "leaf", 1);
    assert_eq!(seen(&rig), (at("a"), true, [1, 0]));
    // Of a new process what is older than its answer is late while it is awaited.
    asks(&mut rig, 0);
    removed(&mut rig, relays[0], &[("leaf", 1)]);
    below(&mut rig, relays[0].0, "a", "leaf", 1);
    assert_eq!(seen(&rig), (at("b"), false, [0, 1]));
    removed(&mut rig, relays[0], &[("leaf", 1)]);
    seconds(&mut rig, &relays, 13);
    below(&mut rig, relays[0].0, "a", "leaf", 1);
    assert_eq!(seen(&rig), (at("a"), true, [1, 0]), "and the truth when it is given up");
    // Where both are gone at once it is on its way to nowhere.
    let mut rig = Rig::new(2);
    let [(a, _), _] = two(&mut rig);
    let deep = |name, parent| Child {
        id: id(name),
        incarnation: Incarnation(1),
        parent: id(parent),
        weight: 1,
    };
    asks(&mut rig, 0);
    rig.join(Role::Relay, hello(Role::Relay, "c", 4));
    let added = vec![deep("c", "a"), deep("leaf", "a")];
    rig.message(a, "a", None, Body::ChildsUpdate(ChildsUpdate { added, removed: vec![] }));
    rig.command(RootCommand::Move { node: id("leaf"), parent: id("c") });
    assert_eq!((seen(&rig).0, rig.core.view().nodes[3].children), (at("a"), 1), "c awaits it");
    removed(&mut rig, (a, "a"), &[("c", 1), ("leaf", 1)]);
    assert_eq!((seen(&rig).0, seen(&rig).1), (None, false));
}

/// The path to the new parent does not open: the node goes back, and the way to it has never changed.
#[test]
fn who_goes_back_from_the_root_is_where_it_was() {
    let mut rig = Rig::new(4);
    let relays = leaf_below_a(&mut rig);
    let moved = RootCommand::Move { node: id("leaf"), parent: id("root") };
    assert_eq!(Rig::quiet(rig.command(moved)).len(), 1);
    let (_, redirect) = rig.redirects.last().cloned().unwrap();
    let conn = rig.accept(node_peer("leaf", 3));
    let mut hello = Hello::new(id("leaf"));
    hello.incarnation = Incarnation(1);
    hello.ticket = Some(redirect.parents[0].ticket.clone());
    hello.nonce = Some(vec![1; 16]);
    rig.message(conn, "leaf", Some("root"), Body::Hello(Box::new(hello)));
    rig.step(Event::Closed(conn));
    assert_eq!(seen(&rig), (at("a"), true, [1, 0]));
    let report = ErrorReport {
        code: ErrorCode::Internal,
        text: "the media path does not open".into(),
        failed_time: None,
        failed_type: "redirect".into(),
    };
    let said = rig.message(relays[0].0, "leaf", Some("^"), Body::Error(report));
    assert_eq!(Rig::quiet(said), [""; 0], "it may say so on its old way");
    assert_eq!(rig.core.view().nodes[0].children, 2, "and the root keeps no place for it");
    // The root speaks to it there.
    let said: Vec<String> = (0..4).flat_map(|_| pass(&mut rig, &relays, SEC)).collect();
    let told = said.iter().filter(|s| s.contains(" redirect >leaf - below a,")).count();
    assert_eq!(told, 1, "{said:?}");
}

#[test]
fn a_full_root_has_one_place_more_for_a_relay_and_none_for_a_leaf() {
    for (role, taken) in [(Role::Leaf, false), (Role::Relay, true)] {
        let mut rig = Rig::new(2);
        rig.join(role, hello(role, "late", 3));
        let (_, redirect) = rig.redirects.last().cloned().unwrap();
        // It does not come in time, and others do.
        seconds(&mut rig, &[], 13);
        two(&mut rig);
        let conn = rig.accept(node_peer("late", 3));
        let mut greeting = Hello::new(id("late"));
        greeting.role = Some(role);
        greeting.incarnation = Incarnation(1);
        greeting.ticket = Some(redirect.parents[0].ticket.clone());
        greeting.nonce = Some(vec![1; 16]);
        let said = rig.message(conn, "late", Some("root"), Body::Hello(Box::new(greeting)));
        let refused = said.iter().any(|s| s.contains(" full hello"));
        assert_eq!(refused, !taken, "{role}: {said:?}");
    }
}

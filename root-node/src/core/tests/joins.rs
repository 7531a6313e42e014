//! Joins, renewals, leaves: who gets what, and what is refused with which word.

use super::*;

#[test]
fn a_node_joins_attaches_and_is_seen() {
    let mut rig = Rig::new(4);
    assert_eq!(rig.join(Role::Relay, hello(Role::Relay, "a", 1)), ["redirect >- a/1 below root"]);
    assert_eq!(rig.wait(SEC / 10), ["view 2"]);
    assert!(!rig.core.view().nodes[1].attached, "it is on its way");
    let (conn, said) = rig.attach(Role::Relay, "a", 1);
    assert_eq!(said, ["add link".to_owned(), format!("{} hello >a", conn.0)]);
    let view = rig.core.view();
    let node = &view.nodes[1];
    assert!(
        node.attached
            && (node.depth, node.rank) == (1, Rank((1 << 24) | 1))
            && node.incarnation == Incarnation(2)
    );
    assert_eq!(view.nodes[0].children, 1);
    assert_eq!(rig.step(Event::Closed(conn)), ["remove link"]);
    let view = rig.core.view();
    assert!(!view.nodes[1].attached && view.nodes[1].parent.is_none());
}

#[test]
fn joins_that_are_refused() {
    let error = |code: &str| vec![format!("error >- {code} hello"), "close it".to_owned()];
    let mut rig = Rig::new(4);
    let good = || hello(Role::Leaf, "a", 1);
    let mut check = |token: Role, change: fn(&mut Hello), code: &str| {
        let mut hello = good();
        change(&mut hello);
        assert_eq!(rig.join(token, hello), error(code), "{code}");
    };
    check(Role::Relay, |_| (), "unauthorized");
    check(Role::Root, |h| h.role = None, "unauthorized");
    check(Role::Leaf, |h| h.csr = None, "malformed");
    check(Role::Leaf, |h| h.csr = Some(vec![1, 2]), "unauthorized");
    check(Role::Leaf, |h| h.wrap_key = None, "malformed");
    check(Role::Leaf, |h| h.wrap_key = Some(vec![1; 31]), "malformed");
    check(Role::Leaf, |h| h.wrap_key = Some(vec![0xff; 32]), "malformed");
    check(Role::Leaf, |h| h.version = 4, "version");
    assert_eq!(rig.core.view().nodes.len(), 1, "nobody was kept");
    let mut rig = Rig::new(0);
    assert_eq!(rig.join(Role::Leaf, good()), error("full"));
    assert_eq!(rig.core.view().nodes.len(), 1);
}

#[test]
fn a_certificate_alone_is_no_token() {
    let mut rig = Rig::new(4);
    rig.attach(Role::Leaf, "a", 1);
    let mut ask = |name: &str, shown: u8, key: u8| {
        let conn = rig.accept(node_peer(name, shown));
        let body = Body::Hello(Box::new(hello(Role::Leaf, name, key)));
        let mut said = rig.message(conn, name, Some("^"), body);
        said.iter_mut().for_each(|s| *s = s.replacen(&conn.0.to_string(), "it", 1));
        said
    };
    let refused = || vec!["it error >- unauthorized hello".to_owned(), "close it".into()];
    assert_eq!(ask("b", 2, 2), refused(), "unknown");
    assert_eq!(ask("a", 2, 2), refused(), "another key");
    assert_eq!(ask("a", 1, 2), refused(), "asks for another key than it shows");
    assert_eq!(ask("a", 1, 1), ["it redirect >- a/2 below root"], "known: it has lost its parent");
}

#[test]
fn names_keys_and_incarnations() {
    let mut rig = Rig::new(16);
    let mut join = |name: &str, key| rig.join(Role::Leaf, hello(Role::Leaf, name, key));
    assert_eq!(join("a", 1), ["redirect >- a/1 below root"]);
    assert_eq!(join("a", 1), ["redirect >- a/2 below root"], "the same key comes again");
    assert_eq!(join("a", 2), ["redirect >- a-2/1 below root"], "another key");
    assert_eq!(join("a", 3), ["redirect >- a-3/1 below root"]);
    assert_eq!(join("a", 2), ["redirect >- a-2/2 below root"], "keeps what it was given");
    assert_eq!(join("a-2", 2), ["redirect >- a-2/3 below root"], "and asks for it");
    assert_eq!(join("root", 4), ["redirect >- root-2/1 below root"]);
    let long = "x".repeat(NodeId::MAX_LEN);
    assert_eq!(join(&long, 5), [format!("redirect >- {long}/1 below root")]);
    let cut = &long[..NodeId::MAX_LEN - 2];
    assert_eq!(join(&long, 6), [format!("redirect >- {cut}-2/1 below root")]);
    let mut older = hello(Role::Leaf, "b", 7);
    older.incarnation = Incarnation(41);
    assert_eq!(
        rig.join(Role::Leaf, older.clone()),
        ["redirect >- b/42 below root"],
        "it was here before this root was started"
    );
    older.name = id("c");
    older.incarnation = Incarnation(u64::MAX);
    assert_eq!(rig.join(Role::Leaf, older), ["redirect >- c/1 below root"], "a liar");
}

#[test]
fn a_certificate_is_renewed_for_the_same_key_only() {
    let mut rig = Rig::new(4);
    let (conn, _) = rig.attach(Role::Relay, "a", 1);
    let mut renew = |key: Option<u8>| {
        let mut hello = hello(Role::Relay, "a", 0);
        hello.csr = key.map(|k| vec![k]);
        rig.message(conn, "a", Some("^"), Body::Hello(Box::new(hello)))
    };
    assert_eq!(renew(Some(1)), [format!("{} redirect >a a/1 below ", conn.0)]);
    assert_eq!(renew(Some(2)), [format!("{} error >a unauthorized hello", conn.0)]);
    assert_eq!(renew(None), [format!("{} error >a malformed hello", conn.0)]);
}

#[test]
fn a_node_that_never_arrives_gives_its_place_back() {
    let mut rig = Rig::new(1);
    rig.join(Role::Relay, hello(Role::Relay, "a", 1));
    let full = rig.join(Role::Relay, hello(Role::Relay, "b", 2));
    assert_eq!(full, [""; 0], "it waits for what the first one brings");
    let mut said = Vec::new();
    for _ in 0..13 {
        said.extend(Rig::quiet(rig.wait(SEC)));
    }
    assert_eq!(
        said,
        ["4 error >- full hello", "close 4"].map(|s| s.replace('4', &rig.next_conn.to_string()))
    );
    let free = rig.join(Role::Relay, hello(Role::Relay, "b", 2));
    assert_eq!(free, ["redirect >- b/1 below root"]);
}

#[test]
fn a_node_that_nobody_knows_has_to_join_again() {
    let mut rig = Rig::new(4);
    let (conn, _) = rig.attach(Role::Relay, "a", 1);
    let child = |name: &str, parent: &str| Child {
        id: id(name),
        incarnation: Incarnation(3),
        parent: id(parent),
        weight: 1,
    };
    let update = ChildsUpdate { added: vec![child("old", "a")], removed: vec![] };
    let said = rig.message(conn, "a", None, Body::ChildsUpdate(update));
    assert_eq!(said, [format!("{} error >old unknownNode childsupdate", conn.0)]);
}

#[test]
fn who_says_bye_has_its_children_moved() {
    let mut rig = Rig::new(1);
    let (a, _) = rig.attach(Role::Relay, "a", 1);
    // The root is full: b goes below a, and says so through it.
    rig.join(Role::Relay, hello(Role::Relay, "b", 2));
    let child = Child { id: id("b"), incarnation: Incarnation(1), parent: id("a"), weight: 1 };
    let update = ChildsUpdate { added: vec![child], removed: vec![] };
    assert_eq!(rig.message(a, "a", None, Body::ChildsUpdate(update)), [""; 0]);
    let bye = || Body::Bye(Bye { reason: "update".into() });
    assert_eq!(rig.message(a, "a", Some("^"), bye()), [""; 0], "nobody else has room");
    assert!(rig.core.view().nodes[1].leaving);
    assert_eq!(rig.message(a, "a", None, bye()), [format!("close {}", a.0), "remove link".into()]);
    assert!(rig.core.view().nodes.iter().skip(1).all(|n| !n.attached), "b has gone with it");
}

#[test]
fn a_revoked_token_ends_renewals_and_returns() {
    let mut rig = Rig::new(4);
    let (conn, _) = rig.attach(Role::Relay, "a", 1);
    let ask = |rig: &mut Rig, conn: ConnId| {
        let body = Body::Hello(Box::new(hello(Role::Relay, "a", 1)));
        let said = rig.message(conn, "a", Some("^"), body);
        said[0].split_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(ask(&mut rig, conn), "redirect >a a/1 below ");
    REVOKED.with(|revoked| revoked.borrow_mut().push("1".into()));
    assert_eq!(ask(&mut rig, conn), "error >a unauthorized hello");
    let again = rig.accept(node_peer("a", 1));
    assert_eq!(ask(&mut rig, again), "error >- unauthorized hello", "not by its certificate");
    // By a new token it stays what it was, and can be renewed again.
    let other = Peer::Joining { token: "2".into(), role: Role::Relay };
    let said = rig.join_as(other, hello(Role::Relay, "a", 1));
    assert_eq!(said, ["redirect >- a/2 below root"]);
    let again = rig.accept(node_peer("a", 1));
    assert_eq!(ask(&mut rig, again), "redirect >- a/3 below root");
}

#[test]
fn a_revoked_token_removes_the_nodes_that_came_by_it() {
    let mut rig = Rig::new(4);
    let (a, _) = rig.attach(Role::Relay, "a", 1);
    let (b, _) = rig.attach(Role::Relay, "b", 2);
    let other = Peer::Joining { token: "2".into(), role: Role::Leaf };
    rig.join_as(other, hello(Role::Leaf, "c", 3));
    let kills = |said: Vec<String>| -> Vec<String> {
        said.into_iter().filter(|s| s.contains("kill")).collect()
    };
    assert_eq!(kills(rig.wait(SEC)), [""; 0]);
    REVOKED.with(|revoked| revoked.borrow_mut().push("1".into()));
    let removed = [format!("{} kill >a", a.0), format!("{} kill >b", b.0)];
    assert_eq!(kills(rig.wait(2 * SEC)), removed);
    let leaving: Vec<bool> = rig.core.view().nodes.iter().skip(1).map(|n| n.leaving).collect();
    assert_eq!(leaving, [true, true, false]);
    // Once.
    assert_eq!(kills(rig.wait(2 * SEC)), [""; 0]);
}

#[test]
fn a_killed_node_does_not_come_back_by_its_certificate() {
    let mut rig = Rig::new(4);
    let (conn, _) = rig.attach(Role::Relay, "a", 1);
    let kill = RootCommand::Kill { node: id("a"), grace_secs: 1, reason: "x".into() };
    assert_eq!(rig.command(kill), [format!("{} kill >a", conn.0)]);
    let again = rig.accept(node_peer("a", 1));
    let body = || Body::Hello(Box::new(hello(Role::Relay, "a", 1)));
    let said = rig.message(again, "a", Some("^"), body());
    assert_eq!(said[0], format!("{} error >- unauthorized hello", again.0));
    // It stays silent on its link: the link is closed.
    let said: Vec<String> = (0..3).flat_map(|_| Rig::quiet(rig.wait(SEC))).collect();
    assert_eq!(said, [format!("close {}", conn.0), "remove link".into()]);
    // Nor by the token that it came by, whatever it calls itself.
    for name in ["a", "b"] {
        let said = rig.join(Role::Relay, hello(Role::Relay, name, 1));
        assert_eq!(said[0], "error >- unauthorized hello");
    }
    let other = Peer::Joining { token: "2".into(), role: Role::Relay };
    assert_eq!(
        rig.join_as(other, hello(Role::Relay, "a", 1)),
        ["redirect >- a/2 below root"],
        "the operator's new token lets it in again"
    );
}

#[test]
fn a_killed_node_that_turns_up_elsewhere_is_killed_there() {
    let mut rig = Rig::new(4);
    let (parent, _) = rig.attach(Role::Relay, "p", 1);
    let (_, _) = rig.attach(Role::Leaf, "a", 2);
    rig.command(RootCommand::DefinePipeline(def("s")));
    let kill = RootCommand::Kill { node: id("a"), grace_secs: 0, reason: "x".into() };
    rig.command(kill);
    (0..3).for_each(|_| drop(rig.wait(SEC)));
    let child = Child { id: id("a"), incarnation: Incarnation(9), parent: id("p"), weight: 1 };
    let update = ChildsUpdate { added: vec![child], removed: vec![] };
    let said = rig.message(parent, "p", None, Body::ChildsUpdate(update));
    assert_eq!(Rig::quiet(said), [format!("{} kill >a", parent.0)], "and it gets no keys");
}

#[test]
fn nobody_is_renewed_through_a_node_that_was_removed() {
    let mut rig = Rig::new(4);
    let (parent, _) = rig.attach(Role::Relay, "p", 1);
    rig.join(Role::Leaf, hello(Role::Leaf, "a", 2));
    let child = Child { id: id("a"), incarnation: Incarnation(1), parent: id("p"), weight: 1 };
    let update = ChildsUpdate { added: vec![child], removed: vec![] };
    rig.message(parent, "p", None, Body::ChildsUpdate(update));
    let renew = |rig: &mut Rig| {
        let body = Body::Hello(Box::new(hello(Role::Leaf, "a", 2)));
        Rig::quiet(rig.message(parent, "a", Some("^"), body))
    };
    assert_eq!(renew(&mut rig), [format!("{} redirect >a a/1 below ", parent.0)]);
    rig.command(RootCommand::Kill { node: id("p"), grace_secs: 60, reason: "x".into() });
    assert_eq!(renew(&mut rig), [format!("{} error >a unauthorized hello", parent.0)]);
}

#[test]
fn who_finds_no_place_waits_for_a_relay_that_is_on_its_way() {
    let mut rig = Rig::new(1);
    // Nobody is coming: no.
    rig.attach(Role::Relay, "a", 1);
    let full = |rig: &mut Rig, name: &str, key| rig.join(Role::Leaf, hello(Role::Leaf, name, key));
    // The relay has four places, and one stays free for a relay.
    for key in 2..5 {
        assert!(full(&mut rig, &format!("leaf-{key}"), key)[0].starts_with("redirect"));
    }
    assert_eq!(full(&mut rig, "late", 9), ["error >- full hello".to_owned(), "close it".into()]);
    // A relay takes the last one, and brings four.
    rig.join(Role::Relay, hello(Role::Relay, "b", 20));
    assert_eq!(full(&mut rig, "c", 21), [""; 0], "no answer yet");
    let waiting = ConnId(rig.next_conn);
    assert_eq!(full(&mut rig, "d", 22), [""; 0]);
    let child = Child { id: id("b"), incarnation: Incarnation(1), parent: id("a"), weight: 1 };
    let update = ChildsUpdate { added: vec![child], removed: vec![] };
    let said = Rig::quiet(rig.message(ConnId(2), "a", None, Body::ChildsUpdate(update)));
    let answer = |at: usize, who: &str| {
        let said = said[at].split_once(' ').unwrap().1;
        said.starts_with(&format!("redirect >- {who}/1 below b"))
    };
    assert!(said.len() == 2 && answer(0, "c") && answer(1, "d"), "{said:?}");
    assert!(said[0].starts_with(&format!("{} ", waiting.0)), "to where it was asked: {said:?}");

    // One for whom nobody comes in the end is refused.
    let mut rig = Rig::new(1);
    rig.join(Role::Relay, hello(Role::Relay, "a", 1));
    assert_eq!(full(&mut rig, "c", 2), [""; 0]);
    let conn = rig.next_conn;
    let said: Vec<String> = (0..4).flat_map(|_| Rig::quiet(rig.wait(2 * SEC))).collect();
    assert_eq!(said, [format!("{conn} error >- full hello"), format!("close {conn}")]);
}

#[test]
fn views_of_many_nodes_are_rarer() {
    let pause = |nodes| crate::core::views::pause(nodes).as_millis();
    let paces = [0, 1, 2_000, 2_001, 10_000].map(pause);
    assert_eq!(paces, [100, 100, 100, 200, 500]);
}

#[test]
fn a_join_whose_connection_is_gone_waits_no_more() {
    let mut rig = Rig::new(1);
    rig.attach(Role::Relay, "a", 1);
    for key in 2..5 {
        rig.join(Role::Leaf, hello(Role::Leaf, &format!("leaf-{key}"), key));
    }
    rig.join(Role::Relay, hello(Role::Relay, "b", 20));
    assert_eq!(rig.join(Role::Leaf, hello(Role::Leaf, "c", 21)), [""; 0], "it waits");
    // It is started again, waits once more, and gets a place over its new connection.
    rig.step(Event::Closed(ConnId(rig.next_conn)));
    assert_eq!(rig.join(Role::Leaf, hello(Role::Leaf, "c", 21)), [""; 0]);
    let child = |name: &str, parent: &str| {
        let added =
            Child { id: id(name), incarnation: Incarnation(1), parent: id(parent), weight: 1 };
        Body::ChildsUpdate(ChildsUpdate { added: vec![added], removed: vec![] })
    };
    let said = Rig::quiet(rig.message(ConnId(2), "a", None, child("b", "a")));
    let answers: Vec<_> = said.iter().filter(|s| s.contains("redirect >- c/")).collect();
    assert_eq!(answers.len(), 1, "{said:?}");
    assert!(answers[0].starts_with(&format!("{} ", rig.next_conn)), "{said:?}");
    // It arrives, which asks those who wait: nobody is left.
    let said = Rig::quiet(rig.message(ConnId(2), "a", None, child("c", "b")));
    assert!(!said.iter().any(|s| s.contains("redirect >- c/")), "{said:?}");
    assert!(rig.core.view().nodes.iter().any(|n| n.id == id("c") && n.attached));
}

#[test]
fn a_place_of_who_never_arrived_goes_to_who_waits() {
    let mut rig = Rig::new(1);
    let (a, _) = rig.attach(Role::Relay, "a", 1);
    let relays = [(a, "a")];
    for key in 2..5 {
        rig.join(Role::Leaf, hello(Role::Leaf, &format!("leaf-{key}"), key));
    }
    (0..3).for_each(|_| drop(super::plans::pass(&mut rig, &relays, 2 * SEC)));
    rig.join(Role::Relay, hello(Role::Relay, "b", 20));
    assert_eq!(rig.join(Role::Leaf, hello(Role::Leaf, "c", 21)), [""; 0], "it waits");
    let conn = rig.next_conn;
    let said: Vec<String> =
        (0..2).flat_map(|_| super::plans::pass(&mut rig, &relays, 2 * SEC)).collect();
    let answer = format!("{conn} redirect >- c/1 below a");
    assert!(said.iter().any(|s| s.starts_with(&answer)), "{said:?}");
}

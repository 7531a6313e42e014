//! What the root keeps in mind of what it told, what came of its moves, and whom it has killed.

use super::plans::{below, pass};
use super::*;

/// A redirect of this node to these parents, on this connection.
fn redirect(conn: ConnId, to: &str, parents: &str) -> String {
    format!("{} redirect >{to} - below {parents}", conn.0)
}

fn move_to(rig: &mut Rig, node: &str, parent: &str) -> Vec<String> {
    Rig::quiet(rig.command(RootCommand::Move { node: id(node), parent: id(parent) }))
}

/// Two relays that take so many children, and what is to be answered for them.
fn relays(rig: &mut Rig, children: u32) -> [(ConnId, &'static str); 2] {
    [("a", 1), ("b", 2)].map(|(name, key)| {
        let mut hello = hello(Role::Relay, name, key);
        hello.capacity.children = children;
        (rig.attach_by(hello, key).0, name)
    })
}

#[test]
fn who_is_announced_again_is_told_again() {
    let mut rig = Rig::new(4);
    let relays = relays(&mut rig, 4);
    let a = relays[0].0;
    rig.join(Role::Leaf, hello(Role::Leaf, "leaf", 3));
    below(&mut rig, a, "a", "leaf", 1);
    assert_eq!(pass(&mut rig, &relays, SEC), [""; 0], "it was told with the join");
    // The relay's link was broken for a moment: what was sent to the leaf may not have come.
    below(&mut rig, a, "a", "leaf", 1);
    assert_eq!(pass(&mut rig, &relays, SEC), [redirect(a, "leaf", "a,b,root")]);
    assert_eq!(pass(&mut rig, &relays, SEC), [""; 0], "once");
}

#[test]
fn a_move_that_failed_is_not_tried_again_until_the_parent_is_lost() {
    let mut rig = Rig::new(4);
    let relays = relays(&mut rig, 4);
    let a = relays[0].0;
    rig.join(Role::Leaf, hello(Role::Leaf, "leaf", 3));
    below(&mut rig, a, "a", "leaf", 1);
    let stats = || {
        let stat = |(name, value): (&str, f64)| Stat { name: name.into(), value, weight: None };
        let stats = [("rtt.a", 90.0), ("rtt.b", 10.0)].map(stat).into();
        let container = StatsContainer { start: 1, end: 2, children: 0, id: None, stats };
        Body::FullStats(FullStats { containers: vec![container], end: None })
    };
    let sweeps = |rig: &mut Rig| -> Vec<String> {
        let all = (0..24).flat_map(|_| pass(rig, &relays, SEC / 2));
        all.filter(|said| said.contains("redirect")).collect()
    };
    rig.message(a, "leaf", Some("^"), stats());
    let away = redirect(a, "leaf", "b,root");
    assert_eq!(sweeps(&mut rig), std::slice::from_ref(&away));
    let report = ErrorReport {
        code: ErrorCode::Internal,
        text: "the link does not open".into(),
        failed_time: None,
        failed_type: "redirect".into(),
    };
    rig.message(a, "leaf", Some("^"), Body::Error(report));
    assert_eq!(sweeps(&mut rig), [redirect(a, "leaf", "a,b,root")], "what holds instead");
    // It loses its parent and comes to it again: what was then says nothing now.
    let removed = vec![(id("leaf"), Incarnation(1))];
    let update = ChildsUpdate { added: vec![], removed };
    rig.message(a, "a", None, Body::ChildsUpdate(update));
    below(&mut rig, a, "a", "leaf", 9);
    let said = sweeps(&mut rig);
    assert!(said.contains(&away), "{said:?}");
}

#[test]
fn who_arrives_elsewhere_is_not_on_its_way_any_more() {
    let mut rig = Rig::new(8);
    let two = relays(&mut rig, 4);
    let (a, _) = two[0];
    let (c, _) = rig.attach(Role::Relay, "c", 4);
    let relays = [two[0], two[1], (c, "c")];
    rig.join(Role::Leaf, hello(Role::Leaf, "leaf", 3));
    below(&mut rig, a, "a", "leaf", 1);
    pass(&mut rig, &relays, SEC);
    assert_eq!(move_to(&mut rig, "leaf", "b").len(), 1);
    assert_eq!(rig.core.view().nodes[2].children, 1, "b keeps a place for it");
    // The old parent died meanwhile, and it went to another backup.
    below(&mut rig, c, "c", "leaf", 9);
    let said = pass(&mut rig, &relays, SEC);
    let told = said.iter().filter(|s| s.starts_with(&redirect(c, "leaf", "c,")));
    assert_eq!(told.count(), 1, "{said:?}");
    assert_eq!(rig.core.view().nodes[2].children, 0, "b has the place again");
}

#[test]
fn who_was_killed_is_remembered_for_a_day() {
    const HOUR: u64 = 3_600 * SEC;
    let mut rig = Rig::new(4);
    let (killed, _) = rig.attach(Role::Leaf, "killed", 1);
    let (left, _) = rig.attach(Role::Leaf, "left", 2);
    rig.command(RootCommand::Kill { node: id("killed"), grace_secs: 0, reason: "x".into() });
    rig.step(Event::Closed(killed));
    rig.step(Event::Closed(left));
    let gone = |rig: &mut Rig, micros| {
        rig.kept.clear();
        rig.wait(micros);
        let gone = rig.kept.iter().filter_map(|m| match m {
            Memory::Gone(id) => Some(id.to_string()),
            _ => None,
        });
        gone.collect::<Vec<String>>()
    };
    assert_eq!(gone(&mut rig, HOUR), ["left"]);
    assert_eq!(gone(&mut rig, 22 * HOUR), [""; 0]);
    // By the token that it came by it is not let in either.
    let token = Some(("1".to_owned(), Role::Leaf));
    let until = Wall(u64::MAX);
    let peer = Peer::Node { id: id("killed"), key: [1; 32], until, token };
    let said = rig.join_as(peer, hello(Role::Leaf, "killed", 1));
    assert_eq!(said[0], "error >- unauthorized hello");
    assert_eq!(gone(&mut rig, 2 * HOUR), ["killed"], "by then its certificate is over");
}

#[test]
fn tickets_are_given_anew_to_each_in_turn() {
    const KILLED: u8 = 70;
    let mut rig = Rig::new(4);
    let relays = relays(&mut rig, 200);
    let a = relays[0].0;
    let join = |rig: &mut Rig, name: &str, key: u8| {
        rig.join(Role::Leaf, hello(Role::Leaf, name, key));
        below(rig, a, "a", name, 1);
    };
    for n in 0..KILLED {
        join(&mut rig, &format!("leaf-{n:02}"), 10 + n);
    }
    join(&mut rig, "x-last", 9);
    join(&mut rig, "x-latest", 8);
    pass(&mut rig, &relays, SEC);
    // More than are told at once are killed and don't go: nothing is told to them.
    for n in 0..KILLED {
        let node = id(&format!("leaf-{n:02}"));
        rig.command(RootCommand::Kill { node, grace_secs: 3_600, reason: "x".into() });
    }
    let told = |said: &[String], name: &str| {
        said.iter().filter(|s| s.contains(&format!(" redirect >{name} "))).count()
    };
    // Half an hour, less than what passes for what was told by then.
    let early: Vec<String> = (0..890).flat_map(|_| pass(&mut rig, &relays, 2 * SEC)).collect();
    let early = (told(&early, "x-last"), told(&early, "x-latest"));
    let due: Vec<String> = (0..30).flat_map(|_| pass(&mut rig, &relays, 2 * SEC)).collect();
    assert_eq!((told(&due, "x-last"), told(&due, "x-latest")), (1, 1), "{early:?} before");
}

#[test]
fn who_does_not_go_where_it_was_sent_stays_and_is_told_so() {
    let mut rig = Rig::new(4);
    let relays = relays(&mut rig, 4);
    let a = relays[0].0;
    rig.join(Role::Leaf, hello(Role::Leaf, "leaf", 3));
    below(&mut rig, a, "a", "leaf", 1);
    pass(&mut rig, &relays, SEC);
    assert_eq!(move_to(&mut rig, "leaf", "b").len(), 1);
    let waited: Vec<String> = (0..9).flat_map(|_| pass(&mut rig, &relays, 2 * SEC)).collect();
    assert_eq!(waited, [""; 0], "it has 20 s");
    let said = (0..3).flat_map(|_| pass(&mut rig, &relays, 2 * SEC));
    let said: Vec<String> = said.filter(|s| !s.starts_with("close ")).collect();
    assert_eq!(said, [redirect(a, "leaf", "a,b,root")]);
    assert_eq!(rig.core.view().nodes[2].children, 0, "b keeps no place for it");
}

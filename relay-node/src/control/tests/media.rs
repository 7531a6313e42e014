//! A node without media: it says what it lacks, and those above a parent hear of a child only when
//! its media path is open.

use super::rig::*;
use crate::control::api::*;
use crate::media::api::PlaneEvent;
use soleil_protocol::message::*;
use soleil_protocol::*;

fn below(child: &str, parent: &str) -> Child {
    Child { id: id(child), incarnation: Incarnation(1), parent: id(parent), weight: 1 }
}

fn update(added: Vec<Child>) -> Body {
    Body::ChildsUpdate(ChildsUpdate { added, removed: Vec::new() })
}

fn move_to(parent: &str, link: u64) -> Message {
    let body = Redirect {
        rank: Rank(1),
        mode: MoveMode::Overlap,
        identity: None,
        parents: vec![offer(parent, link)],
    };
    from_root(Some("me"), Body::Redirect(Box::new(body)))
}

fn poll() -> Message {
    from_root(Some("me"), Body::ReqFullStats(ReqFullStats { pipeline: None }))
}

#[test]
fn a_child_is_shown_with_its_subtree_when_its_media_path_opens() {
    let mut rig = Rig::attached();
    assert_eq!(rig.hidden_child(CHILD, "c", 20), ["add link 20 child", "10 hello me>c"]);
    let said = rig.message(CHILD, message(Some("c"), None, update(vec![below("d", "c")])));
    assert_eq!(said, [""; 0], "nor is who hangs below it");
    assert_eq!(rig.core.subtree().next_hop(&id("d")), None, "nor is it routed to");
    let said = rig.message(CHILD, message(Some("d"), Some("me"), bye()));
    assert!(!said.iter().any(|s| s.contains("forged")), "but it may speak: {said:?}");
    assert_eq!(rig.open(20), ["2 childsupdate me>- +c +d"]);
    assert_eq!(rig.core.subtree().next_hop(&id("d")), Some(&id("c")));
    assert_eq!(rig.open(20), [""; 0], "once");
    let said = rig.message(CHILD, message(Some("c"), None, update(vec![below("e", "c")])));
    assert_eq!(said, ["2 childsupdate me>- +e"]);
    let silent = PlaneEvent::LinkSilent(LinkId(20));
    assert_eq!(rig.step(Event::Plane(silent)), [""; 0], "the child itself decides what it means");
    assert_eq!(rig.hidden_child(ConnId(11), "f", 21).len(), 2);
    assert_eq!(rig.open(21), ["2 childsupdate me>- +f"], "the others are not said again");
}

#[test]
fn a_hidden_child_is_told_to_nobody_nor_is_its_end() {
    let mut rig = Rig::with_child();
    rig.hidden_child(ConnId(11), "f", 21);
    rig.message(PARENT, move_to("q", 6));
    rig.dialed(3, ConnId(3));
    let said = rig.message(ConnId(3), greeting("q", "me"));
    assert_eq!(said, ["add link 6 parent", "3 childsupdate me>- +c"]);
    assert_eq!(rig.open(21), ["2 childsupdate me>- +f", "3 childsupdate me>- +f"]);
    rig.step(Event::Closed(ConnId(11)));
    rig.hidden_child(ConnId(12), "g", 22);
    assert_eq!(
        rig.step(Event::Closed(ConnId(12))),
        ["remove link 22"],
        "where it was it may be still"
    );
}

#[test]
fn a_hidden_child_is_not_blamed_for_what_comes_from_below_it() {
    let mut rig = Rig::attached();
    rig.hidden_child(CHILD, "c", 20);
    rig.message(CHILD, message(Some("c"), None, update(vec![below("d", "c")])));
    for _ in 0..40 {
        let said = rig.message(CHILD, message(Some("d"), Some("me"), ping()));
        assert!(!said.iter().any(|s| s.starts_with("close")), "{said:?}");
    }
    assert!(rig.core.child_conn(&id("c")).is_some());
}

#[test]
fn an_older_ticket_does_not_throw_a_hidden_child_out() {
    let mut rig = Rig::attached();
    rig.accept(CHILD, "c");
    rig.message(CHILD, child_hello("c", "me c 5 20 9", "me"));
    rig.accept(ConnId(11), "c");
    let said = rig.message(ConnId(11), child_hello("c", "me c 4 21 9", "me"));
    assert_eq!(said, ["11 error me>- unauthorized hello", "close 11"]);
    assert_eq!(rig.core.child_conn(&id("c")), Some(CHILD));
}

/// A node that is moved to one above it, over a path that does not open, goes back to where it was.
#[test]
fn a_hidden_child_that_goes_back_is_where_it_was() {
    let mut rig = Rig::with_child();
    let below_c = update(vec![below("d", "c"), below("e", "d")]);
    rig.message(CHILD, message(Some("c"), None, below_c));
    rig.accept(ConnId(11), "d");
    rig.message(ConnId(11), child_hello("d", "me d 2 21 9", "me"));
    let told = message(Some("d"), None, update(vec![below("e", "d")]));
    assert_eq!(rig.message(ConnId(11), told), [""; 0]);
    for name in ["d", "e"] {
        assert_eq!(rig.core.subtree().next_hop(&id(name)), Some(&id("c")));
    }
    // Its messages still come on the old way.
    let said = rig.message(CHILD, message(Some("e"), Some("^"), bye()));
    assert_eq!(said, ["2 bye e>^"]);
    assert_eq!(rig.step(Event::Closed(ConnId(11))), ["remove link 21"], "nothing has changed");
    assert_eq!(rig.message(CHILD, message(Some("d"), Some("^"), bye())), ["2 bye d>^"]);
    assert_eq!((rig.core.subtree().len(), rig.refused.len()), (3, 0));
}

#[test]
fn an_event_that_got_lost_is_made_up_for_by_the_report() {
    let mut rig = Rig::attached();
    rig.hidden_child(CHILD, "c", 20);
    let report = |rtt_ms| {
        let link = LinkReport { link: LinkId(20), rtt_ms, fraction_lost: None };
        Event::PlaneReport(PlaneReport { links: vec![link], ..PlaneReport::default() })
    };
    assert_eq!(rig.step(report(None)), [""; 0]);
    assert_eq!(rig.step(report(Some(1.0))), ["2 childsupdate me>- +c"]);
    assert_eq!(rig.step(report(Some(1.0))), [""; 0]);
}

#[test]
fn a_node_lacks_a_parent_then_media_then_nothing() {
    let mut rig = Rig::new(Role::Relay, 2);
    rig.step(Event::Timeout);
    assert_eq!(rig.lack, Some(Lack::Parent));
    let mut rig = Rig::without_media();
    assert_eq!(rig.lack, Some(Lack::Media));
    rig.open(5);
    assert_eq!(rig.lack, None);
    rig.step(Event::Plane(PlaneEvent::LinkSilent(LinkId(5))));
    assert_eq!(rig.lack, None, "it may pass");
    rig.wait(5 * SEC);
    assert_eq!(rig.lack, Some(Lack::Parent), "it was left");
    let mut root = Rig::new(Role::Root, 2);
    root.step(Event::Timeout);
    assert_eq!(root.lack, None);
}

#[test]
fn a_node_that_moves_stays_ready_and_speaks_through_the_old_parent_until_media_flow() {
    let mut rig = Rig::with_child();
    rig.message(PARENT, move_to("q", 6));
    rig.dialed(3, ConnId(3));
    rig.message(ConnId(3), greeting("q", "me"));
    assert_eq!(rig.lack, None, "the old path is open");
    let stats = || {
        let full = Body::FullStats(FullStats { containers: vec![], end: None });
        message(Some("c"), Some("^"), full)
    };
    assert!(rig.message(CHILD, stats())[0].starts_with("2 fullstats c>^"));
    rig.open(6);
    assert_eq!(rig.lack, None);
    assert!(rig.message(CHILD, stats())[0].starts_with("3 fullstats c>^"));

    // The new path never opens: it stays where it was.
    let mut rig = Rig::attached();
    rig.message(PARENT, move_to("q", 6));
    rig.dialed(3, ConnId(3));
    rig.message(ConnId(3), greeting("q", "me"));
    rig.wait(4_999 * MS);
    assert_eq!(rig.lack, None);
    rig.wait(MS);
    assert_eq!((rig.lack, rig.core.parent()), (None, Some(&id("p"))));
    // Nor does the old one serve any more.
    rig.message(PARENT, move_to("q", 7));
    rig.dialed(4, ConnId(4));
    rig.message(ConnId(4), greeting("q", "me"));
    rig.step(Event::Plane(PlaneEvent::LinkSilent(LinkId(5))));
    rig.answer_ping(PARENT);
    rig.wait(5 * SEC);
    assert_eq!((rig.lack, rig.core.parent()), (Some(Lack::Media), Some(&id("q"))));
}

#[test]
fn a_leaf_that_the_root_does_not_ask_is_cut_off() {
    let mut rig = Rig::new(Role::Leaf, 0);
    rig.step(Event::Timeout);
    rig.dialed(1, ROOT_CONN);
    rig.message(ROOT_CONN, from_root(None, redirect(3_600 * SEC, vec![offer("p", 5)])));
    rig.dialed(2, PARENT);
    rig.message(PARENT, greeting("p", "me"));
    rig.open(5);
    let live = |rig: &mut Rig, seconds: u64| {
        for _ in 0..seconds {
            rig.core.links.get_mut(PARENT).unwrap().forgive();
            rig.wait(SEC);
        }
        rig.lack
    };
    assert_eq!(live(&mut rig, 9), None);
    rig.message(PARENT, poll());
    assert_eq!(live(&mut rig, 9), None);
    assert_eq!(live(&mut rig, 1), Some(Lack::Root));
    rig.message(PARENT, poll());
    assert_eq!(rig.lack, None);
}

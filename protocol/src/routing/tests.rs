//! One row for each row of the rule, and the table against a model of a whole tree.

mod model;

use super::*;
use crate::ids::Incarnation;
use crate::limits::MAX_DESCENDANTS;
use crate::message::{Child, ChildsUpdate};

fn id(name: &str) -> NodeId {
    NodeId::new(name).expect("a legal id")
}

fn child(name: &str, incarnation: u64, parent: &str) -> Child {
    Child { id: id(name), incarnation: Incarnation(incarnation), parent: id(parent), weight: 1 }
}

fn added(children: &[Child]) -> ChildsUpdate {
    ChildsUpdate { added: children.to_vec(), removed: Vec::new() }
}

fn removed(nodes: &[(&str, u64)]) -> ChildsUpdate {
    let removed = nodes.iter().map(|(name, inc)| (id(name), Incarnation(*inc))).collect();
    ChildsUpdate { added: Vec::new(), removed }
}

/// `me` with children `b` (which has `e` and `f`) and `c`.
fn table() -> SubtreeTable {
    let mut table = SubtreeTable::new();
    table.attach(&id("me"), &id("b"), Incarnation(1)).expect("new");
    table.attach(&id("me"), &id("c"), Incarnation(1)).expect("new");
    let applied =
        table.apply(&id("me"), &id("b"), &added(&[child("e", 1, "b"), child("f", 1, "e")]));
    assert_eq!((applied.refused, applied.forward.added.len()), (0, 2));
    table
}

#[test]
fn every_row_of_the_rule() {
    use Decision::{Forged, Handle, Unknown, Up};
    let table = table();
    let me = id("me");
    let (b, c, parent) = (id("b"), id("c"), id("parent"));
    let (from_b, from_c) = (Arrival::Child(&b), Arrival::Child(&c));
    let (above, own) = (Arrival::Parent(&parent), Arrival::Local);
    let down = |name| Decision::Down(id(name));
    let all = |except: Option<&str>| Decision::HandleAndDown { except: except.map(id) };
    // (at the root, arrival, from, to) → decision; "" stands for an absent address.
    let rows: &[(bool, Arrival<'_>, &str, &str, Decision)] = &[
        // Mine.
        (false, from_b, "b", "me", Handle),
        (false, above, "^", "me", Handle),
        (false, own, "me", "me", Handle),
        (true, from_b, "e", "me", Handle),
        (true, from_b, "e", "^", Handle),
        (true, own, "^", "^", Handle),
        // Without `to`: for the direct neighbour, and from it.
        (false, from_b, "", "", Handle),
        (false, from_b, "b", "", Handle),
        (false, above, "", "", Handle),
        (false, above, "parent", "", Handle),
        (false, above, "^", "", Handle),
        (false, from_b, "e", "", Forged),
        (false, above, "stranger", "", Forged),
        (false, own, "", "", Unknown),
        // `^` goes up.
        (false, from_b, "b", "^", Up),
        (false, from_b, "f", "^", Up),
        (false, own, "", "^", Up),
        (false, above, "parent", "^", Unknown),
        // `*` is handled and goes down, but not back.
        (false, above, "^", "*", all(None)),
        (false, from_b, "b", "*", all(Some("b"))),
        (true, own, "^", "*", all(None)),
        // A descendant: down.
        (false, above, "^", "b", down("b")),
        (false, above, "^", "f", down("b")),
        (false, from_c, "c", "e", down("b")),
        (true, own, "^", "f", down("b")),
        // Never back on the link it came from.
        (false, from_b, "b", "e", Unknown),
        (true, from_b, "e", "b", Unknown),
        // Anything else: up, unknown at the root, and never back up.
        (false, from_b, "b", "stranger", Up),
        (false, from_b, "b", "parent", Up),
        (false, own, "me", "stranger", Up),
        (false, above, "^", "stranger", Unknown),
        (true, from_b, "b", "stranger", Unknown),
        (true, own, "^", "stranger", Unknown),
        // `from` must be the neighbour or lie in its subtree.
        (false, from_b, "c", "^", Forged),
        (false, from_b, "c", "me", Forged),
        (false, from_c, "e", "^", Forged),
        (false, from_b, "me", "^", Forged),
        (false, from_b, "stranger", "^", Forged),
        (false, own, "b", "^", Forged),
        // Only the parent's side may carry `^`, and nobody is `*`.
        (false, from_b, "^", "me", Forged),
        (false, from_b, "^", "*", Forged),
        (true, from_b, "^", "c", Forged),
        (false, own, "^", "b", Forged),
        (false, from_b, "*", "me", Forged),
        (false, above, "*", "me", Forged),
        // The parent's side speaks for everybody but us and ours.
        (false, above, "stranger", "b", down("b")),
        (false, above, "b", "me", Forged),
        (false, above, "f", "c", Forged),
        (false, above, "me", "b", Forged),
    ];
    let parse = |text: &str| (!text.is_empty()).then(|| text.parse().expect("an address"));
    for (root, arrival, from, to, expected) in rows {
        let place = Place { me: &me, root: *root, below: &table };
        let (from, to): (Option<Address>, Option<Address>) = (parse(from), parse(to));
        let got = route_addresses(&place, *arrival, from.as_ref(), to.as_ref());
        assert_eq!(got, *expected, "root {root}, {arrival:?}, from {from:?}, to {to:?}");
    }
}

#[test]
fn what_is_believed_is_passed_on() {
    let mut table = table();
    for incarnation in [1, 2] {
        let update = added(&[child("e", incarnation, "b")]);
        assert_eq!(table.apply(&id("me"), &id("b"), &update).forward, update);
    }
    let old = table.apply(&id("me"), &id("b"), &added(&[child("e", 1, "b")]));
    assert_eq!(old, Applied::default());
}

#[test]
fn a_late_removal_cannot_delete_a_newer_route() {
    let (me, b, c) = (id("me"), id("b"), id("c"));
    let mut table = table();
    // `e` comes back below `c`; then `b` notices that it lost it.
    let moved = table.apply(&me, &c, &added(&[child("e", 2, "c")]));
    assert_eq!(moved.forward, added(&[child("e", 2, "c")]));
    let late = table.apply(&me, &b, &removed(&[("e", 1)]));
    assert!(late.forward.is_empty());
    assert_eq!(table.next_hop(&id("e")), Some(&c));
    // Neither can an old announcement win it back, nor an old removal on the new way.
    assert!(table.apply(&me, &b, &added(&[child("e", 1, "b")])).forward.is_empty());
    assert!(table.apply(&me, &c, &removed(&[("e", 1)])).forward.is_empty());
    assert_eq!(table.next_hop(&id("e")), Some(&c));
    assert_eq!((table.weight(&b), table.weight(&c)), (2, 2));
    // The right one does.
    let gone = table.apply(&me, &c, &removed(&[("e", 2)]));
    assert_eq!(gone.forward, removed(&[("e", 2)]));
    assert_eq!(table.next_hop(&id("e")), None);
}

#[test]
fn between_equal_incarnations_the_later_announcement_wins() {
    let (me, b, c) = (id("me"), id("b"), id("c"));
    let mut table = table();
    table.apply(&me, &c, &added(&[child("e", 1, "c")]));
    assert_eq!(table.next_hop(&id("e")), Some(&c));
    assert!(table.apply(&me, &b, &removed(&[("e", 1)])).forward.is_empty());
    assert_eq!(table.next_hop(&id("e")), Some(&c));
}

#[test]
fn a_lost_child_takes_its_subtree_along() {
    let mut table = table();
    assert!(table.detach(&id("b"), Incarnation(0)).is_empty(), "an older life of the link");
    let gone = table.detach(&id("b"), Incarnation(1));
    assert_eq!(gone, removed(&[("b", 1), ("e", 1), ("f", 1)]));
    assert_eq!((table.len(), table.weight(&id("b"))), (1, 0));
    assert!(table.detach(&id("b"), Incarnation(1)).is_empty());
}

#[test]
fn a_child_that_comes_back_announces_anew() {
    let mut table = table();
    let (me, b) = (id("me"), id("b"));
    assert_eq!(table.attach(&me, &b, Incarnation(0)), None, "an older incarnation is refused");
    let update = table.attach(&me, &b, Incarnation(2)).expect("a newer one is not");
    assert_eq!(update.added, [child("b", 2, "me")]);
    assert_eq!(update.removed, removed(&[("e", 1), ("f", 1)]).removed);
    assert!(table.detach(&b, Incarnation(1)).is_empty(), "the old link closes late");
    assert_eq!(table.next_hop(&b), Some(&b));
}

#[test]
fn a_child_below_another_child_keeps_its_route_when_the_old_link_closes() {
    let (me, b, c) = (id("me"), id("b"), id("c"));
    let mut table = table();
    table.apply(&me, &c, &added(&[child("b", 2, "c"), child("e", 1, "b"), child("f", 1, "e")]));
    assert_eq!(table.next_hop(&b), Some(&c));
    assert!(table.detach(&b, Incarnation(1)).is_empty());
    assert_eq!(table.next_hop(&id("f")), Some(&c));
    assert_eq!(table.weight(&c), 4);
}

#[test]
fn what_a_child_cannot_claim() {
    let (me, b) = (id("me"), id("b"));
    let mut table = table();
    let lies =
        [child("me", 9, "b"), child("b", 9, "b"), child("y", 1, "stranger"), child("z", 1, "z")];
    let applied = table.apply(&me, &b, &added(&lies));
    assert_eq!((applied.refused, applied.forward.is_empty()), (lies.len(), true));
    let applied = table.apply(&me, &b, &removed(&[("c", 1), ("b", 1)]));
    assert_eq!((applied.refused, applied.forward.is_empty()), (1, true));
    assert_eq!(table.apply(&me, &id("stranger"), &added(&lies)).refused, lies.len());
    assert_eq!(table.len(), 4);
}

#[test]
fn news_from_below_a_node_that_has_moved_on_are_late_and_no_lie() {
    let (me, b) = (id("me"), id("b"));
    let mut table = table();
    let applied = table.apply(&me, &b, &added(&[child("x", 1, "c")]));
    assert_eq!((applied.refused, applied.forward.is_empty()), (0, true));
    assert_eq!(table.next_hop(&id("x")), None, "nor are they believed");
}

#[test]
fn the_table_is_bounded() {
    let (me, b) = (id("me"), id("b"));
    let mut table = table();
    let many: Vec<_> = (0..=MAX_DESCENDANTS).map(|n| child(&format!("n{n}"), 1, "b")).collect();
    let applied = table.apply(&me, &b, &added(&many));
    assert_eq!((applied.refused, table.len()), (5, MAX_DESCENDANTS));
    assert_eq!(table.attach(&me, &id("late"), Incarnation(1)), None);
}

#[test]
fn a_snapshot_has_parents_first_and_weights() {
    let snapshot = table().snapshot(&id("me"));
    let rows: Vec<_> =
        snapshot.added.iter().map(|c| (c.id.as_str(), c.parent.as_str(), c.weight)).collect();
    assert_eq!(rows, [("b", "me", 3), ("c", "me", 1), ("e", "b", 2), ("f", "e", 1)]);
}

#[test]
fn a_hidden_child_changes_no_way_until_it_is_shown() {
    let (me, b, c, d) = (id("me"), id("b"), id("c"), id("d"));
    let mut table = table();
    let nothing = Some(ChildsUpdate::default());
    assert_eq!(table.attach_hidden(&me, &d, Incarnation(1)), nothing);
    assert_eq!(table.attach_hidden(&me, &id("e"), Incarnation(2)), nothing, "it was behind b");
    let news = added(&[child("f", 1, "e"), child("g", 1, "f"), child("y", 1, "stranger")]);
    let applied = table.apply(&me, &id("e"), &news);
    assert_eq!((applied.forward, applied.refused), (ChildsUpdate::default(), 1));
    let hops = |table: &SubtreeTable| {
        ["d", "e", "f", "g"].map(|name| table.next_hop(&id(name)).map(ToString::to_string))
    };
    let way = |name: &str| Some(name.to_owned());
    assert_eq!(hops(&table), [None, way("b"), way("b"), None]);
    assert_eq!((table.weight(&id("e")), table.len()), (3, 4));
    let speaks = |via: &NodeId| table.is_behind(via, &id("f"));
    assert_eq!((speaks(&b), speaks(&id("e")), speaks(&c)), (true, true, false), "on both ways");
    // It goes back.
    let mut back = table.clone();
    assert!(back.detach(&id("e"), Incarnation(2)).is_empty());
    assert_eq!(hops(&back), hops(&table));
    // It stays.
    let shown = table.show(&me, &id("e"));
    assert_eq!(shown.refused, 0);
    let whole = Child { weight: 3, ..child("e", 2, "me") };
    let below = [Child { weight: 2, ..child("f", 1, "e") }, child("g", 1, "f")];
    assert_eq!(shown.forward, added(&[&[whole], &below[..]].concat()));
    assert_eq!(hops(&table), [None, way("e"), way("e"), way("e")]);
    assert_eq!((table.weight(&b), table.weight(&id("e"))), (1, 3));
    assert!(table.show(&me, &id("e")).forward.is_empty(), "once");
    // One that is elsewhere by now is not shown any more.
    table.apply(&me, &c, &added(&[child("d", 9, "c")]));
    assert!(table.show(&me, &d).forward.is_empty());
    assert_eq!(table.next_hop(&d), Some(&c));
    assert_eq!(table.attach_hidden(&me, &d, Incarnation(8)), None, "an older incarnation");
    table.attach_hidden(&me, &id("z"), Incarnation(5)).expect("new");
    assert_eq!(table.attach_hidden(&me, &id("z"), Incarnation(4)), None, "than the hidden one");
}

#[test]
fn what_is_hidden_is_bounded_too() {
    let me = id("me");
    let mut table = table();
    for name in ["x", "y"] {
        table.attach_hidden(&me, &id(name), Incarnation(1)).expect("new");
    }
    let many = |parent: &str, count: usize| {
        let all = (0..count).map(|n| child(&format!("{parent}{n}"), 1, parent));
        added(&all.collect::<Vec<_>>())
    };
    assert_eq!(table.apply(&me, &id("x"), &many("x", MAX_DESCENDANTS - 10)).refused, 0);
    assert_eq!(table.apply(&me, &id("y"), &many("y", 9)).refused, 9, "there are eight places");
    assert_eq!(table.apply(&me, &id("y"), &many("y", 8)).refused, 0);
    assert_eq!(table.attach_hidden(&me, &id("z"), Incarnation(1)), None);
    assert_eq!(table.len(), 4);
    // Both do not fit among those that count.
    assert_eq!(table.show(&me, &id("x")).refused, 0);
    let shown = table.show(&me, &id("y"));
    assert_eq!((table.len(), shown.refused, shown.forward.added.len()), (MAX_DESCENDANTS, 4, 5));
}

//! Each rule of the plan by example.

use super::*;

#[test]
fn relays_fill_a_layer_before_the_next_one_appears() {
    let mut rig = Rig::new(2);
    let parents: Vec<String> = (0..6).map(|n| rig.relay(&format!("r{n}"), 2)).collect();
    assert_eq!(parents, ["root", "root", "r0", "r1", "r0", "r1"]);
    assert_eq!(rig.planner.depth(&id("r5")), Some(2));
    assert_eq!(rig.planner.rank(&id("r5")), rank(2, 6));
    assert_eq!(depth_of(rig.planner.rank(&id("r5"))), 2);
}

#[test]
fn leaves_wake_one_relay_after_the_other_and_keep_off_the_reserve() {
    let mut rig = Rig::new(5);
    for n in 0..4 {
        rig.relay(&format!("r{n}"), 8);
    }
    // A quarter of each is kept: if one dies, what it carries fits into the rest.
    let parents = rig.leaves(0, 24);
    let at = |name: &str| parents.iter().filter(|p| *p == name).count();
    assert_eq!([at("r0"), at("r1"), at("r2"), at("r3")], [6, 6, 6, 6]);
    assert_eq!(parents[..6], ["r0", "r0", "r0", "r0", "r0", "r0"], "the others sleep");
    // Beyond, the reserve is used; the root's last slot and the last of all are not.
    assert_eq!(rig.leaves(100, 8).iter().filter(|p| p.starts_with('r')).count(), 8);
    assert_eq!(rig.leaf("more"), "full", "the root has one slot left, for a relay");
    assert_eq!(rig.relay("r4", 8), "root");
    assert_eq!(rig.leaf("more"), "r4");
}

#[test]
fn the_root_serves_leaves_if_there_is_no_relay() {
    let mut rig = Rig::new(3);
    assert_eq!(rig.leaves(0, 3), ["root", "root", "full"]);
    let mut tiny = Rig::new(1);
    assert_eq!(tiny.leaves(0, 2), ["root", "full"], "unless it has no other slot at all");
}

#[test]
fn a_leaf_goes_from_the_root_when_a_relay_has_room() {
    let mut rig = Rig::new(4);
    assert_eq!(rig.leaves(0, 3), ["root", "root", "root"]);
    rig.relay("r0", 4);
    // Its other half is kept for backups.
    assert_eq!(rig.moves(10), ["leaf-0: root to r0", "leaf-1: root to r0"]);
    assert_eq!(rig.moves(10), [""; 0]);
    rig.relay("r1", 4);
    assert_eq!(rig.moves(10), ["leaf-2: root to r1"]);
    assert_eq!(rig.moves(10), [""; 0]);
}

/// Puts a node where it has gone by itself, whatever the plan says.
fn put(rig: &mut Rig, (name, role, slots): (&str, Role, u32), parent: &str, attached: bool) {
    rig.serial += 1;
    rig.planner.put(&node(name, role, slots, rig.serial));
    let place = Place { parent: Some(&id(parent)), leg: None, attached };
    rig.planner.place(&id(name), &place);
}

#[test]
fn a_root_that_leaves_have_filled_takes_a_relay_that_makes_room() {
    // A relay and its backup, the root, when another relay has died.
    let full = |count: u32, relay: bool| {
        let mut rig = Rig::new(2);
        put(&mut rig, ("r1", Role::Relay, 2), "root", relay);
        for leaf in ["a", "b"] {
            put(&mut rig, (leaf, Role::Leaf, 0), "r1", relay);
        }
        for n in 1..count {
            put(&mut rig, (&format!("leaf-{n}"), Role::Leaf, 0), "root", true);
        }
        rig.planner.put(&node("r2", Role::Relay, 4, 90));
        rig
    };
    let takes = |rig: &Rig, name: &str| {
        assert_eq!(rig.planner.choose(&id(name), None), None);
        rig.planner.makes_room(&id(name))
    };
    assert!(takes(&full(2, true), "r2"));
    assert!(takes(&full(6, true), "r2"), "it has more than it should");
    assert!(!takes(&full(2, false), "r2"), "one is on its way, and brings places");
    let mut rig = full(2, true);
    rig.planner.put(&node("tiny", Role::Relay, 1, 91));
    assert!(!takes(&rig, "tiny"), "no leaf and something more would go below it");
    put(&mut rig, ("r2", Role::Relay, 4), "root", false);
    rig.planner.put(&node("r3", Role::Relay, 4, 92));
    assert!(!takes(&rig, "r3"), "one at a time");
    put(&mut rig, ("r2", Role::Relay, 4), "root", true);
    assert_eq!(rig.planner.choose(&id("r3"), None), Some(id("r2")));
    assert_eq!(rig.moves(1), ["leaf-1: root to r2"], "and the root is rid of its leaf");
    // Where there are relays only, none can make room.
    let mut rig = Rig::new(1);
    put(&mut rig, ("r1", Role::Relay, 1), "root", true);
    put(&mut rig, ("a", Role::Leaf, 0), "r1", true);
    rig.planner.put(&node("r2", Role::Relay, 4, 90));
    assert!(!takes(&rig, "r2"));
}

#[test]
fn egress_is_a_limit_once_the_demand_is_known() {
    let mut rig = Rig::new(4);
    let link = |input: &mut NodeInput| input.egress = 10_000_000;
    assert_eq!(rig.join_as(link, "r0", Role::Relay, 30), "root");
    rig.planner.set_demand(2_500_000);
    // Four slots; half of them are kept, but there is nobody else than the root.
    assert_eq!(rig.leaves(0, 4), ["r0", "r0", "r0", "r0"]);
    assert_eq!(rig.leaf("more"), "root");
    // The stream becomes twice as large: two must go, and there is room for one.
    rig.planner.set_demand(5_000_000);
    assert_eq!(rig.moves(10), ["leaf-0: r0 to root"]);
    rig.relay("r1", 10);
    let moves = rig.moves(10);
    assert_eq!(moves, ["leaf-1: r0 to r1", "leaf-0: root to r1", "more: root to r1"]);
}

#[test]
fn measured_delay_comes_before_load_and_region_stands_in_for_it() {
    let mut rig = Rig::new(9);
    let at = |region: &'static str| move |input: &mut NodeInput| input.region = region.into();
    rig.join_as(at("eu"), "eu", Role::Relay, 8);
    rig.join_as(at("us"), "us", Role::Relay, 8);
    rig.join_as(at("us"), "us2", Role::Relay, 8);
    assert_eq!(rig.join_as(at("us"), "l0", Role::Leaf, 0), "us");
    assert_eq!(rig.join_as(at("eu"), "l1", Role::Leaf, 0), "eu");
    rig.planner.set_rtt(&id("l0"), &id("us"), 220.0);
    rig.planner.set_rtt(&id("l0"), &id("us2"), 30.0);
    assert_eq!(rig.moves(10), ["l0: us to us2"], "95 ms are worth a move");
    for nonsense in [f64::NAN, f64::INFINITY, -1.0] {
        rig.planner.set_rtt(&id("l0"), &id("us2"), nonsense);
    }
    rig.planner.set_rtt(&id("l0"), &id("us"), 10.0);
    assert_eq!(rig.moves(10), [""; 0], "10 ms are not");
}

#[test]
fn a_move_pays_by_a_hop_and_the_caller_says_how_many() {
    let mut rig = Rig::new(2);
    for n in 0..4 {
        rig.relay(&format!("r{n}"), 4);
    }
    assert_eq!(rig.planner.depth(&id("r2")), Some(2));
    rig.leave("r1");
    // The root has a slot again; r3 has lost its parent.
    assert_eq!(rig.planner.depth(&id("r3")), None);
    assert_eq!(rig.moves(0), [""; 0]);
    assert_eq!(rig.moves(10), ["r2: r0 to root"]);
    assert_eq!(rig.moves(10), [""; 0]);
    let mut pinned = node("r2", Role::Relay, 4, 3);
    pinned.pinned = true;
    rig.planner.put(&pinned);
    let place = |parent| Place { parent, leg: None, attached: true };
    rig.planner.place(&id("r2"), &place(Some(&id("r0"))));
    assert_eq!(rig.moves(10), [""; 0], "the operator's word stands");
}

#[test]
fn who_leaves_is_left_and_who_is_full_gives_a_leaf_away() {
    let mut rig = Rig::new(4);
    rig.relay("r0", 3);
    assert_eq!(rig.leaves(0, 3), ["r0", "r0", "r0"]);
    // A relay joins: the full one hands a leaf over, so that it can be a backup again.
    assert_eq!(rig.relay("r1", 8), "root");
    assert_eq!(rig.moves(10), ["leaf-0: r0 to r1"]);
    assert_eq!(rig.moves(10), [""; 0]);
    let mut leaving = node("r0", Role::Relay, 3, 1);
    leaving.leaving = true;
    rig.planner.put(&leaving);
    let mut moves = rig.moves(10);
    moves.sort();
    assert_eq!(moves, ["leaf-1: r0 to r1", "leaf-2: r0 to r1"]);
    assert_eq!(rig.leaf("new"), "r1");
}

#[test]
fn backups_are_apart_from_the_parent_and_have_room() {
    let mut rig = Rig::new(3);
    for n in 0..3 {
        rig.relay(&format!("r{n}"), 4);
    }
    rig.leaves(0, 4);
    assert_eq!(rig.planner.parent(&id("leaf-0")), Some(&id("r0")));
    assert_eq!(rig.backups("leaf-0"), ["r1", "r2"], "the root is full");
    assert_eq!(rig.backups("r0"), [""; 0], "nobody comes before it");
    assert_eq!(rig.backups("r2"), ["r0", "r1"], "all go to the first");
    // Those of one parent don't all go to one: r1 and r2 share them.
    let first = |rig: &Rig, n: u32| rig.backups(&format!("leaf-{n}"))[0].clone();
    let firsts: std::collections::BTreeSet<String> = (0..2).map(|n| first(&rig, n)).collect();
    assert_eq!(firsts.len(), 2);
    rig.leave("r1");
    assert_eq!(rig.backups("leaf-0"), ["r2", "root"], "the root has room again, and comes last");
    assert!(rig.planner.is_backed(&id("leaf-0")));
}

#[test]
fn a_backup_that_shares_the_way_comes_after_one_that_does_not() {
    let mut rig = Rig::new(2);
    for n in 0..4 {
        rig.relay(&format!("r{n}"), 3);
    }
    // r2 below r0, r3 below r1. A leaf below r2 does not fall back on r0.
    let place = |parent| Place { parent, leg: None, attached: true };
    rig.serial += 1;
    rig.planner.put(&node("leaf", Role::Leaf, 0, rig.serial));
    rig.planner.place(&id("leaf"), &place(Some(&id("r2"))));
    while rig.planner.settle(100) {}
    let mut backups = rig.backups("leaf");
    assert_eq!(backups.pop(), Some("r0".into()));
    backups.sort();
    assert_eq!(backups, ["r1", "r3"]);
}

#[test]
fn a_backup_apart_is_found_behind_many_that_share_the_way() {
    // x and y below the root, a dozen relays below each. Those below x are older and nobody's backup
    // yet, so they stand before those below y, and before y there is nothing.
    let mut rig = Rig::new(2);
    let at = |rig: &mut Rig, name: &str, role, slots, parent: &str| {
        rig.serial += 1;
        rig.planner.put(&node(name, role, slots, rig.serial));
        let parent = Some(id(parent));
        let place = Place { parent: parent.as_ref(), leg: None, attached: true };
        rig.planner.place(&id(name), &place);
        while rig.planner.settle(100) {}
    };
    for (above, below) in [("x", "c"), ("y", "d")] {
        // No slot is left there.
        at(&mut rig, above, Role::Relay, 12, "root");
        for n in 0..12 {
            at(&mut rig, &format!("{below}{n}"), Role::Relay, 4, above);
        }
    }
    for n in 0..3 {
        at(&mut rig, &format!("leaf-{n}"), Role::Leaf, 0, "c0");
        let backups = rig.backups(&format!("leaf-{n}"));
        assert!(backups.iter().all(|b| b.starts_with('d')), "leaf-{n}: {backups:?}");
        assert_eq!(backups.len(), BACKUPS);
    }
}

#[test]
fn news_is_what_was_not_told() {
    let mut rig = Rig::new(4);
    rig.relay("r0", 4);
    rig.relay("r1", 4);
    let news = |rig: &mut Rig| {
        let news = rig.planner.news(100);
        news.iter().for_each(|id| rig.planner.tell(id));
        let mut names: Vec<String> = news.iter().map(NodeId::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(news(&mut rig), ["r0", "r1"]);
    assert_eq!(news(&mut rig), [""; 0]);
    rig.leaf("leaf");
    assert_eq!(news(&mut rig), ["leaf"], "it changes nothing for others");
    rig.leave("r1");
    assert_eq!(news(&mut rig), ["leaf"], "its backup has gone");
    assert!(!rig.planner.has_news());
}

#[test]
fn what_closes_a_circle_is_nowhere() {
    let mut rig = Rig::new(1);
    rig.relay("a", 2);
    rig.relay("b", 2);
    let place = Place { parent: Some(&id("b")), leg: None, attached: true };
    rig.planner.place(&id("a"), &place);
    assert_eq!(rig.planner.depth(&id("a")), None);
    assert_eq!(rig.planner.depth(&id("b")), None, "it hangs below");
    assert!(!rig.planner.may_take(&id("b"), &id("a")));
    assert_eq!(rig.planner.choose(&id("a"), None), Some(id("root")));
}

#[test]
fn the_roots_children_go_to_the_first_of_them_when_the_root_dies() {
    let mut rig = Rig::new(8);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(rig.relay(name, 8), "root");
    }
    // Not each to the one before it: with the root gone that would be a row of four hops.
    let first = |name: &str| rig.backups(name).first().cloned().unwrap_or_default();
    assert_eq!(["a", "b", "c", "d"].map(first), ["", "a", "a", "a"]);
}

#[test]
fn leaves_leave_a_quarter_of_a_layer_to_relays() {
    let mut rig = Rig::new(12);
    for n in 0..12 {
        assert_eq!(rig.relay(&format!("r{n}"), 8), "root");
    }
    let deep = |parents: &[String]| parents.iter().filter(|p| *p == "deep").count();
    // Nobody is deeper: there is nowhere else to go, except into what is kept for backups.
    assert_eq!(deep(&rig.leaves(0, 80)), 0);
    for n in 9..80 {
        rig.leave(&format!("leaf-{n}"));
    }
    assert_ne!(rig.relay("deep", 8), "root", "a layer below");
    // 96 slots: 72 are in use with these, and the deeper relay among them.
    assert_eq!(deep(&rig.leaves(100, 62)), 0);
    assert_eq!(deep(&rig.leaves(200, 6)), 6, "three quarters of its own");
    assert_eq!(deep(&rig.leaves(300, 10)), 0, "then the upper layer again");
    assert_ne!(rig.relay("late", 8), "deep", "a relay finds a place above");
}

#[test]
fn news_of_a_node_are_for_those_who_may_go_to_it() {
    let mut rig = Rig::new(4);
    for n in 0..4 {
        rig.relay(&format!("r{n}"), 4);
    }
    rig.leaves(0, 6);
    let ids: Vec<NodeId> = rig.planner.news(100);
    ids.iter().for_each(|id| rig.planner.tell(id));
    assert_eq!(rig.planner.news(100), [] as [NodeId; 0]);
    let r3 = id("r3");
    let concerned = |id: &NodeId| {
        *id == r3 || rig.planner.parent(id) == Some(&r3) || rig.planner.backups(id).contains(&r3)
    };
    let mut expected: Vec<NodeId> = ids.iter().filter(|id| concerned(id)).cloned().collect();
    rig.planner.forget_told_around(&r3);
    let mut news = rig.planner.news(100);
    news.sort();
    expected.sort();
    assert_eq!(news, expected);
    assert!(news.len() < ids.len(), "{news:?}");
}

//! Nodes that keep coming back: they get a place, and nobody below them for a while.

use super::*;

/// The relay `a` dies and joins again, so often.
fn flap(rig: &mut Rig, times: usize) -> Vec<String> {
    let mut said = Vec::new();
    for _ in 0..times {
        let (conn, _) = rig.attach(Role::Relay, "a", 1);
        rig.wait(2 * SEC);
        said = rig.step(Event::Closed(conn));
        rig.wait(2 * SEC);
    }
    said
}

/// Whom a leaf is sent to, its backups behind.
fn parents(rig: &mut Rig, name: &str, key: u8) -> Vec<String> {
    rig.join(Role::Leaf, hello(Role::Leaf, name, key));
    let (_, redirect) = rig.redirects.last().unwrap();
    redirect.parents.iter().map(|p| p.id.to_string()).collect()
}

#[test]
fn who_has_come_back_once_is_a_parent_as_before() {
    let mut rig = Rig::new(4);
    flap(&mut rig, 1);
    rig.attach(Role::Relay, "a", 1);
    assert_eq!(parents(&mut rig, "leaf", 3), ["a", "root"]);
}

#[test]
fn who_keeps_coming_back_is_nobodys_parent_nor_backup_for_a_while() {
    let mut rig = Rig::new(4);
    flap(&mut rig, 3);
    rig.attach(Role::Relay, "a", 1);
    rig.attach(Role::Relay, "b", 2);
    assert_eq!(parents(&mut rig, "leaf", 3), ["b", "root"], "the steady one, and no backup at a");
    // It stands: after a while it is as good as any other. (Longer, and PINGs would be missed.)
    rig.wait(61 * SEC);
    let all = parents(&mut rig, "late", 4);
    assert!(all.contains(&"a".to_owned()), "{all:?}");
}

#[test]
fn an_operator_who_kills_nodes_can_have_them_as_parents_again() {
    let mut rig = Rig::with(4, |config| config.avoid_unsteady = false);
    flap(&mut rig, 4);
    rig.attach(Role::Relay, "a", 1);
    rig.attach(Role::Relay, "b", 2);
    assert_eq!(parents(&mut rig, "leaf", 3)[0], "a");
}

#[test]
fn a_node_that_said_that_it_goes_is_not_blamed() {
    let mut rig = Rig::new(4);
    for _ in 0..4 {
        let (conn, _) = rig.attach(Role::Relay, "a", 1);
        rig.message(conn, "a", Some("^"), Body::Bye(Bye { reason: "update".into() }));
        rig.step(Event::Closed(conn));
        rig.wait(SEC);
    }
    rig.attach(Role::Relay, "a", 1);
    assert_eq!(parents(&mut rig, "leaf", 3), ["a", "root"]);
}

#[test]
fn a_place_below_it_is_better_than_none() {
    let mut rig = Rig::new(1);
    flap(&mut rig, 4);
    rig.attach(Role::Relay, "a", 1);
    assert_eq!(parents(&mut rig, "leaf", 3), ["a"]);
}

#[test]
fn who_lost_its_parent_is_not_blamed() {
    let mut rig = Rig::new(4);
    for _ in 0..4 {
        // The process lives, so it says which incarnation it was.
        let hello = Hello { incarnation: Incarnation(1), ..hello(Role::Relay, "a", 1) };
        let (conn, _) = rig.attach_by(hello, 1);
        rig.wait(SEC);
        rig.step(Event::Closed(conn));
        rig.wait(SEC);
    }
    rig.attach(Role::Relay, "a", 1);
    assert_eq!(parents(&mut rig, "leaf", 3), ["a", "root"]);
}

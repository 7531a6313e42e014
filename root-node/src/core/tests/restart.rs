//! A root that starts again with what it had the store remember.

use super::*;
use std::collections::BTreeMap;

impl Rig {
    /// What the store has by now.
    fn stored(&self) -> Vec<Remembered> {
        let mut all = BTreeMap::new();
        for memory in &self.kept {
            match memory {
                Memory::Node(node) => drop(all.insert(node.id.clone(), *node.clone())),
                Memory::Gone(id) => drop(all.remove(id)),
                Memory::Epoch(_) => {}
            }
        }
        all.into_values().collect()
    }

    /// The next process on the same store, a while later.
    fn again(&self, children: u32, epoch: u32) -> Rig {
        let mut rig = Rig::new(children);
        rig.now.mono.0 += 1_000 * SEC;
        rig.now.wall.0 += 100 * SEC;
        rig.core.restore(rig.now.mono, self.stored(), Epoch(epoch));
        rig
    }

    fn update(&mut self, conn: ConnId, from: &str, added: &[(&str, u64, &str)]) -> Vec<String> {
        let child = |(name, incarnation, parent): &(&str, u64, &str)| Child {
            id: id(name),
            incarnation: Incarnation(*incarnation),
            parent: id(parent),
            weight: 1,
        };
        let added = added.iter().map(child).collect();
        let update = ChildsUpdate { added, removed: vec![] };
        Rig::quiet(self.message(conn, from, None, Body::ChildsUpdate(update)))
    }
}

/// A root with a relay below it and two leaves below that.
fn tree() -> Rig {
    let mut rig = Rig::new(1);
    let (a, _) = rig.attach(Role::Relay, "a", 1);
    for (name, key) in [("b", 2), ("c", 3)] {
        let said = rig.join(Role::Leaf, hello(Role::Leaf, name, key));
        assert_eq!(said, [format!("redirect >- {name}/1 below a")]);
        assert_eq!(rig.update(a, "a", &[(name, 1, "a")]), [""; 0]);
    }
    rig
}

#[test]
fn a_tree_is_adopted_as_it_stands() {
    let before = tree();
    assert_eq!(before.stored().len(), 3);
    let mut rig = before.again(1, 5);
    let view = rig.core.view();
    assert_eq!(view.nodes.len(), 4);
    assert!(view.nodes.iter().skip(1).all(|n| !n.attached));
    rig.command(RootCommand::DefinePipeline(def("demo")));

    // The relay comes back by its certificate alone, and brings the others along.
    let again = rig.accept(node_peer("a", 1));
    let body = Body::Hello(Box::new(hello(Role::Relay, "a", 1)));
    let said = rig.message(again, "a", Some("^"), body);
    let number = 1 + 1 + 64;
    assert_eq!(said, [format!("{} redirect >- a/{number} below root", again.0)]);
    let (conn, said) = rig.attach(Role::Relay, "a", 1);
    assert_eq!(said.last().unwrap(), &format!("{} pipedef >a 1 keys 1", conn.0));
    let said = rig.update(conn, "a", &[("b", 1, "a"), ("c", 1, "a")]);
    let defined = |name: &str| format!("{} pipedef >{name} 1 keys 1", conn.0);
    assert_eq!(said, [defined("b"), defined("c")], "nobody joins anew");
    let view = rig.core.view();
    assert!(view.nodes.iter().all(|n| n.attached));
    assert_eq!((view.nodes[2].depth, view.nodes[2].incarnation), (2, Incarnation(1)));
    assert_eq!(view.nodes[2].parent, Some(id("a")));
}

#[test]
fn a_node_keeps_its_number_in_ranks() {
    let mut before = Rig::new(4);
    before.attach(Role::Relay, "z", 1);
    before.attach(Role::Relay, "a", 2);
    let rank = |serial: u32| Rank((1 << 24) | serial);
    let ranks = |rig: &Rig| {
        let ranks = rig.core.view().nodes[1..].iter().map(|n| (n.id.to_string(), n.rank)).collect();
        BTreeMap::<String, Rank>::from_iter::<Vec<_>>(ranks)
    };
    let expected = BTreeMap::from([("z".to_owned(), rank(1)), ("a".to_owned(), rank(2))]);
    assert_eq!(ranks(&before), expected);
    let mut rig = before.again(4, 5);
    rig.attach(Role::Relay, "a", 2);
    rig.attach(Role::Relay, "z", 1);
    assert_eq!(ranks(&rig), expected, "tickets of backups name them");
    // A store of an earlier version knows none, or a damaged one names one twice.
    for serial in [0, 2, u32::MAX] {
        let mut stored = before.stored();
        stored.iter_mut().filter(|n| n.id == id("z")).for_each(|n| n.serial = serial);
        let mut rig = Rig::new(4);
        rig.core.restore(rig.now.mono, stored, Epoch(5));
        rig.attach(Role::Relay, "z", 1);
        rig.attach(Role::Relay, "a", 2);
        assert_eq!(ranks(&rig), expected, "{serial}");
    }
}

#[test]
fn no_ticket_has_a_number_of_before() {
    let mut rig = Rig::new(4);
    let mut highest = 0;
    for start in 0..4 {
        if start > 0 {
            rig = rig.again(4, 5);
        }
        for _ in 0..50 {
            let said = rig.join(Role::Leaf, hello(Role::Leaf, "a", 1));
            let number = said[0].split(['/', ' ']).nth(3).unwrap().parse::<u64>().unwrap();
            assert!(number > highest, "{said:?} after {highest}");
            highest = number;
        }
    }
    let notes = rig.kept.iter().filter(|m| matches!(m, Memory::Node(_))).count();
    assert!(notes <= 2, "one note covers many: {notes}");
}

#[test]
fn who_is_not_in_the_store_joins_again() {
    let mut rig = tree().again(1, 5);
    let (conn, _) = rig.attach(Role::Relay, "a", 1);
    let said = rig.update(conn, "a", &[("b", 1, "a"), ("late", 1, "a")]);
    assert_eq!(said, [format!("{} error >late unknownNode childsupdate", conn.0)]);
    // Its certificate is not enough, but beside it the token is.
    let again = |token| {
        let until = Wall(3_000 * SEC);
        Peer::Node { id: id("late"), key: [9; 32], until, token }
    };
    let said = rig.join_as(again(None), hello(Role::Leaf, "late", 9));
    assert_eq!(said, ["error >- unauthorized hello".to_owned(), "close it".into()]);
    let good = Some(("1".to_owned(), Role::Leaf));
    let said = rig.join_as(again(good.clone()), hello(Role::Leaf, "late", 9));
    assert_eq!(said, ["redirect >- late/1 below a"]);
    // Not for another's key, and not for another role.
    let said = rig.join_as(again(good), hello(Role::Leaf, "late", 8));
    assert_eq!(said[0], "error >- unauthorized hello");
    let (until, token) = (Wall(3_000 * SEC), Some(("1".to_owned(), Role::Relay)));
    let other = Peer::Node { id: id("other"), key: [5; 32], until, token };
    let said = rig.join_as(other, hello(Role::Leaf, "other", 5));
    assert_eq!(said[0], "error >- unauthorized hello");
}

#[test]
fn a_killed_node_stays_killed() {
    let mut before = tree();
    let kill = RootCommand::Kill { node: id("b"), grace_secs: 60, reason: "x".into() };
    before.command(kill);
    let mut rig = before.again(1, 5);
    rig.command(RootCommand::DefinePipeline(def("demo")));
    let (conn, _) = rig.attach(Role::Relay, "a", 1);
    let said = rig.update(conn, "a", &[("b", 1, "a")]);
    assert_eq!(said, [format!("{} kill >b", conn.0)], "and it gets no keys");
    let said = rig.join_as(node_peer("b", 2), hello(Role::Leaf, "b", 2));
    assert_eq!(said[0], "error >- unauthorized hello");
    // Nor by the token that it came by; another one lets it in.
    let with = |token: &str| {
        let token = Some((token.to_owned(), Role::Leaf));
        Peer::Node { id: id("b"), key: [2; 32], until: Wall(3_000 * SEC), token }
    };
    let said = rig.join_as(with("1"), hello(Role::Leaf, "b", 2));
    assert_eq!(said[0], "error >- unauthorized hello");
}

#[test]
fn who_does_not_come_back_is_forgotten() {
    let mut rig = tree().again(1, 5);
    rig.wait(SEC);
    let (_, _) = rig.attach(Role::Relay, "a", 1);
    rig.kept.clear();
    (0..302).for_each(|_| drop(rig.wait(2 * SEC)));
    let gone: Vec<_> = rig.kept.iter().filter(|m| matches!(m, Memory::Gone(_))).collect();
    assert_eq!(gone, [&Memory::Gone(id("b")), &Memory::Gone(id("c"))]);
    assert_eq!(rig.core.view().nodes.len(), 2);
}

#[test]
fn an_epoch_is_used_once_wherever_the_clock_stands() {
    let mut rig = tree().again(1, 5_000);
    let said = rig.command(RootCommand::DefinePipeline(def("demo")));
    // The clock says 1,100.
    assert!(said.contains(&"key 1 5000".to_owned()), "{said:?}");
    rig.kept.clear();
    rig.command(RootCommand::Rotate(PipelineId(1)));
    assert!(rig.kept.contains(&Memory::Epoch(Epoch(5_001))), "noted before it is used");
    let mut late = tree().again(1, 7);
    let said = late.command(RootCommand::DefinePipeline(def("demo")));
    assert!(said.contains(&"key 1 1100".to_owned()), "{said:?}");
}

//! A drawing that is followed while nodes come and go: by example, and what holds whatever happens.

use super::super::drawing::*;
use super::super::drawn::*;
use super::properties::{DEMAND, check, check_sums, everything, input_of, kinds, root};
use super::*;
use proptest::prelude::*;

/// Nodes and their links, as an operator writes them.
fn drawing(text: &str) -> (Drawing, Drawn) {
    let mut drawing = Drawing::default();
    for word in text.split_whitespace() {
        match word.split_once('-') {
            Some((a, b)) => drawing.links.push(DrawnLink { a: id(a), b: id(b) }),
            None => {
                let (name, children) = word.split_once(':').unwrap_or((word, "8"));
                let role = match name.chars().next() {
                    Some('l') => Role::Leaf,
                    Some('r') => Role::Root,
                    _ => Role::Relay,
                };
                let children = children.parse().unwrap();
                drawing.nodes.push(DrawnNode { id: id(name), role, children });
            }
        }
    }
    let drawn = draw(&drawing).unwrap();
    (drawing, drawn)
}

fn follow(text: &str, slots: u32) -> Rig {
    let mut rig = Rig::new(slots);
    let (drawing, drawn) = drawing(text);
    rig.planner.follow(&drawing, &drawn);
    rig
}

const DRAWING: &str = "root a b c l1 l2 l3 root-a root-b b-c a-l1 b-l1 c-l2 b-l3 a-l3";

#[test]
fn nodes_go_where_they_are_drawn_and_their_links_are_their_backups() {
    let mut rig = follow(DRAWING, 8);
    assert_eq!([rig.relay("b", 8), rig.relay("a", 8)], ["root", "root"]);
    // The rules would put it below the root.
    assert_eq!(rig.relay("c", 8), "b");
    assert_eq!([rig.leaf("l1"), rig.leaf("l2"), rig.leaf("l3")], ["a", "c", "a"]);
    assert_eq!(rig.backups("l1")[0], "b");
    assert_eq!(rig.backups("l3")[0], "b");
    // Nobody has drawn these two: they are placed by the rules, and the others stay.
    assert_eq!([rig.relay("d", 8), rig.leaf("other")], ["root", "b"]);
    assert_eq!(rig.moves(9), Vec::<String>::new());
}

#[test]
fn who_is_away_from_its_place_comes_back_to_it() {
    let mut rig = follow(DRAWING, 8);
    for relay in ["a", "b", "c"] {
        rig.relay(relay, 8);
    }
    assert_eq!(rig.leaf("l1"), "a");
    rig.leave("a");
    // Its other link, although the rules would let it sleep below whom serves.
    assert_eq!(rig.leaf("l1"), "b");
    rig.relay("a", 8);
    assert_eq!(rig.moves(9), ["l1: b to a"]);
    assert_eq!(rig.moves(9), Vec::<String>::new());
    rig.leave("a");
    rig.leave("b");
    // Neither of its places: the rules, and from there back in two steps.
    let auto = rig.leaf("l1");
    assert!(["root", "c"].contains(&auto.as_str()), "{auto}");
    rig.relay("b", 8);
    assert!(rig.moves(9).contains(&format!("l1: {auto} to b")));
    rig.relay("a", 8);
    assert_eq!(rig.moves(9), ["l1: b to a"]);
}

#[test]
fn a_drawn_link_comes_before_other_backups_whenever_its_end_joins() {
    let mut rig = follow(DRAWING, 8);
    for relay in ["d", "e", "f", "a"] {
        rig.relay(relay, 8);
    }
    assert_eq!(rig.leaf("l1"), "a");
    // It lacks nothing by the rules.
    assert_eq!(rig.backups("l1"), ["e", "f", "d"]);
    rig.relay("b", 8);
    assert_eq!(rig.backups("l1"), ["b", "e", "f"]);
}

#[test]
fn a_slot_is_kept_for_a_drawn_child_that_is_away() {
    // a takes two: its leaf, and one other.
    let mut rig = follow("root a:2 l1 root-a a-l1", 4);
    assert_eq!(rig.relay("a", 8), "root");
    assert_eq!([rig.leaf("x"), rig.leaf("y")], ["a", "root"]);
    assert_eq!(rig.leaf("l1"), "a");
    assert_eq!(rig.planner.used(&id("a")), 2);
    // It is not moved for want of room either.
    assert!(!rig.moves(9).iter().any(|m| m.starts_with("l1")));
}

#[test]
fn the_sample_of_the_documentation_is_drawn_in_full() {
    let drawing = Drawing::from_xml(include_str!("../../../../docs/drawing.xml")).unwrap();
    let drawn = draw(&drawing).unwrap();
    assert_eq!(drawn.remarks(), Vec::<String>::new());
    assert_eq!(drawn.nodes.len(), drawing.nodes.len() - 1);
    let of = |name: &str| &drawn.nodes[&id(name)];
    assert_eq!(of("relay-overseas").parent, id("relay-east"));
    assert_eq!(of("leaf-west").backups.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Some of the nodes are drawn, with any links; they come and go in any order.
    #[test]
    fn coming_and_going_keeps_all_rules_and_ends_at_home(
        kinds in kinds(30),
        links in prop::collection::vec((0..31_usize, 0..31_usize), 0..60),
        drawn in prop::collection::vec((any::<bool>(), 0..6_u32), 30),
        steps in prop::collection::vec((0..30_usize, 0..6_u8), 0..80),
        slots in 1..6_u32,
    ) {
        let nodes: Vec<NodeInput> = kinds.iter().enumerate().map(|(n, k)| input_of(k, n)).collect();
        let name = |n: usize| nodes.get(n).map_or_else(|| id("root"), |n| n.id.clone());
        let mut file = Drawing::default();
        file.nodes.push(DrawnNode { id: id("root"), role: Role::Root, children: slots });
        for (node, (_, children)) in nodes.iter().zip(&drawn).filter(|(_, (drawn, _))| *drawn) {
            file.nodes.push(DrawnNode { id: node.id.clone(), role: node.role, children: *children });
        }
        file.links.extend(links.iter().map(|(a, b)| DrawnLink { a: name(*a), b: name(*b) }));
        let made = draw(&file).unwrap();
        let mut planner = Planner::new(&root(slots));
        planner.set_demand(DEMAND);
        planner.follow(&file, &made);
        let step = |planner: &mut Planner, n: usize, what: u8| {
            let Some(node) = nodes.get(n) else { return };
            match what {
                0 => planner.remove(&node.id),
                1 => {
                    for m in planner.improve(100, 3) {
                        planner.place(&m.node, &Place { parent: Some(&m.to), leg: None, attached: true });
                    }
                }
                _ => {
                    planner.put(node);
                    planner.place(&node.id, &Place::default());
                    if let Some(parent) = planner.choose(&node.id, None) {
                        planner.place(&node.id, &Place { parent: Some(&parent), leg: None, attached: true });
                    }
                }
            }
            for _ in 0..16 {
                if !planner.settle(50) { break }
            }
        };
        for (n, what) in steps {
            step(&mut planner, n, what);
            check(&root(slots), &nodes, &everything(&planner, &nodes));
            check_sums(&planner);
            for node in &nodes {
                let limit = file.nodes.iter().find(|d| d.id == node.id).map(|d| d.children);
                prop_assert!(limit.is_none_or(|limit| planner.used(&node.id) <= limit));
            }
        }
        // Everybody comes, and is moved as long as there are moves.
        for _ in 0..3 {
            for n in 0..nodes.len() {
                if planner.depth(&name(n)).is_none() {
                    step(&mut planner, n, 5);
                }
            }
            for _ in 0..60 {
                step(&mut planner, 0, 1);
            }
        }
        // With enough slots for what is drawn there, a node is at home if its parent is.
        let takes = |parent: &NodeId| {
            let wanted = made.nodes.values().filter(|a| a.parent == *parent).count() as u32;
            let ix = planner.ix(parent).unwrap();
            planner.entries[ix].slots >= wanted
        };
        for (node, place) in &made.nodes {
            let mut at = node;
            let mut reachable = true;
            while let Some(above) = made.nodes.get(at) {
                reachable &= planner.depth(at).is_some() && takes(&above.parent);
                at = &above.parent;
            }
            if reachable {
                prop_assert_eq!(planner.parent(node), Some(&place.parent), "{} is not at home", node);
            }
        }
    }
}

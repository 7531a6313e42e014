//! Drawings: the file, the thesis' algorithm by example, and what holds of every drawing.

use super::super::drawing::*;
use super::super::drawn::*;
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn drawing(nodes: &[(&str, Role, u32)], links: &[(&str, &str)]) -> Drawing {
    let node = |(name, role, children): &(&str, Role, u32)| DrawnNode {
        id: id(name),
        role: *role,
        children: *children,
    };
    let link = |(a, b): &(&str, &str)| DrawnLink { a: id(a), b: id(b) };
    Drawing { nodes: nodes.iter().map(node).collect(), links: links.iter().map(link).collect() }
}

fn words<T: std::fmt::Debug>(list: &[(NodeId, T)]) -> Vec<String> {
    list.iter().map(|(id, why)| format!("{id} {why:?}")).collect()
}

fn places(drawn: &Drawn) -> Vec<String> {
    let place = |(id, a): (&NodeId, &Assignment)| {
        let backups: Vec<&str> = a.backups.iter().map(NodeId::as_str).collect();
        format!("{id} below {} or {}", a.parent, backups.join(","))
    };
    drawn.nodes.iter().map(place).collect()
}

#[test]
fn a_drawing_becomes_a_tree_and_redundancy_links() {
    use Role::{Leaf, Relay, Root};
    let nodes = [
        ("root", Root, 8),
        ("a", Relay, 8),
        ("b", Relay, 8),
        ("c", Relay, 8),
        ("dead-end", Relay, 8),
        ("behind", Relay, 8),
        ("island", Relay, 8),
        ("l1", Leaf, 0),
        ("l2", Leaf, 0),
        ("only-by-leaf", Relay, 8),
    ];
    let links = [
        ("root", "a"),
        ("root", "b"),
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
        ("a", "dead-end"),
        ("dead-end", "behind"),
        ("c", "l1"),
        ("b", "l1"),
        ("l2", "c"),
        ("l2", "only-by-leaf"),
        ("l1", "l2"),
        ("a", "nobody"),
        ("b", "a"),
        ("c", "c"),
    ];
    let drawn = draw(&drawing(&nodes, &links)).unwrap();
    let expected =
        ["island NoWayToRoot", "only-by-leaf NoWayToRoot", "behind NoLeaf", "dead-end NoLeaf"];
    assert_eq!(words(&drawn.pruned), expected);
    let why: Vec<Why> = drawn.dropped.iter().map(|(_, why)| *why).collect();
    use Why::{BetweenLeaves, EndPruned, LinkTwice, UnknownEnd};
    let expected =
        [BetweenLeaves, UnknownEnd, LinkTwice, LinkTwice, EndPruned, EndPruned, EndPruned];
    assert_eq!(why, expected);
    assert_eq!(
        places(&drawn),
        [
            "a below root or ",
            "b below root or a",
            "c below a or b",
            "l1 below b or c",
            "l2 below c or "
        ]
    );
    let redundancy: Vec<String> =
        drawn.redundancy.iter().map(|l| format!("{} {}", l.a, l.b)).collect();
    assert_eq!(redundancy, ["a b", "b c", "c l1"]);
    assert!(drawn.left_out.is_empty());
}

#[test]
fn capacities_are_hard_and_what_cannot_be_is_said() {
    use Role::{Leaf, Relay, Root};
    let nodes = [
        ("root", Root, 1),
        ("a", Relay, 2),
        ("b", Relay, 1),
        ("l1", Leaf, 0),
        ("l2", Leaf, 0),
        ("l3", Leaf, 0),
        ("l4", Leaf, 0),
    ];
    let links = [
        ("root", "a"),
        ("root", "b"),
        ("a", "b"),
        ("a", "l1"),
        ("a", "l2"),
        ("b", "l2"),
        ("b", "l3"),
        ("root", "l4"),
    ];
    let drawn = draw(&drawing(&nodes, &links)).unwrap();
    // b goes below a, and there is one slot for a leaf at each; l4 has nobody else than the root.
    assert_eq!(words(&drawn.left_out), ["l3 NoRoom", "l4 NoRoom"]);
    let expected = ["a below root or ", "b below a or root", "l1 below a or ", "l2 below b or a"];
    assert_eq!(places(&drawn), expected);
    let alone = draw(&drawing(&[("a", Relay, 2)], &[]));
    assert_eq!(alone, Err(NoRoot));
}

#[test]
fn files_that_are_no_drawings() {
    let read = |xml: &str| Drawing::from_xml(xml).unwrap_err().to_string();
    assert_eq!(read(""), "no topology in it");
    assert_eq!(read("<a/>"), "one <topology> and nothing else at the top");
    assert_eq!(read("<topology/><topology/>"), "one <topology> and nothing else at the top");
    assert_eq!(read("<!DOCTYPE topology [<!ENTITY x 'y'>]><topology/>"), "a DTD is not allowed");
    assert_eq!(read("<topology><node role='leaf'/></topology>"), "node: id is missing or wrong");
    let role = "<topology><node id='a' role='tree'/></topology>";
    assert_eq!(read(role), "node: role is missing or wrong");
    let children = "<topology><node id='a' role='leaf' children='-1'/></topology>";
    assert_eq!(read(children), "node: children is missing or wrong");
    assert_eq!(read("<topology><link a='x'/></topology>"), "link: b is missing or wrong");
    assert_eq!(read("<topology>"), "an element is not closed");
    let deep = format!("<topology>{}", "<g>".repeat(40));
    assert_eq!(read(&deep), "too many levels of elements");
    assert_eq!(read(&" ".repeat(MAX_DRAWING + 1)), DrawingError::TooLong.to_string());
    let many = format!(
        "<topology>{}</topology>",
        "<node id='a' role='leaf'/>".repeat(MAX_DRAWN_NODES + 1)
    );
    assert_eq!(read(&many), "too many nodes");
    let with_more = "<?xml version='1.0'?><!-- drawn --><topology><node id='a' role='root' \
                     children=' 3 ' x='1'><style/></node><note>x &amp; y</note></topology>";
    let node = DrawnNode { id: id("a"), role: Role::Root, children: 3 };
    assert_eq!(Drawing::from_xml(with_more), Ok(Drawing { nodes: vec![node], links: vec![] }));
}

fn drawings() -> impl Strategy<Value = Drawing> {
    let node = (0..3_u8, 0..5_u32);
    let links = prop::collection::vec((0..26_usize, 0..26_usize), 0..60);
    (prop::collection::vec(node, 1..24), links).prop_map(|(kinds, links)| {
        let name = |n: usize| id(&format!("n{n:02}"));
        let role = |n: usize, kind: u8| match kind {
            _ if n == 0 => Role::Root,
            0 => Role::Leaf,
            _ => Role::Relay,
        };
        let nodes = kinds.iter().enumerate().map(|(n, (kind, children))| DrawnNode {
            id: name(n),
            role: role(n, *kind),
            children: *children,
        });
        let links = links.iter().map(|(a, b)| DrawnLink { a: name(*a), b: name(*b) });
        Drawing { nodes: nodes.collect(), links: links.collect() }
    })
}

proptest! {
    #[test]
    fn a_drawing_survives_its_file(drawing in drawings()) {
        prop_assert_eq!(Drawing::from_xml(&drawing.to_xml()), Ok(drawing));
    }

    #[test]
    fn any_text_is_a_drawing_or_an_error(text in ".{0,200}", inside in "[<>/a-z \"='&;!-]{0,80}") {
        let _ = Drawing::from_xml(&text);
        let _ = Drawing::from_xml(&format!("<topology>{inside}</topology>"));
    }

    #[test]
    fn a_drawn_tree_keeps_to_the_drawing(drawing in drawings()) {
        let drawn = draw(&drawing).unwrap();
        prop_assert_eq!(&draw(&drawing).unwrap(), &drawn);
        let known: BTreeMap<&NodeId, &DrawnNode> =
            drawing.nodes.iter().map(|n| (&n.id, n)).collect();
        let linked: BTreeSet<(&NodeId, &NodeId)> =
            drawing.links.iter().flat_map(|l| [(&l.a, &l.b), (&l.b, &l.a)]).collect();
        let root = &drawing.nodes[0].id;
        let mut children: BTreeMap<&NodeId, u32> = BTreeMap::new();
        for (id, a) in &drawn.nodes {
            prop_assert!(linked.contains(&(id, &a.parent)), "only what is drawn");
            prop_assert!(known[&a.parent].role != Role::Leaf);
            *children.entry(&a.parent).or_default() += 1;
            let above = drawn.nodes.get(&a.parent).map_or(Rank(0), |p| p.rank);
            prop_assert!(above < a.rank && (a.parent == *root || above > Rank(0)));
            for backup in &a.backups {
                let theirs = drawn.nodes.get(backup).map_or(Rank(0), |b| b.rank);
                prop_assert!(linked.contains(&(id, backup)) && *backup != a.parent);
                prop_assert!(theirs < a.rank && known[backup].role != Role::Leaf);
            }
        }
        for (parent, count) in children {
            prop_assert!(count <= known[parent].children);
        }
        let all = 1 + drawn.nodes.len() + drawn.pruned.len() + drawn.left_out.len();
        prop_assert_eq!(all, drawing.nodes.len(), "each node has a place or a reason");
        let links = drawn.nodes.len() + drawn.redundancy.len() + drawn.dropped.len();
        let cut = drawn.left_out.len();
        prop_assert_eq!(links, drawing.links.len(), "each link has a use or a reason ({} cut)", cut);

        // With room for all, everybody whom a way over relays leads to has a place.
        let mut roomy = drawing.clone();
        roomy.nodes.iter_mut().for_each(|n| n.children = 100);
        prop_assert!(draw(&roomy).unwrap().left_out.is_empty());
    }
}

//! The operator's drawing of the tree, and the tree that is made of it.

use root_node::planner::drawing::Drawing;
use root_node::planner::drawn::draw;
use root_node::planner::{NodeInput, Place, Planner};
use soleil_protocol::Role;

/// Nodes that are let in afterwards: what is drawn is followed in whatever order they come.
const COME: usize = 64;

/// A file. What is read is written and read again as the same; the tree that is made of it has no
/// circle, and nobody has more children than it takes, by the drawing and while it is followed.
pub fn root_drawing(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(drawing) = Drawing::from_xml(text) else { return };
    let written = drawing.to_xml();
    assert_eq!(Drawing::from_xml(&written).as_ref(), Ok(&drawing), "{written}");
    let Ok(drawn) = draw(&drawing) else { return };
    let _ = drawn.remarks();
    for (id, place) in &drawn.nodes {
        let mut at = id;
        let mut hops = 0;
        while let Some(above) = drawn.nodes.get(at) {
            hops += 1;
            assert!(hops <= drawn.nodes.len(), "{id} is in a circle");
            at = &above.parent;
        }
        let children = drawn.nodes.values().filter(|a| a.parent == place.parent).count();
        let limit = drawing.nodes.iter().find(|n| n.id == place.parent).map(|n| n.children);
        assert!(limit.is_some_and(|limit| children <= limit as usize), "too many children");
        assert!(!place.backups.contains(&place.parent) && !place.backups.contains(id));
    }
    let Some(root) = drawing.nodes.iter().find(|n| n.role == Role::Root) else { return };
    let input = |n: usize| {
        let node = &drawing.nodes[n];
        NodeInput {
            id: node.id.clone(),
            role: node.role,
            slots: if node.role == Role::Leaf { 0 } else { 8 },
            egress: 0,
            reachable: true,
            region: String::new(),
            serial: n as u32 + 1,
            leaving: false,
            pinned: false,
        }
    };
    let root = NodeInput { id: root.id.clone(), role: Role::Root, slots: 8, serial: 0, ..input(0) };
    let mut planner = Planner::new(&root);
    planner.follow(&drawing, &drawn);
    for node in (0..drawing.nodes.len().min(COME)).rev().map(input) {
        if node.role == Role::Root || planner.knows(&node.id) {
            continue;
        }
        planner.put(&node);
        if let Some(parent) = planner.choose(&node.id, None) {
            assert!(planner.has_slot(&parent));
            planner.place(&node.id, &Place { parent: Some(&parent), leg: None, attached: true });
        }
    }
    for moved in planner.improve(COME, COME) {
        let place = Place { parent: Some(&moved.to), leg: None, attached: true };
        planner.place(&moved.node, &place);
    }
}

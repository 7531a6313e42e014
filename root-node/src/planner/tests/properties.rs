//! What holds of every plan, whatever nodes there are and in whatever order they come and go.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub(super) struct Kind {
    leaf: bool,
    slots: u32,
    egress: u64,
    region: u8,
    reachable: bool,
}

pub(super) fn kinds(max: usize) -> impl Strategy<Value = Vec<Kind>> {
    let kind = (any::<bool>(), 0..7_u32, 0..4_u64, 0..3_u8, prop::bool::weighted(0.9));
    let kind = kind.prop_map(|(leaf, slots, egress, region, reachable)| Kind {
        leaf,
        slots,
        egress: egress * 10_000_000,
        region,
        reachable,
    });
    prop::collection::vec(kind, 0..max)
}

pub(super) fn input_of(kind: &Kind, n: usize) -> NodeInput {
    NodeInput {
        id: id(&format!("n{n:03}")),
        role: if kind.leaf { Role::Leaf } else { Role::Relay },
        slots: kind.slots,
        egress: kind.egress,
        reachable: kind.reachable,
        region: kind.region.to_string(),
        serial: n as u32 + 1,
        leaving: false,
        pinned: false,
    }
}

pub(super) const DEMAND: u64 = 5_000_000;

/// Slots by the test's own reckoning.
fn slots_of(node: &NodeInput) -> u32 {
    let by_egress = if node.egress == 0 { u32::MAX } else { (node.egress / DEMAND) as u32 };
    let takes = node.reachable && node.role != Role::Leaf;
    if takes { node.slots.min(by_egress) } else { 0 }
}

/// Checks what must hold of parents, ranks and backups.
pub(super) fn check(root: &NodeInput, nodes: &[NodeInput], plan: &BTreeMap<NodeId, Assignment>) {
    let known: BTreeMap<&NodeId, &NodeInput> =
        nodes.iter().chain([root]).map(|n| (&n.id, n)).collect();
    let mut children: BTreeMap<&NodeId, u32> = BTreeMap::new();
    let rank_of = |id: &NodeId| plan.get(id).map_or(Rank(0), |a| a.rank);
    for (id, a) in plan {
        *children.entry(&a.parent).or_default() += 1;
        assert!(rank_of(&a.parent) < a.rank, "{id}: its parent comes before it, so no circles");
        assert_eq!(depth_of(a.rank), depth_of(rank_of(&a.parent)) + 1);
        assert!(a.parent == root.id || plan.contains_key(&a.parent), "{id} is connected");
        assert!(a.backups.len() <= BACKUPS);
        for (n, backup) in a.backups.iter().enumerate() {
            assert!(*backup == root.id || plan.contains_key(backup));
            assert!(rank_of(backup) < a.rank && *backup != a.parent && backup != id);
            assert!(!a.backups[..n].contains(backup), "not twice");
            assert!(slots_of(known[backup]) > 0, "{id}: {backup} takes nobody");
            let mut at = Some(backup.clone());
            while let Some(here) = at {
                assert!(here != *id, "a backup below the node");
                at = plan.get(&here).map(|a| a.parent.clone());
            }
        }
    }
    for (parent, count) in children {
        assert!(count <= slots_of(known[parent]), "{parent} has {count} children");
    }
    let ranks: std::collections::BTreeSet<Rank> = plan.values().map(|a| a.rank).collect();
    assert_eq!(ranks.len(), plan.len(), "ranks are a total order");
}

/// If any one relay dies, all nodes with a reserved place find it.
fn check_reserve(planner: &Planner, nodes: &[NodeInput], plan: &BTreeMap<NodeId, Assignment>) {
    for dead in nodes {
        let mut coming: BTreeMap<&NodeId, u32> = BTreeMap::new();
        for (id, a) in plan.iter().filter(|(_, a)| a.parent == dead.id) {
            if planner.is_backed(id) {
                *coming.entry(&a.backups[0]).or_default() += 1;
            }
        }
        for (backup, count) in coming {
            let slots = nodes.iter().find(|n| n.id == *backup).map_or(u32::MAX, slots_of);
            assert!(planner.used(backup) + count <= slots, "{backup} takes those of {}", dead.id);
        }
    }
}

pub(super) fn root(slots: u32) -> NodeInput {
    let mut root = node("root", Role::Root, slots, 0);
    root.region = "0".into();
    root
}

pub(super) fn everything(planner: &Planner, nodes: &[NodeInput]) -> BTreeMap<NodeId, Assignment> {
    let placed = nodes.iter().filter(|n| planner.depth(&n.id).is_some());
    let assignment = |n: &NodeInput| Assignment {
        parent: planner.parent(&n.id).unwrap().clone(),
        rank: planner.rank(&n.id),
        backups: planner.backups(&n.id),
    };
    placed.map(|n| (n.id.clone(), assignment(n))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_whole_plan_keeps_all_rules(
        kinds in kinds(60),
        slots in 0..6_u32,
        parents in prop::collection::vec(prop::option::of(0..60_usize), 60),
        rtts in prop::collection::vec((0..60_usize, 0..60_usize, 0.0..300.0_f64), 0..40),
        moves in 0..10_usize,
    ) {
        let nodes: Vec<NodeInput> = kinds.iter().enumerate().map(|(n, k)| input_of(k, n)).collect();
        let name = |n: usize| nodes.get(n).map(|n| n.id.clone()).unwrap_or_else(|| id("root"));
        let present = |n: usize| parents.get(n).copied().flatten().map(name);
        let input = Input {
            root: root(slots),
            nodes: nodes.iter().cloned().enumerate().map(|(n, i)| (i, present(n))).collect(),
            rtts: rtts.iter().map(|(a, b, ms)| (name(*a), name(*b), *ms)).collect(),
            demand: DEMAND,
            moves,
        };
        let made = plan(&input);
        check(&input.root, &nodes, &made.nodes);
        prop_assert_eq!(made.nodes.len() + made.left_out.len(), nodes.len());
        for m in &made.moves {
            prop_assert_eq!(&made.nodes[&m.node].parent, &m.to);
        }
        let mut shuffled = input.clone();
        shuffled.nodes.reverse();
        prop_assert_eq!(plan(&shuffled), made.clone(), "the same input gives the same plan");

        // From nothing, everybody for whom there is room has a place.
        let fresh = Input {
            nodes: nodes.iter().map(|n| (n.clone(), None)).collect(), moves: 0, ..input
        };
        let made = plan(&fresh);
        check(&fresh.root, &nodes, &made.nodes);
        let relays = nodes.iter().filter(|n| slots_of(n) > 0);
        let more: u32 = relays.clone().map(|n| slots_of(n) - 1).sum();
        let free = if slots > 0 { slots + more } else { 0 };
        let others = nodes.len() - relays.clone().count();
        let total = slots + relays.clone().map(slots_of).sum::<u32>();
        let kept = u32::from(slots > 0 && total > 1);
        let expected = if slots == 0 { 0 } else {
            relays.count() + others.min(free.saturating_sub(kept) as usize)
        };
        prop_assert_eq!(made.nodes.len(), expected, "{} slots are free for others", free);
    }

    #[test]
    fn coming_and_going_keeps_all_rules(
        kinds in kinds(50),
        steps in prop::collection::vec((0..50_usize, 0..8_u8), 0..120),
        slots in 1..6_u32,
    ) {
        let mut planner = Planner::new(&root(slots));
        planner.set_demand(DEMAND);
        let mut under_way = Vec::new();
        let nodes: Vec<NodeInput> = kinds.iter().enumerate().map(|(n, k)| input_of(k, n)).collect();
        for (n, what) in steps {
            let Some(node) = nodes.get(n) else { continue };
            let before = everything(&planner, &nodes);
            match what {
                0 => planner.remove(&node.id),
                1 => {
                    let moves = planner.improve(100, 3);
                    prop_assert!(moves.len() <= 3);
                    for m in moves {
                        planner.place(&m.node, &Place { parent: Some(&m.to), leg: None, attached: true });
                    }
                }
                // Moves that have begun: each node holds a slot at both parents, until it is there.
                6 => {
                    let moves = planner.improve(100, 3);
                    prop_assert!(moves.len() <= 3);
                    under_way.extend(moves.into_iter().map(|m| (m.node, m.to)));
                }
                7 => {
                    for (node, to) in std::mem::take(&mut under_way) {
                        // Whoever has left or joined elsewhere meanwhile is not moved.
                        if planner.parent(&node) == Some(&to) {
                            planner.place(&node, &Place { parent: Some(&to), leg: None, attached: true });
                        }
                    }
                }
                _ => {
                    planner.put(node);
                    planner.place(&node.id, &Place::default());
                    if let Some(parent) = planner.choose(&node.id, None) {
                        // On its way first, then there.
                        for attached in [false, true] {
                            let place = Place { parent: Some(&parent), leg: None, attached };
                            planner.place(&node.id, &place);
                            prop_assert!(nodes.iter().all(|n| planner.used(&n.id) <= slots_of(n)));
                        }
                    }
                    let after = everything(&planner, &nodes);
                    let moved = before.iter().filter(|(id, a)| {
                        **id != node.id && after.get(*id).is_some_and(|b| b.parent != a.parent)
                    });
                    prop_assert_eq!(moved.count(), 0, "who joins or comes back moves nobody");
                }
            }
            for _ in 0..16 {
                if !planner.settle(50) { break }
            }
            prop_assert_eq!(planner.check.len(), 0, "it comes to rest");
            let plan = everything(&planner, &nodes);
            check(&root(slots), &nodes, &plan);
            check_reserve(&planner, &nodes, &plan);
            check_sums(&planner);
            let full = |n: &NodeInput| planner.used(&n.id) <= slots_of(n);
            prop_assert!(nodes.iter().all(full), "both places of a move count");
        }
    }
}

/// What is kept beside the tree is what follows from the tree.
pub(super) fn check_sums(planner: &Planner) {
    let mut held = 0;
    for (ix, entry) in planner.entries.iter().enumerate() {
        let leaves: u32 = entry.children.iter().map(|c| planner.entries[*c].leaves).sum();
        assert_eq!(entry.leaves, leaves + u32::from(entry.leaf));
        assert!(entry.children.iter().all(|c| planner.entries[*c].parent == Some(ix)));
        let claims: u32 = entry.claims.values().sum();
        let made = planner.entries.iter().filter(|e| e.claim.is_some_and(|c| c.backup == ix));
        assert_eq!((entry.claimed, entry.claimed), (claims, made.count() as u32));
        assert_eq!(entry.open_at.is_some(), entry.usable() && entry.room() > 0);
        held += entry.held_by.len();
        assert!(entry.held_by.iter().all(|h| planner.entries[*h].backups.contains(&ix)));
    }
    assert_eq!(held, planner.entries.iter().map(|e| e.backups.len()).sum::<usize>());
    let usable = planner.entries.iter().filter(|e| e.usable());
    assert_eq!(planner.free_total, usable.map(|e| u64::from(e.room())).sum::<u64>());
}

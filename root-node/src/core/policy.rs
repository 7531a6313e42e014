//! The first attach policy as a pure function: who becomes the parent of a joiner. The planner
//! with delays, backups and moves comes later and will replace it.

use soleil_protocol::{NodeId, Role};

/// A node that could take the joiner: attached, not leaving, not below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: NodeId,
    /// Its role.
    pub role: Role,
    /// Hops to the root.
    pub depth: u32,
    /// Children that it has or will have soon.
    pub children: u32,
    /// Children that it takes.
    pub capacity: u32,
    /// Whether it stands where the joiner does.
    pub near: bool,
}

/// Chooses the parent: fewest hops with free capacity; leaves prefer relays to the root, which is
/// kept for relays as long as there are others with room; then the joiner's own region, then the
/// least loaded, then the first by name. `avoid` (the parent that the joiner has just lost) is
/// taken only if there is nobody else; the root is never avoided, since it answers right now.
///
/// Leaves never take the root's last place: without it no relay could join any more, and the tree
/// could not grow again.
pub fn choose_parent(
    joiner: Role,
    avoid: Option<&NodeId>,
    candidates: &[Candidate],
) -> Option<NodeId> {
    let kept =
        |c: &Candidate| u32::from(joiner == Role::Leaf && c.role == Role::Root && c.capacity > 1);
    let free = candidates
        .iter()
        .filter(|c| c.role != Role::Leaf && c.children.saturating_add(kept(c)) < c.capacity);
    free.min_by(|a, b| {
        let avoided = |c: &Candidate| c.role != Role::Root && avoid == Some(&c.id);
        let root_last = |c: &Candidate| joiner == Role::Leaf && c.role == Role::Root;
        avoided(a)
            .cmp(&avoided(b))
            .then(root_last(a).cmp(&root_last(b)))
            .then(a.depth.cmp(&b.depth))
            .then(b.near.cmp(&a.near))
            .then(load(a, b))
            .then(a.id.cmp(&b.id))
    })
    .map(|c| c.id.clone())
}

/// Compares children / capacity without dividing.
fn load(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    let left = u64::from(a.children) * u64::from(b.capacity);
    let right = u64::from(b.children) * u64::from(a.capacity);
    left.cmp(&right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, role: Role, depth: u32, children: u32, capacity: u32) -> Candidate {
        Candidate { id: NodeId::new(id).unwrap(), role, depth, children, capacity, near: false }
    }

    fn pick(joiner: Role, avoid: Option<&str>, candidates: &[Candidate]) -> Option<String> {
        let avoid = avoid.map(|id| NodeId::new(id).unwrap());
        choose_parent(joiner, avoid.as_ref(), candidates).map(|id| id.to_string())
    }

    #[test]
    fn the_policy_by_table() {
        use Role::{Leaf, Relay, Root};
        let root = node("root", Root, 0, 1, 4);
        let full = node("root", Root, 0, 4, 4);
        let a = node("a", Relay, 1, 1, 4);
        let b = node("b", Relay, 1, 1, 4);
        let busy = node("busy", Relay, 1, 7, 8);
        let deep = node("deep", Relay, 2, 0, 4);
        let leaf = node("leaf", Leaf, 1, 0, 4);
        let none = node("none", Relay, 1, 0, 0);
        let last = node("root", Root, 0, 3, 4);
        let tiny = node("root", Root, 0, 0, 1);
        type Row<'a> = (&'a str, Role, Option<&'a str>, Vec<&'a Candidate>, Option<&'a str>);
        let rows: Vec<Row<'_>> = vec![
            ("a relay goes to the root", Relay, None, vec![&a, &root], Some("root")),
            ("a leaf goes to a relay", Leaf, None, vec![&root, &a], Some("a")),
            ("a leaf alone with the root", Leaf, None, vec![&root], Some("root")),
            ("the root's last place is not a leaf's", Leaf, None, vec![&last], None),
            ("but a relay's", Relay, None, vec![&last, &a], Some("root")),
            ("unless it has no other", Leaf, None, vec![&tiny], Some("root")),
            ("root full: under a relay", Relay, None, vec![&full, &a, &deep], Some("a")),
            ("fewest hops before load", Leaf, None, vec![&deep, &busy], Some("busy")),
            ("least loaded", Leaf, None, vec![&busy, &b], Some("b")),
            ("ties by name", Leaf, None, vec![&b, &a], Some("a")),
            ("leaves take nobody", Leaf, None, vec![&leaf], None),
            ("no capacity at all", Leaf, None, vec![&none, &full], None),
            ("the lost parent is avoided", Leaf, Some("a"), vec![&a, &b], Some("b")),
            ("even for the root", Leaf, Some("a"), vec![&a, &root], Some("root")),
            ("unless it is the only one", Leaf, Some("a"), vec![&a], Some("a")),
            ("the root is not avoided", Relay, Some("root"), vec![&root, &a], Some("root")),
        ];
        for (what, joiner, avoid, candidates, expected) in rows {
            let candidates: Vec<Candidate> = candidates.into_iter().cloned().collect();
            assert_eq!(pick(joiner, avoid, &candidates).as_deref(), expected, "{what}");
        }
    }

    #[test]
    fn the_own_region_comes_before_load() {
        let mut near = node("near", Role::Relay, 1, 3, 4);
        near.near = true;
        let far = node("far", Role::Relay, 1, 0, 4);
        assert_eq!(pick(Role::Leaf, None, &[far, near]).as_deref(), Some("near"));
    }
}

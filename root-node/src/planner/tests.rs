//! The planner by itself: rules by example here, whatever is thrown at it in `properties`. Whole
//! trees of real cores that follow it are simulated in the tests crate.

mod drawn;
mod follow;
mod properties;
mod rules;

use super::*;

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn node(name: &str, role: Role, slots: u32, serial: u32) -> NodeInput {
    NodeInput {
        id: id(name),
        role,
        slots: if role == Role::Leaf { 0 } else { slots },
        egress: 0,
        reachable: role != Role::Leaf,
        region: String::new(),
        serial,
        leaving: false,
        pinned: false,
    }
}

/// A planner and the numbers that it gives.
struct Rig {
    planner: Planner,
    serial: u32,
}

impl Rig {
    fn new(slots: u32) -> Self {
        Self { planner: Planner::new(&node("root", Role::Root, slots, 0)), serial: 0 }
    }

    fn join_as(
        &mut self,
        change: impl FnOnce(&mut NodeInput),
        name: &str,
        role: Role,
        slots: u32,
    ) -> String {
        self.serial += 1;
        let mut input = node(name, role, slots, self.serial);
        change(&mut input);
        self.planner.put(&input);
        let Some(parent) = self.planner.choose(&input.id, None) else {
            self.planner.remove(&input.id);
            return "full".into();
        };
        let place = Place { parent: Some(&parent), leg: None, attached: true };
        self.planner.place(&input.id, &place);
        while self.planner.settle(100) {}
        parent.to_string()
    }

    fn relay(&mut self, name: &str, slots: u32) -> String {
        self.join_as(|_| (), name, Role::Relay, slots)
    }

    fn leaf(&mut self, name: &str) -> String {
        self.join_as(|_| (), name, Role::Leaf, 0)
    }

    fn leaves(&mut self, from: u32, count: u32) -> Vec<String> {
        (from..from + count).map(|n| self.leaf(&format!("leaf-{n}"))).collect()
    }

    fn leave(&mut self, name: &str) {
        self.planner.remove(&id(name));
        while self.planner.settle(100) {}
    }

    fn backups(&self, name: &str) -> Vec<String> {
        self.planner.backups(&id(name)).iter().map(NodeId::to_string).collect()
    }

    fn moves(&mut self, limit: usize) -> Vec<String> {
        let moves = self.planner.improve(1_000, limit);
        for m in &moves {
            let place = Place { parent: Some(&m.to), leg: None, attached: true };
            self.planner.place(&m.node, &place);
        }
        moves.iter().map(|m| format!("{}: {} to {}", m.node, m.from, m.to)).collect()
    }
}

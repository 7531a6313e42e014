//! A tree of tables with links that deliver late, compared with the tree as it really is.

use crate::ids::{Incarnation, NodeId};
use crate::message::ChildsUpdate;
use crate::routing::SubtreeTable;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

const NODES: usize = 6;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A node leaves its parent (if any) and attaches to another one.
    Move(usize, usize),
    /// A node attaches to another parent, which hides it, and keeps the one that it has.
    Try(usize, usize),
    /// One that has tried another parent is shown there, and leaves the old one.
    Stay(usize),
    /// One that has tried another parent goes back.
    GoBack(usize),
    /// A parent notices that one of its old links is dead.
    Notice(usize),
    /// A link delivers one message.
    Deliver(usize),
}

struct Link {
    child: usize,
    parent: usize,
    incarnation: Incarnation,
    queue: VecDeque<ChildsUpdate>,
    /// The child has left; the parent does not know yet.
    dead: bool,
    /// The child only tries it.
    tried: bool,
}

struct Tree {
    names: Vec<NodeId>,
    tables: Vec<SubtreeTable>,
    /// Every link that a parent still believes in.
    links: Vec<Link>,
    incarnations: Vec<u64>,
}

impl Tree {
    fn new() -> Self {
        Self {
            names: (0..NODES).map(|n| NodeId::new(&format!("n{n}")).expect("legal")).collect(),
            tables: vec![SubtreeTable::new(); NODES],
            links: Vec::new(),
            incarnations: vec![0; NODES],
        }
    }

    fn parent(&self, node: usize) -> Option<usize> {
        self.links.iter().find(|l| l.child == node && !l.dead && !l.tried).map(|l| l.parent)
    }

    /// Whether a way leads from a node up to another one, those that are only tried included.
    fn reaches(&self, node: usize, above: usize) -> bool {
        let mut up = self.links.iter().filter(|l| l.child == node && !l.dead);
        node == above || up.any(|link| self.reaches(link.parent, above))
    }

    /// The nth link that is tried.
    fn tried(&self, n: usize) -> Option<usize> {
        let tried = |i: &usize| self.links[*i].tried && !self.links[*i].dead;
        let tried: Vec<usize> = (0..self.links.len()).filter(tried).collect();
        tried.get(n % tried.len().max(1)).copied()
    }

    fn is_below(&self, node: usize, above: usize) -> bool {
        let mut at = Some(node);
        while let Some(n) = at {
            if n == above {
                return true;
            }
            at = self.parent(n);
        }
        false
    }

    /// Sends up what a table's change has to tell.
    fn tell(&mut self, node: usize, update: ChildsUpdate) {
        for link in self.links.iter_mut().filter(|l| l.child == node && !l.dead) {
            if !update.is_empty() {
                link.queue.push_back(update.clone());
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Move(node, parent) => self.attach(node, parent, false),
            Step::Try(node, parent) => {
                let elsewhere = self.parent(node) != Some(parent);
                if elsewhere && !self.links.iter().any(|l| l.child == node && l.tried && !l.dead) {
                    self.attach(node, parent, true);
                }
            }
            Step::Stay(n) => {
                if let Some(index) = self.tried(n) {
                    self.stay(index);
                }
            }
            Step::GoBack(n) => {
                if let Some(index) = self.tried(n) {
                    self.links[index].dead = true;
                }
            }
            Step::Notice(n) => {
                let dead: Vec<usize> =
                    (0..self.links.len()).filter(|&i| self.links[i].dead).collect();
                if !dead.is_empty() {
                    self.notice(dead[n % dead.len()]);
                }
            }
            Step::Deliver(n) => {
                let full: Vec<usize> =
                    (0..self.links.len()).filter(|&i| !self.links[i].queue.is_empty()).collect();
                if !full.is_empty() {
                    self.deliver(full[n % full.len()]);
                }
            }
        }
    }

    fn notice(&mut self, index: usize) {
        let link = self.links.remove(index);
        let (name, table) = (&self.names[link.child], &mut self.tables[link.parent]);
        let update = table.detach(name, link.incarnation);
        self.tell(link.parent, update);
    }

    fn attach(&mut self, node: usize, parent: usize, tried: bool) {
        if node == 0 || self.reaches(parent, node) {
            return;
        }
        for link in self.links.iter_mut().filter(|l| l.child == node && !tried) {
            link.dead = true;
        }
        self.incarnations[node] += 1;
        let incarnation = Incarnation(self.incarnations[node]);
        let (me, child) = (self.names[parent].clone(), self.names[node].clone());
        let table = &mut self.tables[parent];
        let update = match tried {
            true => table.attach_hidden(&me, &child, incarnation),
            false => table.attach(&me, &child, incarnation),
        };
        self.tell(parent, update.expect("never older than what is known"));
        let queue = VecDeque::from([self.tables[node].snapshot(&child)]);
        self.links.push(Link { child: node, parent, incarnation, queue, dead: false, tried });
    }

    fn stay(&mut self, index: usize) {
        let (node, parent) = (self.links[index].child, self.links[index].parent);
        for link in self.links.iter_mut().filter(|l| l.child == node && !l.tried) {
            link.dead = true;
        }
        self.links[index].tried = false;
        let (me, child) = (self.names[parent].clone(), self.names[node].clone());
        let shown = self.tables[parent].show(&me, &child);
        self.tell(parent, shown.forward);
    }

    fn deliver(&mut self, index: usize) {
        let link = &mut self.links[index];
        let Some(update) = link.queue.pop_front() else { return };
        let (child, parent, incarnation) = (link.child, link.parent, link.incarnation);
        // The parent has closed this link if a newer one of the same child came after it.
        let newest = self.links.iter().filter(|l| (l.child, l.parent) == (child, parent));
        if newest.map(|l| l.incarnation).max() != Some(incarnation) {
            return;
        }
        let (me, name) = (self.names[parent].clone(), self.names[child].clone());
        let applied = self.tables[parent].apply(&me, &name, &update);
        self.tell(parent, applied.forward);
    }

    fn settle(&mut self) {
        while let Some(index) = self.tried(0) {
            self.links[index].dead = true;
        }
        while self.links.iter().any(|l| !l.queue.is_empty()) {
            self.step(Step::Deliver(0));
        }
        while self.links.iter().any(|l| l.dead) {
            self.step(Step::Notice(0));
            while self.links.iter().any(|l| !l.queue.is_empty()) {
                self.step(Step::Deliver(0));
            }
        }
    }

    fn check(&self) {
        for node in 0..NODES {
            let mut expected = BTreeMap::new();
            for other in (0..NODES).filter(|&o| o != node && self.is_below(o, node)) {
                let mut via = other;
                while let Some(parent) = self.parent(via).filter(|&p| p != node) {
                    via = parent;
                }
                expected.insert(&self.names[other], &self.names[via]);
            }
            let table = &self.tables[node];
            let got: BTreeMap<_, _> =
                self.names.iter().filter_map(|name| Some((name, table.next_hop(name)?))).collect();
            assert_eq!(got, expected, "table of n{node}");
            assert_eq!(table.len(), expected.len());
            for child in table.children() {
                let behind = expected.values().filter(|via| **via == child).count();
                assert_eq!(table.weight(child) as usize, behind);
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..NODES, 0..NODES).prop_map(|(a, b)| Step::Move(a, b)),
        1 => any::<usize>().prop_map(Step::Notice),
        4 => any::<usize>().prop_map(Step::Deliver),
        1 => (0..NODES, 0..NODES).prop_map(|(a, b)| Step::Try(a, b)),
        1 => any::<usize>().prop_map(Step::Stay),
        1 => any::<usize>().prop_map(Step::GoBack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    /// Whatever moves, in whatever order links deliver and parents notice: in the end every
    /// node's table is the truth.
    #[test]
    fn tables_converge(steps in prop::collection::vec(step(), 0..120)) {
        let mut tree = Tree::new();
        for step in steps {
            tree.step(step);
        }
        tree.settle();
        tree.check();
    }
}

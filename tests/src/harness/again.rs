//! Nodes that have ended, and their start with the configuration, data and ports that they had.

use super::launch::{start, start_root};
use super::node::Running;
use super::tree::{READY_TIMEOUT, Tree};
use super::{HarnessError, Process};

/// Which node of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// The root.
    Root,
    /// A relay, in order of their first start.
    Relay(usize),
    /// A leaf likewise.
    Leaf(usize),
}

impl Tree {
    /// All nodes, the root first.
    #[must_use]
    pub fn all(&self) -> Vec<Which> {
        let relays = (0..self.relays.len()).map(Which::Relay);
        let leaves = (0..self.leaves.len()).map(Which::Leaf);
        std::iter::once(Which::Root).chain(relays).chain(leaves).collect()
    }

    /// One node.
    #[must_use]
    pub fn node(&self, which: Which) -> &Running {
        match which {
            Which::Root => &self.root,
            Which::Relay(n) => &self.relays[n],
            Which::Leaf(n) => &self.leaves[n],
        }
    }

    /// Its process.
    pub fn process(&mut self, which: Which) -> &mut Process {
        match which {
            Which::Root => &mut self.root.process,
            Which::Relay(n) => &mut self.relays[n].process,
            Which::Leaf(n) => &mut self.leaves[n].process,
        }
    }

    /// Starts a node again that has ended; nobody waits for it.
    ///
    /// # Errors
    /// If it does not start.
    pub fn launch_again(&mut self, which: Which) -> Result<(), HarnessError> {
        let name = self.node(which).process.name().to_owned();
        let file = self.directory().join(format!("{name}.toml"));
        match which {
            Which::Root => {
                let (ops, steered) = (self.root_ports.ops, self.options.steered);
                self.root = start_root(self.directory.path(), &file, ops, steered)?;
            }
            Which::Relay(n) => {
                let ops = self.relay_ports[n].ops;
                self.relays[n] = start(&name, "relay-node", &file, ops, None)?;
            }
            Which::Leaf(n) => {
                let (ops, core) = (self.leaf_ports[n].ops, self.options.leaf_core);
                self.leaves[n] = start(&name, "leaf-gateway", &file, ops, core)?;
            }
        }
        Ok(())
    }

    /// Starts a relay again that has ended.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn start_relay_again(&mut self, n: usize) -> Result<(), HarnessError> {
        self.launch_again(Which::Relay(n))?;
        self.relays[n].wait_ready(READY_TIMEOUT)
    }

    /// Starts the root again, which has ended.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn start_root_again(&mut self) -> Result<(), HarnessError> {
        self.launch_again(Which::Root)?;
        self.root.wait_ready(READY_TIMEOUT)
    }
}

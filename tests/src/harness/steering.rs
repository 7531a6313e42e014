//! The operator's hand in a tree of processes: which node is where, and moves. The root of such a
//! tree (`Options::steered`) is the program `soleil-root`, which is the root with lines on its
//! standard input and with the tree as it sees it in a file.

use super::node::Process;
use super::{HarnessError, Tree, io_error};
use root_node::core::api::RootView;
use serde::{Deserialize, Serialize};
use soleil_protocol::Role;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file's name in the tree's directory.
const FILE: &str = "tree.json";

/// A node as the root sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its id.
    pub id: String,
    /// Its parent; `None` for the root and for nodes without a place.
    pub parent: Option<String>,
    /// Hops from the root.
    pub depth: u32,
    /// Whether the whole path to the root stands.
    pub attached: bool,
    /// Where it goes when it loses its parent.
    pub backups: Vec<String>,
    /// Whether it multiplies streams.
    pub relay: bool,
}

impl Seen {
    /// All nodes of a view.
    #[must_use]
    pub fn all(view: &RootView) -> Vec<Self> {
        let of = |n: &root_node::core::api::NodeView| Self {
            id: n.id.to_string(),
            parent: n.parent.as_ref().map(ToString::to_string),
            depth: n.depth,
            attached: n.attached,
            backups: n.backups.iter().map(ToString::to_string).collect(),
            relay: n.role == Role::Relay,
        };
        view.nodes.iter().map(of).collect()
    }

    /// Writes them to a file: whole or not at all, since somebody reads it at any time.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(all: &[Self], file: &Path) -> std::io::Result<()> {
        let new = file.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(all)?)?;
        std::fs::rename(&new, file)
    }
}

pub(super) fn file(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

impl Tree {
    /// The tree as the root sees it (at most some 100 ms old); empty before it has said so first.
    ///
    /// # Errors
    /// If the tree is not steered, or the file is unreadable.
    pub fn seen(&self) -> Result<Vec<Seen>, HarnessError> {
        let file = file(self.directory());
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.is_steered() => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(io_error(file.display().to_string())(error)),
        };
        serde_json::from_slice(&text).map_err(|e| io_error("the tree")(e.into()))
    }

    /// Whether `node` is in the tree below `parent`.
    ///
    /// # Errors
    /// As [`Tree::seen`].
    pub fn is_below(&self, node: &str, parent: &str) -> Result<bool, HarnessError> {
        let below = |n: &Seen| n.id == node && n.attached && n.parent.as_deref() == Some(parent);
        Ok(self.seen()?.iter().any(below))
    }

    /// Where a node is.
    ///
    /// # Errors
    /// As [`Tree::seen`].
    pub fn parent_of(&self, node: &str) -> Result<Option<String>, HarnessError> {
        Ok(self.seen()?.into_iter().find(|n| n.id == node).and_then(|n| n.parent))
    }

    /// Asks the root to move a node below another parent, make before break.
    ///
    /// # Errors
    /// If the root can't be told.
    pub fn begin_move(&mut self, node: &str, parent: &str) -> Result<(), HarnessError> {
        self.root.process.say(&format!("move {node} {parent}"))
    }

    /// Moves a node and waits until it is there.
    ///
    /// # Errors
    /// If the root can't be told, or the node does not get there in time; with the root's log.
    pub fn move_node(
        &mut self,
        node: &str,
        parent: &str,
        deadline: Duration,
    ) -> Result<(), HarnessError> {
        self.begin_move(node, parent)?;
        let there = || self.is_below(node, parent).unwrap_or(false);
        if crate::wait::holds_within(deadline, there) {
            return Ok(());
        }
        let why = format!("did not move {node} below {parent}: {:?}", self.seen()?);
        Err(self.root.process.failed(why))
    }
}

/// What the root's program is told on its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// This node shall go below that parent.
    Move(String, String),
}

impl Order {
    /// Reads a line; `None` if it is no order.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["move", node, parent] => Some(Self::Move((*node).into(), (*parent).into())),
            _ => None,
        }
    }
}

/// The arguments that make a root one that is steered.
pub(super) fn arguments(directory: &Path) -> [PathBuf; 2] {
    ["--tree".into(), file(directory)]
}

impl Process {
    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// If it was started without one, or has ended.
    pub fn say(&mut self, line: &str) -> Result<(), HarnessError> {
        use std::io::Write;
        let Some(stdin) = self.stdin() else {
            return Err(self.failed("is told nothing on its standard input"));
        };
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).map_err(io_error("an order"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read() {
        assert_eq!(Order::parse("move leaf-1 b\n"), Some(Order::Move("leaf-1".into(), "b".into())));
        assert_eq!((Order::parse("move leaf-1"), Order::parse("")), (None, None));
    }
}

//! `[tree]`: how the root plans, and the operator's drawing of the tree, if there is one.

use crate::planner::drawing::{Drawing, MAX_DRAWING};
use crate::planner::drawn::{Drawn, draw};
use serde::Deserialize;
use soleil_protocol::Role;
use std::io::Read;
use std::path::PathBuf;

/// `[tree]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TreeSection {
    /// Whether nodes that keep falling over are nobody's parent for a while
    /// ([`crate::core::steadiness`]).
    pub avoid_unsteady: bool,
    /// The file with the drawing (XML, docs/planner.md); none: the root plans by itself.
    pub drawing: Option<PathBuf>,
}

impl Default for TreeSection {
    fn default() -> Self {
        Self { avoid_unsteady: true, drawing: None }
    }
}

impl TreeSection {
    /// Reads the drawing, if there is one, and makes the tree of it. `root` is this root's name.
    ///
    /// # Errors
    /// What is wrong, with the file's name and the line where there is one.
    pub fn load(&self, root: &str) -> Result<Option<(Drawing, Drawn)>, String> {
        let Some(path) = &self.drawing else { return Ok(None) };
        let at = |what: String| format!("{}: {what}", path.display());
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_DRAWING as u64 + 1).read_to_string(&mut text))
            .map_err(|error| at(error.to_string()))?;
        let drawing =
            Drawing::parse(&text).map_err(|(line, error)| at(format!("line {line}: {error}")))?;
        let drawn = draw(&drawing).map_err(|error| at(error.to_string()))?;
        let theirs = drawing.nodes.iter().find(|n| n.role == Role::Root);
        if let Some(theirs) = theirs.filter(|n| n.id.as_str() != root) {
            let theirs = &theirs.id;
            return Err(at(format!("its root is {theirs}, and this one is {root} (node.name)")));
        }
        Ok(Some((drawing, drawn)))
    }
}

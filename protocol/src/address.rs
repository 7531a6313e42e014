//! Who a message is from and to: a node, the root (`^`) or everybody (`*`). Thesis 3.1.

use crate::ids::{InvalidId, NodeId};
use std::fmt;
use std::str::FromStr;

/// The value of a `from` or `to` attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `^`: the root, wherever it is.
    Root,
    /// `*`: every node; legal in `to` only.
    All,
    /// One node by its id.
    Node(NodeId),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Root => f.write_str("^"),
            Address::All => f.write_str("*"),
            Address::Node(id) => id.fmt(f),
        }
    }
}

impl FromStr for Address {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        match s {
            "^" => Ok(Address::Root),
            "*" => Ok(Address::All),
            name => NodeId::new(name).map(Address::Node),
        }
    }
}

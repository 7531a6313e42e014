//! Step tests of the node's core.

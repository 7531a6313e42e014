//! Times through the child.

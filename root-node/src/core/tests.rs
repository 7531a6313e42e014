//! Step tests of the root core.

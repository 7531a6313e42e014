//! The ladder's pure parts, step by step.

//! The control plane: who forwards what to whom (DESIGN 2 and 6).

pub mod api;

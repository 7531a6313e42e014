//! The Soleil root: it takes a broadcast in, owns the tree's certificate authority and keys,
//! plans who gets media from whom, and sends viewers to their leaf. Everything that it shares with
//! other nodes is in `relay_node`.

pub mod authority;
pub mod cli;
pub mod config;
pub mod core;
pub mod http;
pub mod ingest;
pub mod ladder;
pub mod planner;
pub mod root;
pub mod sources;
pub mod store;
pub mod streams;
pub mod whip;

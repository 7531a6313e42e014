//! Counters of WHIP for the operations endpoint.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What it is.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets a gauge.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
}

/// What is counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions of now.
    pub sessions: Count,
    /// Sessions since the start.
    pub begun: Count,
    /// Offers that were refused.
    pub refused: Count,
    /// Datagrams that belong to no session.
    pub strangers: Count,
    /// Datagrams for which the ingest had no room.
    pub overflow: Count,
}

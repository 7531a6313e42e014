//! The ingests that run, by pipeline: what the root's core says about a pipeline finds its way by it,
//! and so do the counters.

use crate::ingest::driver::IngestHandle;
use soleil_protocol::PipelineId;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// A table that all share; cheap to copy.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Arc<RwLock<BTreeMap<PipelineId, IngestHandle>>>,
}

impl Table {
    /// The ingest of a pipeline, if it runs.
    pub fn get(&self, id: PipelineId) -> Option<IngestHandle> {
        // Rows are whole after every statement: a panic elsewhere leaves nothing half done.
        self.rows.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<IngestHandle> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn insert(&self, handle: IngestHandle) {
        self.rows.write().unwrap_or_else(PoisonError::into_inner).insert(handle.id, handle);
    }

    pub(super) fn remove(&self, id: PipelineId) {
        self.rows.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

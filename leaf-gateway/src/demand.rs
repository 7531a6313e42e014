//! Which pipelines have viewers: each session holds a [`Wanted`], and the node plays what is wanted.

use soleil_protocol::PipelineId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Viewers per pipeline, watched by the gateway.
#[derive(Debug)]
pub struct Demand {
    counts: Mutex<BTreeMap<PipelineId, usize>>,
    changed: watch::Sender<BTreeMap<PipelineId, usize>>,
}

/// One viewer's wish for a pipeline, until dropped.
#[derive(Debug)]
pub struct Wanted {
    demand: Arc<Demand>,
    pipeline: PipelineId,
}

impl Default for Demand {
    fn default() -> Self {
        Self { counts: Mutex::default(), changed: watch::Sender::new(BTreeMap::new()) }
    }
}

impl Demand {
    /// A viewer wants the pipeline.
    pub fn want(self: &Arc<Self>, pipeline: PipelineId) -> Wanted {
        self.change(pipeline, true);
        Wanted { demand: self.clone(), pipeline }
    }

    /// Viewers of each pipeline that has any, as it changes.
    pub fn watch(&self) -> watch::Receiver<BTreeMap<PipelineId, usize>> {
        self.changed.subscribe()
    }

    fn change(&self, pipeline: PipelineId, more: bool) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(pipeline).or_default();
        let before = *count > 0;
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        let after = *count > 0;
        if !after {
            counts.remove(&pipeline);
        }
        if before != after {
            // Within the lock, or two changes could be told in the wrong order.
            self.changed.send_replace(counts.clone());
        }
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.demand.change(self.pipeline, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_first_and_the_last() {
        let demand = Arc::new(Demand::default());
        let mut watch = demand.watch();
        let a = demand.want(PipelineId(1));
        assert!(watch.has_changed().unwrap());
        assert_eq!(watch.borrow_and_update().len(), 1);
        let b = demand.want(PipelineId(1));
        assert!(!watch.has_changed().unwrap());
        drop(a);
        assert!(!watch.has_changed().unwrap());
        drop(b);
        assert!(watch.borrow_and_update().is_empty());
    }
}

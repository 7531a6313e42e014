//! Sources by their streams, and what Prometheus hears of them.

use super::driver::SourceHandle;
use super::status::State;
use crate::ingest::choice::Via;
use crate::ingest::driver::IngestHandle;
use relay_node::ops::MetricsSource;
use soleil_protocol::PipelineId;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// The sources of one stream.
#[derive(Debug, Clone)]
pub struct Row {
    /// In the order in which they are configured.
    pub sources: Vec<SourceHandle>,
    /// Who is on air.
    pub on_air: watch::Receiver<Option<Via>>,
}

/// A table of the sources that run; cheap to copy.
#[derive(Debug, Clone, Default)]
pub struct Sources(Arc<RwLock<BTreeMap<PipelineId, Row>>>);

impl Sources {
    /// A stream's have been started.
    pub fn insert(&self, ingest: &IngestHandle, sources: Vec<SourceHandle>) {
        let row = Row { sources, on_air: ingest.on_air.clone() };
        // Rows are whole after every statement: a panic elsewhere leaves nothing half done.
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(ingest.id, row);
    }

    /// A stream's have ended.
    pub fn remove(&self, id: PipelineId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// A stream's.
    pub fn get(&self, id: PipelineId) -> Option<Row> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<SourceHandle> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.values().flat_map(|row| row.sources.clone()).collect()
    }
}

impl MetricsSource for Sources {
    fn write_metrics(&self, out: &mut String) {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = Vec::new();
        for row in table.values() {
            let on_air = *row.on_air.borrow();
            for source in &row.sources {
                let labels = format!("stream=\"{}\",source=\"{}\"", source.stream, source.number);
                let on_air = on_air == Some(Via::Source(source.number));
                all.push((labels, source.status.borrow().clone(), on_air));
            }
        }
        let mut family = |name: &str, kind: &str, help: &str, rows: Vec<(String, u64)>| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in rows {
                let _ = writeln!(out, "{name}{{{labels}}} {value}");
            }
        };
        let states = all.iter().flat_map(|(labels, status, _)| {
            State::ALL.map(|state| {
                (format!("{labels},state=\"{}\"", state.name()), u64::from(status.state == state))
            })
        });
        let help = "1 for the state that a source is in.";
        family("soleil_source_state", "gauge", help, states.collect());
        let on_air = all.iter().map(|(labels, _, on_air)| (labels.clone(), u64::from(*on_air)));
        let help = "1 for the source that viewers see.";
        family("soleil_source_on_air", "gauge", help, on_air.collect());
        let restarts = all.iter().map(|(labels, status, _)| (labels.clone(), status.restarts));
        let help = "Times that a source's worker was started again.";
        family("soleil_source_restarts_total", "counter", help, restarts.collect());
    }
}

//! Ladders by their streams, and what Prometheus hears of them.

use super::status::LadderStatus;
use crate::sources::status::State;
use relay_node::ops::MetricsSource;
use soleil_protocol::PipelineId;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// The outside of a running ladder.
#[derive(Debug, Clone)]
pub struct LadderHandle {
    /// The stream's name.
    pub stream: String,
    /// Its state.
    pub status: watch::Receiver<Arc<LadderStatus>>,
}

/// A table of the ladders that run; cheap to copy.
#[derive(Debug, Clone, Default)]
pub struct Ladders(Arc<RwLock<BTreeMap<PipelineId, LadderHandle>>>);

impl Ladders {
    /// One has been started.
    pub fn insert(&self, id: PipelineId, ladder: LadderHandle) {
        // Rows are whole after every statement: a panic elsewhere leaves nothing half done.
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(id, ladder);
    }

    /// One has ended.
    pub fn remove(&self, id: PipelineId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// A stream's.
    pub fn get(&self, id: PipelineId) -> Option<Arc<LadderStatus>> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.get(&id).map(|ladder| ladder.status.borrow().clone())
    }
}

impl MetricsSource for Ladders {
    fn write_metrics(&self, out: &mut String) {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let all: Vec<_> =
            table.values().map(|l| (l.stream.as_str(), l.status.borrow().clone())).collect();
        let mut family = |name: &str, kind: &str, help: &str, rows: Vec<(String, u64)>| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in rows {
                let _ = writeln!(out, "{name}{{{labels}}} {value}");
            }
        };
        let states = all.iter().flat_map(|(stream, status)| {
            State::ALL.map(|state| {
                let labels = format!("stream=\"{stream}\",state=\"{}\"", state.name());
                (labels, u64::from(status.state == state))
            })
        });
        let help = "1 for the state that a ladder's process is in.";
        family("soleil_ladder_state", "gauge", help, states.collect());
        let layers = all.iter().flat_map(|(stream, status)| {
            status.rungs.iter().map(move |rung| {
                let labels = format!("stream=\"{stream}\",rung=\"{}\"", rung.rung);
                (labels, u64::from(rung.made))
            })
        });
        family("soleil_ladder_made", "gauge", "Whether a rung's layer is made.", layers.collect());
        let each = |value: fn(&LadderStatus) -> u64| -> Vec<(String, u64)> {
            all.iter().map(|(s, status)| (format!("stream=\"{s}\""), value(status))).collect()
        };
        let help = "Times that a ladder's process was started again after a failure.";
        family("soleil_ladder_restarts_total", "counter", help, each(|s| s.restarts));
        let help = "The longest time that a frame took in the last second, in milliseconds.";
        family("soleil_ladder_delay_ms", "gauge", help, each(|s| u64::from(s.delay_ms)));
    }
}

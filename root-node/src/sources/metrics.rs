//! Sources' states for Prometheus.

use super::driver::SourceHandle;
use super::status::State;
use relay_node::ops::MetricsSource;
use std::fmt::Write;

/// All sources' states.
#[derive(Debug)]
pub struct SourceMetrics(pub Vec<SourceHandle>);

impl MetricsSource for SourceMetrics {
    fn write_metrics(&self, out: &mut String) {
        let all: Vec<_> = self.0.iter().map(|h| (&h.stream, h.status.borrow().clone())).collect();
        let name = "soleil_source_state";
        let _ = writeln!(out, "# HELP {name} 1 for the state that a source is in.");
        let _ = writeln!(out, "# TYPE {name} gauge");
        for (stream, status) in &all {
            for state in State::ALL {
                let (label, is) = (state.name(), u8::from(status.state == state));
                let _ = writeln!(out, "{name}{{stream=\"{stream}\",state=\"{label}\"}} {is}");
            }
        }
        let name = "soleil_source_restarts_total";
        let _ = writeln!(out, "# HELP {name} Times that a source's worker was started again.");
        let _ = writeln!(out, "# TYPE {name} counter");
        for (stream, status) in &all {
            let _ = writeln!(out, "{name}{{stream=\"{stream}\"}} {}", status.restarts);
        }
    }
}

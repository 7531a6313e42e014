//! Ingest's counters for Prometheus.

use super::reason::{Counters, DropReason};
use crate::streams::Table;
use relay_node::ops::MetricsSource;
use std::fmt::Write;

/// The counters of all streams that run.
#[derive(Debug)]
pub struct IngestMetrics(pub Table);

type Read = fn(&Counters) -> u64;
type WriteLine<'a> = Box<dyn FnMut(String, &Counters) + 'a>;

/// Name, help, value.
const COUNTERS: &[(&str, &str, Read)] = &[
    ("packets", "RTP packets taken from broadcasters.", |c| c.accepted),
    ("bytes", "Their payload bytes.", |c| c.bytes),
    ("sealed", "Packets sealed for the tree.", |c| c.sent - c.dropped(DropReason::NoKey)),
    ("lost", "RTP packets that never came.", |c| c.lost),
    ("gaps", "Gaps that viewers could notice.", |c| c.gaps),
    ("split", "RTP packets that were cut because they were too large.", |c| c.split),
    ("key_frames", "Key frames begun.", |c| c.key_frames),
    ("sources", "Sources that have sent, one after another.", |c| c.sources),
    ("rtcp", "RTCP packets taken from broadcasters.", |c| c.rtcp),
    ("plis", "Key-frame requests sent to broadcasters.", |c| c.plis),
];

impl MetricsSource for IngestMetrics {
    fn write_metrics(&self, out: &mut String) {
        let all: Vec<_> = self.0.all().into_iter().map(|h| (h.counters(), h)).collect();
        let each = |mut write: WriteLine<'_>| {
            for (layers, handle) in &all {
                for (track, layer, _, counters) in layers.iter() {
                    let stream = &handle.name;
                    let labels = format!("stream=\"{stream}\",track=\"{track}\",layer=\"{layer}\"");
                    write(labels, counters);
                }
            }
        };
        for (name, help, read) in COUNTERS {
            let name = format!("soleil_ingest_{name}_total");
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            each(Box::new(|labels, counters| {
                let _ = writeln!(out, "{name}{{{labels}}} {}", read(counters));
            }));
        }
        let name = "soleil_ingest_dropped_total";
        let _ = writeln!(out, "# HELP {name} Datagrams that were not taken, by reason.");
        let _ = writeln!(out, "# TYPE {name} counter");
        each(Box::new(|labels, counters| {
            for reason in DropReason::ALL {
                let (label, count) = (reason.label(), counters.dropped(reason));
                let _ = writeln!(out, "{name}{{{labels},reason=\"{label}\"}} {count}");
            }
        }));
    }
}

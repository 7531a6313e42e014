//! Counters of WHIP for the operations endpoint.

use super::session::End;
use relay_node::ops::MetricsSource;
use std::fmt::Write;
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
    /// Sessions that ended, as [`End::ALL`] has the reasons.
    ended: [Count; End::ALL.len()],
}

impl Counters {
    /// How many sessions ended so.
    pub fn ended(&self, end: End) -> &Count {
        &self.ended[end as usize]
    }
}

type Read = fn(&Counters) -> &Count;

/// Name, kind, help, value.
const ALL: &[(&str, &str, &str, Read)] = &[
    ("sessions", "gauge", "Broadcasters of now.", |c| &c.sessions),
    ("sessions_begun_total", "counter", "Broadcasters that were let in.", |c| &c.begun),
    ("refused_total", "counter", "Offers that were refused.", |c| &c.refused),
    ("datagrams_unknown_total", "counter", "Datagrams of no session.", |c| &c.strangers),
    ("overflow_total", "counter", "Packets that the ingest had no room for.", |c| &c.overflow),
];

impl MetricsSource for Counters {
    fn write_metrics(&self, out: &mut String) {
        for (name, kind, help, read) in ALL {
            let (name, value) = (format!("soleil_whip_{name}"), read(self).get());
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        let name = "soleil_whip_sessions_ended_total";
        let _ = writeln!(out, "# HELP {name} Broadcasters that have gone.\n# TYPE {name} counter");
        for end in End::ALL {
            let (label, value) = (end.label(), self.ended(end).get());
            let _ = writeln!(out, "{name}{{reason=\"{label}\"}} {value}");
        }
    }
}

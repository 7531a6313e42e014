//! What the control links count. Counters only rise; the one gauge (open links) is kept by guards.

use crate::refusals::{Refusal, RefusalLog};
use soleil_protocol::Mono;
use soleil_protocol::message::ErrorCode;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From a peer to us.
    In,
    /// From us to a peer.
    Out,
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}

/// The counters of a node's control links.
#[derive(Debug, Default)]
pub struct LinkCounters {
    messages: Mutex<BTreeMap<(Direction, &'static str), u64>>,
    errors: Mutex<BTreeMap<(Direction, &'static str), u64>>,
    refusals: Mutex<BTreeMap<Refusal, u64>>,
    open: AtomicU64,
    slowed: AtomicU64,
    reserve: AtomicBool,
    failovers: AtomicU64,
    log: Mutex<RefusalLog>,
}

fn locked<K>(map: &Mutex<BTreeMap<K, u64>>) -> MutexGuard<'_, BTreeMap<K, u64>> {
    // A counter is whole whatever panicked while it was held.
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bump<K: Ord>(map: &Mutex<BTreeMap<K, u64>>, key: K) {
    *locked(map).entry(key).or_default() += 1;
}

fn get<K: Ord>(map: &Mutex<BTreeMap<K, u64>>, key: &K) -> u64 {
    locked(map).get(key).copied().unwrap_or_default()
}

impl LinkCounters {
    pub(super) fn message(&self, direction: Direction, kind: &'static str) {
        bump(&self.messages, (direction, kind));
    }

    pub(super) fn error(&self, direction: Direction, code: ErrorCode) {
        bump(&self.errors, (direction, code.as_str()));
    }

    pub(super) fn refused(&self, why: Refusal) {
        bump(&self.refusals, why);
    }

    /// Whether a line in the log is due for something of this kind, and for how many it speaks.
    pub(super) fn note(&self, kind: &'static str, times: u64, now: Mono) -> Option<u64> {
        self.log().note(kind, times, now)
    }

    /// Kinds that were left out of the log and are due.
    pub(super) fn overdue(&self, now: Mono) -> Vec<(&'static str, u64)> {
        self.log().overdue(now)
    }

    fn log(&self) -> MutexGuard<'_, RefusalLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn slowed(&self) {
        self.slowed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reserve(&self, ready: bool) {
        self.reserve.store(ready, Ordering::Relaxed);
    }

    pub(super) fn failed_over(&self) {
        self.failovers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn opened(self: &std::sync::Arc<Self>) -> OpenGuard {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenGuard(self.clone())
    }

    /// Links that are open now.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// How often something was turned away for this reason.
    pub fn refusals(&self, why: Refusal) -> u64 {
        get(&self.refusals, &why)
    }

    /// Messages of a type (`Body::kind`) so far.
    pub fn messages(&self, direction: Direction, kind: &'static str) -> u64 {
        get(&self.messages, &(direction, kind))
    }
}

impl crate::ops::MetricsSource for LinkCounters {
    fn write_metrics(&self, out: &mut String) {
        let gauge = |out: &mut String, name: &str, help: &str, value: u64| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        };
        gauge(out, "soleil_control_links", "Control links that are open.", self.open());
        let (name, help) =
            ("soleil_backup_warm", "Whether a backup stands by to take over at once.");
        gauge(out, name, help, u64::from(self.reserve.load(Ordering::Relaxed)));
        let head = |out: &mut String, name: &str, help: &str| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        };
        let name = "soleil_control_messages_total";
        head(out, name, "Control messages by direction and type.");
        for ((direction, kind), n) in locked(&self.messages).iter() {
            let direction = direction.as_str();
            let _ = writeln!(out, "{name}{{direction=\"{direction}\",type=\"{kind}\"}} {n}");
        }
        // `code="forged",direction="out"` are the messages with another's `from` that we refused.
        let name = "soleil_control_errors_total";
        head(out, name, "ERROR messages by direction and code.");
        for ((direction, code), n) in locked(&self.errors).iter() {
            let direction = direction.as_str();
            let _ = writeln!(out, "{name}{{direction=\"{direction}\",code=\"{code}\"}} {n}");
        }
        let name = "soleil_control_refused_total";
        head(out, name, "Connections and messages that were refused, by reason.");
        for (why, n) in locked(&self.refusals).iter() {
            let _ = writeln!(out, "{name}{{reason=\"{}\"}} {n}", why.as_str());
        }
        let name = "soleil_failovers_total";
        head(out, name, "Times that the backup took the parent's place without an order.");
        let _ = writeln!(out, "{name} {}", self.failovers.load(Ordering::Relaxed));
        let name = "soleil_control_slowed_total";
        head(out, name, "Times that a peer was slowed down because it sent too fast.");
        let _ = writeln!(out, "{name} {}", self.slowed.load(Ordering::Relaxed));
    }
}

/// Counts an open link as long as it lives.
#[derive(Debug)]
pub(super) struct OpenGuard(std::sync::Arc<LinkCounters>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

//! Writes behind the core's back: what has changed is put down in a batch by a thread of its own, so
//! that neither the core nor a node that joins waits for a disk. A batch that can't be written is
//! kept and tried again; it can't grow without bound, for it has one entry a node and layer.

use super::{Store, StoreError};
use crate::core::adopt::{Memory, Remembered};
use relay_node::ops::MetricsSource;
use soleil_protocol::{Epoch, NodeId, PacketIndex, Ssrc};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Pause between two batches: a storm of joins is a few transactions, each with a flush to the
/// disk, and a node that joined this long before a crash joins again.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause after a write that failed: a full disk stays full for a while.
const RETRY: Duration = Duration::from_secs(2);

/// What is to be written, the newest of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Nodes, and those that are forgotten.
    pub nodes: BTreeMap<NodeId, Option<Remembered>>,
    /// Indexes that layers may use, by SSRC.
    pub indexes: BTreeMap<Ssrc, PacketIndex>,
    /// The newest key epoch.
    pub epoch: Option<Epoch>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.indexes.is_empty() && self.epoch.is_none()
    }

    /// Adds what the core says.
    pub fn add(&mut self, memory: Memory) {
        match memory {
            Memory::Node(node) => {
                self.nodes.insert(node.id.clone(), Some(*node));
            }
            Memory::Gone(id) => {
                self.nodes.insert(id, None);
            }
            Memory::Epoch(epoch) => self.epoch = self.epoch.max(Some(epoch)),
        }
    }

    /// An older batch that was not written goes below this one.
    fn put_below(&mut self, older: Batch) {
        for (id, node) in older.nodes {
            self.nodes.entry(id).or_insert(node);
        }
        for (ssrc, index) in older.indexes {
            let newest = self.indexes.entry(ssrc).or_insert(index);
            *newest = index.max(*newest);
        }
        self.epoch = self.epoch.max(older.epoch);
    }
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<(Batch, bool)>,
    wake: Condvar,
    written: AtomicU64,
    failures: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (Batch, bool)> {
        // The batch is whole after every statement: a panic elsewhere leaves nothing half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where changes go; cheap to copy.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    shared: Arc<Shared>,
}

impl Notes {
    /// The core has something to remember.
    pub fn memory(&self, memory: Memory) {
        self.change(|batch| batch.add(memory));
    }

    /// A layer goes on to use indexes below this one.
    pub fn index(&self, ssrc: Ssrc, reserved: PacketIndex) {
        self.change(|batch| {
            batch.indexes.insert(ssrc, reserved);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Batch)) {
        change(&mut self.shared.lock().0);
        self.shared.wake.notify_one();
    }
}

impl MetricsSource for Notes {
    fn write_metrics(&self, out: &mut String) {
        let mut counter = |name: &str, help: &str, value: &AtomicU64| {
            let value = value.load(Ordering::Relaxed);
            let name = format!("soleil_root_store_{name}_total");
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
        };
        counter("writes", "Batches written to the root's database.", &self.shared.written);
        counter("write_failures", "Batches that could not be written.", &self.shared.failures);
    }
}

/// The thread that writes. Dropping it writes what is left.
#[derive(Debug)]
pub struct Writer {
    notes: Notes,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts it.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(store: Arc<Store>) -> Result<Writer, StoreError> {
        let notes = Notes::default();
        let shared = notes.shared.clone();
        let path = store.path.clone();
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || run(&shared, &store))
            .map_err(|source| StoreError::File { path, source })?;
        Ok(Writer { notes, thread: Some(thread) })
    }

    /// Where changes go.
    pub fn notes(&self) -> Notes {
        self.notes.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.notes.shared.lock().1 = true;
        self.notes.shared.wake.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the database has panicked");
        }
    }
}

fn run(shared: &Shared, store: &Store) {
    loop {
        let mut waiting = shared.lock();
        while waiting.0.is_empty() && !waiting.1 {
            waiting = shared.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let (batch, last) = (std::mem::take(&mut waiting.0), waiting.1);
        drop(waiting);
        let mut pause = PAUSE;
        if !batch.is_empty() {
            match store.write(&batch) {
                Ok(()) => {
                    shared.written.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    shared.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "nodes are not remembered: a root that starts again would not know them");
                    shared.lock().0.put_below(batch);
                    pause = RETRY;
                }
            }
        }
        if last {
            return;
        }
        // Woken at once by the end, else what comes in the meantime goes into one batch.
        let waiting = shared.lock();
        let _ = shared.wake.wait_timeout_while(waiting, pause, |(_, last)| !*last);
    }
}

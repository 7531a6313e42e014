//! What the machine itself does meanwhile: whether threads that want to run do, and what its host takes
//! away. A picture that stands at all viewers at once tells nothing without it.

use relay_node::clock::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the thread wants to run.
const BEAT: Duration = Duration::from_millis(5);
/// The unit of /proc/stat, in ms (USER_HZ is 100 on all of Linux' usual machines).
const TICK_MS: f64 = 10.0;

/// What the machine did during a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    /// By how much a thread that wants to run each 5 ms came too late, the longest, ms.
    pub late_ms: f64,
    /// What the host gave to others while something here wanted to run, over all processors, ms.
    pub stolen_ms: f64,
}

/// Looks on, from `start` until it is dropped.
pub struct Machine {
    late_us: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    stolen: f64,
    thread: Option<JoinHandle<()>>,
}

impl Machine {
    /// Begins to look.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start() -> std::io::Result<Self> {
        let late_us = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (late, end) = (late_us.clone(), stop.clone());
        let clock = Clock::start();
        let look = move || {
            let mut then = clock.now().mono;
            while !end.load(Ordering::Relaxed) {
                beat();
                let now = clock.now().mono;
                let over = now.since(then).saturating_sub(BEAT);
                late.fetch_max(
                    u64::try_from(over.as_micros()).unwrap_or(u64::MAX),
                    Ordering::Relaxed,
                );
                then = now;
            }
        };
        let thread = std::thread::Builder::new().name("machine".into()).spawn(look)?;
        Ok(Self { late_us, stop, stolen: stolen_ms(), thread: Some(thread) })
    }

    /// What it did since this was asked last.
    pub fn held(&mut self) -> Held {
        let now = stolen_ms();
        let stolen_ms = now - std::mem::replace(&mut self.stolen, now);
        Held { late_ms: self.late_us.swap(0, Ordering::Relaxed) as f64 / 1_000.0, stolen_ms }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("the thread that looks at the machine fell");
        }
    }
}

/// What is measured is how long this really takes.
#[allow(clippy::disallowed_methods)]
fn beat() {
    std::thread::sleep(BEAT);
}

/// Stolen time since boot; 0 where the kernel does not tell.
fn stolen_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    // "cpu user nice system idle iowait irq softirq steal ..." (proc_stat(5)).
    let steal = stat.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse().ok());
    steal.unwrap_or(0.0) * TICK_MS
}

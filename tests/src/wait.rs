//! Waiting in tests: for a condition, with a deadline, never for a fixed time.

use relay_node::clock::Clock;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Between two looks at the condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Pauses this thread between two looks at a condition.
pub fn pause(time: Duration) {
    // A condition variable that nobody signals: the lint keeps `sleep` out of everything else.
    let never = (Mutex::new(()), Condvar::new());
    let guard = never.0.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = never.1.wait_timeout_while(guard, time, |()| true);
}

/// Waits until `condition` holds; `false` if the deadline passes first.
pub fn holds_within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let clock = Clock::start();
    loop {
        if condition() {
            return true;
        }
        if clock.now().mono.0 > deadline.as_micros() as u64 {
            return false;
        }
        pause(LOOK_EVERY);
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not within the deadline.
#[allow(clippy::panic)] // Used by tests only.
pub fn until(what: &str, deadline: Duration, condition: impl FnMut() -> bool) {
    assert!(holds_within(deadline, condition), "waited {deadline:?} in vain for {what}");
}

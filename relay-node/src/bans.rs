//! Violations of the bans in `clippy.toml`, seen by clippy alone. A ban whose path is wrong says
//! nothing; here each one must fire, or clippy reports an expectation that was not fulfilled.
//!
//! The bans on the random generators of `rand` and `getrandom` are not here: this workspace builds
//! `rand` without the features that have them (`thread_rng`, `os_rng`), so that they do not even
//! compile. The bans are for the day on which somebody turns the features on.

#![allow(dead_code)]

use std::time::{Duration, Instant, SystemTime};

#[expect(clippy::disallowed_methods)]
fn std_instant() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods)]
fn std_elapsed(instant: Instant) -> Duration {
    instant.elapsed()
}

#[expect(clippy::disallowed_methods)]
fn std_system_time() -> SystemTime {
    SystemTime::now()
}

#[expect(clippy::disallowed_methods)]
fn std_system_elapsed(time: SystemTime) -> bool {
    time.elapsed().is_ok()
}

#[expect(clippy::disallowed_methods)]
fn std_sleep() {
    std::thread::sleep(Duration::ZERO)
}

#[expect(clippy::disallowed_methods)]
fn tokio_instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[expect(clippy::disallowed_methods)]
fn tokio_elapsed(instant: tokio::time::Instant) -> Duration {
    instant.elapsed()
}

#[expect(clippy::disallowed_methods)]
async fn tokio_sleep() {
    tokio::time::sleep(Duration::ZERO).await;
}

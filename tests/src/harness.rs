//! Starts a tree of real processes on loopback for tests and for the demo: root, relays and leaves
//! with their configuration, join tokens and readiness, and link emulators and taps in the hops
//! where a test wants them. Everything ends when the [`Tree`] is dropped.

mod addresses;
mod again;
mod broadcast;
mod holdings;
mod hole;
mod launch;
mod log_time;
mod node;
mod options;
mod plan;
mod ports;
mod steering;
mod tree;

pub use again::Which;
pub use broadcast::Broadcast;
pub use holdings::Holdings;
pub use node::{Metrics, Process, Running};
pub use options::{Hop, Options, Stream};
pub use plan::PUBLISH_TOKEN;
pub use ports::Ports;
pub use steering::{Order, Seen};
pub use tree::Tree;

use std::path::PathBuf;

/// Why a tree does not start.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A binary is not there.
    #[error("{0} is not built: run `cargo build --workspace --bins`, or set SOLEIL_BIN_DIR")]
    NotBuilt(String),
    /// A file, process, socket.
    #[error("{what}: {error}")]
    Io {
        /// Doing what.
        what: String,
        /// Why.
        error: std::io::Error,
    },
    /// No ports are free.
    #[error("no free ports")]
    Ports,
    /// A port that must be free is not.
    #[error("{0} is in use: is another demo or server running?")]
    InUse(String),
    /// A process did not get ready.
    #[error("{name} {why}\n{log}")]
    Process {
        /// Which one.
        name: String,
        /// What it did.
        why: String,
        /// The end of its log.
        log: String,
    },
}

pub(crate) fn io_error(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> HarnessError {
    let what = what.into();
    move |error| HarnessError::Io { what, error }
}

/// Where a program of the workspace is: in `SOLEIL_BIN_DIR`, or beside the test's target directory.
///
/// # Errors
/// If it is not built.
pub fn binary(name: &str) -> Result<PathBuf, HarnessError> {
    let mut places: Vec<PathBuf> =
        std::env::var_os("SOLEIL_BIN_DIR").map(Into::into).into_iter().collect();
    if let Ok(me) = std::env::current_exe() {
        // target/debug/soleil-demo, target/debug/deps/test-hash
        places.extend(me.ancestors().skip(1).take(2).map(PathBuf::from));
    }
    places
        .into_iter()
        .map(|place| place.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| HarnessError::NotBuilt(name.to_owned()))
}

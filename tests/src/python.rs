//! The Python of the tests: an environment of its own below the target directory, which
//! `scripts/setup.sh test` fills from `tests/python/requirements.txt`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program of `tests/python`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name)
}

/// The interpreter of the environment. `None` where this machine has no Python that can make one: says so
/// where the test runner does not hide it, and whoever asked leaves that part out.
///
/// # Panics
/// If it could be there and is not.
#[allow(clippy::panic)] // Used by tests only.
pub fn interpreter(part: &str) -> Option<PathBuf> {
    let me = std::env::current_exe().unwrap_or_default();
    let found = me.ancestors().map(|place| place.join("python/bin/python")).find(|p| p.is_file());
    if found.is_some() {
        return found;
    }
    if me.ancestors().any(|place| place.join("python/unavailable").is_file()) {
        return skipped(part, "its Python packages can't be had here");
    }
    let could = Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    assert!(!could, "{part}: the Python packages are not installed: run scripts/setup.sh test");
    skipped(part, "there is no python3 with venv and pip")
}

fn skipped(part: &str, why: &str) -> Option<PathBuf> {
    // Not `eprintln!`: the test runner keeps that to itself when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED {part}: {why}");
    None
}

//! The child's standard input: the job's line, then either silence until the parent is gone, or FLV.
//! It is read without a buffer of Rust's, so that nothing behind the line is lost.

use crate::sources::job::Job;
use anyhow::{Context, bail};
use std::fs::File;
use std::io::Read;

/// Bytes of FLV that are read at once.
const PIECE: usize = 64 * 1024;

/// The standard input, unbuffered.
fn open() -> std::io::Result<File> {
    // Each byte that `std::io::stdin` has read ahead would be missing from the FLV.
    File::open("/dev/stdin")
}

/// Reads the job: one line of JSON.
///
/// # Errors
/// If there is none, or it is longer than `limit`.
pub fn job(limit: usize) -> anyhow::Result<Job> {
    let mut stdin = open().context("standard input")?;
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        if stdin.read(&mut byte)? == 0 {
            bail!("no job: this command is the root's, and not for people");
        }
        if byte[0] == b'\n' {
            break;
        }
        line.push(byte[0]);
        if line.len() > limit {
            bail!("the job is longer than {limit} bytes");
        }
    }
    // The error's text would show what is wrong, and may so show a secret.
    serde_json::from_slice(&line)
        .map_err(|error| anyhow::anyhow!("the job does not parse at column {}", error.column()))
}

/// Hands on all that comes, and returns at its end.
pub fn pieces(mut take: impl FnMut(Vec<u8>)) {
    let Ok(mut stdin) = open() else { return };
    let mut buffer = vec![0; PIECE];
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => take(buffer[..n].to_vec()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

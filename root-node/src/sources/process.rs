//! A child process: this very program with a hidden subcommand. Its standard output is read line by line,
//! its standard error goes into the log, and it dies with whoever holds it.

use super::lines::Lines;
use std::process::{ExitStatus, Stdio};
use tokio::io::BufReader;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// This very program, also when its file has been replaced by a newer one.
const PROGRAM: &str = "/proc/self/exe";
/// Longest line of a child's log.
const MAX_LOG_LINE: usize = 1_000;
/// Lines of a child's log that are taken in its life: GStreamer may complain about each packet.
const MAX_LOG_LINES: usize = 200;

/// A child that runs.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// What it says.
    pub out: Lines<BufReader<ChildStdout>>,
}

/// Starts one for a stream; `what` it is names it in the log. With a piped standard input its other
/// end comes along.
///
/// # Errors
/// What the system says.
pub fn spawn(
    subcommand: &str,
    what: &'static str,
    stream: &str,
    stdin: Stdio,
) -> anyhow::Result<(Process, Option<ChildStdin>)> {
    let mut child = Command::new(PROGRAM)
        .arg0("root-node")
        .arg(subcommand)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // A Ctrl-C at the terminal is for the root, which then ends its children in order.
        .process_group(0)
        .spawn()?;
    let missing = || anyhow::anyhow!("a child without pipes");
    let stdin = child.stdin.take();
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    tokio::spawn(log(what, stream.to_owned(), stderr));
    let out = Lines::new(BufReader::new(stdout), super::job::MAX_LINE);
    Ok((Process { child, out }, stdin))
}

impl Process {
    /// Waits for its end, and says how it was.
    pub async fn ended(&mut self) -> String {
        described(self.child.wait().await)
    }

    /// Kills it.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.child.start_kill()
    }
}

fn described(exit: std::io::Result<ExitStatus>) -> String {
    match exit {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// The child's log goes into ours.
async fn log(what: &'static str, stream: String, stderr: ChildStderr) {
    let mut lines = Lines::new(BufReader::new(stderr), MAX_LOG_LINE);
    let mut count = 0;
    // Read to the end, or the child would block.
    while let Ok(Some(line)) = lines.next().await {
        count += 1;
        if count <= MAX_LOG_LINES {
            tracing::warn!(%stream, "{what}'s worker: {line}");
        } else if count == MAX_LOG_LINES + 1 {
            tracing::warn!(%stream, "{what}'s worker: and more, which is left out");
        }
    }
}

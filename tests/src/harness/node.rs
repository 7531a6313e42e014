//! One process of a tree: started, watched, asked for its metrics, stopped by its process id.

use super::{HarnessError, io_error};
use crate::http;
use crate::wait::holds_within;
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// After SIGTERM, before SIGKILL, when a tree is dropped: longer than the nodes' drain timeout.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// Log lines that are kept.
const MAX_LOG_LINES: usize = 20_000;
/// Log lines that are shown when something fails.
const SHOWN_LOG_LINES: usize = 60;

/// A started process with what it wrote.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    out: Arc<Mutex<Vec<String>>>,
    exited: Option<ExitStatus>,
}

fn locked(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn collect(from: impl Read + Send + 'static, into: &[Arc<Mutex<Vec<String>>>]) {
    let into = into.to_vec();
    // Ends with the process.
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            for lines in &into {
                let mut lines = locked(lines);
                if lines.len() < MAX_LOG_LINES {
                    lines.push(line.clone());
                }
            }
        }
    });
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// If the system does not.
    pub fn start(name: &str, command: &mut Command) -> Result<Self, HarnessError> {
        Self::start_with(name, command, Stdio::null())
    }

    /// Starts a process that listens on its standard input.
    ///
    /// # Errors
    /// If the system does not.
    pub fn start_listening(name: &str, command: &mut Command) -> Result<Self, HarnessError> {
        Self::start_with(name, command, Stdio::piped())
    }

    fn start_with(name: &str, command: &mut Command, stdin: Stdio) -> Result<Self, HarnessError> {
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(io_error(format!("cannot start {name}")))?;
        let (log, out) = (Arc::default(), Arc::default());
        if let Some(stdout) = child.stdout.take() {
            collect(stdout, &[Arc::clone(&log), Arc::clone(&out)]);
        }
        if let Some(stderr) = child.stderr.take() {
            collect(stderr, &[Arc::clone(&log)]);
        }
        Ok(Self { name: name.to_owned(), child, log, out, exited: None })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn exit(&mut self) -> Option<ExitStatus> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().ok().flatten();
        }
        self.exited
    }

    /// SIGTERM.
    pub fn terminate(&mut self) {
        if self.exit().is_none() {
            let pid = rustix::process::Pid::from_child(&self.child);
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if self.exit().is_none() {
            let _ = self.child.kill();
            self.exited = self.child.wait().ok();
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self, deadline: Duration) -> Option<ExitStatus> {
        holds_within(deadline, || self.exit().is_some());
        self.exited
    }

    /// SIGSTOP, or SIGCONT: a process that is there and does nothing.
    pub fn freeze(&mut self, frozen: bool) {
        if self.exit().is_none() {
            let pid = rustix::process::Pid::from_child(&self.child);
            let signal = if frozen { Signal::STOP } else { Signal::CONT };
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Whether somebody has stopped it (SIGSTOP): it is there and does nothing.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // The state comes after the name, which is in brackets.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
    }

    /// SIGTERM, then SIGKILL.
    pub fn stop(&mut self) {
        self.terminate();
        if self.wait(STOP_TIMEOUT).is_none() {
            self.kill();
        }
    }

    /// What it wrote to stdout, line by line.
    #[must_use]
    pub fn stdout(&self) -> Vec<String> {
        locked(&self.out).clone()
    }

    /// What it wrote in all.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        locked(&self.log).clone()
    }

    /// The end of it.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let lines = locked(&self.log);
        lines[lines.len().saturating_sub(SHOWN_LOG_LINES)..].join("\n")
    }

    pub(super) fn stdin(&mut self) -> Option<&mut ChildStdin> {
        self.child.stdin.as_mut()
    }

    pub(crate) fn failed(&self, why: impl Into<String>) -> HarnessError {
        HarnessError::Process { name: self.name.clone(), why: why.into(), log: self.log_tail() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A node that serves.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub process: Process,
    /// Its operations endpoint.
    pub ops: SocketAddr,
}

impl Running {
    /// Whether `/readyz` says yes.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        http::get(&format!("http://{}/readyz", self.ops)).is_ok_and(|r| r.status == 200)
    }

    /// Waits for `/readyz`.
    ///
    /// # Errors
    /// If it ends or does not get ready in time; with its log.
    pub fn wait_ready(&mut self, deadline: Duration) -> Result<(), HarnessError> {
        let mut ended = None;
        let ready = holds_within(deadline, || {
            ended = self.process.exit();
            ended.is_some() || self.is_ready()
        });
        if let Some(status) = ended {
            return Err(self.process.failed(format!("ended while starting: {status}")));
        }
        if !ready {
            let why = http::get(&format!("http://{}/readyz", self.ops))
                .map_or_else(|e| e.to_string(), |r| r.text());
            return Err(self.process.failed(format!("is not ready: {why}")));
        }
        Ok(())
    }

    /// Its metrics now; empty if it does not answer.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        http::get(&format!("http://{}/metrics", self.ops))
            .map(|r| Metrics::parse(&r.text()))
            .unwrap_or_default()
    }
}

/// One scrape in Prometheus' text format.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Reads samples; comments and what is malformed are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self { samples: text.lines().filter_map(sample).collect() }
    }

    /// Sum of a metric over all samples that carry these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples
            .iter()
            .filter(|s| {
                let carries = |k: &str, v: &str| s.labels.iter().any(|(a, b)| a == k && b == v);
                s.name == name && labels.iter().all(|(k, v)| carries(k, v))
            })
            .map(|s| s.value)
            .sum()
    }

    /// Whether there is such a metric at all.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|s| s.name == name)
    }
}

fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (head, value) = line.trim_end().rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else {
        return Some(Sample { name: head.to_owned(), labels: Vec::new(), value });
    };
    // No label value here has a comma or quote in it.
    let labels = labels
        .trim_end_matches('}')
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (k.trim().to_owned(), v.trim_matches('"').to_owned()))
        .collect();
    Some(Sample { name: name.to_owned(), labels, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_label() {
        let text = "# HELP a x\na{dir=\"in\",k=\"1\"} 3\na{dir=\"in\",k=\"2\"} 4\na{dir=\"out\"} 5\nb 1.5\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a", &[("dir", "in")]), 7.0);
        assert_eq!(metrics.sum("a", &[]), 12.0);
        assert_eq!(metrics.sum("b", &[]), 1.5);
        assert!(!metrics.has("c"));
    }

    #[test]
    fn processes_end_when_told() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo started; exec sleep 60"]);
        let mut process = Process::start("sleeper", &mut shell).unwrap();
        crate::wait::until("output", Duration::from_secs(5), || process.stdout() == ["started"]);
        assert!(process.exit().is_none() && !process.is_frozen());
        process.freeze(true);
        crate::wait::until("the stop", Duration::from_secs(5), || process.is_frozen());
        process.freeze(false);
        process.terminate();
        assert!(process.wait(Duration::from_secs(5)).is_some());
    }
}

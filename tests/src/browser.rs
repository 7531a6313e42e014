//! Runs the programs of `tests/browser`, in which Chromium looks at a watch page, and reads what
//! they print.

use crate::harness::{HarnessError, Process};
use serde::Deserialize;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Starting Chromium, and the page's own patience.
const OVERHEAD: Duration = Duration::from_secs(90);

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Delay {
    /// Median.
    pub p50: Option<f64>,
    /// 95%.
    pub p95: Option<f64>,
}

/// Which frames were seen.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Frames {
    /// Numbers from the first to the last one.
    pub expected: u64,
    /// Came out of the decoder, of those.
    pub decoded: u64,
    /// Displayed, of all.
    pub fraction: Option<f64>,
    /// A number lower than the one before.
    pub backwards: u64,
}

/// What was heard.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Sound {
    /// The tone was heard.
    pub present: bool,
    /// How often.
    pub onsets: u64,
    /// Sound less picture, median.
    pub av_offset_ms: Option<f64>,
}

/// What WebRTC says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// The SRTP profile.
    #[serde(rename = "srtpCipher")]
    pub srtp_cipher: Option<String>,
    /// Codec of the picture.
    pub video_codec: Option<String>,
    /// Frames that came out of the decoder.
    pub frames_decoded: Option<u64>,
    /// Packets of the picture that did not come, before repair.
    pub video_lost: Option<u64>,
    /// Packets that came again as RTX.
    pub retransmitted: Option<u64>,
    /// Key-frame requests.
    pub plis: Option<u64>,
    /// The session's URL at the leaf at the end, where the page tells it.
    pub location: Option<String>,
    /// Where media come from, like "tcp 127.0.0.1:8190".
    pub remote: Option<String>,
}

/// What a viewer in Chromium saw; see `tests/browser/README.md`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Watched {
    /// There was a picture.
    pub ok: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The session's URL at the leaf at the first picture, where the page tells it.
    pub location: Option<String>,
    /// Opening the page to the first picture.
    pub first_read_ms: Option<f64>,
    /// Frames.
    pub frames: Frames,
    /// Longest time between two new frames.
    pub freeze_ms: Option<f64>,
    /// Send time to display.
    pub delay_ms: Delay,
    /// Sound.
    pub sound: Sound,
    /// Connection.
    pub connection: Option<Connection>,
    /// The line itself, for messages.
    #[serde(skip)]
    pub line: String,
}

/// What several joins took.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Joined {
    /// All had a picture.
    pub ok: bool,
    /// Median of opening to first picture.
    pub median_ms: Option<f64>,
    /// The line itself, for messages.
    #[serde(skip)]
    pub line: String,
}

/// Watches a page for so many seconds.
///
/// # Errors
/// If the program does not run or prints no result.
pub fn watch(url: &str, seconds: u64) -> Result<Watched, HarnessError> {
    watch_with(url, seconds, &[])
}

/// Watches a page for so many seconds; only the leaf's candidates with this word in them (a
/// transport or an address) get through to the browser.
///
/// # Errors
/// If the program does not run or prints no result.
pub fn watch_only(url: &str, seconds: u64, word: &str) -> Result<Watched, HarnessError> {
    watch_with(url, seconds, &["--candidates", word])
}

/// Watches a page for so many seconds with further arguments of `watch.mjs`.
///
/// # Errors
/// If the program does not run or prints no result.
pub fn watch_with(url: &str, seconds: u64, more: &[&str]) -> Result<Watched, HarnessError> {
    let length = seconds.to_string();
    let mut arguments = vec![url, "--seconds", &length];
    arguments.extend(more);
    let line = run("watch.mjs", &arguments, seconds)?;
    let mut watched: Watched = parse(&line)?;
    watched.line = line;
    Ok(watched)
}

/// Watches several pages at the same time in one browser, each for so many seconds, with further
/// arguments of `watch.mjs`. What was seen comes in the order of the pages.
///
/// # Errors
/// If the program does not run or does not print a result for each.
pub fn watch_all(
    urls: &[String],
    seconds: u64,
    more: &[&str],
) -> Result<Vec<Watched>, HarnessError> {
    let length = seconds.to_string();
    let mut arguments: Vec<&str> = urls.iter().map(String::as_str).collect();
    arguments.extend(["--seconds", &length]);
    arguments.extend(more);
    let lines = run_for("watch.mjs", &arguments, seconds, urls.len())?;
    let watched = |line: String| parse(&line).map(|seen: Watched| Watched { line, ..seen });
    lines.into_iter().map(watched).collect()
}

/// Joins so many times.
///
/// # Errors
/// If the program does not run or prints no result.
pub fn join(url: &str, joins: u64) -> Result<Joined, HarnessError> {
    let line = run("join.mjs", &[url, "--joins", &joins.to_string()], joins * 5)?;
    let mut joined: Joined = parse(&line)?;
    joined.line = line;
    Ok(joined)
}

/// Chromium that broadcasts over WHIP; it ends when this is dropped.
#[derive(Debug)]
pub struct Publisher {
    process: Process,
    /// The session's URL.
    pub location: String,
}

/// What one layer of a broadcast sent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Sent {
    /// `audio` or `video`.
    pub kind: String,
    /// The layer.
    pub rid: Option<String>,
    /// Its width.
    pub frame_width: Option<u64>,
    /// Frames.
    pub frames_sent: Option<u64>,
    /// Key-frame requests that came.
    pub pli_count: Option<u64>,
}

/// What a publisher prints.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Published {
    ok: bool,
    location: Option<String>,
    end: Option<String>,
    sent: Vec<Sent>,
    errors: Vec<String>,
}

/// Broadcasts to a WHIP address with further arguments of `publish.mjs`; media flow when this
/// returns.
///
/// # Errors
/// If the program does not run, or media do not flow.
pub fn publish(url: &str, token: &str, more: &[&str]) -> Result<Publisher, HarnessError> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("browser");
    let mut command = Command::new("node");
    command.current_dir(directory).args(["publish.mjs", url, "--token", token]).args(more);
    let mut process = Process::start("publish.mjs", &mut command)?;
    crate::wait::holds_within(OVERHEAD, || {
        process.exit().is_some() || process.stdout().iter().any(|line| line.starts_with('{'))
    });
    let line = process.stdout().into_iter().find(|line| line.starts_with('{'));
    let said: Published = parse(line.as_deref().unwrap_or("nothing"))?;
    match said.location {
        Some(location) if said.ok => Ok(Publisher { process, location }),
        _ => Err(process.failed(format!("does not broadcast: {line:?}"))),
    }
}

impl Publisher {
    /// Stops (DELETE of the session); gives what was sent.
    ///
    /// # Errors
    /// If it does not stop well, or had errors.
    pub fn stop(mut self) -> Result<Vec<Sent>, HarnessError> {
        self.process.terminate();
        let ended = self.process.wait(OVERHEAD);
        let mut lines = Vec::new();
        crate::wait::holds_within(Duration::from_secs(2), || {
            lines = self.process.stdout();
            lines.iter().filter(|line| line.starts_with('{')).count() > 1
        });
        let line = lines.into_iter().rev().find(|line| line.starts_with('{'));
        let said: Published = parse(line.as_deref().unwrap_or("nothing"))?;
        if said.end.as_deref() == Some("stopped") && said.errors.is_empty() {
            return Ok(said.sent);
        }
        Err(self.process.failed(format!("did not stop well ({ended:?}): {line:?}")))
    }
}

/// A program that prints a JSON line for each step that it has taken; it ends when this is dropped.
#[derive(Debug)]
pub struct Steps {
    process: Process,
    read: usize,
}

impl Steps {
    /// Starts it.
    ///
    /// # Errors
    /// If it does not run.
    pub fn start(program: &str, arguments: &[&str]) -> Result<Self, HarnessError> {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("browser");
        let mut command = Command::new("node");
        command.current_dir(directory).arg(program).args(arguments);
        Ok(Self { process: Process::start(program, &mut command)?, read: 0 })
    }

    /// The next line, which must be of this step.
    ///
    /// # Errors
    /// If another one comes, or none.
    pub fn next(&mut self, step: &str, limit: Duration) -> Result<serde_json::Value, HarnessError> {
        let mut found = None;
        crate::wait::holds_within(limit, || {
            let ended = self.process.exit().is_some();
            let lines = self.process.stdout();
            found = lines.into_iter().filter(|line| line.starts_with('{')).nth(self.read);
            found.is_some() || ended
        });
        let line = found.unwrap_or_else(|| "nothing".to_owned());
        self.read += 1;
        match parse::<serde_json::Value>(&line) {
            Ok(said) if said["ok"] == true && said["step"] == step => Ok(said),
            _ => Err(self.process.failed(format!("not the step {step:?}: {line}"))),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, HarnessError> {
    serde_json::from_str(line).map_err(|error| HarnessError::Process {
        name: "browser".into(),
        why: format!("printed no result: {error}"),
        log: line.to_owned(),
    })
}

fn run(program: &str, arguments: &[&str], seconds: u64) -> Result<String, HarnessError> {
    Ok(run_for(program, arguments, seconds, 1)?.remove(0))
}

/// Runs a program to its end; gives the last `count` results that it prints, and fails if there are
/// fewer.
fn run_for(
    program: &str,
    arguments: &[&str],
    seconds: u64,
    count: usize,
) -> Result<Vec<String>, HarnessError> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("browser");
    let mut command = Command::new("node");
    command.current_dir(directory).arg(program).args(arguments);
    let mut process = Process::start(program, &mut command)?;
    let ended = process.wait(OVERHEAD + Duration::from_secs(seconds));
    let mut lines = Vec::new();
    crate::wait::holds_within(Duration::from_secs(2), || {
        lines = process.stdout();
        lines.retain(|line| line.starts_with('{'));
        lines.len() >= count
    });
    if lines.len() < count {
        let why = format!("printed {} of {count} results ({ended:?})", lines.len());
        return Err(process.failed(why));
    }
    Ok(lines.split_off(lines.len() - count))
}

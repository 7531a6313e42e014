//! One measurement: a root and a leaf as processes, the leaf alone on its core; the source and the
//! viewers in this process on the other one; then the limit with as many destinations.

use super::limit::{LimitJob, LimitResult};
use super::stage::{Stage, StageError};
use super::{Pattern, Sinks};
use crate::viewer::{self, BulkOptions, Codec, Percentiles, SrtpOffer, ViewerError, Viewers};
use relay_node::clock::Clock;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Between the last join and the measurement.
const SETTLE: Duration = Duration::from_secs(2);
/// All have joined and have a picture within this time after the last should have.
const JOIN_TIMEOUT: Duration = Duration::from_secs(40);
/// One packet in so many is opened.
const OPEN_ONE_IN: u32 = 32;
/// Time between two messages of transport-wide feedback, in microseconds: what browsers do.
const FEEDBACK_US: Option<u64> = Some(100_000);
/// The limit runs for so long.
const LIMIT_SECONDS: u64 = 5;

/// What is measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    /// How many viewers.
    pub viewers: usize,
    /// Joins a second.
    pub join_rate: f64,
    /// Bits a second of the stream.
    pub bitrate: u64,
    /// The source spreads its frames.
    pub paced: bool,
    /// Viewers' sockets take merged datagrams.
    pub gro: bool,
    /// Viewers give transport-wide feedback.
    pub twcc: bool,
    /// Seconds that are measured.
    pub seconds: u64,
    /// Core of the leaf.
    pub server_core: usize,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct CellResult {
    /// What was measured.
    pub cell: Cell,
    /// Viewers that were there.
    pub connected: usize,
    /// CPU time of the leaf for a delivered packet, in microseconds.
    pub cpu_us: f64,
    /// How much of its core the leaf used, 0 to 1.
    pub core: f64,
    /// Packets that came to a viewer, per second.
    pub rate: f64,
    /// Packets that the source sent, per second.
    pub source_rate: f64,
    /// Lost against the source, in percent.
    pub loss_percent: f64,
    /// Source to viewer, packets of interframes, in milliseconds.
    pub delay: Percentiles,
    /// Source to viewer, packets of key frames, in milliseconds.
    pub key_delay: Percentiles,
    /// POST to answer, in milliseconds.
    pub answer: Percentiles,
    /// POST to first packet, in milliseconds.
    pub first_packet: Percentiles,
    /// POST to first key frame, in milliseconds.
    pub first_key: Percentiles,
    /// Memory of the leaf for each viewer, in bytes.
    pub memory: f64,
    /// Key frames that the source was asked for during the joins.
    pub key_requests: u64,
    /// CPU time of the limit for a packet, in microseconds.
    pub limit_us: f64,
    /// Packets that the limit's kernel did not take.
    pub limit_dropped: u64,
}

impl CellResult {
    /// How far from the limit.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.cpu_us / self.limit_us
    }
}

/// Why a cell was not measured.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// Tree or source.
    #[error("{0}")]
    Stage(#[from] StageError),
    /// The viewers.
    #[error("{0}")]
    Viewers(#[from] ViewerError),
    /// Sockets, processes.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not all viewers came.
    #[error("only {connected} of {wanted} viewers came: {why}")]
    Joins {
        /// How many.
        connected: usize,
        /// Of how many.
        wanted: usize,
        /// What they say.
        why: String,
    },
    /// The limit said nothing of use.
    #[error("the limit: {0}")]
    Limit(#[from] serde_json::Error),
}

impl Cell {
    /// Measures it.
    ///
    /// # Errors
    /// If something does not start, or viewers do not come.
    pub fn run(&self, clock: Clock) -> Result<CellResult, CellError> {
        let pattern = Pattern { bitrate: self.bitrate, paced: self.paced, ..Pattern::default() };
        let stage = Stage::start(self.server_core, self.viewers, pattern, clock)?;
        let source = &stage.source;
        let empty = stage.memory()?;
        let options = viewer::Options {
            joins_per_second: Some(self.join_rate),
            video: vec![Codec::Vp8],
            audio: false,
            srtp: SrtpOffer::Both,
            open_one_in: OPEN_ONE_IN,
            nack: false,
            feedback_us: FEEDBACK_US.filter(|_| self.twcc),
            bulk: Some(BulkOptions { spin: true, gro: self.gro }),
            ..viewer::Options::default()
        };
        let asked = source.key_requests();
        let viewers = Viewers::start(&stage.url(), self.viewers, &options)?;
        let last = Duration::from_secs_f64(self.viewers as f64 / self.join_rate);
        let there = viewers.wait(last + JOIN_TIMEOUT, |r| {
            r.connected + r.failed == self.viewers && r.with_first_key() + r.failed == self.viewers
        });
        let joined = there.unwrap_or_else(|report| *report);
        if joined.connected < self.viewers {
            let why = joined.errors.iter().map(|(e, n)| format!("{n} x {e}"));
            return Err(CellError::Joins {
                connected: joined.connected,
                wanted: self.viewers,
                why: why.collect::<Vec<_>>().join(", "),
            });
        }
        let key_requests = source.key_requests() - asked;
        super::pause(SETTLE);
        let memory = stage.memory()?.saturating_sub(empty) as f64 / self.viewers.max(1) as f64;
        viewers.mark();
        let (began, cpu, sent) = (clock.now().mono, stage.cpu_ns()?, source.packets());
        super::pause(Duration::from_secs(self.seconds));
        let report = viewers.report();
        let elapsed = clock.now().mono.since(began).as_secs_f64();
        let cpu = (stage.cpu_ns()? - cpu) as f64;
        let sent = source.packets() - sent;
        let got = report.bulk.packets.max(1) as f64;
        drop(viewers);
        drop(stage);
        let limit = self.limit()?;
        Ok(CellResult {
            cell: self.clone(),
            connected: report.connected,
            cpu_us: cpu / got / 1_000.0,
            core: cpu / elapsed / 1e9,
            rate: got / elapsed / self.viewers.max(1) as f64,
            source_rate: sent as f64 / elapsed,
            loss_percent: report.bulk.loss_percent(),
            delay: Percentiles::from(&report.bulk.delay),
            key_delay: Percentiles::from(&report.bulk.key_delay),
            answer: joined.post,
            first_packet: joined.first_packet,
            first_key: joined.first_key,
            memory,
            key_requests,
            limit_us: limit.cpu_ns as f64 / limit.packets.max(1) as f64 / 1_000.0,
            limit_dropped: limit.dropped,
        })
    }

    fn limit(&self) -> Result<LimitResult, CellError> {
        let sinks = Sinks::start(self.viewers, self.gro)?;
        let job = LimitJob {
            destinations: sinks.addresses().to_vec(),
            warm_up: 1,
            seconds: LIMIT_SECONDS,
            bitrate: self.bitrate,
        };
        let mut child = Command::new("taskset")
            .args(["-c", &self.server_core.to_string()])
            .arg(std::env::current_exe()?)
            .arg("limit")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&serde_json::to_vec(&job)?)?;
        }
        let output = child.wait_with_output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

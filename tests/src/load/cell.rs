//! One measurement of our own leaf or of a peer on this machine: the server alone on its core, the
//! source and the viewers in this process on the other one, then the limit with as many destinations.

use super::limit::{LimitJob, LimitResult};
use super::measure::{Audience, Figures, MeasureError, Subject};
use super::peer::{Janus, PeerError};
use super::stage::{Stage, StageError};
use super::{Pattern, Sinks};
use crate::viewer::{Codec, Signalling};
use relay_node::clock::Clock;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::process::{Command, Stdio};

/// The limit runs for so long.
const LIMIT_SECONDS: u64 = 5;

/// What is measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    /// Who watches.
    #[serde(flatten)]
    pub audience: Audience,
    /// What they watch on, if it is of our making.
    #[serde(flatten)]
    pub setting: Option<Setting>,
}

/// What the server is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setting {
    /// Bits a second of the stream.
    pub bitrate: u64,
    /// The source spreads its frames.
    pub paced: bool,
    /// Core of the server.
    pub server_core: usize,
    /// Threads of the leaf that serve viewers, all on that core.
    pub workers: usize,
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CellResult {
    /// What was measured: ours, a peer, or a URL.
    pub server: String,
    /// How.
    pub cell: Cell,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// CPU time of the limit for a packet, in microseconds.
    pub limit_us: Option<f64>,
    /// Packets that the limit's kernel did not take.
    pub limit_dropped: Option<u64>,
}

impl CellResult {
    /// How far from the limit.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        Some(self.figures.cpu_us? / self.limit_us?)
    }
}

/// Why a cell was not measured.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// Tree or source.
    #[error("{0}")]
    Stage(#[from] StageError),
    /// The peer.
    #[error("{0}")]
    Peer(#[from] PeerError),
    /// The measurement.
    #[error("{0}")]
    Measure(#[from] MeasureError),
    /// Sockets, processes.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The limit said nothing of use.
    #[error("the limit: {0}")]
    Limit(#[from] serde_json::Error),
}

impl Setting {
    fn pattern(&self) -> Pattern {
        Pattern { bitrate: self.bitrate, paced: self.paced, ..Pattern::default() }
    }

    /// Measures our leaf.
    ///
    /// # Errors
    /// If something does not start, or viewers do not come.
    pub fn leaf(&self, audience: &Audience, clock: Clock) -> Result<CellResult, CellError> {
        let viewers = audience.viewers;
        let stage = Stage::start(self.server_core, self.workers, viewers, self.pattern(), clock)?;
        let subject = Subject {
            url: stage.url(),
            signalling: Signalling::Whep,
            token: None,
            local: None,
            video: vec![Codec::Vp8],
            process: Some(stage.process()),
            source: Some(&stage.source),
        };
        let figures = audience.watch(&subject, clock)?;
        drop(stage);
        let limit = self.limit(audience)?;
        Ok(CellResult {
            limit_us: Some(limit.cpu_ns as f64 / limit.packets.max(1) as f64 / 1_000.0),
            limit_dropped: Some(limit.dropped),
            ..self.result("soleil".into(), audience, figures)
        })
    }

    /// Measures Janus with so many event loops; 0 is a thread for each viewer.
    ///
    /// # Errors
    /// If it is not installed, something does not start, or viewers do not come.
    pub fn janus(
        &self,
        event_loops: usize,
        audience: &Audience,
        clock: Clock,
    ) -> Result<CellResult, CellError> {
        let janus = Janus::start(self.server_core, event_loops, self.pattern(), clock)?;
        let figures = audience.watch(&janus.subject(), clock)?;
        Ok(self.result(format!("janus, event_loops={event_loops}"), audience, figures))
    }

    fn result(&self, server: String, audience: &Audience, figures: Figures) -> CellResult {
        let cell = Cell { audience: audience.clone(), setting: Some(self.clone()) };
        CellResult { server, cell, figures, limit_us: None, limit_dropped: None }
    }

    fn limit(&self, audience: &Audience) -> Result<LimitResult, CellError> {
        let sinks = Sinks::start(audience.viewers, audience.gro)?;
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

/// Measures a server that somebody else runs; its process is known only if it runs here.
///
/// # Errors
/// If viewers do not come, or there is no such process.
pub fn foreign(
    audience: &Audience,
    subject: &Subject<'_>,
    clock: Clock,
) -> Result<CellResult, MeasureError> {
    Ok(CellResult {
        server: subject.url.clone(),
        cell: Cell { audience: audience.clone(), setting: None },
        figures: audience.watch(subject, clock)?,
        limit_us: None,
        limit_dropped: None,
    })
}

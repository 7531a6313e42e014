//! The broadcasters of a tree: started, on air, stopped.

use super::node::Process;
use super::{HarnessError, Tree, binary};
use crate::http;
use crate::source::SourceReport;
use crate::wait::holds_within;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// It ends and reports within this time: its encoder may hold a frame.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// A broadcast is announced within this time after its first packet.
const LIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A running broadcaster process.
#[derive(Debug)]
pub struct Broadcast {
    pub(super) process: Process,
}

impl Broadcast {
    /// Stops it; gives what it sent.
    ///
    /// # Errors
    /// If it failed or gave no report.
    pub fn stop(mut self) -> Result<SourceReport, HarnessError> {
        self.process.terminate();
        let status = self.process.wait(STOP_TIMEOUT);
        let report = self
            .process
            .stdout()
            .iter()
            .find_map(|line| serde_json::from_str::<SourceReport>(line).ok());
        match (status, report) {
            (Some(status), Some(report)) if status.success() => Ok(report),
            (status, _) => Err(self.process.failed(format!("ended with {status:?}"))),
        }
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Tree {
    /// Starts the broadcaster for a stream with these further arguments.
    ///
    /// # Errors
    /// If it does not start.
    pub fn broadcast(&self, stream: usize, arguments: &[&str]) -> Result<Broadcast, HarnessError> {
        self.broadcast_by(stream, self.ingest(stream).0, arguments)
    }

    /// The same with the picture sent to `video`, where something stands in the way.
    ///
    /// # Errors
    /// If the program is not there.
    pub fn broadcast_by(
        &self,
        stream: usize,
        video: SocketAddr,
        arguments: &[&str],
    ) -> Result<Broadcast, HarnessError> {
        let audio = self.ingest(stream).1;
        let codec = self.options.streams[stream].codec.to_lowercase();
        let mut command = Command::new(binary("soleil-source")?);
        command.args(["--codec", &codec]);
        command.arg("--video").arg(video.to_string()).arg("--audio").arg(audio.to_string());
        command.args(arguments);
        Ok(Broadcast { process: Process::start("source", &mut command)? })
    }

    /// Whether the root says that a stream is on air.
    #[must_use]
    pub fn is_live(&self, stream: &str) -> bool {
        http::get(&format!("{}/api/v1/streams/{stream}", self.http()))
            .ok()
            .and_then(|r| serde_json::from_slice::<serde_json::Value>(&r.body).ok())
            .is_some_and(|v| v["live"] == true)
    }

    /// Starts a broadcast and waits until it is on air.
    ///
    /// # Errors
    /// If it does not start or the root does not notice it.
    pub fn go_live(&self, stream: usize, arguments: &[&str]) -> Result<Broadcast, HarnessError> {
        let mut broadcast = self.broadcast(stream, arguments)?;
        let name = &self.options.streams[stream].name;
        let mut ended = false;
        let live = holds_within(LIVE_TIMEOUT, || {
            ended = broadcast.process.exit().is_some();
            ended || self.is_live(name)
        });
        if ended || !live {
            let log = self.root.process.log_tail();
            return Err(broadcast
                .process
                .failed(format!("is not on air; the root says:\n{log}\n")));
        }
        Ok(broadcast)
    }
}

//! A running broadcaster.

use super::HarnessError;
use super::node::Process;
use crate::source::SourceReport;
use std::time::Duration;

/// It ends and reports within this time: its encoder may hold a frame.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

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

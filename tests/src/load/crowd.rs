//! Crowds at a leaf: a storm of joins beside viewers who must not notice, and viewers who come and
//! go for minutes while memory has to stay where it is.

use super::stage::{Stage, StageError};
use super::{Pattern, pause};
use crate::harness::Options;
use crate::viewer::{self, BulkOptions, Codec, Percentiles, SrtpOffer, ViewerError, Viewers};
use relay_node::clock::Clock;
use serde::Serialize;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// Those who are there before: so many a second.
const USUAL_RATE: f64 = 50.0;
/// All have joined and have a picture within this time after the last should have.
const JOIN_TIMEOUT: Duration = Duration::from_secs(40);
/// The leaf forgets those who said goodbye within this time.
pub(super) const GONE: Duration = Duration::from_secs(20);
/// Before memory is read with nobody coming or going.
pub(super) const SETTLE: Duration = Duration::from_secs(3);
/// A cohort joins within a second and stays so long.
const STAY_SECONDS: usize = 4;
/// Memory is read this often, in seconds.
const SAMPLE_EVERY: u64 = 10;

/// Who is there, and who comes.
#[derive(Debug, Clone, Serialize)]
pub struct Crowd {
    /// Viewers who are there all the time.
    pub before: usize,
    /// Joins a second.
    pub joins: usize,
    /// Bits a second of the stream.
    pub bitrate: u64,
    /// Core of the leaf.
    pub server_core: usize,
}

/// What a storm did.
#[derive(Debug, Clone, Serialize)]
pub struct StormResult {
    /// Who was there, and how many joined within a second.
    pub crowd: Crowd,
    /// Of these are connected.
    pub connected: usize,
    /// First POST until the last one is connected and has a key frame, in milliseconds.
    pub all_ms: f64,
    /// POST to the first key frame, in milliseconds.
    pub first_key: Percentiles,
    /// CPU time of the leaf in the meantime, in milliseconds.
    pub cpu_ms: f64,
    /// Key frames that the source was asked for.
    pub key_requests: u64,
    /// What those who were there lost, against the source, in percent.
    pub loss_percent: f64,
    /// The delay of those who were there meanwhile, in milliseconds.
    pub delay: Percentiles,
}

/// What minutes of coming and going did.
#[derive(Debug, Clone, Serialize)]
pub struct ChurnResult {
    /// Who was there, and how many came and went a second.
    pub crowd: Crowd,
    /// Joins in all, and those that failed.
    pub joined: usize,
    /// Joins that failed.
    pub failed: usize,
    /// Memory of the leaf before, in bytes.
    pub before: u64,
    /// Memory while they came and went: seconds and bytes.
    pub samples: Vec<(u64, u64)>,
    /// Memory when they had gone.
    pub after: u64,
    /// What those who were there all the time lost, against the source, in percent.
    pub loss_percent: f64,
}

impl ChurnResult {
    /// By how much memory grew from the end of the first minute to the end, in percent.
    #[must_use]
    pub fn growth_percent(&self) -> f64 {
        let warm = self.samples.iter().find(|(second, _)| *second >= 60).or(self.samples.first());
        let (Some((_, warm)), Some((_, last))) = (warm, self.samples.last()) else { return 0.0 };
        100.0 * (*last as f64 - *warm as f64) / *warm as f64
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum CrowdError {
    /// Tree or source.
    #[error("{0}")]
    Stage(#[from] StageError),
    /// The viewers.
    #[error("{0}")]
    Viewers(#[from] ViewerError),
    /// The leaf's figures.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Those who had to be there first.
    #[error("only {0} of {1} viewers came before the measurement")]
    Before(usize, usize),
}

impl Crowd {
    pub(super) fn options(&self, joins_per_second: f64, spin: bool) -> viewer::Options {
        viewer::Options {
            joins_per_second: Some(joins_per_second),
            video: vec![Codec::Vp8],
            audio: false,
            srtp: SrtpOffer::Both,
            open_one_in: 32,
            nack: false,
            feedback_us: None,
            bulk: Some(BulkOptions { spin, gro: true }),
            ..viewer::Options::default()
        }
    }

    /// The stage, with those who are there before.
    fn begin(&self, room: usize, clock: Clock) -> Result<(Stage, Viewers), CrowdError> {
        self.begin_with(&Stage::options(self.server_core, self.before + room), clock)
    }

    /// The same with a leaf of these options.
    pub(super) fn begin_with(
        &self,
        options: &Options,
        clock: Clock,
    ) -> Result<(Stage, Viewers), CrowdError> {
        let pattern = Pattern { bitrate: self.bitrate, ..Pattern::default() };
        let stage = Stage::with(options, pattern, clock)?;
        let there = Viewers::start(&stage.url(), self.before, &self.options(USUAL_RATE, false))?;
        let joining = Duration::from_secs_f64(self.before as f64 / USUAL_RATE);
        match there.wait(joining + JOIN_TIMEOUT, |r| r.with_first_key() == self.before) {
            Ok(_) => Ok((stage, there)),
            Err(report) => Err(CrowdError::Before(report.with_first_key(), self.before)),
        }
    }

    /// `joins` viewers within a second.
    ///
    /// # Errors
    /// If something does not start, or viewers do not come before it.
    pub fn storm(&self, clock: Clock) -> Result<StormResult, CrowdError> {
        let (stage, there) = self.begin(self.joins, clock)?;
        pause(SETTLE);
        there.mark();
        let (asked, cpu) = (stage.source.key_requests(), stage.cpu_ns()?);
        let began = clock.now().mono;
        let coming =
            Viewers::start(&stage.url(), self.joins, &self.options(self.joins as f64, false))?;
        let came = coming
            .wait(JOIN_TIMEOUT, |r| r.with_first_key() + r.failed == self.joins)
            .unwrap_or_else(|report| *report);
        let all = clock.now().mono.since(began);
        let cpu = stage.cpu_ns()? - cpu;
        let report = there.report();
        Ok(StormResult {
            crowd: self.clone(),
            connected: came.connected,
            all_ms: all.as_secs_f64() * 1_000.0,
            first_key: came.first_key,
            cpu_ms: cpu as f64 / 1e6,
            key_requests: stage.source.key_requests() - asked,
            loss_percent: report.bulk.loss_percent(),
            delay: Percentiles::from(&report.bulk.delay),
        })
    }

    /// `joins` viewers come and go each second, for so many seconds; `progress` is told second and
    /// memory.
    ///
    /// # Errors
    /// If something does not start, or viewers do not come before it.
    pub fn churn(
        &self,
        seconds: u64,
        clock: Clock,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<ChurnResult, CrowdError> {
        let (stage, there) = self.begin((STAY_SECONDS + 2) * self.joins, clock)?;
        pause(SETTLE);
        let before = stage.memory()?;
        there.mark();
        let (mut samples, mut cohorts) = (Vec::new(), VecDeque::new());
        let (mut joined, mut failed) = (0, 0);
        let mut leave = |cohort: Viewers| {
            let (report, deleted) = cohort.stop();
            joined += deleted;
            failed += report.failed;
        };
        let options = self.options(self.joins as f64, false);
        let began = clock.now().mono;
        for second in 0..seconds {
            let due = Duration::from_secs(second);
            pause(due.saturating_sub(clock.now().mono.since(began)));
            cohorts.push_back(Viewers::start(&stage.url(), self.joins, &options)?);
            if cohorts.len() > STAY_SECONDS
                && let Some(cohort) = cohorts.pop_front()
            {
                leave(cohort);
            }
            if second > 0 && second % SAMPLE_EVERY == 0 {
                let memory = stage.memory()?;
                progress(second, memory);
                samples.push((second, memory));
            }
        }
        samples.push((seconds, stage.memory()?));
        cohorts.into_iter().for_each(&mut leave);
        crate::wait::holds_within(GONE, || stage.sessions() <= self.before as u64);
        pause(SETTLE);
        let after = stage.memory()?;
        let report = there.report();
        let loss_percent = report.bulk.loss_percent();
        Ok(ChurnResult {
            crowd: self.clone(),
            joined,
            failed,
            before,
            samples,
            after,
            loss_percent,
        })
    }
}

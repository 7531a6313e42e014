//! The measuring that all servers share: viewers join, settle, and are watched for some seconds. What
//! only a server on this machine, or a source of ours, can tell stays open for others.

use super::{LoadSource, cpu, pause};
use crate::viewer::{
    self, BulkOptions, Codec, Percentiles, Report, Signalling, SrtpOffer, ViewerError, Viewers,
};
use relay_node::clock::Clock;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// Between the last join and the measurement.
const SETTLE: Duration = Duration::from_secs(2);
/// All have joined and have a picture within this time after the last should have.
const JOIN_TIMEOUT: Duration = Duration::from_secs(40);
/// One packet in so many is opened.
const OPEN_ONE_IN: u32 = 32;
/// Time between two messages of transport-wide feedback, in microseconds: what browsers do.
const FEEDBACK_US: u64 = 100_000;

/// Who watches.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Audience {
    /// How many viewers.
    pub viewers: usize,
    /// Joins a second.
    pub join_rate: f64,
    /// Viewers' sockets take merged datagrams.
    pub gro: bool,
    /// Viewers give transport-wide feedback.
    pub twcc: bool,
    /// Seconds that are measured.
    pub seconds: u64,
}

/// What they watch.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Where viewers join.
    pub url: String,
    /// How they join.
    pub signalling: Signalling,
    /// Bearer token for the server.
    pub token: Option<String>,
    /// Where viewers receive, if not at their address towards the server.
    pub local: Option<IpAddr>,
    /// Video codecs that viewers take.
    pub video: Vec<Codec>,
    /// The server's process, if it runs here.
    pub process: Option<u32>,
    /// What feeds it, if that is ours.
    pub source: Option<&'a LoadSource>,
}

/// What was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Viewers that were there.
    pub connected: usize,
    /// CPU time of the server for a delivered packet, in microseconds.
    pub cpu_us: Option<f64>,
    /// How much of a core the server used, 0 to 1.
    pub core: Option<f64>,
    /// Packets that came to a viewer, per second.
    pub rate: f64,
    /// Packets that the source sent, per second.
    pub source_rate: Option<f64>,
    /// Lost, in percent: against the source's own numbers if it stamps its packets, or else as far as
    /// the server's sequence numbers tell.
    pub loss_percent: f64,
    /// Whether that is against the source.
    pub loss_at_source: bool,
    /// Source to viewer, packets of interframes, in milliseconds.
    pub delay: Option<Percentiles>,
    /// Source to viewer, packets of key frames, in milliseconds.
    pub key_delay: Option<Percentiles>,
    /// POST to answer, in milliseconds.
    pub answer: Percentiles,
    /// POST to first packet, in milliseconds.
    pub first_packet: Percentiles,
    /// POST to first key frame, in milliseconds.
    pub first_key: Percentiles,
    /// Memory of the server for each viewer, in bytes.
    pub memory: Option<f64>,
    /// Key frames that the source was asked for during the joins.
    pub key_requests: Option<u64>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The viewers.
    #[error("{0}")]
    Viewers(#[from] ViewerError),
    /// The server's process cannot be looked at.
    #[error("the server's process: {0}")]
    Io(#[from] io::Error),
    /// Not all viewers came.
    #[error("only {connected} of {wanted} viewers came, {with_key} with a picture: {why}")]
    Joins {
        /// How many.
        connected: usize,
        /// Of how many.
        wanted: usize,
        /// How many have a key frame.
        with_key: usize,
        /// What they say.
        why: String,
    },
}

/// The figures that are read before and after the measured seconds.
struct Reading {
    at_us: u64,
    cpu_ns: Option<u64>,
    sent: Option<u64>,
}

impl Subject<'_> {
    fn memory(&self) -> io::Result<Option<u64>> {
        self.process.map(cpu::memory).transpose()
    }

    fn read(&self, clock: Clock) -> io::Result<Reading> {
        Ok(Reading {
            at_us: clock.now().mono.0,
            cpu_ns: self.process.map(cpu::time_ns).transpose()?,
            sent: self.source.map(LoadSource::packets),
        })
    }
}

impl Audience {
    fn options(&self, subject: &Subject<'_>) -> viewer::Options {
        viewer::Options {
            joins_per_second: Some(self.join_rate),
            video: subject.video.clone(),
            audio: false,
            srtp: SrtpOffer::Both,
            signalling: subject.signalling,
            token: subject.token.clone(),
            open_one_in: OPEN_ONE_IN,
            nack: false,
            feedback_us: self.twcc.then_some(FEEDBACK_US),
            bulk: Some(BulkOptions { spin: true, gro: self.gro }),
            local: subject.local,
            ..viewer::Options::default()
        }
    }

    /// Lets the viewers in and watches.
    ///
    /// # Errors
    /// If viewers do not come, or the server's process is not there.
    pub fn watch(&self, subject: &Subject<'_>, clock: Clock) -> Result<Figures, MeasureError> {
        let empty = subject.memory()?;
        let asked = subject.source.map(LoadSource::key_requests);
        let viewers = Viewers::start(&subject.url, self.viewers, &self.options(subject))?;
        let joined = self.let_in(&viewers)?;
        let key_requests =
            subject.source.zip(asked).map(|(source, asked)| source.key_requests() - asked);
        pause(SETTLE);
        let memory = subject
            .memory()?
            .zip(empty)
            .map(|(now, empty)| now.saturating_sub(empty) as f64 / self.viewers.max(1) as f64);
        viewers.mark();
        let before = subject.read(clock)?;
        pause(Duration::from_secs(self.seconds));
        let report = viewers.report();
        let after = subject.read(clock)?;
        // Leaving costs the server something, and it is not what is measured.
        let (_, _left) = viewers.stop();
        Ok(self.figures(&joined, &report, (&before, &after), memory, key_requests))
    }

    /// Waits until all are there with a picture.
    fn let_in(&self, viewers: &Viewers) -> Result<Report, MeasureError> {
        let last = Duration::from_secs_f64(self.viewers as f64 / self.join_rate);
        let there = viewers.wait(last + JOIN_TIMEOUT, |r| {
            r.connected + r.failed == self.viewers && r.with_first_key() + r.failed == self.viewers
        });
        let joined = there.unwrap_or_else(|report| *report);
        let with_key = joined.with_first_key();
        if joined.connected < self.viewers || with_key < self.viewers {
            let why = joined.errors.iter().map(|(e, n)| format!("{n} x {e}"));
            return Err(MeasureError::Joins {
                connected: joined.connected,
                wanted: self.viewers,
                with_key,
                why: why.collect::<Vec<_>>().join(", "),
            });
        }
        Ok(joined)
    }

    fn figures(
        &self,
        joined: &Report,
        report: &Report,
        (before, after): (&Reading, &Reading),
        memory: Option<f64>,
        key_requests: Option<u64>,
    ) -> Figures {
        let seconds = (after.at_us - before.at_us) as f64 / 1e6;
        let cpu_ns = after.cpu_ns.zip(before.cpu_ns).map(|(a, b)| a.saturating_sub(b) as f64);
        let sent = after.sent.zip(before.sent).map(|(a, b)| (a - b) as f64);
        let bulk = &report.bulk;
        let got = bulk.packets.max(1) as f64;
        let loss_at_source = bulk.source_sent > 0;
        let delay = |h| Some(Percentiles::from(h)).filter(|p| p.count > 0);
        Figures {
            connected: report.connected,
            cpu_us: cpu_ns.map(|ns| ns / got / 1_000.0),
            core: cpu_ns.map(|ns| ns / seconds / 1e9),
            rate: bulk.packets as f64 / seconds / self.viewers.max(1) as f64,
            source_rate: sent.map(|sent| sent / seconds),
            loss_percent: if loss_at_source {
                bulk.loss_percent()
            } else {
                100.0 * bulk.lost as f64 / (bulk.lost as f64 + got)
            },
            loss_at_source,
            delay: delay(&bulk.delay),
            key_delay: delay(&bulk.key_delay),
            answer: joined.post,
            first_packet: joined.first_packet,
            first_key: joined.first_key,
            memory,
            key_requests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::viewer::BulkReport;

    fn audience() -> Audience {
        Audience { viewers: 2, join_rate: 50.0, gro: true, twcc: false, seconds: 8 }
    }

    fn reading(at_us: u64, cpu_ns: Option<u64>, sent: Option<u64>) -> Reading {
        Reading { at_us, cpu_ns, sent }
    }

    #[test]
    fn a_server_of_ours_tells_all() {
        let bulk = BulkReport {
            packets: 4_000,
            lost: 0,
            source_sent: 5_000,
            source_got: 4_000,
            ..BulkReport::default()
        };
        let report = Report { connected: 2, bulk, ..Report::default() };
        let around =
            (&reading(0, Some(1_000), Some(0)), &reading(8_000_000, Some(8_001_000), Some(2_500)));
        let f = audience().figures(&report, &report, around, Some(1.0), Some(2));
        assert_eq!((f.cpu_us, f.core), (Some(2.0), Some(0.001)));
        assert_eq!((f.rate, f.source_rate), (250.0, Some(312.5)));
        assert_eq!((f.loss_percent, f.loss_at_source), (20.0, true));
    }

    #[test]
    fn a_stranger_is_judged_by_its_numbers() {
        let bulk = BulkReport { packets: 3_000, lost: 1_000, ..BulkReport::default() };
        let report = Report { connected: 2, bulk, ..Report::default() };
        let around = (&reading(0, None, None), &reading(10_000_000, None, None));
        let f = audience().figures(&report, &report, around, None, None);
        assert_eq!((f.cpu_us, f.core, f.source_rate, f.memory), (None, None, None, None));
        assert_eq!((f.loss_percent, f.loss_at_source), (25.0, false));
        assert!(f.delay.is_none() && f.key_delay.is_none());
        let json = serde_json::to_string(&f).unwrap();
        assert!(json.contains("\"cpu_us\":null"), "{json}");
    }
}

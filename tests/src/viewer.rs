//! The headless viewer: what a browser does to a WHEP server, without decoding, hundreds per
//! process. It measures join times, loss after repair, delay and whole frames, and it is the load
//! generator of the benchmarks. It works with any WHEP server, and with Janus' streaming plugin.

mod answer;
mod arrivals;
mod bridge;
mod bulk;
mod driver;
pub(crate) mod forge;
mod histogram;
mod janus;
mod report;
mod rtp;
mod sdp;
mod secure;
mod session;
mod signalling;
mod stream;
mod stun;

pub use bulk::{BulkOptions, BulkReport};
pub use histogram::Histogram;
pub use report::{Percentiles, Report, State, StreamReport, ViewerReport};
pub use sdp::{Answer, Codec, Offer};

use driver::{Command, Joiner, Shard, with};
use relay_node::clock::Clock;
use secure::Identity;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// A shard answers a question for its report within this time, or it has died.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which SRTP profiles are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SrtpOffer {
    /// AEAD_AES_128_GCM only.
    Gcm,
    /// AES_CM_128_HMAC_SHA1_80 only.
    Cm,
    /// Both, counter mode first, as Chromium does.
    Both,
}

/// How viewers and server find together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signalling {
    /// The viewers offer (draft-ietf-wish-whep).
    #[default]
    Whep,
    /// Janus' HTTP interface, where the streaming plugin offers.
    Janus {
        /// Number of the mountpoint.
        mountpoint: u64,
    },
}

/// What viewers do who mean no good, from the first packet on, all of it authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abuse {
    /// They ask for hundreds of packets again, whether they came or not.
    Nacks,
    /// They send the same RTCP packet over and over.
    Replays,
}

/// How the viewers behave.
#[derive(Debug, Clone)]
pub struct Options {
    /// Joins per second; all at once if `None`.
    pub joins_per_second: Option<f64>,
    /// Video codecs offered, best first.
    pub video: Vec<Codec>,
    /// Whether sound is offered.
    pub audio: bool,
    /// SRTP profiles offered.
    pub srtp: SrtpOffer,
    /// How the server is spoken to.
    pub signalling: Signalling,
    /// Bearer token for the server.
    pub token: Option<String>,
    /// Threads that receive.
    pub threads: usize,
    /// Opens one in so many packets (1: all); before the first key frame and for RTX all.
    pub open_one_in: u32,
    /// Asks for lost packets again.
    pub nack: bool,
    /// Time between transport-wide feedback in microseconds, if the viewer gives any.
    pub feedback_us: Option<u64>,
    /// Time between consent checks in microseconds.
    pub consent_us: u64,
    /// Time between Receiver Reports in microseconds.
    pub report_us: u64,
    /// Receives the cheap way, without repair; `None` watches each packet and frame.
    pub bulk: Option<BulkOptions>,
    /// Where viewers receive; the address towards the server if `None`.
    pub local: Option<IpAddr>,
    /// Behaves badly.
    pub abuse: Option<Abuse>,
    /// Media over TCP instead of UDP (RFC 6544).
    pub tcp: bool,
    /// Makes passwords and numbers; the same seed makes the same.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            joins_per_second: None,
            video: vec![Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1],
            audio: true,
            srtp: SrtpOffer::Both,
            signalling: Signalling::Whep,
            token: None,
            threads: 1,
            open_one_in: 1,
            nack: true,
            // Browsers: 50 to 250 ms.
            feedback_us: Some(100_000),
            // RFC 7675 says 5 s less up to 20%; twice as often notices sooner, as browsers do.
            consent_us: 2_500_000,
            report_us: 1_000_000,
            bulk: None,
            local: None,
            abuse: None,
            tcp: false,
            seed: 1,
        }
    }
}

/// Why viewers do not start.
#[derive(Debug, thiserror::Error)]
pub enum ViewerError {
    /// Threads or sockets.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Certificate or DTLS configuration.
    #[error("DTLS identity: {0}")]
    Identity(String),
}

/// Running viewers. Dropped without [`Viewers::stop`] they vanish without a word, as a browser
/// whose machine loses power.
pub struct Viewers {
    shards: Arc<Vec<Mutex<Shard>>>,
    joiner: Joiner,
    count: usize,
}

impl std::fmt::Debug for Viewers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Viewers").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Viewers {
    /// Lets `count` viewers join at `url`: a WHEP endpoint, or Janus' HTTP interface.
    ///
    /// # Errors
    /// If threads or the DTLS identity cannot be made. Refused joins are in the report.
    pub fn start(url: &str, count: usize, options: &Options) -> Result<Self, ViewerError> {
        let clock = Clock::start();
        let options = Arc::new(options.clone());
        let identity =
            Identity::new(options.srtp, options.signalling).map_err(ViewerError::Identity)?;
        let shards = (0..options.threads.max(1))
            .map(|_| Shard::start(clock, options.bulk).map(Mutex::new))
            .collect::<Result<Vec<_>, _>>()?;
        let shards = Arc::new(shards);
        let joiner = Joiner::start(url, count, &options, clock, &shards, identity)?;
        Ok(Self { shards, joiner, count })
    }

    /// What they measured so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let (to, from) = mpsc::channel();
        for shard in 0..self.shards.len() {
            with(&self.shards, shard, |s| s.send(Command::Report(to.clone())));
        }
        drop(to);
        let mut each = Vec::new();
        while let Ok(part) = from.recv_timeout(REPORT_TIMEOUT) {
            each.extend(part);
        }
        Report::new(each)
    }

    /// Lets [`BulkReport`]s count anew, and the longest gaps be looked for anew.
    pub fn mark(&self) {
        for shard in 0..self.shards.len() {
            with(&self.shards, shard, |s| s.send(Command::Mark));
        }
    }

    /// Waits until `condition` holds for the report.
    ///
    /// # Errors
    /// The last report if it does not within the deadline.
    pub fn wait(
        &self,
        deadline: Duration,
        condition: impl Fn(&Report) -> bool,
    ) -> Result<Report, Box<Report>> {
        let mut last = self.report();
        let held = crate::wait::holds_within(deadline, || {
            last = self.report();
            condition(&last)
        });
        if held { Ok(last) } else { Err(Box::new(last)) }
    }

    /// Lets every viewer watch so many whole frames more: one whose picture stands is waited for.
    ///
    /// # Errors
    /// The last report if some viewer has not got them within the deadline.
    pub fn watch(&self, deadline: Duration, frames: u64) -> Result<Report, Box<Report>> {
        let seen = |report: &Report| -> BTreeMap<usize, u64> {
            report.each.iter().map(|viewer| (viewer.id, viewer.video.frames)).collect()
        };
        let before = seen(&self.report());
        self.wait(deadline, |report| {
            let now = seen(report);
            before.iter().all(|(id, had)| now.get(id).is_some_and(|n| *n >= had + frames))
        })
    }

    /// Session resources that a WHEP server gave.
    #[must_use]
    pub fn locations(&self) -> Vec<String> {
        self.joiner.locations()
    }

    /// Leaves properly: DELETE for every session (Janus: destroy). Gives the final report and how
    /// many sessions were ended with success.
    #[must_use]
    pub fn stop(mut self) -> (Report, usize) {
        self.joiner.stop();
        let report = self.report();
        let deleted = self.joiner.leave();
        self.end(true);
        (report, deleted)
    }

    fn end(&mut self, close: bool) {
        for shard in 0..self.shards.len() {
            with(&self.shards, shard, |s| {
                s.send(Command::Stop { close });
                s.join();
            });
        }
    }
}

impl Drop for Viewers {
    fn drop(&mut self) {
        self.joiner.stop();
        self.end(false);
    }
}

//! What goes into a session and what comes out of it, as its driver sees it.

use super::dtls::{DtlsError, DtlsJob, Fingerprint};
use super::ice::Credentials;
use super::track::TrackSetup;
use crate::bandwidth::pilot::Counts;
use crate::rewriter::Original;
use soleil_protocol::{PipelineId, Ssrc};
use std::net::SocketAddr;
use std::time::Duration;

/// How long a session lasts without signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the offer to media.
    pub connect: Duration,
    /// Since the last valid check (RFC 7675 section 5.1: 30 s).
    pub consent: Duration,
}

/// All that a session needs to begin.
#[derive(Debug)]
pub struct SessionSetup {
    /// ICE credentials.
    pub credentials: Credentials,
    /// Bytes of the offer.
    pub offer_len: usize,
    /// The certificate that the offer promises.
    pub fingerprint: Fingerprint,
    /// What it plays.
    pub pipeline: PipelineId,
    /// Its tracks.
    pub tracks: Vec<TrackSetup>,
    /// CNAME of all of them (RFC 3550 section 6.5.1: the same for what belongs together).
    pub cname: String,
    /// Time limits.
    pub timeouts: Timeouts,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndCause {
    /// The viewer deleted it.
    Deleted,
    /// The viewer closed DTLS.
    Closed,
    /// No valid check for too long.
    ConsentLost,
    /// It never got as far as media.
    NeverConnected,
    /// The handshake failed.
    Handshake(DtlsError),
    /// The certificate is not the one of the offer.
    Fingerprint,
    /// The stream is over.
    StreamEnded,
    /// The node leaves.
    Drained,
}

impl EndCause {
    /// A word for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            EndCause::Deleted => "deleted",
            EndCause::Closed => "closed",
            EndCause::ConsentLost => "consent_lost",
            EndCause::NeverConnected => "never_connected",
            EndCause::Handshake(DtlsError::NoGcm) => "no_gcm",
            EndCause::Handshake(_) => "handshake_failed",
            EndCause::Fingerprint => "wrong_certificate",
            EndCause::StreamEnded => "stream_ended",
            EndCause::Drained => "drained",
        }
    }
}

/// What the driver has to do.
#[derive(Debug)]
pub enum Action {
    /// Send a datagram.
    Send(SocketAddr, Vec<u8>),
    /// Run the job away from the media thread and bring the result to
    /// [`Session::handle_dtls`].
    Dtls(DtlsJob),
    /// Datagrams from there belong to this session from now on; unless it is validated, only if no
    /// other session has validated it.
    Address {
        /// The address.
        addr: SocketAddr,
        /// It has answered us.
        validated: bool,
    },
    /// Media flows from now on.
    Live,
    /// A track waits for a beginning: call [`Session::start`] with the layer's ring, and if that
    /// has none, ask for a key frame.
    Start(usize, Ssrc),
    /// Ask for a key frame of this layer.
    KeyFrame(Ssrc),
    /// Look the original up and call [`Session::resend`].
    Resend(usize, Original),
    /// Look the original up and call [`Session::probe`].
    Probe(usize, Original),
    /// It is over: forget the session.
    Ended(EndCause),
}

/// Counters since the session began, and the viewer's latest reports.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SessionStats {
    /// Media packets sent, resends included.
    pub packets: u64,
    /// Their bytes, as datagrams.
    pub bytes: u64,
    /// Lost packets that the viewer named.
    pub nacks: u64,
    /// Packets sent again.
    pub resends: u64,
    /// Key-frame requests of the viewer.
    pub key_frames: u64,
    /// SRTCP that was not authentic, or replayed.
    pub forged: u64,
    /// What its adaptation did.
    pub adaptation: Counts,
    /// Whether the figures below are known.
    pub reported: bool,
    /// Worst of the tracks, 0 to 1.
    pub fraction_lost: f64,
    /// Sum of the tracks.
    pub lost: i64,
    /// Worst of the tracks, seconds.
    pub jitter: f64,
    /// Worst of the tracks, seconds.
    pub rtt: Option<f64>,
}

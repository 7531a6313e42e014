//! One viewer: a pure state machine without socket, task or timer of its own. The driver (`worker`)
//! feeds it with datagrams, packets and time, and does what [`Session::poll_action`] says.
//!
//! The order of its life: valid STUN checks from an address → that address answers our own
//! request → DTLS → keys → media to the nominated address, until the viewer's checks stop.

mod api;
mod choice;
mod connect;
pub mod dtls;
pub mod ice;
mod play;
mod resends;
pub mod rtcp;
mod steer;
pub mod stun;
mod timers;
pub mod track;

#[cfg(test)]
pub(crate) mod tests;

pub use api::{Action, EndCause, SessionSetup, SessionStats, Timeouts};
pub use choice::Choice;
pub use play::Delivery;
pub use resends::{RESEND_BURST, RESENDS_PER_SECOND};

use crate::bandwidth::pilot::Pilot;
use dtls::{Dtls, Fingerprint};
use ice::{Credentials, IceAgent};
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay_node::media::srtp::{SrtcpOpener, SrtcpSealer, SrtpSealer};
use resends::Resends;
use soleil_protocol::{Mono, PipelineId, Ssrc};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use timers::{Timer, Timers};
use track::OutTrack;

/// DTLS datagrams that wait while the address is not validated yet or the association is away at
/// the handshake threads: one flight of a browser has at most six.
pub const MAX_WAITING_DTLS: usize = 8;

/// The longest DTLS datagram that is looked at: browsers keep theirs below 1,500 bytes, and no
/// path between them and us carries more than a jumbo frame's half.
pub const MAX_DTLS_LEN: usize = 4_096;

/// DTLS datagrams that are looked at once there are keys: repeats of the last flight, and alerts.
/// What goes beyond is dropped here, before it costs the handshake threads anything.
pub const MAX_LATE_DTLS: u32 = dtls::MAX_REPEATS + dtls::MAX_ALERTS;

/// Sender Reports (RFC 3550 section 6.2 would allow fewer; players need them for lip-sync).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

struct Keys {
    rtp: SrtpSealer,
    rtcp: SrtcpSealer,
    viewer_rtcp: SrtcpOpener,
}

/// A viewer.
pub struct Session {
    rng: StdRng,
    ice: IceAgent,
    dtls: Option<Box<dyn Dtls>>,
    dtls_input: VecDeque<(SocketAddr, Vec<u8>)>,
    dtls_timeout: bool,
    late_dtls: u32,
    dtls_peer: Option<SocketAddr>,
    fingerprint: Fingerprint,
    keys: Option<Keys>,
    live: bool,
    ended: bool,
    pipeline: PipelineId,
    tracks: Vec<OutTrack>,
    cname: String,
    timeouts: Timeouts,
    timers: Timers,
    resends: Resends,
    key_frame_at: Option<Mono>,
    /// For viewers that report on what arrives.
    pilot: Option<Box<Pilot>>,
    stats: SessionStats,
    actions: VecDeque<Action>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({}, live: {})", self.ice.local_ufrag(), self.live)
    }
}

impl Session {
    /// Begins a session. `seed` is the source of all its randomness.
    pub fn new(now: Mono, setup: SessionSetup, dtls: Box<dyn Dtls>, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let ice = IceAgent::new(now, setup.credentials, setup.offer_len, &mut rng);
        let reports = setup.tracks.iter().any(|t| t.twcc_ext.is_some());
        let kinds = setup.tracks.iter().map(|t| (t.kind, t.source));
        let pilot = reports.then(|| Box::new(Pilot::new(now, kinds)));
        let tracks = setup.tracks.into_iter().map(|t| OutTrack::new(t, &mut rng)).collect();
        let mut timers = Timers::default();
        timers.set(Timer::Connect, now.after(setup.timeouts.connect));
        timers.set(Timer::Consent, now.after(setup.timeouts.consent));
        Self {
            rng,
            ice,
            dtls: Some(dtls),
            dtls_input: VecDeque::new(),
            dtls_timeout: false,
            late_dtls: 0,
            dtls_peer: None,
            fingerprint: setup.fingerprint,
            keys: None,
            live: false,
            ended: false,
            pipeline: setup.pipeline,
            tracks,
            cname: setup.cname,
            timeouts: setup.timeouts,
            timers,
            resends: Resends::new(now),
            key_frame_at: None,
            pilot,
            stats: SessionStats::default(),
            actions: VecDeque::new(),
        }
    }

    /// Our ICE user name fragment, by which the first datagram finds the session.
    pub fn local_ufrag(&self) -> &str {
        self.ice.local_ufrag()
    }

    /// The viewer's ICE user name fragment.
    pub fn remote_ufrag(&self) -> &str {
        self.ice.remote_ufrag()
    }

    /// Our user name fragments that hold: two during a restart.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        self.ice.local_ufrags()
    }

    /// Restarts ICE with new credentials that came in `len` bytes. Keys, numbers and media go on.
    pub fn restart(&mut self, credentials: Credentials, len: usize) {
        self.ice.restart(credentials, len);
    }

    /// Addresses that datagrams of this session come from.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.ice.addresses()
    }

    /// Whether the address has answered this session's request lately.
    pub fn has_validated(&self, now: Mono, addr: SocketAddr) -> bool {
        self.ice.is_validated(now, addr)
    }

    /// What it plays.
    pub fn pipeline(&self) -> PipelineId {
        self.pipeline
    }

    /// Whether media flows.
    pub fn is_live(&self) -> bool {
        self.live && !self.ended
    }

    /// Its counters.
    pub fn stats(&self) -> SessionStats {
        let mut stats = self.stats;
        if let Some(pilot) = &self.pilot {
            stats.adaptation = pilot.counts();
        }
        for report in self.tracks.iter().filter_map(|t| t.report) {
            stats.reported = true;
            stats.fraction_lost = stats.fraction_lost.max(report.fraction_lost);
            stats.lost += i64::from(report.lost);
            stats.jitter = stats.jitter.max(report.jitter);
            stats.rtt = match (stats.rtt, report.rtt) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            };
        }
        stats
    }

    /// Each track with the layer that it gets, for the driver's dispatch.
    pub fn sources(&self) -> impl Iterator<Item = (usize, Ssrc)> + '_ {
        self.tracks.iter().enumerate().map(|(i, t)| (i, t.setup.source))
    }

    /// The name of a track.
    pub fn track_name(&self, track: usize) -> Option<&str> {
        self.tracks.get(track).map(|t| t.setup.name.as_str())
    }

    /// Takes a datagram; SRTCP is opened in place.
    pub fn handle_datagram(&mut self, now: Mono, from: SocketAddr, data: &mut [u8]) {
        if self.ended {
            return;
        }
        if stun::is_stun(data) {
            self.handle_stun(now, from, data);
            if self.ice.last_check() == now {
                self.alive(now);
            }
        } else if !self.ice.knows(from) {
            // Nothing but STUN from strangers.
        } else if dtls::is_dtls(data) {
            if self.takes_dtls(data) {
                self.dtls_input.push_back((from, data.to_vec()));
                // The viewer thinks that the path is open: our request or its answer was lost.
                self.ice.validate(now, from, data.len(), &mut self.rng);
                self.start_dtls(now);
            }
        } else if is_rtcp(data) {
            self.take_rtcp(now, from, data);
        }
    }

    /// The time of [`poll_timeout`](Session::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.ended {
            return;
        }
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Connect => self.end(EndCause::NeverConnected),
                Timer::Consent => {
                    let until = self.ice.last_check().after(self.timeouts.consent);
                    if until <= now {
                        // Without a goodbye: nothing may be sent there any more (RFC 7675
                        // section 5.1).
                        self.end(EndCause::ConsentLost);
                    } else {
                        self.timers.set(Timer::Consent, until);
                    }
                }
                Timer::Dtls => {
                    self.dtls_timeout = true;
                    self.start_dtls(now);
                }
                Timer::Report => {
                    self.ice.handle_timeout(now);
                    self.send_reports(now);
                    self.steer(now);
                    self.timers.set(Timer::Report, now.after(REPORT_INTERVAL));
                }
                Timer::KeyFrame => self.ask_key_frames(now),
            }
            if self.ended {
                return;
            }
        }
    }

    /// When to call [`handle_timeout`](Session::handle_timeout) at the latest.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.ended { None } else { self.timers.next() }
    }

    /// The next thing to be done; call until it is `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some((to, data)) = self.ice.poll_transmit() {
            return Some(Action::Send(to, data));
        }
        self.actions.pop_front()
    }

    fn end(&mut self, cause: EndCause) {
        if !self.ended {
            self.ended = true;
            self.live = false;
            self.actions.push_back(Action::Ended(cause));
        }
    }
}

/// Whether a datagram is RTCP and not RTP (RFC 5761 section 4).
pub(crate) fn is_rtcp(data: &[u8]) -> bool {
    data.len() >= 8 && data[0] >> 6 == 2 && (192..=223).contains(&data[1])
}

//! One viewer: a pure state machine without socket, task or timer of its own. The driver (`worker`)
//! feeds it with datagrams, packets and time, and does what [`Session::poll_action`] says.
//!
//! The order of its life: valid STUN checks from an address → that address answers our own
//! request → DTLS → keys → media to the nominated address, until the viewer's checks stop.

pub mod dtls;
pub mod ice;
pub mod rtcp;
pub mod stun;
mod timers;
pub mod track;

#[cfg(test)]
pub(crate) mod tests;

use crate::rewriter::{Original, Source};
use crate::ring::Stored;
use dtls::{Dtls, DtlsDone, DtlsError, DtlsEvent, DtlsJob, Fingerprint, Handshaken};
use ice::{Credentials, IceAgent, Outcome};
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay_node::media::srtp::{SrtcpOpener, SrtcpSealer, SrtpSealer};
use rtcp::Feedback;
use soleil_protocol::{Mono, PipelineId, Ssrc};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use timers::{Timer, Timers};
use track::{Forwarded, OutTrack, TrackSetup};

/// DTLS datagrams that wait while the address is not validated yet or the association is away at
/// the handshake threads: one flight of a browser has at most six.
pub const MAX_WAITING_DTLS: usize = 8;

/// The longest DTLS datagram that is looked at: browsers keep theirs below 1,500 bytes, and no
/// path between them and us carries more than a jumbo frame's half.
pub const MAX_DTLS_LEN: usize = 4_096;

/// Resends per second and viewer: 1.5 times a 2.5 Mbit/s stream's packets, so a viewer that loses
/// half of them can still be helped, and a flood of NACKs costs no more than a second stream.
pub const RESENDS_PER_SECOND: u64 = 400;

/// Resends at once: a lost burst of two thirds of a second.
pub const RESEND_BURST: u64 = 200;

/// A viewer's key-frame requests are passed on at most this often; upstream merges further.
const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(200);

/// How often a key frame is asked for while a track waits for one to begin with.
const KEY_FRAME_RETRY: Duration = Duration::from_millis(500);

/// Sender Reports (RFC 3550 section 6.2 would allow fewer; players need them for lip-sync).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The first report comes early, so that sound and picture are together from the beginning.
const FIRST_REPORT: Duration = Duration::from_millis(100);

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
    /// Ask for a key frame of this layer.
    KeyFrame(Ssrc),
    /// Look the original up and call [`Session::resend`].
    Resend(usize, Original),
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
    tokens: u64,
    tokens_at: Mono,
    key_frame_at: Option<Mono>,
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
            tokens: RESEND_BURST,
            tokens_at: now,
            key_frame_at: None,
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

    /// Gives a track another layer; it changes over at that layer's next key frame.
    pub fn set_source(&mut self, now: Mono, track: usize, source: Ssrc) {
        let Some(t) = self.tracks.get_mut(track).filter(|t| t.setup.source != source) else {
            return;
        };
        t.setup.source = source;
        t.waiting = true;
        if self.live {
            self.ask_key_frames(now);
        }
    }

    /// Takes a datagram; SRTCP is opened in place.
    pub fn handle_datagram(&mut self, now: Mono, from: SocketAddr, data: &mut [u8]) {
        if self.ended {
            return;
        }
        if stun::is_stun(data) {
            self.handle_stun(now, from, data);
        } else if !self.ice.knows(from) {
            // Nothing but STUN from strangers.
        } else if dtls::is_dtls(data) {
            if self.dtls_input.len() < MAX_WAITING_DTLS && data.len() <= MAX_DTLS_LEN {
                self.dtls_input.push_back((from, data.to_vec()));
                // The viewer thinks that the path is open: our request or its answer was lost.
                self.ice.validate(now, from, &mut self.rng);
                self.start_dtls(now);
            }
        } else if is_rtcp(data) {
            self.handle_rtcp(now, data);
        }
    }

    /// Takes back what [`Action::Dtls`] gave out.
    pub fn handle_dtls(&mut self, now: Mono, done: DtlsDone) {
        let DtlsDone { dtls, output, events, result } = done;
        self.dtls = dtls;
        if self.ended {
            return;
        }
        if let Some(to) = self.dtls_peer.filter(|to| self.ice.is_validated(now, *to)) {
            self.actions.extend(output.into_iter().map(|data| Action::Send(to, data)));
        }
        for event in events {
            match event {
                DtlsEvent::Complete(h) if self.keys.is_none() => self.take_keys(now, &h),
                DtlsEvent::Complete(_) => {}
                DtlsEvent::Closed => self.end(EndCause::Closed),
            }
        }
        if let Err(error) = result {
            // After the keys only an authentic alert is an error.
            let cause = match self.keys {
                Some(_) => EndCause::Closed,
                None => EndCause::Handshake(error),
            };
            self.end(cause);
        }
        self.start_dtls(now);
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

    /// Appends the packet as the viewer gets it to `out` and returns where it goes; the second
    /// value says that a range began with it: what the ring has behind it should follow.
    pub fn forward(
        &mut self,
        now: Mono,
        track: usize,
        source: Source,
        packet: &Stored,
        out: &mut Vec<u8>,
    ) -> Option<(SocketAddr, bool)> {
        if !self.live {
            return None;
        }
        let (keys, to) = (self.keys.as_ref()?, self.media_address(now)?);
        let before = out.len();
        let t = self.tracks.get_mut(track)?;
        let waited = t.waiting;
        let done = t.forward(now, &keys.rtp, source, packet, out);
        if done == Forwarded::Nothing {
            if t.waiting && !waited {
                // Fallen out of step: ask at the next opportunity.
                self.timers.set(Timer::KeyFrame, now);
            }
            return None;
        }
        self.stats.packets += 1;
        self.stats.bytes += (out.len() - before) as u64;
        Some((to, done == Forwarded::Began))
    }

    /// Appends a packet that the viewer has lost to `out` and returns where it goes.
    pub fn resend(
        &mut self,
        now: Mono,
        track: usize,
        original: &Original,
        packet: &Stored,
        out: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        if !self.live {
            return None;
        }
        let (keys, to) = (self.keys.as_ref()?, self.media_address(now)?);
        let before = out.len();
        if !self.tracks.get_mut(track)?.resend(&keys.rtp, original, packet, out) {
            return None;
        }
        self.stats.packets += 1;
        self.stats.resends += 1;
        self.stats.bytes += (out.len() - before) as u64;
        Some(to)
    }

    /// Ends the session and tells the viewer: BYE and a DTLS alert.
    pub fn close(&mut self, now: Mono, cause: EndCause) {
        if self.ended {
            return;
        }
        let to = self.media_address(now);
        if let (Some(keys), Some(to)) = (self.keys.as_mut(), to) {
            let ssrcs: Vec<u32> = self.tracks.iter().map(|t| t.setup.ssrc).collect();
            let mut out = Vec::with_capacity(128);
            rtcp::write_bye(&mut out, &ssrcs, &self.cname);
            if keys.rtcp.seal(&mut out, 0).is_ok() {
                self.actions.push_back(Action::Send(to, out));
            }
            if let Some(dtls) = self.dtls.as_mut() {
                dtls.close(now);
                while let Some(data) = dtls.poll_transmit() {
                    self.actions.push_back(Action::Send(to, data));
                }
            }
        }
        self.end(cause);
    }

    /// The nominated address, as long as its validation holds.
    fn media_address(&self, now: Mono) -> Option<SocketAddr> {
        self.ice.selected().filter(|to| self.ice.is_validated(now, *to))
    }

    fn handle_stun(&mut self, now: Mono, from: SocketAddr, data: &[u8]) {
        let known = self.ice.knows(from);
        match self.ice.handle(now, from, data, &mut self.rng) {
            Outcome::Ignored => {}
            Outcome::Checked => {
                if !known {
                    self.actions.push_back(Action::Address { addr: from, validated: false });
                }
                self.go_live(now);
            }
            Outcome::Validated => {
                self.actions.push_back(Action::Address { addr: from, validated: true });
                self.start_dtls(now);
                self.go_live(now);
            }
        }
    }

    /// Hands waiting DTLS to the handshake threads, as far as it comes from validated addresses.
    fn start_dtls(&mut self, now: Mono) {
        if self.ended || self.dtls.is_none() {
            return;
        }
        let mut input = Vec::new();
        let mut later = VecDeque::new();
        for (from, data) in self.dtls_input.drain(..) {
            if self.ice.is_validated(now, from) {
                self.dtls_peer = Some(from);
                input.push(data);
            } else {
                later.push_back((from, data));
            }
        }
        self.dtls_input = later;
        let timeout = std::mem::take(&mut self.dtls_timeout);
        if input.is_empty() && !timeout {
            self.schedule_dtls();
            return;
        }
        if let Some(dtls) = self.dtls.take() {
            self.timers.stop(Timer::Dtls);
            self.actions.push_back(Action::Dtls(DtlsJob { dtls, input, timeout }));
        }
    }

    fn schedule_dtls(&mut self) {
        match self.dtls.as_ref().and_then(|d| d.poll_timeout()) {
            Some(at) => self.timers.set(Timer::Dtls, at),
            None => self.timers.stop(Timer::Dtls),
        }
    }

    fn take_keys(&mut self, now: Mono, handshaken: &Handshaken) {
        if handshaken.fingerprint != self.fingerprint {
            self.end(EndCause::Fingerprint);
            return;
        }
        self.keys = Some(Keys {
            rtp: SrtpSealer::new(&handshaken.server),
            rtcp: SrtcpSealer::new(&handshaken.server),
            viewer_rtcp: SrtcpOpener::new(&handshaken.client),
        });
        self.go_live(now);
    }

    fn go_live(&mut self, now: Mono) {
        if self.live || self.ended || self.keys.is_none() || self.ice.selected().is_none() {
            return;
        }
        self.live = true;
        self.timers.stop(Timer::Connect);
        self.timers.set(Timer::Report, now.after(FIRST_REPORT));
        self.actions.push_back(Action::Live);
        self.ask_key_frames(now);
    }

    /// Asks for a key frame of every picture that waits for one, and looks again later.
    fn ask_key_frames(&mut self, now: Mono) {
        let mut waits = false;
        for t in self.tracks.iter().filter(|t| t.waiting) {
            if t.setup.kind == soleil_protocol::pipeline::MediaKind::Video {
                waits = true;
                self.actions.push_back(Action::KeyFrame(t.setup.source));
            }
        }
        if waits {
            self.timers.set(Timer::KeyFrame, now.after(KEY_FRAME_RETRY));
        } else {
            self.timers.stop(Timer::KeyFrame);
        }
    }

    fn send_reports(&mut self, now: Mono) {
        let to = self.media_address(now);
        let (Some(keys), Some(to)) = (self.keys.as_mut(), to) else { return };
        for t in &mut self.tracks {
            let Some(report) = t.sender_report(now) else { continue };
            let mut out = Vec::with_capacity(96);
            rtcp::write_sender_report(&mut out, &report, &self.cname);
            if keys.rtcp.seal(&mut out, 0).is_ok() {
                self.actions.push_back(Action::Send(to, out));
            }
        }
    }

    fn handle_rtcp(&mut self, now: Mono, data: &mut [u8]) {
        let Some(keys) = self.keys.as_mut() else { return };
        let Ok(plain) = keys.viewer_rtcp.open(data) else {
            self.stats.forged += 1;
            return;
        };
        let elapsed = now.since(self.tokens_at).as_micros() as u64;
        let earned = elapsed.saturating_mul(RESENDS_PER_SECOND) / 1_000_000;
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(RESEND_BURST);
            self.tokens_at = now;
        }
        let Self { tracks, stats, actions, tokens, key_frame_at, .. } = self;
        rtcp::read(plain, |item| match item {
            Feedback::Report(block) => {
                if let Some(t) = tracks.iter_mut().find(|t| t.setup.ssrc == block.ssrc) {
                    t.take_report(now, &block);
                }
            }
            Feedback::Nack { ssrc, seq, mask } => {
                let Some(i) = tracks.iter().position(|t| t.setup.ssrc == ssrc) else { return };
                for seq in rtcp::nacked(seq, mask) {
                    stats.nacks += 1;
                    if *tokens == 0 {
                        continue;
                    }
                    if let Some(original) = tracks[i].original(seq).filter(|_| tracks[i].setup.nack)
                    {
                        *tokens -= 1;
                        actions.push_back(Action::Resend(i, original));
                    }
                }
            }
            Feedback::KeyFrame { ssrc } => {
                let Some(t) = tracks.iter().find(|t| t.setup.ssrc == ssrc) else { return };
                stats.key_frames += 1;
                if key_frame_at.is_none_or(|at| now.since(at) >= KEY_FRAME_INTERVAL) {
                    *key_frame_at = Some(now);
                    actions.push_back(Action::KeyFrame(t.setup.source));
                }
            }
        });
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
fn is_rtcp(data: &[u8]) -> bool {
    data.len() >= 8 && data[0] >> 6 == 2 && (192..=223).contains(&data[1])
}

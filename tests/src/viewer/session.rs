//! One headless viewer as a state machine: ICE (controlling if it offers, controlled if it answers),
//! DTLS (client), SRTP, RTCP. Pure: datagrams, an answer or offer and time go in, datagrams come out.

mod connect;
mod play;

use super::answer::Answering;
use super::arrivals::Arrivals;
use super::bulk::Bulk;
use super::report::{State, ViewerReport};
use super::rtp::{self, Header, Rtcp};
use super::sdp::{Answer, Codec, Offer, Payload};
use super::secure::{self, Identity};
use super::signalling::{Description, Hello};
use super::stream::Stream;
use super::stun::{Incoming, Role, Secrets, Transaction};
use super::{Abuse, Options};
use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relay_node::clock::Clock;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_shared::TransportProtocol;
use rtc_srtp::context::Context;
use soleil_protocol::{Mono, Now};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

/// First repeat of a connectivity check; doubled each time up to the next constant.
const CHECK_FIRST_US: u64 = 50_000;
const CHECK_MAX_US: u64 = 800_000;
/// First repeat of the handshake's beginning to a server that has just chosen the path, doubled each
/// time, as Chromium does: Janus makes its end of the handshake only now, and may miss the beginning.
const HELLO_FIRST_US: u64 = 50_000;
/// No answer to any check for so long: the path is dead (RFC 7675 section 5.1).
const CONSENT_EXPIRES_US: u64 = 30_000_000;
/// No connection within this time: failed.
const CONNECT_TIMEOUT_US: u64 = 15_000_000;
/// Key-frame requests at most this often.
const PLI_EVERY_US: u64 = 500_000;
/// A joiner asks for a key frame if none came for this long after connecting.
const PLI_PATIENCE_US: u64 = 300_000;
/// How often missing packets are looked at.
const REPAIR_EVERY_US: u64 = 5_000;
/// A viewer who means no good sends so many datagrams at once, and so many numbers in each.
const ABUSE_EVERY_US: u64 = 5_000;
const ABUSE_WAVE: usize = 6;
const ABUSE_NUMBERS: u16 = 340;
/// Streams of one viewer: a server that invents SSRCs is not followed further.
const MAX_STREAMS: usize = 16;

struct Srtp {
    inbound: Context,
    outbound: Context,
}

/// One viewer.
pub(super) struct Session {
    pub id: usize,
    clock: Clock,
    options: Arc<Options>,
    identity: Arc<Identity>,
    rng: StdRng,
    secrets: Secrets,
    tie_breaker: u64,
    local: SocketAddr,
    /// What the server says of itself, in an answer or an offer.
    answer: Option<Answer>,
    role: Role,
    /// The path that a controlling server has chosen.
    nominated: Option<SocketAddr>,
    checks: HashMap<Transaction, (SocketAddr, Mono)>,
    check_interval: u64,
    remote: Option<SocketAddr>,
    last_consent: Mono,
    rtt_us: u64,
    dtls: Option<Endpoint>,
    /// The beginning of a handshake that the server has not answered, and the time to its next repeat.
    hello: Vec<Vec<u8>>,
    hello_interval: u64,
    srtp: Option<Srtp>,
    streams: HashMap<u32, (Codec, Stream)>,
    /// The picture of a load test, from its first key frame on.
    bulk: Option<Bulk>,
    arrivals: Arrivals,
    rtcp_ssrc: u32,
    /// What a viewer who means no good sends over and over.
    replay: Vec<u8>,
    out: VecDeque<(SocketAddr, Vec<u8>)>,
    timers: Timers,
    report: ViewerReport,
    posted: Mono,
    connected: Option<Mono>,
}

/// When what is due next; `None` is never.
#[derive(Debug, Default)]
struct Timers {
    check: Option<Mono>,
    consent: Option<Mono>,
    hello: Option<Mono>,
    repair: Option<Mono>,
    reports: Option<Mono>,
    feedback: Option<Mono>,
    key_frame: Option<Mono>,
    abuse: Option<Mono>,
    give_up: Option<Mono>,
}

impl Session {
    pub fn new(
        id: usize,
        clock: Clock,
        options: Arc<Options>,
        identity: Arc<Identity>,
        local: SocketAddr,
        seed: u64,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let secrets = Secrets {
            local_ufrag: token(&mut rng, 8),
            local_pwd: token(&mut rng, 24),
            remote_ufrag: String::new(),
            remote_pwd: String::new(),
        };
        let tie_breaker = rng.random();
        let rtcp_ssrc = rng.random();
        Self {
            id,
            clock,
            options,
            identity,
            rng,
            secrets,
            tie_breaker,
            local,
            answer: None,
            role: Role::Controlling,
            nominated: None,
            checks: HashMap::new(),
            check_interval: CHECK_FIRST_US,
            remote: None,
            last_consent: Mono(0),
            rtt_us: 0,
            dtls: None,
            hello: Vec::new(),
            hello_interval: HELLO_FIRST_US,
            srtp: None,
            streams: HashMap::new(),
            bulk: None,
            arrivals: Arrivals::default(),
            rtcp_ssrc,
            replay: Vec::new(),
            out: VecDeque::new(),
            timers: Timers::default(),
            report: ViewerReport { id, ..ViewerReport::default() },
            posted: Mono(0),
            connected: None,
        }
    }

    /// What to say to the server.
    pub fn hello(&self) -> Hello {
        let id = self.tie_breaker >> 2;
        let offer = Offer {
            id,
            ufrag: &self.secrets.local_ufrag,
            pwd: &self.secrets.local_pwd,
            fingerprint: &self.identity.fingerprint,
            video: &self.options.video,
            audio: self.options.audio,
            feedback: self.options.feedback_us.is_some(),
            candidate: self.local,
        }
        .to_sdp();
        let answering = Answering {
            id,
            ufrag: self.secrets.local_ufrag.clone(),
            pwd: self.secrets.local_pwd.clone(),
            fingerprint: self.identity.fingerprint.clone(),
            video: self.options.video.clone(),
            audio: self.options.audio,
            feedback: self.options.feedback_us.is_some(),
            candidate: self.local,
        };
        Hello { offer, answering }
    }

    /// The server described itself, asked by a request of `posted`.
    pub fn handle_description(&mut self, now: Now, posted: Mono, description: &Description) {
        self.posted = posted;
        self.report.post_ms = Some(ms(now.mono, posted));
        let (sdp, role) = match description {
            Description::Answer(sdp) => (sdp, Role::Controlling),
            Description::Offer(sdp) => (sdp, Role::Controlled),
        };
        let mut answer = match Answer::parse(sdp) {
            Ok(answer) if answer.active => return self.fail("the server wants to be DTLS client"),
            Ok(answer) => answer,
            Err(error) => return self.fail(&error.to_string()),
        };
        // The others cannot be reached from our socket.
        answer.candidates.retain(|to| to.is_ipv4() == self.local.is_ipv4());
        self.role = role;
        self.secrets.remote_ufrag.clone_from(&answer.ufrag);
        self.secrets.remote_pwd.clone_from(&answer.pwd);
        self.answer = Some(answer);
        self.timers.check = Some(now.mono);
        self.timers.give_up = Some(after(now.mono, CONNECT_TIMEOUT_US));
        self.follow_nomination(now);
        self.handle_timeout(now);
    }

    /// The server did not let it in.
    pub fn handle_refusal(&mut self, error: &str) {
        self.fail(error);
    }

    fn fail(&mut self, error: &str) {
        self.report.state = State::Failed;
        self.report.error.get_or_insert_with(|| error.to_owned());
        self.timers = Timers::default();
    }

    /// A datagram came.
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, data: &[u8]) {
        // RFC 7983: what it is shows in the first byte.
        match data.first() {
            Some(0..=3) => self.handle_stun(now, from, data),
            Some(20..=63) if self.remote == Some(from) => self.handle_dtls(now, from, data),
            Some(128..=191) if self.remote == Some(from) => {
                if matches!(data.get(1), Some(192..=223)) {
                    self.handle_rtcp(now, data);
                } else {
                    self.handle_rtp(now, data);
                }
            }
            _ => self.report.strange += 1,
        }
    }

    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let t = &self.timers;
        let dtls = self.remote.filter(|_| self.srtp.is_none()).and_then(|remote| {
            let at = self.dtls.as_ref()?.poll_timeout(&remote)?;
            let start = self.clock.instant(Mono(0));
            Some(Mono(at.saturating_duration_since(start).as_micros() as u64))
        });
        let media = [t.repair, t.reports, t.feedback, t.key_frame, t.abuse];
        [t.check, t.consent, t.hello, t.give_up, dtls].into_iter().chain(media).flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        let due = |timer: &mut Option<Mono>| timer.take_if(|at| *at <= now.mono).is_some();
        if due(&mut self.timers.give_up) {
            let step = if self.remote.is_none() { "ICE" } else { "DTLS" };
            return self.fail(&format!("{step}: no connection within the time"));
        }
        if due(&mut self.timers.check) {
            let candidates = self.answer.as_ref().map(|a| a.candidates.clone());
            for to in candidates.unwrap_or_default() {
                self.check(now, to);
            }
            self.timers.check = Some(after(now.mono, self.check_interval));
            self.check_interval = (self.check_interval * 2).min(CHECK_MAX_US);
        }
        if due(&mut self.timers.consent)
            && let Some(to) = self.remote
        {
            if now.mono.0 - self.last_consent.0 > CONSENT_EXPIRES_US {
                return self.fail("consent expired");
            }
            self.check(now, to);
            self.timers.consent = Some(after(now.mono, self.options.consent_us));
        }
        if due(&mut self.timers.hello)
            && let Some(to) = self.remote
        {
            self.out.extend(self.hello.iter().map(|data| (to, data.clone())));
            self.hello_interval *= 2;
            self.timers.hello = Some(after(now.mono, self.hello_interval));
        }
        if let (Some(remote), Some(dtls), None) = (self.remote, &mut self.dtls, &self.srtp) {
            if let Err(error) = dtls.handle_timeout(remote, self.clock.instant(now.mono)) {
                return self.fail(&format!("DTLS: {error}"));
            }
            self.flush_dtls();
        }
        if due(&mut self.timers.repair) {
            self.repair(now);
            self.timers.repair = Some(after(now.mono, REPAIR_EVERY_US));
        }
        if due(&mut self.timers.reports) {
            let bulk = self.bulk.as_ref().map(|b| b.ssrc);
            let streams = self.streams.values_mut().filter(|(_, s)| Some(s.ssrc) != bulk);
            let mut blocks: Vec<_> = streams.map(|(_, s)| s.report(now.mono)).collect();
            blocks.extend(self.bulk.as_mut().map(|b| b.block(now.mono)));
            if !blocks.is_empty() {
                self.send_rtcp(&rtp::receiver_report(self.rtcp_ssrc, &blocks));
            }
            self.timers.reports = Some(after(now.mono, self.options.report_us));
        }
        if due(&mut self.timers.feedback) {
            if let Some(message) = self.arrivals.feedback(self.rtcp_ssrc, 0) {
                self.send_rtcp(&message);
            }
            self.timers.feedback = self.options.feedback_us.map(|us| after(now.mono, us));
        }
        if due(&mut self.timers.abuse) {
            self.abuse();
            self.timers.abuse = Some(after(now.mono, ABUSE_EVERY_US));
        }
        if due(&mut self.timers.key_frame) {
            let wanting =
                self.streams.values().find(|(_, s)| s.needs_key).map(|(_, stream)| stream.ssrc);
            if let Some(media) = wanting {
                self.report.plis += 1;
                self.send_rtcp(&rtp::pli(self.rtcp_ssrc, media));
            }
            self.timers.key_frame = Some(after(now.mono, PLI_EVERY_US));
        }
    }

    fn send_rtcp(&mut self, plain: &[u8]) {
        if let (Some(srtp), Some(remote)) = (&mut self.srtp, self.remote)
            && let Ok(sealed) = srtp.outbound.encrypt_rtcp(plain)
        {
            self.out.push_back((remote, sealed.to_vec()));
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.out.pop_front()
    }

    /// Says goodbye to the server's DTLS.
    pub fn close(&mut self, now: Now) {
        if let (Some(dtls), Some(remote)) = (&mut self.dtls, self.remote) {
            let _ = dtls.stop(self.clock.instant(now.mono), remote);
            self.flush_dtls();
        }
        self.timers = Timers::default();
    }

    /// The load test counts anew.
    pub fn mark(&mut self) {
        if let Some(bulk) = &mut self.bulk {
            bulk.mark();
        }
        self.streams.values_mut().for_each(|(_, stream)| stream.mark());
    }

    /// What was measured so far.
    pub fn report(&self, now: Now) -> ViewerReport {
        let mut report = self.report.clone();
        report.rtt_ms = self.rtt_us as f64 / 1000.0;
        report.connected_for_ms = self.connected.map_or(0.0, |at| ms(now.mono, at));
        for (codec, stream) in self.streams.values() {
            report.add(*codec, stream, now.mono);
        }
        report.bulk = self.bulk.as_ref().map(Bulk::report).unwrap_or_default();
        report
    }
}

fn after(now: Mono, us: u64) -> Mono {
    Mono(now.0 + us)
}

fn ms(now: Mono, since: Mono) -> f64 {
    now.0.saturating_sub(since.0) as f64 / 1000.0
}

fn token(rng: &mut StdRng, length: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    (0..length).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect()
}

#[cfg(test)]
mod tests;

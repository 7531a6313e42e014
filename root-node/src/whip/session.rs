//! One broadcaster: `rtc`'s peer connection, which does ICE-lite, DTLS and SRTP, with the [`Tap`] inside.
//! No I/O, and time is an argument. `rtc` never sees the broadcaster's offer, only one that is made here
//! of the credentials and the fingerprint: what the streams are is the tap's.

use super::offer::Credentials;
use super::plan::Plan;
use super::stun;
use super::tap::{Found, Media, Tap};
use bytes::BytesMut;
use rtc::crypto;
use rtc::interceptor::{Registry, Slot};
use rtc::peer_connection::certificate::{CertificateParams, RTCCertificate};
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_VP8, MediaEngine};
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{RTCDtlsRole, RTCDtlsTransportState, RTCIceCandidateInit};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};
use rtc::sansio::Protocol;
use rtc::shared::{TransportContext, TransportMessage, TransportProtocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A session that has no media after this ends. Slow networks need some seconds; browsers give up
/// after 15 to 30.
pub const CONNECT_TIME: Duration = Duration::from_secs(15);
/// A session whose media has stopped for so long ends, so that somebody else may broadcast.
pub const SILENCE_TIME: Duration = Duration::from_secs(10);
/// ICE: a broadcaster whose checks stop is first doubted, then given up; together the 30 s of RFC 7675
/// section 5.1.
const DOUBT_TIME: Duration = Duration::from_secs(5);
const CONSENT_TIME: Duration = Duration::from_secs(25);
/// Restarts of ICE in one session: a broadcaster in a train that changes networks for a day.
pub(super) const MAX_RESTARTS: u32 = 1_000;
/// The port that candidates have for `rtc`: it only compares it with itself.
const NOMINAL_PORT: u16 = 9;

/// Something of `rtc`'s that failed.
#[derive(Debug, thiserror::Error)]
#[error("WebRTC: {0}")]
pub struct SessionError(String);

fn failed(error: impl std::fmt::Display) -> SessionError {
    SessionError(error.to_string())
}

/// The certificate of all sessions.
#[derive(Clone)]
pub struct Certificate {
    inner: RTCCertificate,
    fingerprint: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("fingerprint", &self.fingerprint).finish()
    }
}

impl Certificate {
    /// A new one: ECDSA on P-256 (RFC 8827 section 6.5).
    ///
    /// # Errors
    /// If the machine has no randomness.
    pub fn generate() -> Result<Self, SessionError> {
        let provider = crypto::default_provider().map_err(failed)?;
        let params = CertificateParams::new(vec!["soleil".to_owned()]).map_err(failed)?;
        let scheme = crypto::SignatureScheme::EcdsaP256Sha256;
        let inner = RTCCertificate::generate(provider.crypto(), scheme, params).map_err(failed)?;
        let all = inner.get_fingerprints(provider.crypto()).map_err(failed)?;
        let first = all.first().ok_or_else(|| failed("no fingerprint"))?;
        let fingerprint = format!("{} {}", first.algorithm, first.value);
        Ok(Self { inner, fingerprint })
    }

    /// As in `a=fingerprint`.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The broadcaster said so.
    Closed,
    /// Its checks stopped, or DTLS failed.
    Failed,
    /// It never sent media.
    NeverSent,
    /// It stopped sending.
    Silent,
    /// The stream was stopped, or is another's now.
    Withdrawn,
}

impl End {
    /// All of them.
    pub const ALL: [End; 5] =
        [End::Closed, End::Failed, End::NeverSent, End::Silent, End::Withdrawn];

    /// In words, for the log and the metrics.
    pub fn label(self) -> &'static str {
        match self {
            End::Closed => "closed",
            End::Failed => "failed",
            End::NeverSent => "never_sent",
            End::Silent => "silent",
            End::Withdrawn => "withdrawn",
        }
    }
}

/// One broadcaster.
pub struct Session {
    pc: RTCPeerConnection,
    found: Arc<Mutex<Found>>,
    fingerprint: String,
    remote: Credentials,
    local: Credentials,
    began: Instant,
    restarts: u32,
    ended: Option<End>,
    closed: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("local", &self.local).finish_non_exhaustive()
    }
}

impl Session {
    /// A session that waits for the broadcaster's checks.
    ///
    /// # Errors
    /// If `rtc` refuses what it is given.
    pub fn new(
        now: Instant,
        plan: &Plan,
        remote: &Credentials,
        fingerprint: &str,
        certificate: &Certificate,
    ) -> Result<Self, SessionError> {
        let found = Arc::new(Mutex::new(Found::default()));
        let tap = Tap::new(plan, found.clone());
        Self::around(now, (tap, found), remote, fingerprint, certificate)
    }

    /// Likewise, with what takes the packets and where it puts them.
    pub(super) fn around(
        now: Instant,
        (tap, found): (Tap, Arc<Mutex<Found>>),
        remote: &Credentials,
        fingerprint: &str,
        certificate: &Certificate,
    ) -> Result<Self, SessionError> {
        let settings = SettingEngineBuilder::new()
            .with_lite(true)
            .with_answering_dtls_role(RTCDtlsRole::Server)
            .with_ice_timeouts(Some(DOUBT_TIME), Some(CONSENT_TIME), None)
            .build();
        let configuration = RTCConfigurationBuilder::new()
            .with_certificates(vec![certificate.inner.clone()])
            .build();
        let mut pc = RTCPeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_setting_engine(settings)
            .with_media_engine(media_engine()?)
            .with_interceptor_registry(Registry::new().with(Slot::Custom(0), tap))
            .build(now)
            .map_err(failed)?;
        let local = negotiate(&mut pc, now, remote, fingerprint)?;
        for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let candidate = format!("candidate:1 1 udp 2130706431 {ip} {NOMINAL_PORT} typ host");
            let init = RTCIceCandidateInit { candidate, ..Default::default() };
            pc.add_local_candidate(init).map_err(failed)?;
        }
        Ok(Self {
            pc,
            found,
            fingerprint: fingerprint.to_owned(),
            remote: remote.clone(),
            local,
            began: now,
            restarts: 0,
            ended: None,
            closed: false,
        })
    }

    /// Our ICE credentials of now.
    pub fn local(&self) -> &Credentials {
        &self.local
    }

    /// The broadcaster's.
    pub fn remote(&self) -> &Credentials {
        &self.remote
    }

    /// A datagram came. One that could turn our role in ICE is dropped ([`stun::claims_controlled`]).
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        if stun::claims_controlled(datagram) {
            tracing::trace!(%from, "a check that claims to be controlled");
            return;
        }
        let transport = TransportContext {
            local_addr: nominal(from),
            peer_addr: from,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        let message = BytesMut::from(datagram);
        if let Err(error) = self.pc.handle_read(TransportMessage { now, transport, message }) {
            tracing::trace!(%error, %from, "a datagram was not taken");
        }
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Err(error) = self.pc.handle_timeout(now) {
            tracing::debug!(%error, "a session's timer");
        }
        self.settle(now);
    }

    /// When to call [`Session::handle_timeout`].
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let own = self.quiet_until().0;
        Some(self.pc.poll_timeout().map_or(own, |theirs| theirs.min(own)))
    }

    /// The next datagram to send.
    pub fn poll_send(&mut self) -> Option<(SocketAddr, BytesMut)> {
        let message = self.pc.poll_write()?;
        Some((message.transport.peer_addr, message.message))
    }

    /// The next datagram for the ingest.
    pub fn poll_media(&mut self) -> Option<Media> {
        self.found().queue.pop_front()
    }

    /// Asks for a key frame of a layer (RFC 4585 section 6.3.1).
    pub fn request_key_frame(&mut self, now: Instant, layer: usize) {
        let Some(media_ssrc) = self.found().ssrcs.get(&layer).copied() else { return };
        let pli = PictureLossIndication { sender_ssrc: 1, media_ssrc };
        let message = RTCMessage::RtcpPacket(String::new(), vec![Box::new(pli)]);
        if let Err(error) = self.pc.handle_write(TaggedRTCMessage { now, message }) {
            tracing::debug!(%error, "a key frame can't be asked for");
        }
    }

    /// New credentials of the broadcaster: ICE begins anew, DTLS and media go on (RFC 9725 section
    /// 4.3.3). Gives our new ones.
    ///
    /// # Errors
    /// If there were too many, or `rtc` refuses; the session stays as it was.
    pub fn restart(
        &mut self,
        now: Instant,
        remote: Credentials,
    ) -> Result<Credentials, SessionError> {
        if self.restarts >= MAX_RESTARTS {
            return Err(failed("ICE was restarted too often"));
        }
        self.local = negotiate(&mut self.pc, now, &remote, &self.fingerprint)?;
        self.remote = remote;
        self.restarts += 1;
        Ok(self.local.clone())
    }

    /// Ends the session, if it has not ended; what is left to send says so to the broadcaster.
    pub fn close(&mut self, now: Instant) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        if let Err(error) = self.pc.close() {
            tracing::debug!(%error, "a session does not close well");
        }
        self.ended.get_or_insert(End::Closed);
        self.settle(now);
    }

    /// Whether it has ended, and why.
    pub fn ended(&self) -> Option<End> {
        self.ended
    }

    /// Packets that found no place in the queue.
    pub fn overflow(&self) -> u64 {
        self.found().overflow
    }

    /// Takes what `rtc` says, and looks at the time.
    fn settle(&mut self, now: Instant) {
        // The tap has taken all media: what is left is nothing that was agreed on.
        while self.pc.poll_read().is_some() {}
        while let Some(event) = self.pc.poll_event() {
            let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event else {
                continue;
            };
            match state {
                RTCPeerConnectionState::Failed => self.ended = self.ended.or(Some(End::Failed)),
                RTCPeerConnectionState::Closed => self.ended = self.ended.or(Some(End::Closed)),
                _ => {}
            }
        }
        // No event of `rtc` tells of the broadcaster's goodbye (close_notify).
        if self.dtls_state() == Some(RTCDtlsTransportState::Closed) {
            self.ended = self.ended.or(Some(End::Closed));
        }
        let (until, end) = self.quiet_until();
        if now >= until {
            self.ended = self.ended.or(Some(end));
        }
    }

    fn dtls_state(&mut self) -> Option<RTCDtlsTransportState> {
        let receiver = self.pc.get_receivers().next()?;
        Some(self.pc.rtp_receiver(receiver)?.transport()?.state())
    }

    /// When a session without more media ends, and as what.
    fn quiet_until(&self) -> (Instant, End) {
        match self.found().heard {
            Some(heard) => (heard + SILENCE_TIME, End::Silent),
            None => (self.began + CONNECT_TIME, End::NeverSent),
        }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where `rtc` believes to be, for datagrams of this family.
fn nominal(peer: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, NOMINAL_PORT)
}

/// One codec, so that `rtc` has something to agree on.
fn media_engine() -> Result<MediaEngine, SessionError> {
    let mut engine = MediaEngine::default();
    let codec = RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: MIME_TYPE_VP8.to_owned(),
            clock_rate: 90_000,
            ..Default::default()
        },
        payload_type: 96,
    };
    engine.register_codec(codec, RtpCodecKind::Video).map_err(failed)?;
    Ok(engine)
}

/// Offer and answer with `rtc`; gives our credentials.
fn negotiate(
    pc: &mut RTCPeerConnection,
    now: Instant,
    remote: &Credentials,
    fingerprint: &str,
) -> Result<Credentials, SessionError> {
    let Credentials { ufrag, pwd } = remote;
    let offer = format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         a=fingerprint:{fingerprint}\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n\
         a=setup:active\r\na=mid:0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=rtcp-mux\r\n\
         a=sendonly\r\na=rtpmap:96 VP8/90000\r\na=msid:- 0\r\na=ssrc:1 cname:-\r\n"
    );
    let offer = RTCSessionDescription::offer(offer).map_err(failed)?;
    pc.set_remote_description(now, offer).map_err(failed)?;
    let answer = pc.create_answer(None).map_err(failed)?;
    let ours = |name: &str| {
        let line = answer.sdp.lines().find_map(|l| l.strip_prefix("a=")?.strip_prefix(name));
        line.map(str::to_owned).ok_or_else(|| failed(format!("no {name} in the answer")))
    };
    let local = Credentials { ufrag: ours("ice-ufrag:")?, pwd: ours("ice-pwd:")? };
    pc.set_local_description(now, answer).map_err(failed)?;
    Ok(local)
}

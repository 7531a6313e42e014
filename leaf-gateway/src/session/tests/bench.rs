//! The bench: a session, its viewer, the layers that it plays, and the wire between them, with
//! what must hold at any time checked at every datagram.

use super::client::{self, Viewer};
use crate::ring::PacketRing;
use crate::session::dtls::DtlsContext;
use crate::session::ice::{Credentials, MAX_ADDRESSES, MAX_OFFER_CREDIT};
use crate::session::track::{Forwarded, RtxSetup, TrackSetup};
use crate::session::{
    Action, EndCause, MAX_WAITING_DTLS, Session, SessionSetup, Timeouts, dtls, stun,
};
use relay_node::clock::Clock;
use relay_node::media::api::{FrameMarks, LocalPacket};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use soleil_protocol::pipeline::{Codec, MediaKind};
use soleil_protocol::{Mono, PacketIndex, PipelineId, Ssrc};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

pub(crate) const VIDEO: Ssrc = Ssrc(10);
pub(crate) const AUDIO: Ssrc = Ssrc(20);
pub(crate) const VIDEO_OUT: u32 = 1_000;
pub(crate) const AUDIO_OUT: u32 = 2_000;
/// The lower layer of the picture.
pub(super) const LOW: Ssrc = Ssrc(11);
pub(super) const RTX_OUT: u32 = 1_001;
pub(super) const OFFER_LEN: usize = 6_000;
pub(super) const CONNECT: Duration = Duration::from_secs(15);
pub(super) const CONSENT: Duration = Duration::from_secs(30);
/// How often browsers check.
pub(super) const CHECKS: Duration = Duration::from_millis(2_500);

/// Clock and certificate of all sessions of a process.
pub(crate) fn context() -> (Clock, DtlsContext) {
    static CONTEXT: OnceLock<(Clock, DtlsContext)> = OnceLock::new();
    CONTEXT
        .get_or_init(|| {
            let clock = Clock::start();
            (clock, DtlsContext::new(clock).unwrap())
        })
        .clone()
}

pub(super) fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 4_000 + u16::from(n)))
}

pub(super) struct Bench {
    pub now: Mono,
    pub session: Session,
    pub viewer: Viewer,
    /// Where the viewer is; others are in its name only.
    pub at: SocketAddr,
    pub checks: bool,
    next_check: Mono,
    pub video: PacketRing,
    pub audio: PacketRing,
    /// The picture's lower layer.
    pub low: PacketRing,
    pub next_video: u64,
    pub next_audio: u64,
    /// What is on the wire to the viewer's side.
    pub wire: Vec<(SocketAddr, Vec<u8>)>,
    /// Loses what the session sends.
    pub deaf: bool,
    /// No other frame needs the picture's odd packets.
    pub spare: bool,
    pub live: bool,
    pub ended: Option<EndCause>,
    pub key_frames: Vec<Mono>,
    /// Tracks begin with what the ring has.
    pub cached: bool,
    pub probed: usize,
    pub jobs: usize,
    pub resends: usize,
    /// Bytes sent, by address; those of media by address.
    pub sent: HashMap<SocketAddr, usize>,
    pub media_to: BTreeMap<SocketAddr, usize>,
    /// Addresses that have ever answered a check of the session.
    pub real: BTreeSet<SocketAddr>,
    /// Bytes of valid checks.
    pub checked: usize,
    nonces: HashMap<(u32, u16), Vec<u8>>,
}

pub(crate) fn credentials() -> Credentials {
    Credentials {
        local_ufrag: "0leaf".into(),
        local_password: "a password of the leaf".into(),
        remote_ufrag: "page".into(),
        remote_password: "a password of the page".into(),
    }
}

pub(crate) fn setup(rtx: bool) -> SessionSetup {
    let track = |name: &str, kind, source, ssrc, payload_type| TrackSetup {
        name: name.into(),
        kind,
        codec: if kind == MediaKind::Video { Codec::Vp8 } else { Codec::Opus },
        clock_rate: if kind == MediaKind::Video { 90_000 } else { 48_000 },
        source,
        ssrc,
        payload_type,
        rtx: None,
        nack: kind == MediaKind::Video,
        capture_ext: Some(3),
        twcc_ext: None,
    };
    let mut video = track("video", MediaKind::Video, VIDEO, VIDEO_OUT, 96);
    video.rtx = rtx.then_some(RtxSetup { ssrc: RTX_OUT, payload_type: 97 });
    SessionSetup {
        credentials: credentials(),
        offer_len: OFFER_LEN,
        fingerprint: client::fingerprint(),
        pipeline: PipelineId(1),
        tracks: vec![video, track("audio", MediaKind::Audio, AUDIO, AUDIO_OUT, 111)],
        cname: "cname".into(),
        timeouts: Timeouts { connect: CONNECT, consent: CONSENT },
    }
}

impl Bench {
    pub fn new(profiles: &[SrtpProtectionProfile]) -> Self {
        Self::with(setup(true), profiles, 1)
    }

    pub fn with(setup: SessionSetup, profiles: &[SrtpProtectionProfile], seed: u8) -> Self {
        let (clock, dtls) = context();
        let now = Mono(1_000_000);
        let viewer = Viewer::new(clock, setup.credentials.clone(), profiles);
        Self {
            now,
            session: Session::new(now, setup, Box::new(dtls.server()), [seed; 32]),
            viewer,
            at: addr(1),
            checks: true,
            next_check: now,
            video: PacketRing::new(VIDEO, true),
            audio: PacketRing::new(AUDIO, false),
            low: PacketRing::new(LOW, true),
            next_video: 100,
            next_audio: 100,
            wire: Vec::new(),
            deaf: false,
            spare: false,
            live: false,
            ended: None,
            key_frames: Vec::new(),
            cached: false,
            probed: 0,
            jobs: 0,
            resends: 0,
            sent: HashMap::new(),
            media_to: BTreeMap::new(),
            real: BTreeSet::new(),
            checked: 0,
            nonces: HashMap::new(),
        }
    }

    /// A bench whose viewer has got as far as media.
    pub fn connected(rtx: bool) -> Self {
        let mut b = Self::with(setup(rtx), &[client::GCM], 1);
        b.connect();
        assert!(b.live, "{:?}", b.ended);
        b
    }

    /// Checks and handshakes, as long as it leads on.
    pub fn connect(&mut self) {
        self.check();
        self.viewer.start_dtls(self.now);
        self.step(Duration::from_millis(100));
    }

    /// Sends the viewer's check now.
    pub fn check(&mut self) {
        let check = self.viewer.check(true, 5);
        self.checked += check.len();
        self.input(self.at, check);
        self.next_check = self.now.after(CHECKS);
        self.exchange();
    }

    /// A datagram to the session.
    pub fn input(&mut self, from: SocketAddr, mut data: Vec<u8>) {
        self.session.handle_datagram(self.now, from, &mut data);
        self.settle();
    }

    /// Sealed RTCP of the viewer.
    pub fn rtcp(&mut self, plain: &[u8]) {
        let sealed = self.viewer.seal(plain).unwrap();
        self.input(self.at, sealed);
    }

    /// Does what the session wants done.
    pub fn settle(&mut self) {
        while let Some(action) = self.session.poll_action() {
            assert!(self.ended.is_none(), "{action:?} after the end");
            match action {
                Action::Send(to, data) => self.send(to, data),
                Action::Dtls(job) => {
                    self.jobs += 1;
                    let done = job.run(self.now);
                    self.session.handle_dtls(self.now, done);
                }
                Action::Address { addr, validated } => {
                    if validated {
                        self.real.insert(addr);
                    }
                }
                Action::Live => self.live = true,
                Action::Start(track, ssrc) if self.cached => {
                    assert!(self.session.start(self.now, track, &self.video));
                    assert_eq!(ssrc, VIDEO);
                }
                Action::Start(_, ssrc) | Action::KeyFrame(ssrc) => {
                    assert_eq!(ssrc, VIDEO);
                    self.key_frames.push(self.now);
                }
                Action::Probe(track, original) => {
                    let packet = self.video.get(original.source, original.index).cloned();
                    // It may be too old for that.
                    let Some(packet) = packet else { continue };
                    let mut out = Vec::new();
                    let to = self.session.probe(self.now, track, &original, &packet, &mut out);
                    self.probed += 1;
                    self.send(to.unwrap(), out);
                }
                Action::Resend(track, original) => {
                    let ring = match original.source.ssrc {
                        VIDEO => &self.video,
                        LOW => &self.low,
                        _ => &self.audio,
                    };
                    assert_eq!(track, usize::from(ring.source().ssrc == AUDIO));
                    let Some(packet) = ring.get(original.source, original.index) else { continue };
                    let mut out = Vec::new();
                    let to = self.session.resend(self.now, track, &original, packet, &mut out);
                    if let Some(to) = to {
                        self.resends += 1;
                        self.send(to, out);
                    }
                }
                Action::Ended(cause) => self.ended = Some(cause),
            }
        }
        assert!(self.session.dtls_input.len() <= MAX_WAITING_DTLS);
        assert!(self.session.addresses().count() <= MAX_ADDRESSES);
    }

    fn send(&mut self, to: SocketAddr, data: Vec<u8>) {
        assert!(data.len() <= 1_500, "{} bytes", data.len());
        *self.sent.entry(to).or_default() += data.len();
        if !self.real.contains(&to) {
            assert!(stun::is_stun(&data), "only STUN to an address that is not validated");
            let unreal = self.sent.iter().filter(|(a, _)| !self.real.contains(a));
            let sum: usize = unreal.map(|(_, bytes)| bytes).sum();
            assert!(sum <= MAX_OFFER_CREDIT + self.checked, "{sum} for {}", self.checked);
        } else if !stun::is_stun(&data) && !dtls::is_dtls(&data) {
            assert!(self.session.has_validated(self.now, to), "validated, but long ago");
            *self.media_to.entry(to).or_default() += 1;
            let word = u32::from_be_bytes(data[8..12].try_into().unwrap());
            if !(192..=223).contains(&data[1]) {
                // GCM: never two packets under one nonce.
                let nonce = (word, u16::from_be_bytes([data[2], data[3]]));
                let first = self.nonces.entry(nonce).or_insert_with(|| data.clone());
                assert_eq!(*first, data, "another packet under the same nonce");
            }
        }
        self.wire.push((to, data));
    }

    /// Carries datagrams both ways until there are none.
    pub fn exchange(&mut self) {
        loop {
            for (to, data) in std::mem::take(&mut self.wire) {
                if to == self.at && !self.deaf {
                    self.viewer.receive(self.now, &data);
                }
            }
            if self.viewer.out.is_empty() {
                return;
            }
            for data in std::mem::take(&mut self.viewer.out) {
                self.input(self.at, data);
            }
        }
    }

    /// Lets time pass, with every timer in its turn.
    pub fn step(&mut self, time: Duration) {
        let until = self.now.after(time);
        self.exchange();
        for turn in 0.. {
            assert!(turn < 20_000, "timers never come to rest");
            let check = self.checks.then_some(self.next_check);
            let timers = [self.session.poll_timeout(), self.viewer.poll_timeout(), check];
            let next = timers.into_iter().flatten().min().filter(|at| *at <= until);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            if self.session.poll_timeout().is_some_and(|at| at <= self.now) {
                self.session.handle_timeout(self.now);
                self.settle();
            }
            if self.viewer.poll_timeout().is_some_and(|at| at <= self.now) {
                self.viewer.handle_timeout(self.now);
            }
            if self.checks && self.next_check <= self.now {
                self.check();
            }
            self.exchange();
        }
        self.now = until;
    }

    /// A packet of a layer comes from the hop.
    pub fn packet(&mut self, ssrc: Ssrc, index: u64, key: bool) {
        let rate = if ssrc == AUDIO { 48_000 } else { 90_000 };
        let mut payload = index.to_be_bytes().to_vec();
        payload.resize(200, ssrc.0 as u8);
        let capture = (self.now.0 << 32) / 1_000_000;
        let packet = LocalPacket {
            pipeline: PipelineId(1),
            ssrc,
            index: PacketIndex(index),
            timestamp: (index * rate / 300) as u32,
            marker: true,
            payload_type: 96,
            capture,
            marks: FrameMarks(match (key, self.spare && index % 2 == 1) {
                (true, _) => FrameMarks::KEY_START,
                (false, true) => FrameMarks::DISCARDABLE,
                (false, false) => 0,
            }),
            payload: &payload,
        };
        let ring = match ssrc {
            VIDEO => &mut self.video,
            LOW => &mut self.low,
            _ => &mut self.audio,
        };
        if !ring.insert(self.now, &packet) {
            return;
        }
        let source = ring.source();
        let Some(stored) = ring.get(source, packet.index) else { return };
        let mut out = Vec::new();
        let Some(mut delivery) = self.session.delivery(self.now) else { return };
        let (to, done) = (delivery.to(), delivery.forward(source, stored, &mut out));
        assert_eq!(out.is_empty(), done == Forwarded::Nothing);
        if !out.is_empty() {
            assert!(self.ended.is_none(), "media after the end");
            self.send(to, out);
        }
    }

    /// The cursors of starts go on as far as it is time.
    pub fn serve_start(&mut self) {
        let Some(mut delivery) = self.session.delivery(self.now) else { return };
        let mut out = Vec::new();
        let video = &self.video;
        let ring_of = |ssrc| (ssrc == video.source().ssrc).then_some(video);
        while let Some((source, packet)) = delivery.next_of_start(ring_of) {
            let mut data = Vec::new();
            assert_eq!(delivery.forward(source, packet, &mut data), Forwarded::Sent);
            out.push((delivery.to(), data));
        }
        for (to, data) in out {
            self.send(to, data);
        }
    }

    /// The next packets of the picture; the first of them begins a key frame, if `key`.
    pub fn video(&mut self, count: u64, key: bool) {
        for i in 0..count {
            self.next_video += 1;
            self.packet(VIDEO, self.next_video, key && i == 0);
        }
        self.exchange();
    }

    /// The next packets of the sound.
    pub fn audio(&mut self, count: u64) {
        for _ in 0..count {
            self.next_audio += 1;
            self.packet(AUDIO, self.next_audio, false);
        }
        self.exchange();
    }

    /// Sequence numbers that the viewer has seen of a stream, in order of arrival.
    pub fn seqs(&self, ssrc: u32) -> Vec<u16> {
        self.viewer.seen.iter().filter(|s| s.ssrc == ssrc).map(|s| s.seq).collect()
    }

    pub fn sent_to(&self, to: SocketAddr) -> usize {
        self.sent.get(&to).copied().unwrap_or(0)
    }
}

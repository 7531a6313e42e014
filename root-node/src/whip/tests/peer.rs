//! A whole broadcaster: `rtc` as the offering side over real UDP.

use super::super::session::End;
use super::*;
use bytes::BytesMut;
use rtc::interceptor::{Interceptor, Packet, Registry, Slot, StreamInfo, TaggedPacket};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_VP8, MediaEngine};
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{RTCDtlsTransportState, RTCIceCandidateInit};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use rtc::rtp_transceiver::RTCRtpSenderId;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use rtc::shared::{TransportContext, TransportMessage, TransportProtocol};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::net::UdpSocket;

const SSRC: u32 = 77;
/// A key frame of VP8, 640 by 360 (RFC 7741 section 4, RFC 6386 section 9.1).
const KEY: [u8; 11] = [0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];

/// Hears what is asked for; `rtc` keeps that to itself.
struct Ear {
    asked: Arc<AtomicUsize>,
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Ear {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(packets) = &message.message.packet {
            for packet in packets {
                let pli = packet.as_any().downcast_ref::<PictureLossIndication>();
                if pli.is_some_and(|pli| pli.media_ssrc == SSRC) {
                    self.asked.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        self.read.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.write.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }

    fn handle_timeout(&mut self, _now: Instant) -> Result<(), Error> {
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        None
    }
}

impl Interceptor for Ear {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

struct Peer {
    pc: RTCPeerConnection,
    socket: UdpSocket,
    local: SocketAddr,
    sender: RTCRtpSenderId,
    clock: Clock,
    state: RTCPeerConnectionState,
    /// Key frames that were asked for.
    asked: Arc<AtomicUsize>,
    sequence: u16,
}

impl Peer {
    async fn new() -> Self {
        let clock = Clock::start();
        let mut engine = MediaEngine::default();
        engine.register_default_codecs().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let ear = Ear { asked: asked.clone(), read: VecDeque::new(), write: VecDeque::new() };
        let registry = Registry::new().with(Slot::Custom(0), ear);
        let registry = register_default_interceptors(registry, &mut engine).unwrap();
        let mut pc = RTCPeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .build(clock.instant(clock.now().mono))
            .unwrap();
        let codec = RTCRtpCodec {
            mime_type: MIME_TYPE_VP8.to_owned(),
            clock_rate: 90_000,
            ..Default::default()
        };
        let coding = RTCRtpCodingParameters { ssrc: Some(SSRC), ..Default::default() };
        let encoding =
            RTCRtpEncodingParameters { rtp_coding_parameters: coding, codec, ..Default::default() };
        let track = MediaStreamTrack::new(
            "s".to_owned(),
            "v".to_owned(),
            "v".to_owned(),
            RtpCodecKind::Video,
            vec![encoding],
        );
        let sender = pc.add_track(track).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let local = socket.local_addr().unwrap();
        let state = RTCPeerConnectionState::New;
        Self { pc, socket, local, sender, clock, state, asked, sequence: 100 }
    }

    fn now(&self) -> std::time::Instant {
        self.clock.instant(self.clock.now().mono)
    }

    /// Offers, and takes the answer; gives the session's path.
    async fn publish(&mut self, site: &Site) -> Answer {
        let offer = self.pc.create_offer(None).unwrap();
        let now = self.now();
        self.pc.set_local_description(now, offer).unwrap();
        let (ip, port) = (self.local.ip(), self.local.port());
        let candidate = format!("candidate:1 1 udp 2130706431 {ip} {port} typ host");
        self.pc
            .add_local_candidate(RTCIceCandidateInit { candidate, ..Default::default() })
            .unwrap();
        let offer = self.pc.local_description().unwrap().sdp;
        let answer = site.post(&offer.replace("a=sendrecv", "a=sendonly")).await;
        assert_eq!(answer.status, 201, "{}\n{offer}", answer.body);
        let sdp = RTCSessionDescription::answer(answer.body.clone()).unwrap();
        self.pc.set_remote_description(now, sdp).unwrap();
        answer
    }

    /// Moves datagrams until the condition holds.
    async fn until(&mut self, mut done: impl FnMut(&mut Peer) -> bool) {
        let mut buffer = vec![0; 2_000];
        let end = self.clock.deadline(LIMIT);
        loop {
            while let Some(out) = self.pc.poll_write() {
                let _ = self.socket.send_to(&out.message, out.transport.peer_addr).await;
            }
            while let Some(event) = self.pc.poll_event() {
                if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                    self.state = state;
                }
            }
            while self.pc.poll_read().is_some() {}
            if done(self) {
                return;
            }
            let now = self.now();
            assert!(now < end, "not in time; {:?}, asked {:?}", self.state, self.asked);
            // Whatever the condition depends on is looked at again soon.
            let soon = now + Duration::from_millis(20);
            let timer = self.pc.poll_timeout().map_or(soon, |at| at.min(soon));
            tokio::select! {
                got = self.socket.recv_from(&mut buffer) => {
                    let (length, peer_addr) = got.unwrap();
                    let transport = TransportContext {
                        local_addr: self.local,
                        peer_addr,
                        transport_protocol: TransportProtocol::UDP,
                        ecn: None,
                    };
                    let message = BytesMut::from(&buffer[..length]);
                    let now = self.now();
                    let _ = self.pc.handle_read(TransportMessage { now, transport, message });
                }
                () = tokio::time::sleep_until(timer.into()) => {
                    let now = self.now();
                    let _ = self.pc.handle_timeout(now);
                }
            }
        }
    }

    fn dtls_state(&mut self) -> RTCDtlsTransportState {
        self.pc.rtp_sender(self.sender).unwrap().transport().unwrap().state()
    }

    fn send(&mut self, payload: &[u8]) {
        self.sequence += 1;
        let header = rtp::Header {
            version: 2,
            marker: true,
            payload_type: 96,
            sequence_number: self.sequence,
            timestamp: u32::from(self.sequence) * 3_000,
            ssrc: SSRC,
            ..Default::default()
        };
        let packet = rtp::Packet { header, payload: Bytes::copy_from_slice(payload) };
        let now = self.now();
        let mut sender = self.pc.rtp_sender(self.sender).unwrap();
        sender.write_rtp(now, packet).unwrap();
    }

    /// Connected, and a first key frame has come through.
    async fn on_air(&mut self, site: &mut Site) -> Answer {
        let answer = self.publish(site).await;
        self.until(|p| p.state == RTCPeerConnectionState::Connected).await;
        self.send(&KEY);
        let first = self.received(site).await;
        assert_eq!((first.header.ssrc, first.header.payload_type), (Ssrc(FIRST), 100));
        assert!(first.header.marks.key_start());
        answer
    }

    /// The next packet that the ingest seals.
    async fn received(&mut self, site: &mut Site) -> HopPacket {
        let mut got = None;
        self.until(|_| {
            got = got.take().or_else(|| site.packets.try_recv().ok());
            got.is_some()
        })
        .await;
        got.unwrap()
    }
}

#[tokio::test]
async fn media_reach_the_ingest_and_key_frames_are_asked_for() {
    let mut site = Site::start().await;
    let mut peer = Peer::new().await;
    peer.on_air(&mut site).await;
    // The next ones continue, and the stream's viewers get a key frame when they want one.
    for _ in 0..5 {
        peer.send(&KEY);
        peer.received(&mut site).await;
    }
    let before = peer.asked.load(Ordering::Relaxed);
    assert!(site.ingest.order(Order::KeyFrame(Ssrc(FIRST))));
    peer.until(|p| p.asked.load(Ordering::Relaxed) > before).await;
    assert_eq!(site.whip.counters.sessions.get(), 1);
    assert_eq!(site.whip.counters.overflow.get(), 0);
}

#[tokio::test]
async fn a_broadcaster_that_closes_frees_the_stream_and_delete_closes_it() {
    let mut site = Site::start().await;
    let mut first = Peer::new().await;
    first.on_air(&mut site).await;
    site.post(&offer(&[])).await.refuses(409, "already");
    // It says goodbye (DTLS close_notify).
    first.pc.close().unwrap();
    let whip = site.whip.clone();
    first.until(|_| whip.counters.sessions.get() == 0).await;
    // Not for its silence, which the root would have waited for.
    assert_eq!(whip.counters.ended(End::Closed).get(), 1);

    let mut second = Peer::new().await;
    let answer = second.on_air(&mut site).await;
    let ended = site.ask("DELETE", &answer.session(&site), &[], "").await;
    assert_eq!(ended.status, 200);
    // The other side is told, and need not wait for its checks to fail.
    second.until(|p| p.dtls_state() == RTCDtlsTransportState::Closed).await;
    assert_eq!(site.whip.counters.sessions.get(), 0);
}

#[tokio::test]
async fn a_broadcaster_whose_stream_was_stopped_is_told() {
    let mut site = Site::start().await;
    let mut peer = Peer::new().await;
    let session = peer.on_air(&mut site).await.session(&site);
    site.stop_stream.cancel();
    peer.until(|p| p.dtls_state() == RTCDtlsTransportState::Closed).await;
    let whip = site.whip.clone();
    peer.until(|_| whip.counters.sessions.get() == 0).await;
    assert_eq!(whip.counters.ended(End::Withdrawn).get(), 1);
    site.ask("DELETE", &session, &[], "").await.refuses(404, "no such session");
}

#[tokio::test]
async fn a_broadcaster_that_has_crashed_has_its_stream_again() {
    let mut site = Site::start().await;
    let mut first = Peer::new().await;
    let session = first.on_air(&mut site).await.session(&site);
    // It sends nothing any more, and comes again as somebody else, as often as it takes.
    let mut attempts = 0;
    let mut next = tokio::time::interval(Duration::from_millis(100));
    let again = async {
        loop {
            next.tick().await;
            attempts += 1;
            let answer = site.post(&offer(&[])).await;
            if answer.status == 201 {
                break;
            }
            answer.refuses(409, "already");
        }
    };
    tokio::time::timeout(LIMIT, again).await.unwrap();
    assert!(attempts > 1, "it was on air a moment ago");
    // Whoever it was is told, and has no session any more.
    first.until(|p| p.dtls_state() == RTCDtlsTransportState::Closed).await;
    assert_eq!(site.whip.counters.ended(End::Withdrawn).get(), 1);
    assert_eq!(site.whip.counters.ended(End::Silent).get(), 0);
    site.ask("DELETE", &session, &[], "").await.refuses(404, "no such session");
}

#[tokio::test]
async fn media_go_on_after_an_ice_restart() {
    let mut site = Site::start().await;
    let mut peer = Peer::new().await;
    let answer = peer.on_air(&mut site).await;
    peer.pc.restart_ice();
    let offer = peer.pc.create_offer(None).unwrap();
    let now = peer.now();
    peer.pc.set_local_description(now, offer).unwrap();
    let sdp = peer.pc.local_description().unwrap().sdp;
    let lines: Vec<&str> = sdp.lines().collect();
    let line = |name: &str| lines.iter().find(|l| l.starts_with(name)).copied().unwrap();
    let fragment = format!(
        "{}\r\n{}\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n",
        line("a=ice-ufrag:"),
        line("a=ice-pwd:")
    );
    let headers = ["If-Match: *", "Content-Type: application/trickle-ice-sdpfrag"];
    let restarted = site.ask("PATCH", &answer.session(&site), &headers, &fragment).await;
    assert_eq!(restarted.status, 200, "{}", restarted.body);
    // The answer as before, with what is new.
    let new = |name: &str| restarted.body.lines().find(|l| l.starts_with(name)).unwrap();
    let changed: Vec<&str> = answer
        .body
        .lines()
        .map(|l| {
            let name = ["a=ice-ufrag:", "a=ice-pwd:"].into_iter().find(|n| l.starts_with(n));
            name.map_or(l, new)
        })
        .collect();
    let text = changed.join("\r\n") + "\r\n";
    let description = RTCSessionDescription::answer(text).unwrap();
    peer.pc.set_remote_description(now, description).unwrap();
    // ICE finds its way again; DTLS and SRTP are as they were.
    while site.packets.try_recv().is_ok() {}
    let mut sent = 0;
    peer.until(|p| {
        let through = site.packets.try_recv().is_ok();
        if !through && sent < 2_000 {
            p.send(&KEY);
            sent += 1;
        }
        through
    })
    .await;
    assert_eq!(site.whip.counters.begun.get(), 1);
}

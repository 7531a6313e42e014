//! Tests of WHIP: [`clauses`] goes through RFC 9725 over HTTP, [`peer`] has a whole WebRTC broadcaster
//! over real UDP, [`parts`] looks at descriptions, times and streams one by one. Here is the site that
//! they stand on.

mod clauses;
mod parts;
mod peer;

use super::http::{BROADCASTERS_OF_AN_ADDRESS, Found, Streams, Target, WhipSite, router};
use super::{ConfiguredTokens, PublishCheck, Whip};
use crate::ingest::driver::{IngestHandle, IngestTask, Order, Outlet};
use crate::ingest::{LayerStart, StreamEvent, StreamIngest, TrackSpec};
use bytes::Bytes;
use relay_node::clock::Clock;
use relay_node::config::candidates::Reach;
use relay_node::config::ice_servers::IceServer;
use relay_node::http_server::HttpServer;
use relay_node::media::api::PipelineKey;
use relay_node::media::packet::HopPacket;
use relay_node::webrtc::rate::Rate;
use soleil_protocol::pipeline::Codec;
use soleil_protocol::{Epoch, PacketIndex, PipelineId, Ssrc};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long a test waits for anything.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
const TOKEN: &str = "north-of-the-river";
/// SSRCs of the layers of the picture are these and the following, of the sound 20.
const FIRST: u32 = 10;

/// A stream of VP8 in three layers and Opus.
pub(super) fn tracks() -> Vec<TrackSpec> {
    let track = |name: &str, codec, payload_type, clock_rate, channels, layers| TrackSpec {
        name: name.to_owned(),
        codec,
        payload_type,
        clock_rate,
        channels,
        fmtp: String::new(),
        layers,
        made: 0,
    };
    vec![
        track("video", Codec::Vp8, 100, 90_000, 0, 3),
        track("audio", Codec::Opus, 101, 48_000, 2, 1),
    ]
}

struct Capture(mpsc::UnboundedSender<HopPacket>);

impl Outlet for Capture {
    fn packets(&self, packets: Vec<Bytes>) {
        for packet in packets {
            let _ = self.0.send(HopPacket::parse(&packet).unwrap());
        }
    }

    fn event(&self, _: PipelineId, _: StreamEvent) {}
}

#[derive(Debug)]
struct One(Target);

impl Streams for One {
    fn find(&self, name: &str) -> Option<Found> {
        match name {
            "demo" | "closed" => Some(Found::Open(self.0.clone())),
            "rests" => Some(Found::Stopped),
            "fails" => Some(Found::Failed),
            _ => None,
        }
    }
}

/// A root as far as WHIP needs one.
struct Site {
    http: SocketAddr,
    whip: Whip,
    ingest: IngestHandle,
    packets: mpsc::UnboundedReceiver<HopPacket>,
    stop: CancellationToken,
    draining: CancellationToken,
    /// Ends the stream alone.
    stop_stream: CancellationToken,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What is not the same in all tests.
struct Setup {
    places: usize,
    /// That one address is reckoned to have.
    of_an_address: usize,
    ice_servers: Vec<IceServer>,
    tokens: Arc<dyn PublishCheck>,
}

impl Default for Setup {
    fn default() -> Self {
        let tokens = ["demo", "rests", "fails"].map(|name| (name, TOKEN));
        let tokens = Arc::new(ConfiguredTokens::new(tokens));
        let of_an_address = BROADCASTERS_OF_AN_ADDRESS;
        Self { places: 8, of_an_address, ice_servers: Vec::new(), tokens }
    }
}

impl Site {
    async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    async fn with(setup: Setup) -> Self {
        let Setup { places, of_an_address, ice_servers, tokens } = setup;
        let clock = Clock::start();
        let (stop, draining) = (CancellationToken::new(), CancellationToken::new());
        let mut start = |track: &TrackSpec, layer: usize| {
            let first = if track.codec == Codec::Opus { 20 } else { FIRST };
            let (index, reserved) = (PacketIndex(100), PacketIndex(1 << 40));
            Ok::<_, Infallible>(LayerStart { ssrc: Ssrc(first + layer as u32), index, reserved })
        };
        let core = StreamIngest::new(PipelineId(1), "demo", tracks(), 1100, &mut start, &mut || 5)
            .unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (ingest, task) = IngestTask::bind("demo", core, &[any; 4], &[], clock).unwrap();
        let (tx, packets) = mpsc::unbounded_channel();
        let stop_stream = stop.child_token();
        tokio::spawn(task.run(Capture(tx), stop_stream.clone()));
        let key = PipelineKey { key: [1; 16], salt: [2; 12] };
        assert!(ingest.order(Order::Key(Epoch(1), key)));
        let (whip, task) = Whip::bind(any, places, clock).unwrap();
        tokio::spawn(task.run(stop.clone()));
        let site = WhipSite {
            whip: whip.clone(),
            streams: Arc::new(One(Target { ingest: ingest.clone(), tracks: tracks() })),
            tokens,
            reach: Reach::new(&[], whip.bound, &[], false),
            ice_servers,
            public_url: None,
            https: false,
            rate: Rate::new(of_an_address),
            clock,
            draining: draining.clone(),
        };
        let server = HttpServer::bind(any, None).await.unwrap();
        let http = server.local_addr().unwrap();
        tokio::spawn(server.serve(router(Arc::new(site)), stop.clone()));
        Self { http, whip, ingest, packets, stop, draining, stop_stream }
    }

    /// One request; headers are lines.
    async fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.http);
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let (mut read, mut write) = stream.split();
        let mut bytes = Vec::new();
        // A server that refuses a large body may close before it has read it.
        let send = async { write.write_all(request.as_bytes()).await.is_ok() };
        let both = async { tokio::join!(send, read.read_to_end(&mut bytes)) };
        let _ = tokio::time::timeout(LIMIT, both).await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .filter_map(|l| l.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Answer { status, headers, body: body.to_owned() }
    }

    /// An offer of whoever has the token.
    async fn post(&self, offer: &str) -> Answer {
        let token = format!("Authorization: Bearer {TOKEN}");
        self.ask("POST", "/whip/demo", &[&token, "Content-Type: application/sdp"], offer).await
    }
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// The path of its Location, which must be absolute.
    fn session(&self, site: &Site) -> String {
        let base = format!("http://{}", site.http);
        let path = self.header("location").strip_prefix(&base).expect("an absolute Location");
        path.to_owned()
    }

    /// A refusal is a problem (RFC 9457) of this status that says something.
    fn refuses(&self, status: u16, text: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert!(self.body.contains(text), "{}", self.body);
    }
}

/// An offer as browsers make it, with three layers if wanted.
pub(super) fn offer(layers: &[&str]) -> String {
    let ice = "a=ice-ufrag:EsAw\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\na=ice-options:trickle\r\n\
        a=fingerprint:sha-256 DA:7B:57:DC:28:CE:04:4F:31:79:85:C4:31:67:EB:27:58:29:ED:77:2A:0D:24:\
        AE:ED:AD:30:BC:BD:F1:9C:02\r\na=setup:actpass\r\n";
    let mut out = format!(
        "v=0\r\no=- 5228595038118931041 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         a=extmap-allow-mixed\r\na=msid-semantic: WMS s\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n{ice}\
         a=mid:0\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendonly\r\na=msid:s a\r\n\
         a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
         a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103\r\nc=IN IP4 0.0.0.0\r\n{ice}a=mid:1\r\n\
         a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
         a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a=extmap:8 https://aomediacodec.github.io/av1-rtp-spec/\
         #dependency-descriptor-rtp-header-extension\r\n\
         a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
         a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n\
         a=sendonly\r\na=msid:s v\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:96 VP8/90000\r\n\
         a=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\n\
         a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
         a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack\r\n\
         a=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\na=rtpmap:103 rtx/90000\r\n\
         a=fmtp:103 apt=102\r\n"
    );
    for rid in layers {
        out.push_str(&format!("a=rid:{rid} send\r\n"));
    }
    if !layers.is_empty() {
        out.push_str(&format!("a=simulcast:send {}\r\n", layers.join(";")));
    }
    out
}

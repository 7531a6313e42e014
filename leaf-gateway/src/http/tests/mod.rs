//! Every refusal of WHEP, and the good case, against a real listener and worker.

mod abuse;
mod https;
mod session;
mod whep_auth;
mod whep_events;
mod whep_http;
mod whep_ice;
mod whep_layers;
mod whep_setup;
mod whep_table;

use super::*;
use crate::config::LeafConfig;
use crate::gateway::{Leaf, NodeSide, RunningLeaf};
use relay_node::identity::{PlayTicket, SigningKey};
use soleil_protocol::pipeline::{Codec, Layer, Track};
use soleil_protocol::{Incarnation, Millis, NodeId, Ssrc};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const OFFER: &str = include_str!("../../../tests/data/chromium_offer.sdp");

struct Bench {
    http: SocketAddr,
    key: SigningKey,
    leaf: RunningLeaf,
    clock: Clock,
    lack: watch::Sender<Option<Lack>>,
    pipelines: watch::Sender<Arc<BTreeMap<PipelineId, PipelineDef>>>,
}

fn def(id: u32, name: &str, live: bool, codec: Codec) -> (PipelineId, PipelineDef) {
    let layer = Layer {
        ssrc: Ssrc(id),
        payload_type: 96,
        width: None,
        height: None,
        bitrate: None,
        scalability: None,
    };
    let track = Track {
        name: "video".into(),
        codec,
        clock_rate: 90_000,
        channels: 0,
        fmtp: String::new(),
        layers: vec![layer],
    };
    let id = PipelineId(id);
    (id, PipelineDef { id, name: name.into(), live, tracks: vec![track] })
}

/// Three layers of video, best first, and sound.
fn simulcast(id: u32, name: &str) -> (PipelineId, PipelineDef) {
    let (id, mut def) = def(id, name, true, Codec::Vp8);
    def.tracks[0].layers = [(41, 1280, 720), (42, 640, 360), (43, 320, 180)]
        .map(|(ssrc, width, height)| Layer {
            ssrc: Ssrc(ssrc),
            payload_type: 96,
            width: Some(width),
            height: Some(height),
            bitrate: Some(u64::from(width) * 1_000),
            scalability: None,
        })
        .to_vec();
    let mut sound = def.tracks[0].clone();
    sound.name = "audio".into();
    sound.codec = Codec::Opus;
    sound.clock_rate = 48_000;
    sound.channels = 2;
    sound.layers = vec![Layer { ssrc: Ssrc(49), width: None, height: None, ..sound.layers[0] }];
    def.tracks.push(sound);
    (id, def)
}

async fn bench(change: impl FnOnce(&mut LeafConfig)) -> Bench {
    let clock = Clock::start();
    let mut config = LeafConfig::default();
    config.http.listen = "127.0.0.1:0".parse().unwrap();
    config.webrtc.listen = "127.0.0.1:0".parse().unwrap();
    change(&mut config);
    let (leaf, _sink) = Leaf::bind(&config, clock).await.unwrap();
    let http = leaf.http_addr();
    let key = SigningKey::generate().unwrap();
    let identity = Identity {
        id: NodeId::new("leaf-1").unwrap(),
        incarnation: Incarnation(1),
        certificate: vec![],
        authority: vec![],
        ticket_key: key.public(),
    };
    let pipelines = BTreeMap::from([
        def(1, "demo", true, Codec::Vp8),
        def(2, "off", false, Codec::Vp8),
        def(3, "sound-less", true, Codec::Opus),
        simulcast(4, "layers"),
    ]);
    let pipelines = watch::Sender::new(Arc::new(pipelines));
    let lack = watch::Sender::new(None);
    let side = NodeSide {
        pipelines: pipelines.subscribe(),
        identity: watch::Sender::new(Some(identity)).subscribe(),
        lack: lack.subscribe(),
        command: Box::new(|_| {}),
    };
    Bench { http, key, leaf: leaf.start(&config, side), clock, lack, pipelines }
}

impl Bench {
    fn ticket(&self, stream: &str, leaf: &str, offset: i64) -> String {
        let expires = self.clock.now().wall.millis().0.saturating_add_signed(offset);
        let leaf = NodeId::new(leaf).unwrap();
        PlayTicket::new(stream, &leaf, Millis(expires)).unwrap().sign(&self.key).unwrap()
    }

    async fn send(&self, method: &str, path: &str, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: leaf.test\r\nConnection: close\r\n\
             Content-Length: {}\r\n{head}\r\n{body}",
            body.len()
        );
        let (mut read, mut write) = stream.split();
        // A server that refuses by the head need not read the body.
        let _ = write.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = read.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn post(&self, stream: &str, body: &str) -> String {
        let path = format!("/whep/{stream}?ticket={}", self.ticket(stream, "leaf-1", 60_000));
        self.send("POST", &path, "Content-Type: application/sdp\r\n", body).await
    }
}

/// A session of a stream: the path of its URL, and the answer to the POST.
async fn begin(b: &Bench, stream: &str) -> (String, String) {
    let answer = b.post(stream, OFFER).await;
    assert_eq!(status(&answer), 201, "{answer}");
    (path_of(&answer), answer)
}

/// The path of an answer's Location.
fn path_of(answer: &str) -> String {
    let location = header(answer, "location").unwrap();
    location.strip_prefix("http://leaf.test").unwrap().to_owned()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

/// All values of a header.
fn headers<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    let named = |l: &'a str| {
        let (key, value) = l.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    };
    head.lines().filter_map(named).collect()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap_or("0").parse().unwrap()
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().find_map(|l| {
        let (key, value) = l.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_are_needed_and_checked() {
    let b = bench(|_| {}).await;
    let sdp = "Content-Type: application/sdp\r\n";
    let none = b.send("POST", "/whep/demo", sdp, OFFER).await;
    assert_eq!(status(&none), 401);
    assert_eq!(header(&none, "www-authenticate"), Some("Bearer"));
    for ticket in [
        b.ticket("demo", "leaf-1", -1_000),
        b.ticket("demo", "leaf-2", 60_000),
        b.ticket("off", "leaf-1", 60_000),
        "nonsense".into(),
    ] {
        let path = format!("/whep/demo?ticket={ticket}");
        assert_eq!(status(&b.send("POST", &path, sdp, OFFER).await), 403, "{ticket}");
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_status() {
    let b = bench(|_| {}).await;
    assert_eq!(status(&b.post("nothing", OFFER).await), 404);
    let off = b.post("off", OFFER).await;
    assert_eq!(status(&off), 409);
    assert!(header(&off, "retry-after").is_some());
    assert_eq!(status(&b.post("demo", "garbage").await), 400);
    assert_eq!(status(&b.post("demo", &"x".repeat(MAX_OFFER_LEN + 1)).await), 413);
    let path = format!("/whep/demo?ticket={}", b.ticket("demo", "leaf-1", 60_000));
    assert_eq!(status(&b.send("POST", &path, "Content-Type: text/plain\r\n", OFFER).await), 415);
    assert_eq!(status(&b.send("PUT", &path, "", "").await), 405);
    let options = b.send("OPTIONS", &path, "", "").await;
    assert_eq!(header(&options, "accept-post"), Some("application/sdp"));
    for id in ["x", "00000000000000000000000000000000"] {
        assert_eq!(status(&b.send("DELETE", &format!("/whep/demo/{id}"), "", "").await), 404);
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_full_says_when_to_come_back() {
    for change in [
        (|c: &mut LeafConfig| c.capacity.viewers = 1) as fn(&mut LeafConfig),
        |c| c.webrtc.sessions_per_address = 1,
        |c| c.webrtc.connecting = 1,
    ] {
        let b = bench(change).await;
        assert_eq!(status(&b.post("demo", OFFER).await), 201);
        let full = b.post("demo", OFFER).await;
        assert_eq!(status(&full), 503);
        assert!(header(&full, "retry-after").is_some());
        b.leaf.drain().await;
        assert_eq!(status(&b.post("demo", OFFER).await), 503, "draining");
        b.leaf.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_without_media_takes_nobody() {
    let b = bench(|_| {}).await;
    for lack in [Lack::Parent, Lack::Media, Lack::Root] {
        b.lack.send_replace(Some(lack));
        let answer = b.post("demo", OFFER).await;
        assert_eq!(status(&answer), 503, "{answer}");
        assert!(answer.contains(&lack.to_string()), "{answer}");
        assert!(header(&answer, "retry-after").is_some());
    }
    b.lack.send_replace(None);
    assert_eq!(status(&b.post("demo", OFFER).await), 201);
    b.leaf.stop().await;
}

//! A whole root in one process: it starts, takes a stream in, says that it is live, and stops.

use super::*;
use crate::config::StreamSection;
use crate::streams::{Definition, Origin, State, TrackRequest};
use soleil_protocol::Ssrc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

/// A UDP port that is free at this moment.
async fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_root_starts_takes_a_stream_in_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::default();
    config.node.data_dir = Some(dir.path().join("data"));
    config.node.drain_timeout = Duration::from_secs(5);
    config.overlay.listen = any;
    config.media.listen = any;
    config.ops.listen = any;
    config.http.listen = any;
    // An address that nobody else has, so that a free port is a free port.
    let whip = SocketAddr::new(crate::streams::tests::home(), 18_189);
    config.webrtc.listen = whip;
    let mut demo = StreamSection::demo();
    demo.track[0].ports = vec![free_port().await];
    demo.track[1].ports = vec![free_port().await];
    config.stream = vec![demo];
    let root = Root::start(config, LogControl::none()).await.unwrap();
    let mut view = root.view.clone();
    let known = view.wait_for(|v| v.pipelines.iter().any(|p| p.def.name == "demo"));
    let live = timeout(LIMIT, known).await.unwrap().unwrap().pipelines[0].def.live;
    assert!(!live);
    let mut attached = root.node.attached();
    timeout(LIMIT, attached.wait_for(|a| *a)).await.unwrap().unwrap();

    let broadcaster = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut packet = vec![0x80, 0xe0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];
    packet.extend([0x65, 1, 2, 3]);
    broadcaster.send_to(&packet, root.ingest[0].ports[0]).await.unwrap();
    let on_air = view.wait_for(|v| v.pipelines.iter().any(|p| p.def.live));
    timeout(LIMIT, on_air).await.unwrap().unwrap();
    // The key has arrived before the packet, or the packet is counted.
    let sealed = root.ingest[0].clone();
    let mut counters = sealed.counters.clone();
    let taken = counters.wait_for(|layers| layers[0].3.accepted == 1);
    timeout(LIMIT, taken).await.unwrap().unwrap();
    let draining = root.draining.clone();
    assert!(!draining.is_cancelled());
    timeout(LIMIT, root.stop("test")).await.unwrap().unwrap();
    // Nobody was let in meanwhile, and WHIP had said all that it had to say.
    assert!(draining.is_cancelled());
    UdpSocket::bind(whip).await.expect("its port is free");
}

#[tokio::test]
async fn a_stream_that_was_defined_at_run_time_is_there_when_the_root_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let start = async || {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config::default();
        config.node.data_dir = Some(dir.path().join("data"));
        config.node.drain_timeout = Duration::from_secs(5);
        config.ops.enabled = false;
        config.overlay.listen = any;
        config.media.listen = any;
        config.http.listen = any;
        config.webrtc.listen = any;
        config.stream = Vec::new();
        Root::start(config, LogControl::none()).await.unwrap()
    };
    // What the tree has of it: its number, its SSRCs.
    let known = async |root: &Root| {
        let mut view = root.view.clone();
        let there = view.wait_for(|v| v.pipelines.iter().any(|p| p.def.name == "news"));
        let view = timeout(LIMIT, there).await.unwrap().unwrap();
        let def = &view.pipelines[0].def;
        (def.id, def.ssrcs().collect::<Vec<Ssrc>>(), view.pipelines[0].epoch)
    };
    let root = start().await;
    let port = free_port().await;
    let json = format!("{{\"codec\":\"opus\",\"payload_type\":111,\"ports\":[{port}]}}");
    let track: TrackRequest = serde_json::from_str(&json).unwrap();
    let tracks = vec![track.resolve(root.streams.bind()).unwrap()];
    let news = Definition { tracks, ..Definition::default() };
    let made = root.streams.define("news".into(), news, true).await.unwrap();
    let (id, ssrcs, epoch) = known(&root).await;
    assert_eq!((id, ssrcs.len()), (made.id, 1));
    timeout(LIMIT, root.stop("test")).await.unwrap().unwrap();

    let root = start().await;
    let again = root.streams.get("news").unwrap();
    assert_eq!((again.origin, &again.state), (Origin::Api, &State::Running));
    let (same, same_ssrcs, later) = known(&root).await;
    assert_eq!((same, same_ssrcs), (id, ssrcs));
    assert!(later > epoch, "under another key");
    let ingest = again.ingest.unwrap();
    let broadcaster = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let packet = [0x80, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0xfc, 1, 2, 3];
    broadcaster.send_to(&packet, ingest.ports[0]).await.unwrap();
    let mut counters = ingest.counters.clone();
    let taken = counters.wait_for(|layers| layers[0].3.accepted == 1);
    timeout(LIMIT, taken).await.unwrap().unwrap();
    timeout(LIMIT, root.stop("test")).await.unwrap().unwrap();
}

//! A whole root in one process: it starts, takes a stream in, says that it is live, and stops.

use super::*;
use crate::config::StreamSection;
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
    config.webrtc.listen = any;
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
    timeout(LIMIT, root.stop("test")).await.unwrap().unwrap();
}

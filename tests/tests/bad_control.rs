//! "Bad input, each with a test": control messages that are malformed, over-long, deeply nested or
//! speak for another node, from somebody whom the root has let in by a good token, on a whole tree.
//! The viewers notice nothing. More of it stands beside the code that reads (relay-node, `io/tests`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures_util::{SinkExt, StreamExt};
use relay_node::clock::Clock;
use relay_node::identity::tls::{Expect, client, unused_server_name};
use relay_node::identity::token::JoinToken;
use relay_node::io::accept::{PATH, SUBPROTOCOL};
use soleil_protocol::limits::MAX_MESSAGE;
use soleil_protocol::message::{ErrorCode, Kill, RemovePipeline, ReqFullStats};
use soleil_protocol::{Body, Message, Millis, PipelineId};
use soleil_tests::harness::{Options, Tree};
use soleil_tests::viewer::{self, Viewers};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const VIEWERS: usize = 3;
const DEADLINE: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// A control link to the root that a good token opens.
async fn link(port: u16, token: &JoinToken) -> Socket {
    let tls = client(None, Expect::Root(token.authority), Clock::start()).unwrap();
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let stream = TlsConnector::from(tls).connect(unused_server_name(), tcp).await.unwrap();
    let mut request = format!("wss://localhost{PATH}").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("Sec-WebSocket-Protocol", SUBPROTOCOL.parse().unwrap());
    headers.insert("Authorization", format!("Bearer {}", token.bearer()).parse().unwrap());
    tokio_tungstenite::client_async(request, stream).await.unwrap().0
}

/// Sends one frame and gives the codes of the ERRORs that come before the link ends.
async fn answers(mut socket: Socket, frame: Frame) -> Vec<ErrorCode> {
    // A frame over the limit may meet a link that is being closed already.
    let _ = socket.send(frame).await;
    let mut codes = Vec::new();
    let reading = async {
        while let Some(Ok(frame)) = socket.next().await {
            let Frame::Text(text) = frame else { continue };
            if let Body::Error(report) = Message::from_xml(&text).unwrap().body {
                codes.push(report.code);
            }
        }
    };
    timeout(DEADLINE, reading).await.expect("the root does not close the link");
    codes
}

#[test]
fn control_messages_that_no_node_would_send() {
    let mut tree = Tree::start(&Options::default()).unwrap();
    let source = tree.go_live(0, &[]).unwrap();
    let viewers =
        Viewers::start(&tree.whep_url("demo"), VIEWERS, &viewer::Options::default()).unwrap();
    viewers
        .wait(DEADLINE, |r| r.with_picture() == VIEWERS)
        .unwrap_or_else(|report| panic!("not all have a picture:\n{report}"));

    let ports = tree.tcp_ports();
    let overlay = ports.iter().find(|(name, _)| name == "root overlay").unwrap().1;
    let token: JoinToken = tree.token("relay", &[]).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let send = |text: String| {
        runtime.block_on(async { answers(link(overlay, &token).await, Frame::text(text)).await })
    };

    let long = "x".repeat(MAX_MESSAGE);
    for malformed in [
        "hello".to_owned(),
        "<message type=\"bye\" time=\"1\">".to_owned(),
        "<message type=\"ping\" time=\"yesterday\"><token>a</token></message>".to_owned(),
        format!("<message type=\"bye\" time=\"1\"><reason>{long}</reason></message>"),
        format!("<message type=\"{long}\" time=\"1\"/>"),
        format!("<message type=\"ping\" time=\"1\">{}", "<a>".repeat(10_000)),
        "<!DOCTYPE m [<!ENTITY a \"b\">]><message type=\"bye\" time=\"1\">&a;</message>".to_owned(),
    ] {
        let codes = send(malformed.clone());
        let begin: String = malformed.chars().take(60).collect();
        assert_eq!(codes, [ErrorCode::Malformed], "{begin}");
    }
    // Good messages in the name of the root and of nodes that are in the tree.
    let remove = RemovePipeline { pipeline: PipelineId(1), reason: "x".into() };
    for from in ["^", "relay-1", "leaf-1"] {
        for (to, body) in [
            ("relay-1", Body::Kill(Kill { grace_secs: 0, reason: "x".into() })),
            ("leaf-1", Body::ReqFullStats(ReqFullStats { pipeline: None })),
            ("*", Body::RemovePipeline(remove.clone())),
        ] {
            let (from, to) = (Some(from.parse().unwrap()), Some(to.parse().unwrap()));
            let text = Message { time: Millis(1), from, to, body }.to_xml();
            assert_eq!(send(text.clone()), [ErrorCode::Unauthorized], "{text}");
        }
    }

    let frames = viewers.report().video.frames;
    let report = viewers
        .wait(DEADLINE, |r| r.video.frames >= frames + 60 * VIEWERS as u64)
        .unwrap_or_else(|report| panic!("the picture stands still:\n{report}"));
    assert_eq!((report.failed, report.video.lost, report.audio.lost), (0, 0, 0), "{report}");
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
    source.stop().unwrap();
}

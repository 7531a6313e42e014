//! A stream that is defined, stopped, started and removed through the API of a running tree, with a
//! viewer, while another one is on air and must not notice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use soleil_tests::harness::{Options, Ports, Tree};
use soleil_tests::http::{self, Response};
use soleil_tests::small::Broadcaster;
use soleil_tests::viewer::{self, State, Viewers};
use soleil_tests::wait::until;
use std::net::SocketAddr;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);
/// Packets of sound that have to arrive before and after each event: half a second.
const SOME: u64 = 25;

struct Operator<'a> {
    tree: &'a Tree,
    token: String,
}

impl Operator<'_> {
    fn send(&self, method: &str, path: &str, body: &Value) -> Response {
        let url = format!("{}/api/v1/streams{path}", self.tree.http());
        let bearer = format!("Bearer {}", self.token);
        let json = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        http::request(method, &url, &json, body.as_bytes()).unwrap()
    }
}

fn listener(tree: &Tree, stream: &str) -> Viewers {
    Viewers::start(&tree.whep_url(stream), 1, &viewer::Options::default()).unwrap()
}

fn hears(viewer: &Viewers, more: u64) {
    let wanted = viewer.report().audio.packets + more;
    viewer
        .wait(DEADLINE, |report| report.audio.packets >= wanted)
        .unwrap_or_else(|report| panic!("it hears nothing:\n{report}"));
}

#[test]
fn a_stream_comes_and_goes_on_a_running_tree() {
    let mut tree = Tree::start(&Options::default()).unwrap();
    let token = tree.root_command(&["token", "create", "--role", "operator"]).unwrap();
    let operator = Operator { tree: &tree, token: token.trim().to_owned() };
    let _demo = Broadcaster::start(tree.ingest(0).1).unwrap();
    until("demo to be on air", DEADLINE, || tree.is_live("demo"));
    let other = listener(&tree, "demo");
    hears(&other, SOME);

    let port = Ports::default().take(2).unwrap();
    let tracks = json!([{"codec": "opus", "payload_type": 111, "ports": [port]}]);
    let made = operator.send("POST", "", &json!({"name": "news", "tracks": tracks}));
    assert_eq!(made.status, 201, "{}", made.text());
    let source = Broadcaster::start(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    until("news to be on air", DEADLINE, || tree.is_live("news"));
    let viewer = listener(&tree, "news");
    hears(&viewer, SOME);

    // Stopped and started at once: the viewer keeps its session.
    assert_eq!(operator.send("POST", "/news/stop", &Value::Null).status, 200);
    assert!(!tree.is_live("news"));
    assert_eq!(operator.send("POST", "/news/start", &Value::Null).status, 200);
    hears(&viewer, SOME);
    let report = viewer.report();
    assert_eq!((report.connected, report.unopened), (1, 0), "{report}");

    let gone = operator.send("DELETE", "/news", &Value::Null);
    assert_eq!(gone.status, 204, "{}", gone.text());
    viewer
        .wait(DEADLINE, |report| report.each[0].state == State::Closed)
        .unwrap_or_else(|report| panic!("its session does not end:\n{report}"));
    assert!(viewer.report().each[0].closed_by_server, "and it is told so");
    let ended = tree.leaves[0]
        .metrics()
        .sum("soleil_leaf_sessions_ended_total", &[("cause", "stream_ended")]);
    assert_eq!(ended, 1.0);
    let answer = http::request("POST", &tree.whep_url("news"), &[], b"v=0").unwrap();
    assert_eq!((answer.status, answer.text().contains("no stream of this name")), (404, true));
    drop(source);

    hears(&other, SOME);
    let report = other.report();
    assert_eq!((report.connected, report.audio.lost, report.unopened), (1, 0, 0), "{report}");
    let (_, deleted) = other.stop();
    assert_eq!(deleted, 1, "its session was there to the end");
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

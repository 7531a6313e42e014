//! A stream whose sources an operator gives over the API, with their real processes: on air at once, secret
//! to everybody, and there again with the root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use soleil_tests::harness::{Options, Ports, Process, Tree};
use soleil_tests::http::{self, Response};
use soleil_tests::source::write_clip;
use soleil_tests::viewer::{self, Codec, Viewers};
use soleil_tests::wait::until;
use std::process::Command;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
/// More than a tree of two nodes needs.
const TREE_PORTS: u16 = 60;
/// The pictures' widths, by which the sources are told apart.
const FIELD: u64 = 320;
const CLIP: u64 = 640;
const SECRET: &str = "correct-horse-battery";

fn ask(tree: &Tree, token: &str, method: &str, path: &str, body: &Value) -> Response {
    let url = format!("{}/api/v1/streams{path}", tree.http());
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    http::request(method, &url, &headers, body.as_bytes()).unwrap()
}

/// An encoder that calls with this passphrase, and calls again.
fn encoder(secret: &str, port: u16) -> Process {
    let sink = format!("uri=srt://127.0.0.1:{port} auto-reconnect=true");
    let line = format!(
        "videotestsrc is-live=true ! video/x-raw,format=I420,width={FIELD},height=180,framerate=30/1 \
         ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 \
         ! video/x-h264,profile=baseline ! h264parse ! mpegtsmux alignment=7 ! srtsink {sink}"
    );
    let mut command = Command::new("gst-launch-1.0");
    command.arg("-q").args(line.split_whitespace()).arg(format!("passphrase={secret}"));
    Process::start("srt", &mut command).unwrap()
}

/// Waits until the picture that the root takes in has this width, and the viewer sees one.
fn shows(tree: &Tree, viewers: &Viewers, width: u64, whose: &str) {
    until(&format!("{whose} on air"), DEADLINE, || {
        let Ok(answer) = http::get(&format!("{}/api/v1/streams/field", tree.http())) else {
            return false;
        };
        let stream: Value = serde_json::from_str(&answer.text()).unwrap();
        stream["tracks"][0]["layers"][0]["width"].as_u64() == Some(width)
    });
    let before = viewers.report().video;
    let (frames, keys) = (before.frames + 20, before.key_frames + 1);
    let report = viewers
        .wait(DEADLINE, |r| r.video.frames >= frames && r.video.key_frames >= keys)
        .unwrap_or_else(|report| panic!("{whose} is not seen:\n{report}"));
    assert_eq!((report.connected, report.failed), (1, 0), "{whose}: {report}");
}

#[test]
fn sources_of_the_api_are_on_air_and_there_again_with_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("films");
    std::fs::create_dir(&files).unwrap();
    write_clip(&files.join("clip.mp4"), 60).unwrap();
    // Beyond those that the tree will take.
    let mut ports = Ports::default();
    ports.take(TREE_PORTS).unwrap();
    let port = ports.take(1).unwrap();
    let root_extra = format!("[ingest]\nfiles = \"{}\"\n", files.display());
    let mut tree = Tree::start(&Options { relays: 0, root_extra, ..Options::default() }).unwrap();
    let token = tree.root_command(&["token", "create", "--role", "operator"]).unwrap();
    let token = token.trim().to_owned();

    let srt = json!({"kind": "srt", "listen": format!("127.0.0.1:{port}"), "secret": SECRET});
    let sources = |file: &str| json!([srt, {"kind": "file", "path": file, "loop": true}]);
    let define = |tree: &Tree, file: &str| {
        let body = json!({"name": "field", "sources": sources(file)});
        ask(tree, &token, "POST", "", &body)
    };
    // Nothing outside of the directory.
    for outside in ["../secret.mp4", "/etc/passwd"] {
        let refused = define(&tree, outside);
        assert_eq!(refused.status, 422, "{outside}: {}", refused.text());
    }
    let made = define(&tree, "clip.mp4");
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(made.text().contains("(hidden)") && !made.text().contains(SECRET), "{}", made.text());

    // The first one does not send: the file is on air.
    until("the file", DEADLINE, || tree.is_live("field"));
    let options = viewer::Options { video: vec![Codec::H264], ..viewer::Options::default() };
    let viewers = Viewers::start(&tree.whep_url("field"), 1, &options).unwrap();
    shows(&tree, &viewers, CLIP, "the file");
    let _encoder = encoder(SECRET, port);
    shows(&tree, &viewers, FIELD, "the encoder");
    let seen = ask(&tree, &token, "GET", "/field", &Value::Null).text();
    assert!(seen.contains("passed_through") && !seen.contains(SECRET), "{seen}");

    // The root has sealed the secret, and knows it again when it is killed and started anew.
    tree.root.process.kill();
    until("the leaf to miss the root", DEADLINE, || !tree.leaves[0].is_ready());
    tree.start_root_again().unwrap();
    shows(&tree, &viewers, FIELD, "the encoder, after the root has come back");
    let log = tree.root.process.log().join("\n");
    assert!(!log.contains(SECRET), "the root tells the secret");

    // Stopped: nobody sends. Removed: its processes end, and its port is free.
    assert_eq!(ask(&tree, &token, "POST", "/field/stop", &Value::Null).status, 200);
    assert!(!tree.is_live("field"));
    assert_eq!(ask(&tree, &token, "DELETE", "/field", &Value::Null).status, 204);
    until("the port to be free", DEADLINE, || {
        std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok()
    });
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

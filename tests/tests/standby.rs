//! A stream with two encoders and a slate, and one viewer, whose session stays whoever is on air.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::harness::{Options, Ports, Process, Tree};
use soleil_tests::http;
use soleil_tests::viewer::{self, Codec, Viewers};
use soleil_tests::wait::until;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
/// More than a tree of two nodes needs.
const TREE_PORTS: u16 = 60;
/// The widths of the pictures, by which they are told apart.
const NORTH: u64 = 320;
const SOUTH: u64 = 480;
const SLATE: u64 = 1280;

fn gst(name: &str, line: &str) -> Process {
    let mut command = Command::new("gst-launch-1.0");
    command.arg("-q").args(line.split_whitespace());
    Process::start(name, &mut command).unwrap()
}

/// An encoder that pushes by RTMP.
fn encoder(key: &str, width: u64, port: u16) -> Process {
    let height = width * 9 / 16;
    let size = format!("video/x-raw,format=I420,width={width},height={height},framerate=30/1");
    let picture = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 \
                   ! video/x-h264,profile=baseline ! h264parse ! queue ! m.";
    let sound = "audio/x-raw,rate=48000,channels=2 ! avenc_aac ! aacparse ! queue ! m.";
    gst(
        key,
        &format!(
            "videotestsrc is-live=true ! {size} ! {picture} audiotestsrc is-live=true ! {sound} \
             flvmux name=m streamable=true ! rtmp2sink location=rtmp://127.0.0.1:{port}/show/{key}"
        ),
    )
}

fn picture(path: &Path) {
    let mut made = gst(
        "picture",
        &format!("videotestsrc num-buffers=1 ! pngenc ! filesink location={}", path.display()),
    );
    assert!(made.wait(DEADLINE).is_some());
}

/// Waits until a source is on air, alone, and has shown how large its picture is.
fn on_air(tree: &Tree, source: usize, width: u64) {
    until(&format!("source {source} on air"), DEADLINE, || {
        let on_air =
            |labels: &[(&str, &str)]| tree.root.metrics().sum("soleil_source_on_air", labels);
        let own = on_air(&[("stream", "show"), ("source", &source.to_string())]);
        let url = format!("{}/api/v1/streams/show", tree.http());
        let Ok(answer) = http::get(&url) else { return false };
        let stream: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
        let shown = stream["tracks"][0]["layers"][0]["width"].as_u64();
        own == 1.0 && on_air(&[("stream", "show")]) == 1.0 && shown == Some(width)
    });
}

/// The viewer has whole pictures from now on, key frames among them, and sound; in the session that he
/// has had from the start.
fn goes_on(viewers: &Viewers, whose: &str) {
    let before = viewers.report();
    let (frames, keys) = (before.video.frames + 20, before.video.key_frames + 1);
    let sounds = before.audio.packets + 20;
    let report = viewers
        .wait(DEADLINE, |r| {
            r.video.frames >= frames && r.video.key_frames >= keys && r.audio.packets >= sounds
        })
        .unwrap_or_else(|report| panic!("{whose} is not seen and heard:\n{report}"));
    assert_eq!((report.connected, report.failed), (1, 0), "{whose}: {report}");
    let viewer = &report.each[0];
    assert!(viewer.byes == 0 && !viewer.closed_by_server, "{whose}: {report}");
}

#[test]
fn the_standby_goes_on_where_the_first_source_breaks_off() {
    let directory = tempfile::tempdir().unwrap();
    let slate = directory.path().join("slate.png");
    picture(&slate);
    // Beyond those that the tree will take.
    let mut ports = Ports::default();
    ports.take(TREE_PORTS).unwrap();
    let rtmp = ports.take(1).unwrap();
    let source = |keys: &str| format!("[[stream.source]]\n{keys}\n");
    let root_extra = [
        format!("[rtmp]\nlisten = \"127.0.0.1:{rtmp}\"\n[[stream]]\nname = \"show\"\n"),
        source("kind = \"rtmp\"\nsecret = \"north-of-the-river\""),
        source("kind = \"rtmp\"\nsecret = \"south-of-the-river\""),
        source(&format!("kind = \"slate\"\npath = \"{}\"", slate.display())),
    ]
    .concat();
    let mut tree = Tree::start(&Options { relays: 0, root_extra, ..Options::default() }).unwrap();

    // Nobody broadcasts: the slate is a stream like any other.
    on_air(&tree, 2, SLATE);
    let options = viewer::Options { video: vec![Codec::H264], ..viewer::Options::default() };
    let viewers = Viewers::start(&tree.whep_url("show"), 1, &options).unwrap();
    goes_on(&viewers, "the slate");

    let north = encoder("north-of-the-river", NORTH, rtmp);
    on_air(&tree, 0, NORTH);
    let south = encoder("south-of-the-river", SOUTH, rtmp);
    let running = [("stream", "show"), ("source", "1"), ("state", "running")];
    until("the standby to run", DEADLINE, || {
        tree.root.metrics().sum("soleil_source_state", &running) == 1.0
    });
    goes_on(&viewers, "the first encoder");

    // It breaks off, and is back.
    drop(north);
    on_air(&tree, 1, SOUTH);
    goes_on(&viewers, "the second encoder");
    let north = encoder("north-of-the-river", NORTH, rtmp);
    on_air(&tree, 0, NORTH);
    goes_on(&viewers, "the first encoder again");

    // All are gone but the slate.
    drop(south);
    drop(north);
    on_air(&tree, 2, SLATE);
    goes_on(&viewers, "the slate again");
    assert!(tree.is_live("show"));
    let log = tree.root.process.log().join("\n");
    assert!(!log.contains("of-the-river"), "the root tells a stream key");
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

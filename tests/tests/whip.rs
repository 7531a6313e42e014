//! A browser broadcasts over WHIP, others watch it through the tree: the picture in one quality, and in
//! three layers that the browser itself makes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use soleil_tests::browser;
use soleil_tests::emulator::LinkConfig;
use soleil_tests::harness::{Options, PUBLISH_TOKEN, Stream, Tree};
use soleil_tests::http;
use soleil_tests::viewer::{self, Viewers};
use soleil_tests::wait::holds_within;
use std::time::Duration;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const SECONDS: u64 = 8;

fn stream(tree: &Tree) -> Value {
    let answer = http::get(&format!("{}/api/v1/streams/demo", tree.http())).unwrap();
    serde_json::from_str(&answer.text()).unwrap()
}

/// Widths of the layers of the picture.
fn widths(stream: &Value) -> Vec<Option<u64>> {
    let layers = stream["tracks"][0]["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["width"].as_u64()).collect()
}

#[test]
fn what_one_browser_broadcasts_another_sees_and_hears() {
    let mut tree = Tree::start(&Options::default()).unwrap();
    let url = tree.whip_url("demo");
    let publisher = browser::publish(&url, PUBLISH_TOKEN, &[]).unwrap();
    assert!(publisher.location.starts_with(&url), "{}", publisher.location);
    let live = holds_within(LIMIT, || stream(&tree)["live"] == true);
    assert!(live, "{}", stream(&tree));
    let seen = browser::watch(&tree.watch_url("demo"), SECONDS).unwrap();
    let line = &seen.line;
    println!("{line}");
    assert!(seen.ok, "{line}");
    let connection = seen.connection.as_ref().unwrap();
    assert_eq!(connection.video_codec.as_deref(), Some("video/H264"), "{line}");
    // Both browsers share the machine with the tree: that frames come, in order, and with their sound
    // is what this says, not how many this machine can encode, or how exactly its page keys the tone.
    assert!(seen.frames.decoded >= SECONDS * 10, "frames: {line}");
    assert_eq!(seen.frames.backwards, 0, "{line}");
    assert!(seen.sound.onsets >= SECONDS / 2, "tones heard: {line}");
    assert!(seen.sound.av_offset_ms.unwrap().abs() < 300.0, "lip-sync: {line}");
    assert_eq!(widths(&stream(&tree)), [Some(640)]);

    let sent = publisher.stop().unwrap();
    println!("{sent:?}");
    // The stream is free for the next one.
    let again = browser::publish(&url, PUBLISH_TOKEN, &[]).unwrap();
    again.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

#[test]
fn a_browsers_simulcast_becomes_the_streams_layers() {
    let streams = vec![Stream { name: "demo".into(), codec: "VP8" }];
    let lossy = LinkConfig { delay_us: 10_000, loss: 0.03, ..LinkConfig::default() };
    let whip_hop = Some(lossy);
    let options = Options { streams, layers: 3, relays: 0, whip_hop, ..Options::default() };
    let mut tree = Tree::start(&options).unwrap();
    // Chromium's own test picture and sound, from a fake camera and microphone.
    let arguments =
        ["--devices", "--codec", "VP8", "--layers", "3", "--width", "960", "--height", "540"];
    let publisher = browser::publish(&tree.whip_url("demo"), PUBLISH_TOKEN, &arguments).unwrap();
    let all = || widths(&stream(&tree));
    let three = holds_within(LIMIT, || {
        let [Some(high), Some(middle), Some(low)] = all()[..] else { return false };
        // The camera or the browser may choose smaller pictures; halves they are.
        high >= 320 && high == 2 * middle && middle == 2 * low
    });
    assert!(three, "{}", stream(&tree));
    println!("{}", stream(&tree));
    let viewers = Viewers::start(&tree.whep_url("demo"), 1, &viewer::Options::default()).unwrap();
    let shown = viewers.wait(LIMIT, |report| report.each.iter().any(|v| v.video.frames >= 100));
    assert!(shown.is_ok(), "{shown:?}");
    let (report, complete) = viewers.stop();
    assert_eq!((report.with_picture(), complete), (1, 1));
    // What the link lost of the layers was sent again, and came in time.
    let metrics = tree.root.metrics();
    let sum = |name: &str| metrics.sum(name, &[("track", "video")]);
    let (lost, came) = (sum("soleil_ingest_lost_total"), sum("soleil_ingest_packets_total"));
    println!("lost {lost} of {came}");
    assert!(came > 300.0 && lost < came * 0.01, "lost {lost} of {came}");
    let sent = publisher.stop().unwrap();
    println!("{sent:?}");
    let layers = sent.iter().filter(|s| s.kind == "video" && s.frames_sent > Some(0));
    assert_eq!(layers.count(), 3, "{sent:?}");
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

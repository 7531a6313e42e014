//! "H.264, VP8, VP9 and AV1 as the stream has them, audio in sync": one stream of each, watched in
//! Chromium. H.264 is what every other test here watches.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::browser;
use soleil_tests::harness::{Options, Stream, Tree};

const SECONDS: u64 = 8;
/// Encoders of VP9 and AV1 in software: a picture that takes half a core.
const SMALL: [&str; 6] = ["--width", "640", "--height", "360", "--bitrate", "800"];

fn watched(codec: &'static str) {
    let streams = vec![Stream { name: "demo".into(), codec }];
    let mut tree = Tree::start(&Options { streams, ..Options::default() }).unwrap();
    let source = tree.go_live(0, &SMALL).unwrap();
    let seen = browser::watch(&tree.watch_url("demo"), SECONDS).unwrap();
    let line = &seen.line;
    println!("{line}");
    assert!(seen.ok, "{line}");
    let connection = seen.connection.as_ref().unwrap();
    assert_eq!(connection.video_codec, Some(format!("video/{codec}")), "{line}");
    assert!(seen.frames.fraction.unwrap() >= 0.97, "frames seen: {line}");
    assert!(seen.frames.expected >= SECONDS * 28, "frame rate: {line}");
    assert!(seen.freeze_ms.unwrap() <= 300.0, "freeze: {line}");
    assert!(seen.sound.onsets >= SECONDS - 2, "tones heard: {line}");
    assert!(seen.sound.av_offset_ms.unwrap().abs() < 80.0, "lip-sync: {line}");
    let report = source.stop().unwrap();
    assert!(report.skipped * 20 <= report.frames, "the source was too slow: {report:?}");
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

#[test]
fn vp8_in_chromium() {
    watched("VP8");
}

#[test]
fn vp9_in_chromium() {
    watched("VP9");
}

#[test]
fn av1_in_chromium() {
    watched("AV1");
}

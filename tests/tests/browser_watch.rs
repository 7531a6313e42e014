//! "In Chromium, through root → relay → leaf on loopback": frames, freezes, delay, sound, lip-sync
//! and cipher; and the same with 50 headless viewers beside it, which lose nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::browser::{self, Watched};
use soleil_tests::harness::{Options, Tree};
use soleil_tests::viewer::{self, Viewers};
use std::time::Duration;

const SECONDS: u64 = 20;
const FPS: u64 = 30;
/// The part of the frames that must be seen.
const SEEN: f64 = 0.98;
const VIEWERS: usize = 50;

fn check(seen: &Watched) {
    let line = &seen.line;
    println!("{line}");
    assert!(seen.ok, "{line}");
    assert!(seen.frames.fraction.unwrap() >= SEEN, "frames seen: {line}");
    // And the frames are those that were sent, thirty a second.
    assert!(seen.frames.expected as f64 >= SEEN * (SECONDS * FPS) as f64, "frame rate: {line}");
    assert_eq!(seen.frames.backwards, 0, "{line}");
    assert!(seen.freeze_ms.unwrap() <= 200.0, "freeze: {line}");
    assert!(seen.delay_ms.p50.unwrap() < 250.0, "delay: {line}");
    assert!(seen.sound.present, "sound: {line}");
    assert!(seen.sound.onsets >= SECONDS - 2, "tones heard: {line}");
    assert!(seen.sound.av_offset_ms.unwrap().abs() < 60.0, "lip-sync: {line}");
    let cipher = seen.connection.as_ref().and_then(|c| c.srtp_cipher.clone()).unwrap_or_default();
    assert!(cipher.contains("GCM"), "cipher {cipher}: {line}");
}

#[test]
fn chromium_sees_and_hears_everything() {
    let mut tree = Tree::start(&Options::default()).unwrap();
    let source = tree.go_live(0, &[]).unwrap();
    check(&browser::watch(&tree.watch_url("demo"), SECONDS).unwrap());
    let report = source.stop().unwrap();
    // Chromium's start takes both cores for a moment; more than this would be another test.
    assert!(report.skipped * 100 <= report.frames, "the source was too slow: {report:?}");
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

#[test]
fn fifty_viewers_beside_it_lose_nothing() {
    let mut tree = Tree::start(&Options::default()).unwrap();
    let source = tree.go_live(0, &[]).unwrap();
    let options = viewer::Options { joins_per_second: Some(25.0), ..viewer::Options::default() };
    let viewers = Viewers::start(&tree.whep_url("demo"), VIEWERS, &options).unwrap();
    let all = viewers
        .wait(Duration::from_secs(30), |r| r.with_picture() == VIEWERS || r.failed > 0)
        .unwrap_or_else(|report| panic!("not all have a picture:\n{report}"));
    assert_eq!(all.failed, 0, "{all}");
    check(&browser::watch(&tree.watch_url("demo"), SECONDS).unwrap());
    let (report, deleted) = viewers.stop();
    assert_eq!((report.failed, deleted), (0, VIEWERS), "{report}");
    assert_eq!((report.video.lost, report.audio.lost, report.unopened), (0, 0, 0), "{report}");
    assert_eq!(report.video.broken_frames, 0, "{report}");
    assert_eq!(report.srtp.get("AEAD_AES_128_GCM"), Some(&VIEWERS), "{:?}", report.srtp);
    for viewer in &report.each {
        let due = viewer.connected_for_ms / 1000.0 * FPS as f64;
        assert!(viewer.video.frames as f64 >= SEEN * due - 2.0, "{viewer:?}");
    }
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

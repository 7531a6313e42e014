//! Browsers and clients that nobody here wrote: Firefox with our watch page, and the `whip-whep` client
//! in Chromium and Firefox on a page of another origin. Picture and sound are read back, through the
//! whole tree.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::browser::{self, Watched};
use soleil_tests::harness::{Options, Stream, Tree};
use soleil_tests::wait::until;
use std::time::Duration;

const SECONDS: u64 = 8;
const FIREFOX: [&str; 2] = ["--browser", "firefox"];

/// Firefox decodes no H.264 here: it does so with a plug-in that it fetches from its maker. VP8 it has
/// always.
fn tree() -> Tree {
    Tree::start(&Options {
        streams: vec![Stream { name: "demo".into(), codec: "VP8" }],
        ..Options::default()
    })
    .unwrap()
}

/// A picture of less than the full size: Firefox draws each frame on a canvas to read it.
const SMALL: [&str; 6] = ["--width", "640", "--height", "360", "--bitrate", "1000"];

fn check(seen: &Watched, seen_part: f64) {
    let line = &seen.line;
    println!("{line}");
    assert!(seen.ok, "{line}");
    assert!(seen.frames.fraction.unwrap() >= seen_part, "frames seen: {line}");
    assert!(seen.frames.expected >= SECONDS * 28, "frame rate: {line}");
    assert!(seen.freeze_ms.unwrap() <= 300.0, "freeze: {line}");
    assert!(seen.sound.present, "sound: {line}");
    assert!(seen.sound.onsets >= SECONDS - 2, "tones heard: {line}");
    let connection = seen.connection.as_ref().unwrap();
    assert_eq!(connection.video_codec.as_deref(), Some("video/VP8"), "{line}");
    assert!(connection.srtp_cipher.as_ref().unwrap().contains("GCM"), "{line}");
}

#[test]
fn firefox_sees_and_hears_the_watch_page() {
    let mut tree = tree();
    let source = tree.go_live(0, &SMALL).unwrap();
    let seen = browser::watch_with(&tree.watch_url("demo"), SECONDS, &FIREFOX).unwrap();
    // Its canvas may hold the next frame already when the page is told of one.
    check(&seen, 0.9);
    assert!(seen.sound.av_offset_ms.unwrap().abs() < 150.0, "{}", seen.line);
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

#[test]
fn a_client_that_nobody_here_wrote_plays_in_both_browsers() {
    let mut tree = tree();
    let source = tree.go_live(0, &SMALL).unwrap();
    for browser in ["chromium", "firefox"] {
        let more = ["--foreign", "--browser", browser];
        let seen = browser::watch_with(&tree.whep_url("demo"), SECONDS, &more).unwrap();
        check(&seen, if browser == "chromium" { 0.97 } else { 0.9 });
    }
    // It has left properly (by DELETE, or by DTLS where that is faster): else the leaf would send on
    // until its consent runs out.
    let ended = || tree.leaves[0].metrics().sum("soleil_leaf_sessions_ended_total", &[]);
    until("both have left", Duration::from_secs(5), || ended() >= 2.0);
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

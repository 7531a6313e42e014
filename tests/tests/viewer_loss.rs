//! The last hop loses packets: Chromium asks for them, the leaf sends them again as RTX (RFC 4588),
//! and the picture stays whole without key frames.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::browser;
use soleil_tests::emulator::LinkConfig;
use soleil_tests::harness::{Options, Tree};

#[test]
fn what_the_last_hop_loses_comes_again() {
    let lossy = LinkConfig { loss: 0.05, ..LinkConfig::default() };
    let mut tree = Tree::start(&Options { viewer_hop: Some(lossy), ..Options::default() }).unwrap();
    // Key frames far apart: nothing but repair keeps the picture whole.
    let source = tree.go_live(0, &["--key-int", "600"]).unwrap();
    let seen = browser::watch(&tree.watch_url("demo"), 20).unwrap();
    println!("{}", seen.line);
    assert!(seen.ok, "{}", seen.line);
    let frames = &seen.frames;
    let connection = seen.connection.as_ref().unwrap();
    let (lost, again) = (connection.video_lost.unwrap(), connection.retransmitted.unwrap());
    assert!(lost > 100, "the emulator lost too little: {}", seen.line);
    assert!(again as f64 >= 0.95 * lost as f64, "not repaired: {}", seen.line);
    // A last packet of a frame is missed only when the next frame comes, 33 ms later: with its buffer
    // of 50 ms Chromium then has two frames for one moment of the display, decodes both and shows one.
    // About nine tenths are seen; what this test is for is that they come out of the decoder at all.
    assert!(frames.decoded as f64 >= 0.9 * frames.expected as f64, "decoded: {}", seen.line);
    assert!(frames.fraction.unwrap() >= 0.75, "frames seen: {}", seen.line);
    assert!(seen.freeze_ms.unwrap() <= 500.0, "freeze: {}", seen.line);
    assert!(seen.sound.present, "sound: {}", seen.line);
    // One at the join, and one more if the key frame itself was hit too hard to be repaired.
    assert!(connection.plis.unwrap() <= 2, "key frames instead of repair: {}", seen.line);
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

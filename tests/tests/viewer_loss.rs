//! The last hop loses packets: Chromium asks for them, the leaf sends them again as RTX (RFC 4588),
//! the page gives repairs the time that they need, and the picture stays whole without key frames.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::browser;
use soleil_tests::emulator::LinkConfig;
use soleil_tests::harness::{Options, Tree};

/// One packet in twenty, each way, and a round trip of 60 ms.
const LOSSY: LinkConfig = LinkConfig {
    delay_us: 30_000,
    loss: 0.05,
    jitter_us: 0,
    bursts: None,
    reorder: 0.0,
    reorder_by_us: 0,
    duplicate: 0.0,
    rate_bps: 0,
    queue_bytes: 0,
};

#[test]
fn what_the_last_hop_loses_comes_again() {
    let mut tree = Tree::start(&Options { viewer_hop: Some(LOSSY), ..Options::default() }).unwrap();
    // Key frames far apart: nothing but repair keeps the picture whole.
    let source = tree.go_live(0, &["--key-int", "1800"]).unwrap();
    let seen = browser::watch(&tree.watch_url("demo"), 30).unwrap();
    println!("{}", seen.line);
    assert!(seen.ok, "{}", seen.line);
    let frames = &seen.frames;
    let connection = seen.connection.as_ref().unwrap();
    let (lost, again) = (connection.video_lost.unwrap(), connection.retransmitted.unwrap());
    assert!(lost > 200, "the emulator lost too little: {}", seen.line);
    assert!(again as f64 >= 0.95 * lost as f64, "not repaired: {}", seen.line);
    assert!(frames.fraction.unwrap() >= 0.99, "frames seen: {}", seen.line);
    assert!(seen.freeze_ms.unwrap() <= 500.0, "freeze: {}", seen.line);
    assert!(seen.sound.present, "sound: {}", seen.line);
    // One at the join, and one more if the key frame itself was hit too hard to be repaired.
    assert!(connection.plis.unwrap() <= 2, "key frames instead of repair: {}", seen.line);
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

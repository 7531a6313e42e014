//! Temporal layers on a link that carries half of them: frames that no other builds upon are left
//! out, and what is left has picture ids without a hole, so that a browser shows all of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use soleil_tests::browser;
use soleil_tests::emulator::LinkConfig;
use soleil_tests::harness::{Options, PUBLISH_TOKEN, Stream, Tree};
use soleil_tests::http;
use soleil_tests::wait::until;
use std::time::Duration;

/// In three layers: the upper one has half of the frames and more than a third of the bytes.
const LAYERED: [&str; 8] =
    ["--temporal", "--width", "640", "--height", "360", "--bitrate", "1000", "--key-int"];

/// What is left without the upper layer fits, and the sound; the whole does not.
const NARROW: LinkConfig = LinkConfig {
    delay_us: 10_000,
    loss: 0.0,
    jitter_us: 0,
    bursts: None,
    reorder: 0.0,
    reorder_by_us: 0,
    duplicate: 0.0,
    rate_bps: 950_000,
    queue_bytes: 60_000,
};

const SECONDS: u64 = 20;

#[test]
fn a_narrow_link_gets_the_lower_layers_whole() {
    let mut tree = Tree::start(&Options {
        relays: 0,
        streams: vec![Stream { name: "demo".into(), codec: "VP8" }],
        viewer_hop: Some(NARROW),
        ..Options::default()
    })
    .unwrap();
    // Key frames far apart: a browser that finds a hole among the frames has to ask for one.
    let source = tree.go_live(0, &[&LAYERED[..], &["1800"]].concat()).unwrap();
    let seen = browser::watch(&tree.watch_url("demo"), SECONDS).unwrap();
    let line = &seen.line;
    let thinned = tree.leaves[0].metrics().sum("soleil_leaf_thinned_total", &[]);
    println!("{line}\nthinned {thinned} times");
    assert!(seen.ok, "{line}");
    assert!(thinned >= 1.0, "all layers were sent: {line}");
    let connection = seen.connection.as_ref().unwrap();
    assert_eq!(connection.video_codec.as_deref(), Some("video/VP8"), "{line}");
    let fraction = seen.frames.fraction.unwrap();
    assert!((0.45..0.9).contains(&fraction), "half of the frames, all of those: {line}");
    assert_eq!(seen.frames.backwards, 0, "{line}");
    assert!(connection.plis.unwrap() <= 1, "it found holes: {line}");
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Of each codec.
const SHORT: u64 = 6;
/// Small enough that a busy machine encodes and decodes it all.
const MODE: [&str; 11] = [
    "--mode",
    "L1T3",
    "--grain",
    "--bitrate",
    "300",
    "--width",
    "320",
    "--height",
    "180",
    "--fps",
    "15",
];
/// As narrow for that.
const NARROWER: LinkConfig = LinkConfig { rate_bps: 330_000, queue_bytes: 20_000, ..NARROW };

/// The mode that the root has found the picture in.
fn mode(tree: &Tree, stream: &str) -> Option<String> {
    let answer = http::get(&format!("{}/api/v1/streams/{stream}", tree.http())).unwrap();
    let stream: Value = serde_json::from_str(&answer.text()).unwrap();
    stream["tracks"][0]["layers"][0]["scalability"].as_str().map(str::to_owned)
}

#[test]
fn layers_of_a_browsers_encoding_are_recognised_and_the_upper_one_is_spared() {
    let codecs = [("nine", "VP9"), ("one", "AV1")];
    let mut tree = Tree::start(&Options {
        relays: 0,
        streams: codecs.map(|(name, codec)| Stream { name: name.into(), codec }).into(),
        viewer_hop: Some(NARROWER),
        ..Options::default()
    })
    .unwrap();
    for (name, codec) in codecs {
        let url = tree.whip_url(name);
        let arguments = [&["--codec", codec][..], &MODE].concat();
        let publisher = browser::publish(&url, PUBLISH_TOKEN, &arguments).unwrap();
        until("the mode", LIMIT, || mode(&tree, name).as_deref() == Some("L1T3"));
        let thinned = || tree.leaves[0].metrics().sum("soleil_leaf_thinned_total", &[]);
        let before = thinned();
        let seen = browser::watch(&tree.watch_url(name), SHORT).unwrap();
        let (line, times) = (&seen.line, thinned() - before);
        println!("{codec}, thinned {times} times: {line}");
        assert!(seen.ok, "{line}");
        assert!(times >= 1.0, "all layers were sent: {line}");
        let connection = seen.connection.as_ref().unwrap();
        assert_eq!(connection.video_codec, Some(format!("video/{codec}")), "{line}");
        // Without the upper layer 7.5 pictures come in a second: what is there is decoded, and nothing is
        // asked for.
        assert!(seen.frames.decoded >= SHORT * 3, "{line}");
        assert_eq!(seen.frames.backwards, 0, "{line}");
        assert!(connection.plis.unwrap() <= 1, "it found holes: {line}");
        publisher.stop().unwrap();
    }
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

//! Joins begin with the key frame that the leaf has, and the source is left alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relay_node::clock::Clock;
use soleil_tests::harness::{Options, Stream, Tree};
use soleil_tests::load::{LoadSource, Pattern};
use soleil_tests::viewer::{self, Codec, Report, Viewers};
use soleil_tests::wait::until;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);
const JOINERS: usize = 20;
/// A crowd that comes within two seconds.
const CROWD: usize = 300;
const CROWD_PER_SECOND: f64 = 150.0;
/// How far the leaf's cache goes back: one key frame serves those who come in that time.
const CACHE_S: f64 = 4.0;

/// A tree with a source whose key frames are so many frames apart.
fn live(key_every: u64) -> (Tree, LoadSource) {
    let tree = Tree::start(&Options {
        relays: 0,
        streams: vec![Stream { name: "load".into(), codec: "VP8" }],
        ..Options::default()
    })
    .unwrap();
    let pattern = Pattern { key_every, ..Pattern::default() };
    let source = LoadSource::start(tree.ingest(0).0, pattern, Clock::start()).unwrap();
    until("the stream", DEADLINE, || tree.is_live("load"));
    (tree, source)
}

fn join(tree: &Tree, count: usize) -> Viewers {
    let options = viewer::Options {
        video: vec![Codec::Vp8],
        audio: false,
        joins_per_second: Some(20.0),
        ..viewer::Options::default()
    };
    Viewers::start(&tree.whep_url("load"), count, &options).unwrap()
}

fn all_have_frames(viewers: &Viewers, count: usize, frames: u64) -> Report {
    viewers
        .wait(DEADLINE, |r| r.each.iter().filter(|v| v.video.frames >= frames).count() == count)
        .unwrap_or_else(|report| panic!("not all have a picture:\n{report}"))
}

#[test]
fn who_joins_later_begins_with_the_key_frame_of_the_cache() {
    let (tree, source) = live(90);
    let first = join(&tree, 1);
    all_have_frames(&first, 1, 100);
    let (asked, cached) = (source.key_requests(), cached_starts(&tree));
    let others = join(&tree, JOINERS);
    // More than a group of pictures: whole from the beginning, through the change-over to live.
    let report = all_have_frames(&others, JOINERS, 150);
    assert_eq!(source.key_requests(), asked, "the source was asked for a key frame");
    assert_eq!(cached_starts(&tree) - cached, JOINERS as f64);
    assert_eq!((report.video.lost, report.video.broken_frames), (0, 0), "{report}");
    assert_eq!(report.unopened, 0);
}

#[test]
fn where_the_way_from_the_key_frame_is_too_long_one_request_serves_all() {
    let (tree, source) = live(100_000);
    let first = join(&tree, 1);
    all_have_frames(&first, 1, 1);
    // The cache goes back four seconds; the key frame is further away now.
    let sent = source.packets();
    until("five seconds of the stream", DEADLINE, || {
        source.packets() - sent > 5 * Pattern::default().rate() as u64
    });
    let asked = source.key_requests();
    let report = all_have_frames(&join(&tree, JOINERS), JOINERS, 30);
    let more = source.key_requests() - asked;
    assert!((1..=2).contains(&more), "{more} requests for {JOINERS} joins within a second");
    assert_eq!((report.video.lost, report.video.broken_frames), (0, 0), "{report}");
}

fn cached_starts(tree: &Tree) -> f64 {
    tree.leaves[0].metrics().sum("soleil_leaf_cached_starts_total", &[])
}

/// Many come at once, to a stream that nobody has watched before and whose source makes no key frame by
/// itself: what the source really got of requests, through root, relay and leaf.
#[test]
fn three_hundred_viewers_within_two_seconds_cost_the_source_two_key_frames_at_most() {
    let mut tree = Tree::start(&Options {
        streams: vec![Stream { name: "load".into(), codec: "VP8" }],
        ..Options::default()
    })
    .unwrap();
    // Little of it, as there are many who get it.
    let pattern = Pattern { key_every: 1_000_000, bitrate: 300_000, ..Pattern::default() };
    let old = (CACHE_S * pattern.rate()) as u64;
    let clock = Clock::start();
    let source = LoadSource::start(tree.ingest(0).0, pattern, clock).unwrap();
    until("the stream", DEADLINE, || tree.is_live("load"));
    // The key frame that every stream begins with is out of the cache when they come.
    until("the first key frame to be old", DEADLINE, || source.packets() > old);
    let asked = source.key_requests();
    let options = viewer::Options {
        video: vec![Codec::Vp8],
        audio: false,
        joins_per_second: Some(CROWD_PER_SECOND),
        ..viewer::Options::default()
    };
    let began = clock.now().mono;
    let viewers = Viewers::start(&tree.whep_url("load"), CROWD, &options).unwrap();
    let report = all_have_frames(&viewers, CROWD, 30);
    let took = clock.now().mono.since(began).as_secs_f64();
    let more = source.key_requests() - asked;
    println!("{more} requests, {CROWD} viewers with a picture after {took:.1} s\n{report}");
    assert_eq!((report.failed, report.video.broken_frames), (0, 0), "{report}");
    // On a machine that lets the last ones in only seconds later, the key frame of the first is gone.
    let late = ((took - 2.0) / CACHE_S).max(0.0) as u64;
    assert!((1..=2 + late).contains(&more), "{more} requests within {took:.1} s");
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

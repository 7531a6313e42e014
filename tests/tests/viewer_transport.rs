//! How viewers reach a leaf: over TCP where UDP is blocked, over IPv6, and from an address that
//! changes in the middle. Headless viewers and Chromium.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::browser;
use soleil_tests::emulator::LinkConfig;
use soleil_tests::harness::{Options, Tree};
use soleil_tests::viewer::{self, Viewers};
use soleil_tests::wait::until;
use std::net::Ipv6Addr;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);
/// "It plays on within 4 s."
const FOLLOWED_MS: f64 = 4_000.0;
/// Frames that show that media flow: 5 s.
const SOME: u64 = 150;

fn metric(tree: &Tree, name: &str) -> f64 {
    tree.leaves[0].metrics().sum(name, &[])
}

#[test]
fn headless_viewers_and_chromium_over_tcp_and_ipv6() {
    let options = Options { viewer_host: "[::1]", ..Options::default() };
    let mut tree = Tree::start(&options).unwrap();
    let source = tree.go_live(0, &[]).unwrap();

    let over_tcp = viewer::Options { tcp: true, ..viewer::Options::default() };
    let viewers = Viewers::start(&tree.whep_url("demo"), 3, &over_tcp).unwrap();
    let seen = viewers
        .wait(DEADLINE, |r| r.each.iter().filter(|v| v.video.frames >= SOME).count() == 3)
        .unwrap();
    assert_eq!((seen.video.lost, seen.video.broken_frames, seen.unopened), (0, 0, 0), "{seen}");
    assert!(seen.audio.packets > SOME, "{seen}");
    assert!(metric(&tree, "soleil_leaf_tcp_packets_total") > 3.0 * SOME as f64);
    assert_eq!(viewers.stop().1, 3);
    let over_six =
        viewer::Options { local: Some(Ipv6Addr::LOCALHOST.into()), ..viewer::Options::default() };
    let viewers = Viewers::start(&tree.whep_url("demo"), 1, &over_six).unwrap();
    let seen = viewers.wait(DEADLINE, |r| r.video.frames >= SOME).unwrap();
    println!("IPv6, headless: {} frames, {} lost", seen.video.frames, seen.video.lost);
    drop(viewers);

    // The watch page in Chromium, which gets the leaf's candidates over one transport only.
    for transport in ["tcp", "udp"] {
        let seen = browser::watch_only(&tree.watch_url("demo"), 8, transport).unwrap();
        println!("{transport}: {}", seen.line);
        assert!(seen.ok, "{}", seen.line);
        let remote = seen.connection.as_ref().unwrap().remote.clone().unwrap();
        assert!(remote.starts_with(&format!("{transport} ")) && remote.contains("::1"), "{remote}");
        assert!(seen.frames.fraction.unwrap() >= 0.9, "{}", seen.line);
        assert!(seen.freeze_ms.unwrap() <= 500.0, "{}", seen.line);
        assert!(seen.sound.present, "{}", seen.line);
    }
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

/// Lets a viewer play, gives it another port, and says how long it had no frame.
fn rebound(tree: &Tree, how: &viewer::Options) -> f64 {
    let viewers = Viewers::start(&tree.whep_url("demo"), 1, how).unwrap();
    let before = viewers.wait(DEADLINE, |r| r.video.frames >= SOME).unwrap();
    assert!(before.video.longest_gap_ms < 1_000.0, "{before}");
    tree.viewer_hop(0).unwrap().rebind();
    let enough = before.video.frames + SOME;
    let after = viewers.wait(DEADLINE, |r| r.video.frames >= enough).unwrap();
    assert_eq!(after.failed, 0, "{after}");
    // Or the leaf sends to it until consent runs out, and its packets count as the next one's.
    assert_eq!(viewers.stop().1, 1);
    after.video.longest_gap_ms
}

#[test]
fn a_viewer_whose_port_changes_plays_on() {
    let hop = Some(LinkConfig { delay_us: 10_000, ..LinkConfig::default() });
    let mut tree = Tree::start(&Options { viewer_hop: hop, ..Options::default() }).unwrap();
    // What a viewer begins with is short: packets tell how long it has played.
    let source = tree.go_live(0, &["--key-int", "60"]).unwrap();
    let never = 3_600_000_000;
    let usual = viewer::Options::default();
    let reports = viewer::Options { consent_us: never, ..usual.clone() };
    let often = viewer::Options { report_us: 100_000, ..reports.clone() };
    let checks = viewer::Options { report_us: never, ..usual.clone() };
    for (name, how, most) in [
        ("by checks alone", checks, FOLLOWED_MS),
        ("by a report a second alone", reports, FOLLOWED_MS),
        ("by ten reports a second alone", often, 1_000.0),
        ("as browsers", usual, FOLLOWED_MS),
    ] {
        let gap = rebound(&tree, &how);
        println!("{name}: {gap:.0} ms without a frame");
        assert!(gap <= most, "{name}: {gap} ms");
    }
    assert!(metric(&tree, "soleil_leaf_moves_total") >= 2.0);

    // Chromium, by whatever it sends first.
    // It is watched from its third second on; 2,500 packets are more than six.
    let before = metric(&tree, "soleil_leaf_packets_total");
    let url = tree.watch_url("demo");
    let seen = std::thread::scope(|scope| {
        let watching = scope.spawn(|| browser::watch(&url, 15).unwrap());
        until("media", 3 * DEADLINE, || {
            metric(&tree, "soleil_leaf_packets_total") > before + 2_500.0
        });
        tree.viewer_hop(0).unwrap().rebind();
        assert!(!watching.is_finished(), "it changed too late");
        watching.join().unwrap()
    });
    println!("Chromium: freeze {:?} ms: {}", seen.freeze_ms, seen.line);
    assert!(seen.ok && seen.sound.present, "{}", seen.line);
    assert!(seen.freeze_ms.unwrap() <= FOLLOWED_MS, "{}", seen.line);
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

//! The ladder with real encoders: 720p comes in, 360p is made of it. Key frames stand side by side, times
//! are the source's, and a process that dies takes nothing along but its own layer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use root_node::ingest::h264;
use root_node::ladder::wire::{self, Kind, Splitter};
use soleil_tests::harness::{Options, Tree, binary};
use soleil_tests::http;
use soleil_tests::load::ladder::{self as source, is_key, timestamp};
use soleil_tests::viewer::{self, Viewers};
use soleil_tests::wait::until;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
/// Frames of the source: three seconds.
const FRAMES: usize = 90;
/// Between two of its key frames.
const KEY_EVERY: usize = 30;

/// Whether a frame is a key frame, and the size that it tells.
type Seen = (bool, Option<(u32, u32)>);

#[test]
fn layers_bear_the_sources_times_and_key_frames() {
    let frames = source::frames("ball", 2_000, FRAMES, KEY_EVERY).unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut worker = Command::new(binary("root-node").unwrap())
        .arg("ladder-worker")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let making = |rung: usize, name: &str, width: u32, height: u32| {
        serde_json::json!({
            "rung": rung, "name": name, "width": width, "height": height, "kbit": 600,
        })
    };
    let job = serde_json::json!({
        "codec": "h264", "payload_type": 96, "clock_rate": 90_000, "millirate": 30_000,
        "making": [making(1, "360p", 640, 360), making(2, "180p", 320, 180)],
    });
    let mut bytes = Vec::new();
    assert!(wire::write(Kind::Job, 0, job.to_string().as_bytes(), &mut bytes));
    ours.write_all(&bytes).unwrap();

    // The sender goes by what comes back, two frames ahead: faster would have pictures left out.
    let (asked, mut next) = (FRAMES / 2 + 3, 0);
    let mut made: BTreeMap<(u8, u32), Seen> = BTreeMap::new();
    let send = |next: &mut usize, socket: &mut UnixStream| {
        let Some(frame) = frames.get(*next) else { return };
        let mut bytes = Vec::new();
        if *next == asked {
            assert!(wire::write(Kind::Wanted, 2, &[], &mut bytes));
        }
        source::write(frame, &mut bytes);
        socket.write_all(&bytes).unwrap();
        *next += 1;
    };
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut splitter = Splitter::default();
    let mut piece = vec![0; 65_536];
    let whole = |made: &BTreeMap<(u8, u32), _>, layer: u8| {
        made.keys().filter(|(of, _)| *of == layer).count()
    };
    send(&mut next, &mut ours);
    send(&mut next, &mut ours);
    // A frame is known to be done when the next one begins.
    while whole(&made, 1) < FRAMES || whole(&made, 2) < FRAMES {
        let read = ours.read(&mut piece).unwrap();
        assert!(read > 0, "it has ended");
        splitter.push(&piece[..read]);
        while let Some(frame) = splitter.next_frame().unwrap() {
            assert_eq!(frame.kind, Kind::Rtp);
            let info = h264::inspect(&frame.body[12..]).unwrap();
            let entry = made.entry((frame.layer, timestamp(&frame.body))).or_default();
            entry.0 |= info.key;
            entry.1 = info.size.or(entry.1);
        }
        while next < whole(&made, 1).min(whole(&made, 2)) + 2 && next < FRAMES {
            send(&mut next, &mut ours);
        }
    }
    drop(ours);
    until("its end", DEADLINE, || worker.try_wait().unwrap().is_some());

    let at = |n: usize| timestamp(&frames[n][0]);
    let keys = |layer: u8| -> BTreeSet<u32> {
        made.iter().filter(|(k, v)| k.0 == layer && v.0).map(|(k, _)| k.1).collect()
    };
    let of_source: BTreeSet<u32> =
        frames.iter().filter(|f| is_key(f)).map(|f| timestamp(&f[0])).collect();
    assert_eq!(of_source.len(), FRAMES / KEY_EVERY);
    assert_eq!(keys(1), of_source, "key frames of 360p are those of the source");
    // One more where it was asked for: of the layer that was asked, and no other.
    let more: Vec<u32> = keys(2).difference(&of_source).copied().collect();
    assert!(keys(2).is_superset(&of_source) && more.len() == 1, "{more:?}");
    assert!((asked - 4..asked + 4).any(|n| at(n) == more[0]), "asked at {}, {more:?}", at(asked));
    let sizes = |layer: u8| -> BTreeSet<_> {
        made.iter().filter(|(k, _)| k.0 == layer).filter_map(|(_, v)| v.1).collect()
    };
    assert_eq!((sizes(1), sizes(2)), ([(640, 360)].into(), [(320, 180)].into()));
    let times: BTreeSet<u32> = (0..FRAMES).map(at).collect();
    assert!(
        made.keys().all(|(_, at)| times.contains(at)),
        "a time that no frame of the source has"
    );
}

/// What the root says of the widths of the picture's layers.
fn widths(tree: &Tree) -> Vec<Option<u64>> {
    let url = format!("{}/api/v1/streams/demo", tree.http());
    let Ok(answer) = http::get(&url) else { return Vec::new() };
    let stream: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    let layers = stream["tracks"][0]["layers"].as_array().cloned().unwrap_or_default();
    layers.iter().map(|layer| layer["width"].as_u64()).collect()
}

fn made(tree: &Tree, rung: &str) -> bool {
    let labels = [("stream", "demo"), ("rung", rung)];
    tree.root.metrics().sum("soleil_ladder_made", &labels) == 1.0
}

/// Process ids of the ladders' workers.
fn workers(tree: &Tree) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", tree.root.process.id())).unwrap();
    let lists =
        tasks.flatten().filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
    let pids = lists.flat_map(|l| l.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("ladder-worker")
    })
    .filter_map(|pid| pid.parse().ok())
    .collect()
}

#[test]
fn a_layer_below_the_source_is_made_and_comes_back_when_its_process_dies() {
    // More than a small machine is believed to have: this is about what is made, not about the belief.
    let (ladder, root_extra) = (vec!["720p", "360p@500k"], "[ingest]\ncores = 8\n".into());
    let mut tree =
        Tree::start(&Options { relays: 0, ladder, root_extra, ..Options::default() }).unwrap();
    let source = tree.go_live(0, &[]).unwrap();
    until("the layers", DEADLINE, || widths(&tree) == [Some(1280), None, Some(640)]);
    until("360p", DEADLINE, || made(&tree, "360p@500k"));
    assert!(!made(&tree, "720p"), "the source is no larger");

    let options = viewer::Options { feedback_us: None, ..viewer::Options::default() };
    let watch = |what: &str| {
        let viewers = Viewers::start(&tree.whep_url("demo"), 1, &options).unwrap();
        let seen = viewers.wait(DEADLINE, |r| r.video.frames >= 60);
        seen.unwrap_or_else(|report| panic!("no {what}:\n{report}"));
        viewers
    };
    let (top, low) = (watch("720p"), watch("360p"));
    let at = format!("{}/layer", low.locations()[0]);
    let choice = br#"{"mediaId":"0","maxHeight":360}"#;
    let json = [("content-type", "application/json")];
    let chosen = http::request("POST", &at, &json, choice).unwrap();
    assert_eq!(chosen.status, 200, "{}", chosen.text());
    // The lower layer has a quarter of the pixels and of the bits.
    low.mark();
    let half = |low: &Viewers| {
        let before = low.report().video;
        let frames = before.frames + 60;
        let report = low.wait(DEADLINE, |r| r.video.frames >= frames);
        let after = report.unwrap_or_else(|report| panic!("360p stands:\n{report}")).video;
        (after.bytes - before.bytes) / (after.frames - before.frames)
    };
    until("360p at the viewer", DEADLINE, || half(&low) * 8 * 30 < 800_000);

    // Its process dies: another one makes the layer, and who watches the source's own sees nothing.
    top.mark();
    let before = workers(&tree);
    assert_eq!(before.len(), 1);
    let pid = rustix::process::Pid::from_raw(before[0]).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let restarts =
        || tree.root.metrics().sum("soleil_ladder_restarts_total", &[("stream", "demo")]);
    until("another process", DEADLINE, || restarts() == 1.0 && made(&tree, "360p@500k"));
    assert!(half(&low) * 8 * 30 < 800_000);
    let report = top.report();
    assert_eq!((report.video.lost, report.video.broken_frames), (0, 0), "{report}");

    source.stop().unwrap();
    until("the ladder to wait", DEADLINE, || {
        workers(&tree).is_empty()
            && tree.root.metrics().sum("soleil_ladder_state", &[("state", "waiting")]) == 1.0
    });
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

//! The demo: it prints what one needs to kill a node, says what has ended, starts it again, and goes
//! on meanwhile; a viewer sees every frame. At the end it ends everything it has started.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use soleil_tests::harness::{Process, binary};
use soleil_tests::viewer::{self, Viewers};
use soleil_tests::wait::until;
use std::process::Command;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// The number behind `pid ` in the last line that has all of these words.
fn pid(demo: &Process, words: &[&str]) -> Option<Pid> {
    let lines = demo.stdout();
    let line = lines.iter().rev().find(|l| words.iter().all(|w| l.contains(w)))?;
    let (_, rest) = line.split_once("pid ").or_else(|| line.split_once("kill -9 "))?;
    let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Pid::from_raw(number.parse().ok()?)
}

fn line(demo: &Process, words: &[&str]) -> Option<String> {
    demo.stdout().into_iter().find(|l| words.iter().all(|w| l.contains(w)))
}

#[test]
fn a_node_that_is_killed_comes_back_and_the_picture_goes_on() {
    let mut command = Command::new(binary("soleil-demo").unwrap());
    let mut demo = Process::start("demo", command.arg("--free-ports")).unwrap();
    let said = |demo: &Process, words: &[&str]| {
        until(&format!("{words:?} to be said"), DEADLINE, || line(demo, words).is_some());
    };
    said(&demo, &["READY "]);
    said(&demo, &["carries the stream"]);
    let page = line(&demo, &["on air: "]).unwrap().replace("on air: ", "");
    let viewers =
        Viewers::start(&page.replace("/watch/", "/whep/"), 3, &viewer::Options::default());
    let viewers = viewers.unwrap();
    let before = viewers.wait(DEADLINE, |r| r.with_picture() == 3).unwrap();

    let carrier = pid(&demo, &["carries the stream"]).unwrap();
    let relay =
        if pid(&demo, &["relay-1 ", "ops"]) == Some(carrier) { "relay-1" } else { "relay-2" };
    assert_eq!(pid(&demo, &[relay, "ops"]), Some(carrier), "{:?}", demo.stdout());
    kill_process(carrier, Signal::KILL).unwrap();
    said(&demo, &[relay, "ended: signal: 9", "again in"]);
    said(&demo, &[relay, "is back"]);
    let again = pid(&demo, &[relay, "is back"]).unwrap();
    assert!(again != carrier && test_kill_process(again).is_ok());

    // The root, too.
    let root = pid(&demo, &["root ", "pages"]).unwrap();
    kill_process(root, Signal::KILL).unwrap();
    said(&demo, &["root", "ended: signal: 9"]);
    said(&demo, &["root is back"]);
    let frames = viewers.report().video.frames + 3 * 60;
    let after = viewers.wait(DEADLINE, |r| r.video.frames >= frames).unwrap();
    assert_eq!((after.failed, after.connected), (0, 3), "{after}");
    assert_eq!(after.video.lost, before.video.lost, "{after}");

    let all: Vec<Pid> = ["root is back", "leaf-1 ", "leaf-2 ", "leaf-3 "]
        .iter()
        .map(|name| pid(&demo, &[name]).unwrap())
        .chain([again])
        .collect();
    demo.terminate();
    let status = demo.wait(DEADLINE).expect("it does not end");
    assert!(status.success(), "{}", demo.log_tail());
    for pid in all {
        assert!(test_kill_process(pid).is_err(), "{pid:?} is left behind");
    }
}

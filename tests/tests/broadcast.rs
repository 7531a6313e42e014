//! The broadcaster page in Chromium with its fake devices: what people are told when the token is wrong
//! or somebody broadcasts already, three layers, the picture through the tree, a root that goes away
//! and comes back, and the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use soleil_tests::browser::Steps;
use soleil_tests::harness::{Options, PUBLISH_TOKEN, Stream, Tree};
use soleil_tests::http;
use soleil_tests::wait::{holds_within, until};
use std::time::Duration;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

fn live(tree: &Tree) -> bool {
    let answer = http::get(&format!("{}/api/v1/streams/demo", tree.http())).unwrap();
    serde_json::from_str::<Value>(&answer.text()).unwrap()["live"] == true
}

#[test]
fn a_person_broadcasts_with_the_page() {
    let streams = vec![Stream { name: "demo".into(), codec: "VP8" }];
    let options = Options { streams, layers: 3, ..Options::default() };
    let mut tree = Tree::start(&options).unwrap();
    let arguments = [&tree.http(), "--token", PUBLISH_TOKEN, "--layers", "3"];
    let mut page = Steps::start("broadcast.mjs", &arguments).unwrap();

    let refused = page.next("refused", LIMIT).unwrap();
    let said = refused["error"].as_str().unwrap();
    assert!(said.contains("token does not open") && said.contains("--role publisher"), "{said}");

    let on_air = page.next("on air", LIMIT).unwrap();
    println!("{on_air}");
    assert_eq!(on_air["names"], serde_json::json!(["High", "Middle", "Low"]));
    assert!(on_air["title"].as_str().unwrap().contains("On air · demo"), "{on_air}");
    let second = on_air["second"].as_str().unwrap();
    assert!(second.contains("Somebody is broadcasting this stream already"), "{second}");
    // The token went into no address, and the one in the fragment has left it.
    assert_eq!(on_air["told"], serde_json::json!([]));
    assert!(on_air["address"].as_str().unwrap().ends_with("/broadcast?stream=demo"), "{on_air}");
    let log = tree.root.process.log().join("\n");
    assert!(!log.contains(PUBLISH_TOKEN), "the token is in the root's log");
    assert!(live(&tree));

    tree.root.process.kill();
    until("the relay to miss the root", LIMIT, || !tree.relays[0].is_ready());
    tree.start_root_again().unwrap();
    page.next("back", LIMIT).unwrap();

    let stopped = page.next("stopped", LIMIT).unwrap();
    assert_eq!(stopped["focus"], "go", "{stopped}");
    assert_eq!(stopped["errors"], serde_json::json!([]));
    assert!(holds_within(LIMIT, || !live(&tree)), "the stream goes off air");
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

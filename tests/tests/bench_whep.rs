//! `soleil-bench whep` measures a server that it has not started; here our own tree, in the part of a
//! stranger. And what it says when there is nothing to measure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relay_node::clock::Clock;
use soleil_tests::harness::{Options, Stream, Tree, binary};
use soleil_tests::load::{CellResult, LoadSource, Pattern};
use soleil_tests::wait::until;
use std::process::{Command, Output};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);
const VIEWERS: usize = 4;

fn bench(arguments: &[&str]) -> Output {
    Command::new(binary("soleil-bench").unwrap()).args(arguments).output().unwrap()
}

fn live() -> (Tree, LoadSource) {
    let tree = Tree::start(&Options {
        relays: 0,
        streams: vec![Stream { name: "load".into(), codec: "VP8" }],
        ..Options::default()
    })
    .unwrap();
    let source = LoadSource::start(tree.ingest(0).0, Pattern::default(), Clock::start()).unwrap();
    until("the stream", DEADLINE, || tree.is_live("load"));
    (tree, source)
}

#[test]
fn any_whep_server_is_measured() {
    let (tree, source) = live();
    let figures = tempfile::tempdir().unwrap();
    let json = figures.path().join("whep.json");
    let pid = tree.leaves[0].process.id().to_string();
    let output = bench(&[
        "whep",
        "--url",
        &tree.whep_url("load"),
        "-n",
        &VIEWERS.to_string(),
        "--seconds",
        "3",
        "--pid",
        &pid,
        "--json",
        json.to_str().unwrap(),
    ]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    let cells: Vec<CellResult> = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(cells.len(), 1);
    let (cell, f) = (&cells[0], &cells[0].figures);
    assert_eq!(cell.server, tree.whep_url("load"));
    assert!(cell.cell.setting.is_none() && cell.limit_us.is_none());
    assert_eq!((f.connected, f.loss_percent, f.loss_at_source), (VIEWERS, 0.0, true));
    let rate = Pattern::default().rate();
    assert!((0.8 * rate..1.2 * rate).contains(&f.rate), "{f:?}");
    assert!(f.cpu_us.unwrap() > 0.0 && f.core.unwrap() > 0.0, "{f:?}");
    assert!(f.delay.unwrap().count > 0 && f.first_key.count == VIEWERS as u64, "{f:?}");
    // Not ours to know.
    assert_eq!((f.source_rate, f.key_requests), (None, None));
    // The measured have gone, and said so.
    let sessions = || tree.leaves[0].metrics().sum("soleil_leaf_viewers", &[]);
    until("the viewers to be gone", Duration::from_secs(5), || sessions() == 0.0);

    // The picture of it.
    let svg = figures.path().join("whep.svg");
    let directory = figures.path().to_str().unwrap();
    let output = bench(&["plot", "--figures", directory, "--svg", svg.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read_to_string(&svg).unwrap().contains("/whep/load"));

    // What cannot be measured is an error.
    let nowhere = tree.whep_url("no-such-stream");
    let output = bench(&["whep", "--url", &nowhere, "-n", "2", "--seconds", "1"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("0 of 2 viewers came") && said.contains("HTTP 404"), "{said}");
    drop(source);
}

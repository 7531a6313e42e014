//! A tree that the operator has drawn, with real processes: everybody goes where it is drawn, over a
//! redundancy link when that place is gone, and back when it is there again; nobody misses anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::harness::{Options, Seen, Tree};
use soleil_tests::viewer::{self, Viewers};
use soleil_tests::wait::until;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const VIEWERS: usize = 12;

/// The rules of the root alone would put relay-3 and all leaves elsewhere.
const DRAWING: &str = r#"<topology>
  <node id="root" role="root"/>
  <node id="relay-1" role="relay"/>
  <node id="relay-2" role="relay"/>
  <node id="relay-3" role="relay"/>
  <node id="relay-4" role="relay"/>
  <node id="leaf-1" role="leaf"/>
  <node id="leaf-2" role="leaf"/>
  <link a="root" b="relay-1"/>
  <link a="root" b="relay-2"/>
  <link a="relay-2" b="relay-3"/>
  <link a="relay-2" b="leaf-1"/>
  <link a="relay-1" b="leaf-1"/>
  <link a="relay-3" b="leaf-2"/>
  <link a="relay-1" b="leaf-3"/>
  <link a="relay-2" b="relay-4"/>
</topology>"#;

fn places(tree: &Tree) -> Vec<String> {
    let place = |n: Seen| n.parent.filter(|_| n.attached).map(|p| format!("{} below {p}", n.id));
    tree.seen().unwrap().into_iter().filter_map(place).collect()
}

#[test]
fn a_drawn_tree_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("drawing.xml");
    std::fs::write(&file, DRAWING).unwrap();
    let options = Options {
        relays: 3,
        leaves: 3,
        root_children: 8,
        steered: true,
        root_extra: format!("[tree]\ndrawing = \"{}\"\n", file.display()),
        ..Options::default()
    };
    let mut tree = Tree::start(&options).unwrap();
    let log = tree.root.process.log().join("\n");
    // What the operator should know: a relay that feeds nobody, a link of a leaf that is not there.
    assert!(log.contains("node relay-4 is left out of the drawing: it leads to no leaf"), "{log}");
    assert!(log.contains("link relay-1 - leaf-3 is left out of the drawing"), "{log}");

    let drawn = |leaf_1: &str| {
        [
            "relay-1 below root",
            "relay-2 below root",
            "relay-3 below relay-2",
            "leaf-2 below relay-3",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("leaf-1 below {leaf_1}")])
    };
    let all_in_place =
        |tree: &Tree, leaf_1: &str| drawn(leaf_1).all(|place| places(tree).contains(&place));
    until("everybody to be where it is drawn", DEADLINE, || all_in_place(&tree, "relay-1"));
    // Nobody has drawn leaf-3: it has a place all the same.
    let placed = |tree: &Tree| places(tree).iter().any(|p| p.starts_with("leaf-3 below "));
    until("leaf-3", DEADLINE, || placed(&tree));

    let _source = tree.go_live(0, &[]).unwrap();
    let viewers =
        Viewers::start(&tree.whep_url("demo"), VIEWERS, &viewer::Options::default()).unwrap();
    let before = viewers.wait(DEADLINE, |r| r.with_picture() == VIEWERS).unwrap();
    let warm = |tree: &Tree| tree.leaves[0].metrics().sum("soleil_backup_warm", &[]);
    until("a backup that is ready", DEADLINE, || warm(&tree) == 1.0);
    let backups = |tree: &Tree| -> Vec<String> {
        tree.seen()
            .unwrap()
            .into_iter()
            .filter(|n| n.id == "leaf-1")
            .flat_map(|n| n.backups)
            .collect()
    };
    assert_eq!(backups(&tree)[0], "relay-2", "its other link");

    tree.relays[0].process.kill();
    until("leaf-1 to go over its other link", DEADLINE, || {
        places(&tree).contains(&"leaf-1 below relay-2".to_owned())
    });
    tree.start_relay_again(0).unwrap();
    until("leaf-1 to come back", DEADLINE, || all_in_place(&tree, "relay-1"));
    let frames = viewers.report().video.frames + 60 * VIEWERS as u64;
    let after = viewers.wait(DEADLINE, |r| r.video.frames >= frames).unwrap();
    assert_eq!(after.video.lost, before.video.lost, "{after}");
    assert_eq!((after.failed, after.connected), (0, VIEWERS), "{after}");
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

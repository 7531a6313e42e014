//! "First picture within 1 s of opening the page at the median of 10 joins, also when key frames
//! are 10 s apart."

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::browser;
use soleil_tests::harness::{Options, Tree};

#[test]
fn first_picture_within_a_second_with_key_frames_ten_seconds_apart() {
    let mut tree = Tree::start(&Options::default()).unwrap();
    let source = tree.go_live(0, &["--key-int", "300"]).unwrap();
    let joined = browser::join(&tree.watch_url("demo"), 10).unwrap();
    assert!(joined.ok, "{}", joined.line);
    assert!(joined.median_ms.unwrap() < 1000.0, "{}", joined.line);
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

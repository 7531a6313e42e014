//! Nodes that are not as they should be, in whole trees on virtual time: short versions of the
//! scenarios flapping, skew, malice, orphans and upgrade, with several seeds. `make scenarios` plays
//! the long ones. Every failure prints its seed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::sim::scenario::{Outcome, Size, named};

fn play(name: &str, seeds: std::ops::Range<u64>) {
    let scenario = named(name).unwrap();
    for seed in seeds {
        let outcome: Outcome = (scenario.run)(Size::Small, seed);
        let failed: Vec<_> = outcome.checks.iter().filter(|check| !check.holds).collect();
        assert!(failed.is_empty(), "{name}, seed {seed}: {failed:#?}");
    }
}

#[test]
fn nobody_relies_on_a_node_that_keeps_falling_over() {
    play("flapping", 0..4);
}

#[test]
fn wrong_clocks_are_borne_or_refused() {
    play("skew", 0..2);
}

#[test]
fn a_liar_disturbs_nobody() {
    play("malice", 0..2);
}

#[test]
fn orphans_that_count_on_each_other_close_no_loop() {
    play("orphans", 0..6);
}

#[test]
fn a_tree_is_upgraded_node_by_node() {
    play("upgrade", 0..6);
}

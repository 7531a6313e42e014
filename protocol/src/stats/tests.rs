//! The thesis' example, each rule, what a child cannot make us believe, and that merging in steps
//! is merging at once.

use super::*;
use crate::ids::PipelineId;
use crate::limits::{MAX_CONTAINERS, MAX_STATS, MAX_VIEWERS_PER_NODE};
use crate::message::{Stat, StatsContainer};
use proptest::prelude::*;

fn stat(name: &str, value: f64, weight: Option<f64>) -> Stat {
    Stat { name: name.to_owned(), value, weight }
}

fn container(id: u32, stats: Vec<Stat>) -> StatsContainer {
    StatsContainer { start: 100, end: 110, children: 0, id: Some(PipelineId(id)), stats }
}

fn value(containers: &[StatsContainer], name: &str) -> (f64, f64) {
    let stat = containers[0].stats.iter().find(|s| s.name == name).expect("the statistic is there");
    (stat.value, stat.weight.expect("a weight"))
}

/// Thesis figure 3.3: A's children B, C and D weigh 4, 1 and 1.
#[test]
fn thesis_example() {
    let mut a = Aggregator::new();
    a.add_child(4, &[container(1, vec![stat("injitter", 240.0, None)])]);
    a.add_child(1, &[container(1, vec![stat("injitter", 60.0, None)])]);
    a.add_child(1, &[container(1, vec![stat("injitter", 30.0, None)])]);
    let up = a.finish(3);
    assert_eq!(value(&up, "injitter"), ((240.0 * 4.0 + 60.0 + 30.0) / 6.0, 6.0));
    assert_eq!((up[0].children, up[0].start, up[0].end), (3, 100, 110));
}

#[test]
fn own_figures_count_as_one_node() {
    let mut a = Aggregator::new();
    a.add_own(&[container(1, vec![stat("cpuload", 10.0, None)])]);
    a.add_child(3, &[container(1, vec![stat("cpuload", 50.0, Some(3.0))])]);
    assert_eq!(value(&a.finish(1), "cpuload"), (40.0, 4.0));
}

#[test]
fn viewers_weigh_by_their_number_not_by_nodes() {
    let mut relay = Aggregator::new();
    relay.add_child(
        1,
        &[container(
            1,
            vec![stat("fractionlost", 0.5, Some(2.0)), stat("viewers", 2.0, Some(1.0))],
        )],
    );
    relay.add_child(
        1,
        &[container(
            1,
            vec![stat("fractionlost", 0.0, Some(98.0)), stat("viewers", 98.0, Some(1.0))],
        )],
    );
    let up = relay.finish(2);
    assert_eq!(value(&up, "fractionlost"), (0.01, 100.0));
    assert_eq!(value(&up, "viewers"), (100.0, 2.0));
}

/// What a hop and what a viewer measure has names of its own: the one weighs by nodes, the other by
/// viewers, and a weight of viewers is not cut to the nodes of the subtree.
#[test]
fn jitter_and_loss_of_viewers_are_not_those_of_hops() {
    let leaf = |viewers: f64, jitter, lost| {
        container(
            1,
            vec![
                stat("viewerjitter", jitter, Some(viewers)),
                stat("viewerlost", lost, Some(viewers)),
                stat("injitter", 1.0, Some(1.0)),
            ],
        )
    };
    let mut all = Aggregator::new();
    all.add_child(1, &[leaf(99.0, 2.0, 0.0)]);
    all.add_child(1, &[leaf(1.0, 102.0, 500.0)]);
    let merged = all.finish(2);
    assert_eq!(value(&merged, "viewerjitter"), (3.0, 100.0));
    assert_eq!(value(&merged, "viewerlost"), (5.0, 100.0));
    assert_eq!(value(&merged, "injitter"), (1.0, 2.0));
    let mut absurd = Aggregator::new();
    absurd.add_child(1, &[leaf(1.0, -1.0, f64::NAN), leaf(1.0, 1e9, 1e18)]);
    assert_eq!(absurd.refused(), 2);
    assert_eq!(value(&absurd.finish(1), "viewerjitter"), (60_000.0, 1.0));
}

#[test]
fn pipelines_and_the_node_itself_stay_apart() {
    let mut a = Aggregator::new();
    let node = StatsContainer { id: None, ..container(0, vec![stat("memory", 5.0, None)]) };
    a.add_own(&[container(2, vec![stat("rtt", 1.0, None)]), node]);
    a.add_child(1, &[container(2, vec![stat("rtt", 3.0, None)]), container(1, vec![])]);
    let up = a.finish(1);
    let ids: Vec<_> = up.iter().map(|c| c.id).collect();
    assert_eq!(ids, [None, Some(PipelineId(1)), Some(PipelineId(2))]);
    assert_eq!(value(&up[2..], "rtt"), (2.0, 2.0));
}

#[test]
fn nobody_speaks_no_mean() {
    let mut a = Aggregator::new();
    let stats = vec![stat("rtt", 5.0, Some(0.0)), stat("viewers", 0.0, Some(0.0))];
    a.add_own(&[container(1, stats)]);
    let up = a.finish(0);
    assert_eq!(up[0].stats, [stat("viewers", 0.0, Some(0.0))]);
}

#[test]
fn old_spelling_is_the_same_name() {
    let mut a = Aggregator::new();
    a.add_child(1, &[container(1, vec![stat("cumpklost", 8.0, None)])]);
    a.add_child(1, &[container(1, vec![stat("cumpktlost", 12.0, None)])]);
    assert_eq!(value(&a.finish(2), "cumpktlost"), (10.0, 2.0));
}

/// A child may say anything: name, value, weight → what is believed of a subtree of two nodes.
#[test]
fn absurd_values_are_clamped_or_refused() {
    let most = 2.0 * f64::from(MAX_VIEWERS_PER_NODE);
    type Row = (&'static str, f64, Option<f64>, Option<(f64, f64)>);
    let rows: &[Row] = &[
        ("cpuload", 50.0, Some(2.0), Some((50.0, 2.0))),
        ("cpuload", 50.0, Some(1e9), Some((50.0, 2.0))),
        ("cpuload", 1e300, None, Some((100.0, 2.0))),
        ("cpuload", -1.0, None, None),
        ("cpuload", f64::NAN, None, None),
        ("cpuload", f64::INFINITY, None, None),
        ("cpuload", 50.0, Some(f64::NAN), None),
        ("cpuload", 50.0, Some(f64::INFINITY), None),
        ("cpuload", 50.0, Some(-1.0), None),
        ("fractionlost", 3.0, Some(1e12), Some((1.0, most))),
        ("hoploss", 3.0, Some(1e12), Some((1.0, 2.0))),
        ("hoprtt", 20.0, None, Some((20.0, 2.0))),
        ("viewers", 1e12, Some(2.0), Some((most, 2.0))),
        ("egress", 1e300, None, Some((2e12, 2.0))),
        ("later", -1e300, Some(1e300), Some((-1e15, most))),
    ];
    for (name, given, weight, expected) in rows {
        let mut a = Aggregator::new();
        a.add_child(2, &[container(1, vec![stat(name, *given, *weight)])]);
        assert_eq!(a.refused(), usize::from(expected.is_none()), "{name} {given} {weight:?}");
        let up = a.finish(1);
        let got = up[0].stats.first().map(|s| (s.value, s.weight.expect("a weight")));
        assert_eq!(got, *expected, "{name} {given} {weight:?}");
    }
}

/// Name, value, weight → whether it is a lie whoever says it.
#[test]
fn what_no_subtree_can_have_is_told_from_what_is_clamped() {
    let rows: &[(&str, f64, Option<f64>, bool)] = &[
        ("cpuload", 50.0, Some(2.0), false),
        ("cpuload", 50.0, None, false),
        // The meter may be off a little, and a subtree may be larger than we have heard yet.
        ("cpuload", 100.5, Some(16_000.0), false),
        ("cpuload", 50.0, Some(1e9), true),
        ("fractionlost", 0.1, Some(1e9), true),
        ("fractionlost", 0.1, Some(5e8), false),
        ("fractionlost", 1e6, Some(1.0), true),
        ("viewers", 1e9, Some(1.0), false),
        ("viewers", -1.0, None, true),
        ("injitter", f64::NAN, None, true),
        ("injitter", f64::INFINITY, None, true),
        ("injitter", 1.0, Some(f64::NAN), true),
        ("later", 1e300, Some(1e12), false),
    ];
    for (name, value, weight, lie) in rows {
        let said = [container(1, vec![stat(name, *value, *weight)])];
        assert_eq!(absurd(&said), usize::from(*lie), "{name} {value} {weight:?}");
    }
}

#[test]
fn memory_is_bounded() {
    let mut a = Aggregator::new();
    for id in 0..2 * MAX_CONTAINERS as u32 {
        a.add_child(1, &[container(id, vec![])]);
    }
    let names = (0..2 * MAX_STATS).map(|n| stat(&format!("n{n}"), 1.0, None)).collect();
    a.add_child(1, &[container(0, names)]);
    assert_eq!(a.refused(), MAX_CONTAINERS + MAX_STATS);
    let up = a.finish(0);
    assert_eq!((up.len(), up[0].stats.len()), (MAX_CONTAINERS, MAX_STATS));
}

#[test]
fn every_rule_is_found_by_its_name() {
    for r in RULES {
        assert_eq!(rule(r.name), Some(r));
    }
    assert_eq!(rule("cumpklost").map(|r| r.name), Some("cumpktlost"));
    assert_eq!(rule("later"), None);
}

proptest! {
    /// Leaves under two relays under a root, or all of them at once: the same mean and sum.
    #[test]
    fn merging_in_steps_is_merging_at_once(
        leaves in prop::collection::vec((0.0..1.0f64, 0u32..1000, 0.0..5000.0f64), 1..12),
        cut in 0usize..12,
    ) {
        let cut = cut.min(leaves.len());
        let own = |(lost, viewers, egress): &(f64, u32, f64)| vec![container(1, vec![
            stat("fractionlost", *lost, Some(f64::from(*viewers))),
            stat("viewers", f64::from(*viewers), Some(1.0)),
            stat("egress", *egress, None),
        ])];
        let mut at_once = Aggregator::new();
        let mut root = Aggregator::new();
        for part in [&leaves[..cut], &leaves[cut..]] {
            let mut relay = Aggregator::new();
            for leaf in part {
                relay.add_child(1, &own(leaf));
                at_once.add_child(1, &own(leaf));
            }
            root.add_child(part.len() as u32, &relay.finish(part.len() as u32));
        }
        let (at_once, steps) = (at_once.finish(0), root.finish(0));
        prop_assert_eq!(at_once[0].stats.len(), steps[0].stats.len());
        for (a, b) in at_once[0].stats.iter().zip(&steps[0].stats) {
            prop_assert_eq!(&a.name, &b.name);
            prop_assert_eq!(a.weight, b.weight);
            prop_assert!((a.value - b.value).abs() <= 1e-9 * a.value.abs().max(1.0));
        }
    }

    /// Whatever a child sends, what goes up is finite, and means lie within what was said.
    #[test]
    fn nothing_absurd_goes_up(
        name in prop::sample::select(RULES.iter().map(|r| r.name).chain(["later"]).collect::<Vec<_>>()),
        said in prop::collection::vec((any::<f64>(), prop::option::of(any::<f64>()), any::<u32>()), 0..8),
    ) {
        let mut a = Aggregator::new();
        for (value, weight, subtree) in said {
            a.add_child(subtree, &[container(1, vec![stat(name, value, weight)])]);
        }
        for s in a.finish(1).iter().flat_map(|c| &c.stats) {
            prop_assert!(s.value.is_finite() && s.weight.is_some_and(|w| w.is_finite() && w >= 0.0));
            if let Some(rule) = rule(name) && rule.merge == Merge::Mean {
                prop_assert!(s.value >= 0.0 && s.value <= rule.max * (1.0 + 1e-9));
            }
        }
    }
}

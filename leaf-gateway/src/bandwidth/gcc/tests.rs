//! The estimator on a simulated link: figures with tolerances, for several seeds each.

pub(crate) mod sim;

use super::*;
use sim::{Path, Sim};

const SEEDS: std::ops::Range<u64> = 0..8;

fn config(start: u64) -> Config {
    Config { start, ..Config::default() }
}

fn mean(all: &[u64]) -> u64 {
    all.iter().sum::<u64>() / all.len().max(1) as u64
}

/// Bounds, in thousandths.
#[track_caller]
fn within(seed: u64, what: &str, value: u64, of: u64, low: u64, high: u64) {
    let share = value * 1_000 / of;
    assert!((low..=high).contains(&share), "{what}: {value} is {share}/1000 of {of}, seed {seed}");
}

#[test]
fn a_steady_link_is_used_without_a_queue() {
    for seed in SEEDS {
        for (rate, key_every, low) in [(2_000_000, 0, 850), (600_000, 0, 800), (2_500_000, 60, 750)]
        {
            let mut sim = Sim::new(Path::steady(rate), config(500_000), seed);
            sim.source.key_every = key_every;
            sim.run(30_000, None);
            sim.wire.worst_queue = 0;
            let all = sim.run(90_000, None);
            within(seed, "mean", mean(&all), rate, low, 1_000);
            within(seed, "worst", *all.iter().min().unwrap(), rate, 700, 1_000);
            // A key frame alone takes 150 ms of the link.
            let queue = if key_every > 0 { 250_000 } else { 120_000 };
            assert!(sim.wire.worst_queue < queue, "{} µs, seed {seed}", sim.wire.worst_queue);
        }
    }
}

#[test]
fn follows_a_link_that_halves_and_recovers() {
    let mut queues = vec![];
    for seed in SEEDS {
        let rates = vec![(0, 2_500_000), (20_000, 1_250_000), (40_000, 2_500_000)];
        let mut sim = Sim::new(Path { rates, ..Path::steady(0) }, config(1_000_000), seed);
        let before = sim.run(20_000, None);
        within(seed, "before", mean(&before[15_000..]), 2_500_000, 800, 1_000);
        sim.wire.worst_queue = 0;
        let after = sim.run(40_000, None);
        // Within half a second of the step it is below the link, and stays there.
        let below = after.iter().position(|r| *r <= 1_250_000).unwrap();
        assert!(below < 700, "{below} ms, seed {seed}");
        within(seed, "most", *after[below..].iter().max().unwrap(), 1_250_000, 800, 1_060);
        within(seed, "halved", mean(&after[2_000..]), 1_250_000, 800, 1_000);
        // Depends on when the next feedback comes: 50 to 100 ms, and as much on its way.
        assert!(sim.wire.worst_queue < 500_000, "{} µs, seed {seed}", sim.wire.worst_queue);
        queues.push(sim.wire.worst_queue);
        assert!(sim.estimator.state().queue < Duration::from_millis(60));
        let back = sim.run(60_000, None);
        let reached = back.iter().position(|r| *r >= 2_000_000).unwrap();
        assert!(reached < 15_000, "{reached} ms, seed {seed}");
    }
    assert!(mean(&queues) < 350_000, "{queues:?}");
}

#[test]
fn loss_by_chance_does_not_take_it_down() {
    for seed in SEEDS {
        for loss in [0.02, 0.05] {
            let mut sim = Sim::new(Path { loss, ..Path::steady(2_000_000) }, config(500_000), seed);
            sim.run(30_000, None);
            let all = sim.run(90_000, None);
            within(seed, "mean", mean(&all), 2_000_000, 800, 1_000);
            let told = sim.estimator.state().loss;
            assert!((told - loss).abs() < 0.04, "{told}, seed {seed}");
        }
    }
}

#[test]
fn much_loss_takes_it_down_but_not_to_nothing() {
    for seed in SEEDS {
        let mut sim = Sim::new(Path::steady(2_000_000), config(1_500_000), seed);
        sim.run(10_000, None);
        sim.wire.path.loss = 0.2;
        let all = sim.run(20_000, None);
        let reached = all.iter().position(|r| *r < 800_000).unwrap();
        assert!(reached < 5_000, "{reached} ms, seed {seed}");
        let all = sim.run(30_000, None);
        within(seed, "mean", mean(&all), 150_000, 1_000, 1_500);
        // And it comes back when that is over.
        sim.wire.path.loss = 0.0;
        let all = sim.run(70_000, None);
        within(seed, "back", *all.last().unwrap(), 2_000_000, 700, 1_000);
    }
}

#[test]
fn a_link_without_a_queue_is_found_by_loss() {
    for seed in SEEDS {
        let path = Path { queue_ms: 20, ..Path::steady(1_500_000) };
        let mut sim = Sim::new(path, config(1_000_000), seed);
        sim.run(30_000, None);
        let all = sim.run(90_000, None);
        within(seed, "mean", mean(&all), 1_500_000, 500, 1_250);
        assert!(sim.estimator.state().loss < 0.2, "seed {seed}");
    }
}

#[test]
fn jitter_and_lost_feedback_are_borne() {
    for seed in SEEDS {
        for path in [
            Path { jitter_ms: 20, ..Path::steady(2_000_000) },
            Path { feedback_loss: 0.2, ..Path::steady(2_000_000) },
            Path { delay_ms: 150, ..Path::steady(2_000_000) },
        ] {
            let mut sim = Sim::new(path, config(1_000_000), seed);
            sim.run(30_000, None);
            sim.wire.worst_queue = 0;
            let all = sim.run(90_000, None);
            within(seed, "mean", mean(&all), 2_000_000, 750, 1_020);
            assert!(sim.wire.worst_queue < 350_000, "{} µs, seed {seed}", sim.wire.worst_queue);
        }
    }
}

#[test]
fn a_layer_that_fits_keeps_fitting() {
    // 2.5 Mbit/s with key frames six times a frame's size: no alarm at a key frame may say that
    // the link does not carry what it carries.
    for seed in SEEDS {
        for (rate, jitter_ms) in [(3_500_000, 0), (5_000_000, 15), (20_000_000, 30)] {
            let path = Path { jitter_ms, ..Path::steady(rate) };
            let mut sim = Sim::new(path, config(3_000_000), seed);
            sim.source.key_every = 60;
            let all = sim.run(120_000, Some(2_500_000));
            within(seed, "least", *all.iter().min().unwrap(), 2_564_000, 1_000, 1_000_000);
        }
    }
}

#[test]
fn what_is_not_sent_is_not_claimed() {
    for seed in SEEDS {
        let mut sim = Sim::new(Path::steady(50_000_000), config(300_000), seed);
        let all = sim.run(60_000, Some(600_000));
        // One and a half times what arrives, whose rate varies.
        within(seed, "last", *all.last().unwrap(), 664_000, 1_300, 1_900);
    }
}

#[test]
fn a_guess_that_was_too_low_gives_way_to_what_arrives() {
    for seed in SEEDS {
        let mut sim = Sim::new(Path::steady(8_000_000), config(1_000_000), seed);
        let all = sim.run(3_000, Some(2_500_000));
        within(seed, "after two seconds", all[2_000], 2_500_000, 1_000, 1_600);
    }
}

#[test]
fn silence_brings_it_down_and_feedback_back() {
    let rates = vec![(0, 3_000_000), (10_000, 0), (20_000, 3_000_000)];
    let mut sim = Sim::new(Path { rates, ..Path::steady(0) }, config(1_000_000), 1);
    sim.run(10_000, Some(1_000_000));
    let all = sim.run(20_000, Some(300_000));
    assert!(all[1_500] <= all[0] / 2 && all[6_500] <= 60_000, "{} {}", all[1_500], all[6_500]);
    sim.goal = Some(1_500_000);
    let all = sim.run(30_000, Some(300_000));
    let reached = all.iter().position(|r| *r >= 1_500_000).unwrap();
    assert!(reached < 5_000, "{reached} ms");
}

#[test]
fn probes_find_room_that_is_there() {
    for seed in SEEDS {
        for jitter_ms in [0, 5] {
            let path = Path { jitter_ms, ..Path::steady(6_000_000) };
            let mut sim = Sim::new(path, config(600_000), seed);
            sim.source.key_every = 60;
            sim.goal = Some(3_000_000);
            sim.run(2_000, Some(500_000));
            let all = sim.run(6_000, Some(500_000));
            let reached = all.iter().position(|r| *r >= 3_000_000);
            assert!(reached.is_some(), "{} after {} probes, seed {seed}", sim.target(), sim.probes);
            assert!(sim.probes <= 8, "{} probes, seed {seed}", sim.probes);
        }
    }
}

#[test]
fn probes_claim_no_room_that_is_not_there() {
    for seed in SEEDS {
        let mut sim = Sim::new(Path::steady(1_200_000), config(600_000), seed);
        sim.source.key_every = 60;
        sim.goal = Some(3_000_000);
        let all = sim.run(60_000, Some(500_000));
        within(seed, "most", *all.iter().max().unwrap(), 1_200_000, 500, 1_150);
        assert!(sim.wire.worst_queue < 200_000, "{} µs, seed {seed}", sim.wire.worst_queue);
        // Not more than one in ten seconds, once that is clear.
        assert!(sim.probes <= 12, "{} probes, seed {seed}", sim.probes);
    }
}

//! When a layer is left out, and when it is tried again.

use crate::ladder::load::{Change, FIRST_REST, LATE, LONGEST_REST, Load, Second};
use soleil_protocol::Mono;
use std::time::Duration;

struct Scene {
    load: Load,
    now: Mono,
}

impl Scene {
    fn new(layers: usize) -> Scene {
        Scene { load: Load::new(layers), now: Mono(0) }
    }

    /// So many seconds in which each layer makes so many of 30 frames; what was wanted, and when.
    fn pass(&mut self, seconds: u64, made: &[u32], delay: Duration) -> Vec<(u64, Change)> {
        let second = Second { came: 30, made: made.to_vec(), delay };
        let step = |n: u64| {
            self.now = self.now.after(Duration::from_secs(1));
            self.load.second(self.now, &second).map(|change| (n, change))
        };
        (1..=seconds).filter_map(step).collect()
    }
}

fn left(changes: &[(u64, Change)]) -> Vec<(u64, usize)> {
    let of = |(at, change): &(u64, Change)| match change {
        Change::Leave(layer, _) => Some((*at, *layer)),
        Change::Resume(_) => None,
    };
    changes.iter().filter_map(of).collect()
}

#[test]
fn the_best_layer_goes_first_and_the_last_one_stays() {
    let mut scene = Scene::new(3);
    assert_eq!(scene.pass(60, &[30, 30, 30], LATE), []);
    assert_eq!(scene.pass(60, &[27, 29, 26], LATE), [], "a frame now and then");
    // A hiccup is none.
    assert_eq!(scene.pass(2, &[10, 30, 30], LATE), []);
    assert_eq!(scene.pass(1, &[30, 30, 30], LATE), []);
    let changes = scene.pass(3, &[10, 30, 30], LATE);
    assert_eq!(left(&changes), [(3, 0)]);
    let Change::Leave(_, why) = &changes[0].1 else { panic!("{changes:?}") };
    assert_eq!(why, "10 of 30 frames a second were made");
    // It is not looked at any more; the next one is.
    assert_eq!(scene.pass(5, &[0, 30, 30], LATE), []);
    assert_eq!(left(&scene.pass(20, &[0, 30, 5], LATE)), [(3, 1)]);
    assert_eq!(scene.load.left(), 2);
}

#[test]
fn frames_that_come_late_count_as_well() {
    let mut scene = Scene::new(2);
    let late = LATE + Duration::from_millis(1);
    let changes = scene.pass(3, &[30, 30], late);
    assert_eq!(left(&changes), [(3, 0)]);
    assert_eq!(scene.pass(10, &[0, 30], late), [], "there is nothing else to leave out");
}

#[test]
fn it_is_tried_again_after_a_rest_that_grows() {
    let mut scene = Scene::new(2);
    let mut rest = FIRST_REST.as_secs();
    for _ in 0..8 {
        assert_eq!(left(&scene.pass(3, &[0, 30], LATE * 2)), [(3, 0)]);
        let changes = scene.pass(rest + 1, &[0, 30], LATE);
        assert_eq!(changes, [(rest + 1, Change::Resume(0))]);
        rest = (rest * 2).min(LONGEST_REST.as_secs());
    }
    // Trouble in between begins the rest anew.
    scene.pass(3, &[0, 30], LATE * 2);
    scene.pass(rest / 2, &[0, 30], LATE);
    scene.pass(1, &[0, 30], LATE * 2);
    assert_eq!(scene.pass(rest, &[0, 30], LATE), []);
}

#[test]
fn a_source_that_pauses_is_no_trouble() {
    let mut load = Load::new(2);
    for n in 0..60 {
        let second = Second { came: 0, made: vec![0, 0], delay: Duration::ZERO };
        assert_eq!(load.second(Mono(n * 1_000_000), &second), None);
    }
}

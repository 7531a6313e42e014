//! The choice: single rules, and that it does not swing on a steady link.

use super::*;
use proptest::prelude::*;

const AUDIO: u64 = 64_000;
const LAYERS: [u64; 3] = [2_500_000, 1_000_000, 300_000];

struct Rig {
    selector: Selector,
    now: Mono,
    /// A layer's key frame comes so long after it was asked for.
    key_after: Duration,
    asked: Option<(Mono, usize)>,
    switches: Vec<Mono>,
}

impl Rig {
    fn new(layer: usize) -> Self {
        Self {
            selector: Selector::new(layer),
            now: Mono(1_000_000),
            key_after: Duration::from_millis(300),
            asked: None,
            switches: vec![],
        }
    }

    /// A tenth of a second.
    fn step(&mut self, estimate: u64, layers: &[u64]) -> Decision {
        self.now = self.now.after(Duration::from_millis(100));
        if let Some((at, layer)) = self.asked.filter(|(at, _)| self.now >= *at) {
            assert!(at <= self.now);
            self.selector.switched(self.now, layer);
            self.switches.push(self.now);
            self.asked = None;
        }
        let d = self.selector.decide(self.now, Some(estimate), AUDIO, layers);
        if d.layer == self.selector.current() {
            self.asked = None;
        } else if self.asked.is_none_or(|(_, layer)| layer != d.layer) {
            self.asked = Some((self.now.after(self.key_after), d.layer));
        }
        d
    }

    fn run(&mut self, secs: u64, estimate: u64) -> Decision {
        (0..secs * 10).map(|_| self.step(estimate, &LAYERS)).last().unwrap()
    }
}

#[test]
fn up_needs_a_margin_and_time() {
    let mut rig = Rig::new(1);
    // It fits, but only just.
    assert_eq!(rig.run(20, 2_700_000).layer, 1);
    let fits = (LAYERS[0] + AUDIO) * 115 / 100;
    assert_eq!(rig.step(fits, &LAYERS).goal, Some(fits));
    assert_eq!(rig.run(1, fits).layer, 1);
    rig.step(fits - 1, &LAYERS);
    assert_eq!(rig.run(1, fits).layer, 1, "the time begins anew");
    assert_eq!(rig.run(1, fits).layer, 0);
    assert_eq!(
        rig.run(1, fits),
        Decision { layer: 0, drop_discardable: false, hold: false, paused: false, goal: None }
    );
    assert_eq!(rig.switches.len(), 1);
}

#[test]
fn a_probe_saves_the_time() {
    let mut rig = Rig::new(1);
    rig.selector.probed(rig.now);
    assert_eq!(rig.step(3_000_000, &LAYERS).layer, 0);
    // But not for ever.
    let mut rig = Rig::new(1);
    rig.selector.probed(rig.now);
    rig.run(5, 1_500_000);
    assert_eq!(rig.step(3_000_000, &LAYERS).layer, 1);
}

#[test]
fn down_at_once_as_far_as_it_takes() {
    let mut rig = Rig::new(0);
    rig.run(5, 3_000_000);
    let d = rig.step(2_563_999, &LAYERS);
    assert_eq!((d.layer, d.drop_discardable), (1, true));
    let mut rig = Rig::new(0);
    let d = rig.step(500_000, &LAYERS);
    assert_eq!((d.layer, d.drop_discardable, d.goal), (2, true, None));
    // Until the key frame discardable frames are left out; then no more.
    assert!(rig.step(500_000, &LAYERS).drop_discardable);
    let d = rig.run(1, 500_000);
    assert_eq!((d.layer, d.drop_discardable, rig.selector.current()), (2, false, 2));
}

#[test]
fn where_little_of_a_layer_gets_through_it_is_held_until_the_lower_one_begins() {
    let need = LAYERS[0] + AUDIO;
    for (estimate, held) in [(need * 6 / 10, false), (need * 6 / 10 - 1, true), (100_000, true)] {
        let mut rig = Rig::new(0);
        rig.run(5, 3_000_000);
        let d = rig.step(estimate, &LAYERS);
        assert_eq!((d.layer > 0, d.hold), (true, held), "{estimate}");
        let d = rig.run(1, estimate);
        assert_eq!((rig.selector.current() > 0, d.hold), (true, false), "{estimate}");
    }
    // Nothing is held for what the viewer wants, nor where there is nothing lower.
    let mut rig = Rig::new(0);
    rig.selector.set_wish(Wish::Fixed(2));
    assert!(!rig.step(100_000, &LAYERS).hold);
    assert!(!Rig::new(0).step(100_000, &LAYERS[..1]).hold);
}

#[test]
fn a_layer_that_nobody_sends_is_not_waited_for() {
    // The one between is silent: the lowest is taken. All are: nothing is left for them.
    for (rates, layer) in [([2_500_000, 0, 300_000], 2), ([2_500_000, 0, 0], 0)] {
        let mut rig = Rig::new(0);
        for _ in 0..50 {
            rig.step(3_000_000, &rates);
        }
        let d = rig.step(400_000, &rates);
        assert_eq!((d.layer, d.hold), (layer, layer > 0), "{rates:?}");
    }
    // It falls silent while it is waited for.
    let mut rig = Rig::new(0);
    rig.key_after = Duration::from_secs(60);
    rig.run(5, 3_000_000);
    assert_eq!(rig.step(500_000, &LAYERS).layer, 2);
    let d = rig.step(500_000, &[LAYERS[0], LAYERS[1], 0]);
    assert_eq!((d.layer, d.hold), (1, true));
    let d = rig.step(500_000, &[LAYERS[0], 0, 0]);
    assert_eq!((d.layer, d.hold), (0, false));
}

#[test]
fn a_layer_that_does_not_begin_is_given_up() {
    let mut rig = Rig::new(0);
    rig.key_after = Duration::from_secs(600);
    rig.run(5, 3_000_000);
    let asked: Vec<usize> = (0..40).map(|_| rig.run(1, 500_000).layer).collect();
    assert_eq!(asked[..11], [2; 11], "{asked:?}");
    assert!(asked[13..].iter().any(|layer| *layer != 2), "another one: {asked:?}");
    assert_eq!(rig.selector.current(), 0);
}

#[test]
fn a_way_up_that_is_not_gone_is_taken_back() {
    let mut rig = Rig::new(1);
    rig.key_after = Duration::from_secs(5);
    assert_eq!(rig.run(3, 3_000_000).layer, 0);
    let d = rig.step(2_000_000, &LAYERS);
    assert_eq!((d.layer, d.drop_discardable), (1, false));
    rig.run(10, 2_000_000);
    assert_eq!(rig.switches.len(), 0);
}

#[test]
fn without_an_estimate_nothing_moves() {
    let mut s = Selector::new(1);
    let d = s.decide(Mono(5), None, AUDIO, &LAYERS);
    assert_eq!(
        d,
        Decision { layer: 1, drop_discardable: false, hold: false, paused: false, goal: None }
    );
}

#[test]
fn the_viewers_wish_wins() {
    let mut rig = Rig::new(2);
    rig.selector.set_wish(Wish::Fixed(0));
    let d = rig.step(100_000, &LAYERS);
    assert_eq!((d.layer, d.drop_discardable, d.paused, d.goal), (0, true, false, None));
    rig.selector.set_wish(Wish::Fixed(7));
    assert_eq!(rig.run(5, 9_000_000).layer, 2);
    rig.selector.set_wish(Wish::Auto);
    assert_eq!(rig.run(5, 9_000_000).layer, 0);
}

#[test]
fn the_sound_outlives_the_picture() {
    let mut rig = Rig::new(2);
    let d = rig.run(10, 250_000);
    assert_eq!((d.paused, d.drop_discardable), (false, true));
    assert!(!rig.run(1, 200_000).paused);
    let d = rig.run(3, 200_000);
    assert_eq!((d.paused, d.goal), (true, Some(364_000)));
    assert!(rig.run(5, 363_000).paused);
    assert!(!rig.run(1, 364_000).paused);
    // Left out again, and tried now and then only if nothing else can tell.
    assert!(rig.run(10, 200_000).paused);
    assert!((0..60).all(|_| rig.run(1, 200_000).paused));
    rig.selector.set_blind(true);
    let tries = (0..60).filter(|_| !rig.run(1, 200_000).paused).count();
    assert!((4..=12).contains(&tries), "{tries}");
}

#[test]
fn layers_that_come_and_go() {
    let mut rig = Rig::new(2);
    assert_eq!(rig.step(5_000_000, &[1_000_000]).layer, 0);
    assert_eq!(rig.step(5_000_000, &[]).layer, 0);
    // One whose rate nobody knows is not gone up to.
    let mut rig = Rig::new(1);
    assert!((0..100).all(|_| rig.step(5_000_000, &[0, 1_000_000]).layer == 1));
}

#[test]
fn a_layer_that_fails_again_and_again_is_tried_less_and_less() {
    let mut rig = Rig::new(1);
    for _ in 0..6_000 {
        // It looks as if it would fit until it is tried.
        let estimate = if rig.selector.current() == 0 { 2_000_000 } else { 3_500_000 };
        rig.step(estimate, &LAYERS);
    }
    // Ten minutes: at 0, 10, 30, 70, 150, 270 s and so on, each time up and down.
    assert!((10..=18).contains(&rig.switches.len()), "{}", rig.switches.len());
}

proptest! {
    /// As the estimate of a steady link moves: a sawtooth below its capacity, with noise.
    #[test]
    fn a_steady_link_is_steady(
        capacity in 200_000u64..5_000_000,
        tooth in 30u64..200,
        noise in prop::collection::vec(950u64..1_030, 64),
        start in 0usize..3,
    ) {
        let mut rig = Rig::new(start);
        for i in 0..6_000u64 {
            let below = 850 + 150 * (i % tooth) / tooth;
            let estimate = capacity * below / 1_000 * noise[i as usize % 64] / 1_000;
            let d = rig.step(estimate, &LAYERS);
            // Never more than fits, once the key frame has come.
            let need = AUDIO + LAYERS[d.layer];
            prop_assert!(need <= estimate || d.layer == 2);
        }
        let minute = |at: &Mono| at.0 / 60_000_000;
        for m in 0..11 {
            let n = rig.switches.iter().filter(|at| minute(at) == m).count();
            prop_assert!(n <= 6, "{n} switches in minute {m}");
        }
        prop_assert!(rig.switches.len() <= 26, "{} switches", rig.switches.len());
    }

    /// Whatever the estimate does, ways up are bounded, and it ends where the link is.
    #[test]
    fn any_estimate_is_borne(
        estimates in prop::collection::vec((0u64..6_000_000, 1u64..80), 1..60),
        last in 0u64..6_000_000,
    ) {
        let mut rig = Rig::new(0);
        for (estimate, steps) in estimates {
            for _ in 0..steps {
                rig.step(estimate, &LAYERS);
            }
        }
        let secs = rig.now.0 / 1_000_000;
        let ups = rig.switches.len() as u64;
        prop_assert!(ups <= 10 + secs, "{ups} in {secs} s");
        let d = rig.run(300, last);
        let best = (0..3).find(|l| (AUDIO + LAYERS[*l]) * 115 / 100 <= last);
        prop_assert!(d.layer <= best.unwrap_or(2), "{} at {last}", d.layer);
        prop_assert!(d.layer == 2 || AUDIO + LAYERS[d.layer] <= last);
    }
}

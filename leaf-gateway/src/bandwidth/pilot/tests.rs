//! A viewer of a ladder of three layers on a simulated link: what it gets, and what it loses.

use super::*;
use crate::bandwidth::gcc::tests::sim::{Path, START, Source, Wire, ms};
use crate::bandwidth::twcc::tests::encode;

const AUDIO: Ssrc = Ssrc(1);
const LADDER: [(Ssrc, u64); 3] =
    [(Ssrc(10), 2_500_000), (Ssrc(11), 1_000_000), (Ssrc(12), 300_000)];

struct Viewer {
    wire: Wire,
    source: Source,
    pilot: Pilot,
    now: Mono,
    playing: usize,
    wanted: usize,
    paused: bool,
    /// Nothing is sent until a layer begins.
    held: bool,
    /// A key frame was asked for: it comes so much later.
    key_at: Option<Mono>,
    /// Whether there is sound, and whether packets for a probe are left.
    sound: bool,
    probes: bool,
    audio: Vec<u64>,
    sent: u64,
    bytes: u64,
    probe_bytes: u64,
}

impl Viewer {
    fn new(path: Path, seed: u64) -> Self {
        let tracks = [(MediaKind::Video, LADDER[0].0), (MediaKind::Audio, AUDIO)];
        let mut pilot = Pilot::new(START, tracks.into_iter());
        pilot.set_layers(0, &LADDER);
        pilot.set_layers(1, &[(AUDIO, 64_000)]);
        let mut source = Source::new(seed);
        source.key_every = 60;
        Self {
            wire: Wire::new(path, seed),
            source,
            pilot,
            now: START,
            playing: 0,
            wanted: 0,
            paused: false,
            held: false,
            key_at: None,
            sound: true,
            probes: true,
            audio: vec![],
            sent: 0,
            bytes: 0,
            probe_bytes: 0,
        }
    }

    fn send(&mut self, size: usize) -> u64 {
        self.wire.send(self.now, self.pilot.next_number(), size);
        self.sent += 1;
        self.bytes += size as u64;
        self.sent - 1
    }

    fn step(&mut self) {
        self.now = Mono(self.now.0 + 1_000);
        if self.sound && self.source.audio(self.now) {
            let number = self.send(160);
            self.pilot.on_sent(self.now, 160);
            self.audio.push(number);
        }
        let rate = LADDER[self.playing].1;
        if let Some((packets, size, key)) = self.source.frame(self.now, rate) {
            let asked = self.key_at.is_some_and(|at| self.now >= at);
            if self.playing != self.wanted && (key || asked) {
                (self.playing, self.key_at, self.held) = (self.wanted, None, false);
                self.pilot.switched(self.now, 0, LADDER[self.playing].0);
            }
            for _ in 0..if self.paused || self.held { 0 } else { packets } {
                self.send(size);
                self.pilot.on_sent(self.now, size);
            }
        }
        let mut heard = ms(self.now).is_multiple_of(1_000);
        while let Some(message) = self.wire.feedback(self.now) {
            self.pilot.on_feedback(self.now, &message);
            heard = true;
        }
        if heard {
            let (mut layer, mut paused, mut held) = (None, None, false);
            self.pilot.steer(self.now, |change| match change {
                Change::Layer(track, ssrc) => {
                    assert_eq!(track, 0);
                    layer = LADDER.iter().position(|l| l.0 == ssrc);
                }
                Change::Hold(_) => held = true,
                // This source has no frame that can be left out.
                Change::Lean(..) => {}
                Change::Pause(_) => paused = Some(true),
                Change::Resume(_) => paused = Some(false),
            });
            self.paused = paused.unwrap_or(self.paused);
            self.held |= held;
            if let Some(layer) = layer {
                self.wanted = layer;
                self.key_at = Some(Mono(self.now.0 + 250_000));
            }
        }
        if let Some(probe) = self.pilot.probe(self.now) {
            for _ in 0..if self.probes { probe.packets } else { 0 } {
                self.send(1_100);
                self.pilot.on_probe_sent(self.now, 1_100);
                self.probe_bytes += 1_100;
            }
        }
    }

    /// Runs so many seconds; milliseconds spent with each layer.
    fn run(&mut self, secs: u64) -> [u64; 3] {
        let mut spent = [0; 3];
        for _ in 0..secs * 1_000 {
            self.step();
            spent[self.playing] += 1;
        }
        spent
    }

    fn audio_lost(&self) -> usize {
        self.audio.iter().filter(|n| self.wire.lost.binary_search(n).is_ok()).count()
    }
}

#[test]
fn a_good_link_gets_the_best_and_keeps_it() {
    for seed in 0..6 {
        for (rate, jitter_ms) in [(20_000_000, 0), (4_000_000, 0), (8_000_000, 20)] {
            let mut v = Viewer::new(Path { jitter_ms, ..Path::steady(rate) }, seed);
            assert_eq!(v.run(120), [120_000, 0, 0], "{rate} {:?} seed {seed}", v.pilot.counts());
            assert_eq!(v.pilot.counts().probes, 0);
        }
    }
}

#[test]
fn a_link_that_narrows_gets_less_at_once_and_more_again() {
    for seed in 0..6 {
        let rates = vec![(0, 6_000_000), (20_000, 1_600_000), (50_000, 6_000_000)];
        let mut v = Viewer::new(Path { rates, ..Path::steady(0) }, seed);
        assert_eq!(v.run(20), [20_000, 0, 0]);
        v.wire.worst_queue = 0;
        let narrow = v.run(30);
        // It is down within a second, and tries the better layer in vain at most once or twice.
        assert!(narrow[0] < 3_000, "{narrow:?} {:?} seed {seed}", v.pilot.counts());
        assert!(narrow[1] > 20_000, "{narrow:?} {:?} seed {seed}", v.pilot.counts());
        assert!(v.wire.worst_queue < 900_000, "{} seed {seed}", v.wire.worst_queue);
        let wide = v.run(30);
        assert!(wide[0] > 15_000, "{wide:?} {:?} seed {seed}", v.pilot.counts());
        assert_eq!(v.audio_lost(), 0, "seed {seed}");
    }
}

#[test]
fn a_narrow_link_is_steady_and_probes_cost_little() {
    for seed in 0..6 {
        for rate in [1_600_000, 2_400_000, 700_000] {
            let mut v = Viewer::new(Path::steady(rate), seed);
            v.run(30);
            (v.bytes, v.probe_bytes) = (0, 0);
            let before = v.pilot.counts();
            let spent = v.run(300);
            let after = v.pilot.counts();
            let best = if rate > 1_100_000 { 1 } else { 2 };
            let what = || format!("{rate} {spent:?} {after:?} seed {seed}");
            assert!(spent[best] > 285_000, "{}", what());
            assert!(after.ups - before.ups <= 3, "{}", what());
            assert!(v.probe_bytes * 30 < v.bytes, "{} of {}: {}", v.probe_bytes, v.bytes, what());
        }
    }
}

#[test]
fn sound_goes_on_where_a_picture_does_not_fit() {
    for seed in 0..6 {
        let rates = vec![(0, 6_000_000), (10_000, 120_000), (40_000, 3_000_000)];
        let path = Path { rates, queue_ms: 400, ..Path::steady(0) };
        let mut v = Viewer::new(path, seed);
        v.run(20);
        let (lost, sent) = (v.audio_lost(), v.audio.len());
        v.run(20);
        assert!(v.paused && v.pilot.counts().pauses >= 1, "{:?} seed {seed}", v.pilot.counts());
        // Of a thousand packets hardly one: probes are small against the queue.
        assert!(
            v.audio_lost() - lost <= 10,
            "{} of {}",
            v.audio_lost() - lost,
            v.audio.len() - sent
        );
        v.run(15);
        assert!(!v.paused && v.playing < 2, "{} {:?} seed {seed}", v.playing, v.pilot.counts());
    }
}

/// A picture without sound on a link that becomes too narrow, and wide again after so many
/// seconds: a viewer whom nothing reaches meanwhile, but who is there.
fn silent(seed: u64, narrow: u64) -> Viewer {
    let rates = vec![(0, 6_000_000), (10_000, 100_000), (10_000 + narrow * 1_000, 3_000_000)];
    let mut v = Viewer::new(Path { rates, queue_ms: 400, ..Path::steady(0) }, seed);
    v.pilot = Pilot::new(START, [(MediaKind::Video, LADDER[0].0)].into_iter());
    v.pilot.set_layers(0, &LADDER);
    v.sound = false;
    v.run(10);
    v
}

impl Viewer {
    /// Runs until the picture pauses or goes on; how many seconds that took, at most so many.
    fn until(&mut self, paused: bool, most: u64) -> u64 {
        (0..most)
            .find(|_| {
                self.pilot.alive(self.now);
                self.run(1);
                self.paused == paused
            })
            .unwrap_or(most)
    }
}

#[test]
fn a_picture_without_sound_is_probed_for_while_it_is_left_out() {
    for seed in 0..6 {
        let mut v = silent(seed, 20);
        let left_out = v.until(true, 15);
        assert!(left_out < 15, "{:?} seed {seed}", v.pilot.counts());
        let before = (v.probe_bytes, v.pilot.counts().probes);
        let again = v.until(false, 60);
        // Not before the link is wide, and soon then: probes are ten seconds apart at most.
        let wide = 20 - left_out;
        assert!(again + 1 >= wide && again <= wide + 13, "{left_out} {again} seed {seed}");
        let probes = v.pilot.counts().probes - before.1;
        assert!(probes > 0, "{:?} seed {seed}", v.pilot.counts());
        assert!(v.probe_bytes - before.0 < 10_000 * again, "{probes} probes, seed {seed}");
        v.run(20);
        assert!(!v.paused && v.playing < 2, "{} {:?} seed {seed}", v.playing, v.pilot.counts());
    }
}

#[test]
fn a_picture_that_can_not_be_probed_for_is_tried_again() {
    let mut v = silent(1, 12);
    let left_out = v.until(true, 11);
    assert!(left_out < 11, "{:?}", v.pilot.counts());
    v.probes = false;
    let again = v.until(false, 60);
    assert!((14..=17).contains(&again), "{again} {:?}", v.pilot.counts());
}

#[test]
fn the_viewers_own_wish_is_kept_when_layers_change() {
    let mut v = Viewer::new(Path::steady(1_600_000), 1);
    v.run(10);
    v.pilot.set_wish(0, Some(Ssrc(12)));
    v.run(10);
    assert_eq!(v.playing, 2);
    let mut now = vec![];
    v.pilot.set_layers(0, &LADDER[1..]);
    v.pilot.steer(v.now, |change| now.push(change));
    assert_eq!(now, []);
    v.pilot.set_layers(0, &LADDER[..2]);
    v.pilot.steer(v.now, |change| now.push(change));
    // It is gone: left to us, who know that the best does not fit.
    assert_eq!(now, [Change::Layer(0, Ssrc(11)), Change::Lean(0, true)]);
    v.pilot.set_layers(7, &LADDER);
    v.pilot.set_wish(7, None);
    v.pilot.switched(v.now, 0, Ssrc(99));
}

#[test]
fn a_picture_that_was_left_out_comes_again_when_layers_change() {
    let path = Path { rates: vec![(0, 6_000_000), (5_000, 100_000)], ..Path::steady(0) };
    let mut v = Viewer::new(path, 1);
    v.run(25);
    assert!(v.paused);
    let mut now = vec![];
    // The new choice starts without a memory: what it does not leave out has to be sent.
    v.pilot.set_layers(0, &LADDER[1..]);
    v.pilot.steer(v.now, |change| now.push(change));
    assert!(now.contains(&Change::Resume(0)), "{now:?}");
}

#[test]
fn a_flood_of_feedback_is_refused() {
    let mut v = Viewer::new(Path::steady(6_000_000), 1);
    v.run(1);
    let (before, message) = (v.pilot.counts(), encode(0, 1, 0, &[Some(1); 20]));
    for i in 0..1_000 {
        v.pilot.on_feedback(Mono(v.now.0 + i * 1_000), &message);
    }
    let taken = v.pilot.counts().feedback - before.feedback;
    assert!(taken <= FEEDBACK_BURST + FEEDBACK_PER_SECOND, "{taken}");
    assert_eq!(taken + v.pilot.counts().refused, 1_000);
    v.pilot.on_feedback(Mono(v.now.0 + 9_000_000), &message[..20]);
    assert_eq!(taken + v.pilot.counts().refused, 1_001);
}

#[test]
fn a_link_that_was_down_gets_its_picture_again_at_once() {
    for seed in 0..6 {
        for down in [2_500, 5_000, 10_000, 25_000] {
            let rates = vec![(0, 6_000_000), (20_000, 0), (20_000 + down, 6_000_000)];
            let mut v = Viewer::new(Path { rates, ..Path::steady(0) }, seed);
            v.run(20);
            assert!(!v.paused);
            for _ in 0..down {
                v.step();
            }
            assert!(v.paused || down < 10_000, "{down} ms, seed {seed}");
            // A round trip, and what the viewer takes to report.
            for _ in 0..300 {
                v.step();
            }
            assert!(!v.paused, "{down} ms: {:?} seed {seed}", v.pilot.counts());
            for _ in 0..60_000 {
                v.step();
                assert!(!v.paused, "{down} ms: {:?} seed {seed}", v.pilot.counts());
            }
        }
    }
}

/// The way is clear when the lowest layer's key frame comes: what was sent of the best would have stood in
/// it, and no picture of that came through any more.
#[test]
fn a_link_that_narrows_much_is_cleared_for_the_lowest_layer() {
    for seed in 0..6 {
        let rates = vec![(0, 6_000_000), (20_000, 400_000)];
        let mut v = Viewer::new(Path { rates, queue_ms: 300, ..Path::steady(0) }, seed);
        v.run(20);
        let narrow = v.now;
        while v.wanted != 2 && ms(v.now) < 21_000 {
            v.step();
        }
        assert!(v.held, "seed {seed}");
        let took = v.now.since(narrow).as_millis();
        assert!(took < 300, "decided after {took} ms, seed {seed}");
        let sent = v.bytes;
        while v.playing != 2 && ms(v.now) < 22_000 {
            let before = v.wire.queued(v.now);
            v.step();
            if v.playing != 2 {
                assert!(v.wire.queued(v.now) <= before + 4_000, "only sound, seed {seed}");
            }
        }
        assert_eq!((v.playing, v.held), (2, false), "seed {seed}");
        assert!(v.bytes - sent < 20_000, "{} bytes, seed {seed}", v.bytes - sent);
    }
}

/// The estimate falls while nothing is heard, and what is sent comes all the same.
#[test]
fn a_viewer_whose_feedback_is_late_is_not_held() {
    for seed in 0..6 {
        let mut v = Viewer::new(Path::steady(6_000_000), seed);
        v.run(10);
        v.wire.path.feedback_loss = 1.0;
        for _ in 0..2_500 {
            v.step();
            assert!(!v.held, "seed {seed}");
        }
        v.wire.path.feedback_loss = 0.0;
        v.run(2);
        assert!(!v.held, "seed {seed}");
    }
}

//! Which source is on air, step by step.

use super::super::choice::{
    Choice, FORGIVEN, Heard, KEY_FRAME_WAIT, LONGEST_STEADY, SILENCE, STEADY, STEADY_OVER_SLATE,
    Via, Way,
};
use soleil_protocol::Mono;
use std::time::Duration;

const FIRST: Via = Via::Source(0);
const SECOND: Via = Via::Source(1);
const SLATE: Via = Via::Source(2);
const PICTURE: Heard = Heard { picture: true, key: false };
const KEY: Heard = Heard { picture: true, key: true };
const SOUND: Heard = Heard { picture: false, key: false };
const STEP: u64 = 100;

/// A choice and its clock. All that send are heard every 100 ms, the best one last: whoever is on air
/// is not so because he was first.
struct Bench {
    choice: Choice,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        let ways = [FIRST, Via::Broadcaster, SECOND, SLATE];
        let way = |via| Way { via, slate: via == SLATE };
        Self { choice: Choice::new(ways.map(way).to_vec()), now: 1_000 }
    }

    fn mono(&self) -> Mono {
        Mono(self.now * 1_000)
    }

    /// Lets these send for so long; how many milliseconds it took until one of them was put on air
    /// that was not before.
    fn run(&mut self, time: Duration, senders: &[(Via, Heard)]) -> Option<u64> {
        let begun = self.now;
        let before = self.choice.on_air();
        let mut changed = None;
        while self.now < begun + time.as_millis() as u64 {
            self.now += STEP;
            let now = self.mono();
            if self.choice.poll_timeout().is_some_and(|due| due <= now) {
                self.choice.handle_timeout(now);
            }
            for (via, heard) in senders {
                let taken = self.choice.handle(now, *via, *heard);
                let on_air = self.choice.on_air();
                assert_eq!(taken, on_air == Some(*via), "at {}", self.now);
            }
            if self.choice.on_air() != before {
                changed = changed.or(Some(self.now - begun));
            }
        }
        changed
    }

    fn is(&self, via: Via) -> bool {
        self.choice.on_air() == Some(via)
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

#[test]
fn the_next_one_takes_over_from_one_that_is_silent() {
    let mut bench = Bench::new();
    let both = [(SECOND, PICTURE), (FIRST, KEY)];
    // Who comes first is on air: nobody waits for better ones.
    bench.run(Duration::from_secs(1), &[(SECOND, PICTURE)]);
    assert!(bench.is(SECOND));
    assert_eq!(bench.run(Duration::from_secs(20), &both), Some(millis(STEADY) + STEP));
    assert!(bench.is(FIRST));
    // A short pause is none.
    let pause = SILENCE - Duration::from_millis(2 * STEP);
    assert_eq!(bench.run(pause, &[(SECOND, PICTURE)]), None);
    assert_eq!(bench.run(Duration::from_secs(1), &both), None);
    assert_eq!(bench.run(SILENCE, &[(SECOND, PICTURE)]), Some(millis(SILENCE)));
    assert!(bench.is(SECOND));
    // The best one that sends, not the next in the list.
    bench.run(Duration::from_secs(1), &[(SLATE, PICTURE), (SECOND, PICTURE)]);
    bench.run(SILENCE, &[(SLATE, PICTURE), (Via::Broadcaster, PICTURE)]);
    assert!(bench.is(Via::Broadcaster));
}

#[test]
fn one_that_is_known_to_have_gone_is_left_at_once() {
    let mut bench = Bench::new();
    bench.run(Duration::from_secs(1), &[(FIRST, KEY)]);
    bench.run(Duration::from_secs(1), &[(SECOND, PICTURE), (FIRST, KEY)]);
    assert!(bench.is(FIRST) && bench.choice.is_behind(bench.mono(), SECOND));
    bench.choice.gone(bench.mono(), FIRST);
    assert!(bench.is(SECOND) && !bench.choice.is_behind(bench.mono(), SECOND));
    // That somebody has gone who was not on air changes nothing.
    bench.choice.gone(bench.mono(), Via::Broadcaster);
    assert!(bench.is(SECOND));
    // Nobody is left: the next one is on air, whoever it is.
    bench.choice.gone(bench.mono(), SECOND);
    assert_eq!((bench.choice.on_air(), bench.choice.poll_timeout()), (None, None));
    bench.run(Duration::from_millis(STEP), &[(SLATE, PICTURE)]);
    assert!(bench.is(SLATE));
}

#[test]
fn a_better_one_has_to_be_steady_and_comes_with_a_key_frame() {
    let mut bench = Bench::new();
    bench.run(Duration::from_secs(1), &[(SECOND, PICTURE)]);
    // With pauses it is never steady.
    for _ in 0..4 {
        bench.run(STEADY - Duration::from_millis(STEP), &[(SECOND, PICTURE), (FIRST, KEY)]);
        bench.run(SILENCE, &[(SECOND, PICTURE)]);
    }
    assert!(bench.is(SECOND));
    // Without key frames it is not waited for beyond the bound; with one it is not waited longer.
    let steady = STEADY + Duration::from_millis(STEP);
    assert_eq!(bench.run(steady, &[(SECOND, PICTURE), (FIRST, PICTURE)]), None);
    assert!(bench.choice.awaits_key(bench.mono(), FIRST));
    assert!(!bench.choice.awaits_key(bench.mono(), SLATE));
    let mut other = Bench { choice: bench.choice.clone(), now: bench.now };
    assert_eq!(other.run(KEY_FRAME_WAIT, &[(SECOND, PICTURE), (FIRST, KEY)]), Some(STEP));
    let late = bench.run(2 * KEY_FRAME_WAIT, &[(SECOND, PICTURE), (FIRST, PICTURE)]);
    assert_eq!(late, Some(millis(KEY_FRAME_WAIT)));
    assert!(bench.is(FIRST));
    // Nor is it if there are no pictures at all.
    let mut bench = Bench::new();
    bench.run(Duration::from_secs(1), &[(SECOND, SOUND)]);
    let taken = bench.run(2 * STEADY, &[(SECOND, SOUND), (FIRST, SOUND)]);
    assert_eq!(taken, Some(millis(steady)));
}

#[test]
fn a_worse_one_never_takes_the_air_from_one_that_sends() {
    let mut bench = Bench::new();
    bench.run(Duration::from_secs(1), &[(FIRST, KEY)]);
    let all = [(SLATE, KEY), (SECOND, KEY), (Via::Broadcaster, KEY), (FIRST, PICTURE)];
    assert_eq!(bench.run(Duration::from_secs(120), &all), None);
    assert!(bench.is(FIRST));
}

#[test]
fn a_slate_gives_way_soon() {
    let mut bench = Bench::new();
    bench.run(Duration::from_secs(1), &[(SLATE, PICTURE)]);
    let taken = bench.run(2 * STEADY, &[(SLATE, PICTURE), (SECOND, KEY)]);
    assert_eq!(taken, Some(millis(STEADY_OVER_SLATE) + STEP));
    assert!(bench.is(SECOND));
}

#[test]
fn a_picture_that_stops_is_a_source_that_stops_although_it_is_heard() {
    let mut bench = Bench::new();
    bench.run(Duration::from_secs(1), &[(FIRST, SOUND)]);
    bench.run(Duration::from_secs(1), &[(FIRST, SOUND), (FIRST, KEY)]);
    // Where nobody else is, its sound is better than nothing.
    let now = Mono((bench.now + 60_000) * 1_000);
    let mut alone = bench.choice.clone();
    for later in (0..60_000).step_by(STEP as usize) {
        assert!(alone.handle(Mono((bench.now + later) * 1_000), FIRST, SOUND), "after {later}");
    }
    assert!(alone.handle(now, SECOND, KEY) && !alone.handle(now, FIRST, SOUND));
    bench.run(SILENCE, &[(SECOND, PICTURE), (FIRST, SOUND)]);
    assert!(bench.is(SECOND));
    // It is not back before its picture is.
    assert_eq!(bench.run(4 * STEADY, &[(SECOND, PICTURE), (FIRST, SOUND)]), None);
    let back = [(SECOND, PICTURE), (FIRST, SOUND), (FIRST, KEY)];
    assert_eq!(bench.run(4 * STEADY, &back), Some(millis(STEADY) + STEP));
}

#[test]
fn one_that_fails_again_and_again_has_to_be_steady_for_longer() {
    let mut bench = Bench::new();
    let both = [(SECOND, PICTURE), (FIRST, KEY)];
    bench.run(Duration::from_secs(1), &[(FIRST, KEY)]);
    for expected in [5, 10, 20, 40, 60, 60] {
        bench.run(SILENCE, &[(SECOND, PICTURE)]);
        assert!(bench.is(SECOND));
        let taken = bench.run(Duration::from_secs(expected) + STEADY, &both);
        assert_eq!(taken, Some(expected * 1_000 + STEP));
    }
    assert_eq!((STEADY, LONGEST_STEADY), (Duration::from_secs(5), Duration::from_secs(60)));
    // Whoever was on air for a while has no past.
    bench.run(FORGIVEN, &both);
    bench.run(SILENCE, &[(SECOND, PICTURE)]);
    assert_eq!(bench.run(2 * STEADY, &both), Some(millis(STEADY) + STEP));
}

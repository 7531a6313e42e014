//! Times of inputs on our own time.

use crate::sources::timeline::Timeline;

const MS: i64 = 1_000_000;

#[test]
fn a_live_input_begins_now_and_keeps_its_tracks_together() {
    let mut timeline = Timeline::new(true);
    let shift = timeline.shift(10_000 * MS, 50 * MS, 90 * MS);
    assert_eq!(shift, 9_950 * MS);
    // The other track's first packet, and packets that are early or late: the same shift.
    for (now, time) in [(10_020, 10), (11_000, 2_900), (13_000, 200)] {
        assert_eq!(timeline.shift(now * MS, time * MS, time * MS), shift);
    }
    assert_eq!(timeline.jumps(), 0);
    // The sender's clock begins anew.
    let jumped = timeline.shift(20_000 * MS, 5 * MS, 5 * MS);
    assert_eq!((jumped, timeline.jumps()), (19_995 * MS, 1));
    assert_eq!(timeline.shift(20_040 * MS, 45 * MS, 45 * MS), jumped);
}

#[test]
fn rounds_of_a_file_follow_each_other_without_a_gap() {
    let mut timeline = Timeline::new(false);
    let shift = timeline.shift(0, 0, 33 * MS);
    assert_eq!(shift, 400 * MS);
    // It is read ahead: that is no jump.
    assert_eq!(timeline.shift(MS, 1_967 * MS, 2_000 * MS), shift);
    timeline.shift(MS, 1_900 * MS, 1_990 * MS);
    timeline.again();
    // The longest track counts.
    let again = timeline.shift(2 * MS, 0, 33 * MS);
    assert_eq!(again, 2_400 * MS);
    // The machine slept for a minute: on from now, and not a minute in a hurry.
    let late = timeline.shift(63_000 * MS, 500 * MS, 533 * MS);
    assert_eq!((500 * MS + late, timeline.jumps()), (63_000 * MS, 1));
    timeline.again();
    assert_eq!(timeline.shift(70_000 * MS, 0, MS), 70_000 * MS);
}

#[test]
fn no_number_of_an_input_is_too_large() {
    for live in [true, false] {
        let mut timeline = Timeline::new(live);
        for time in [i64::MIN, 0, i64::MAX, i64::MIN / 2, i64::MAX / 2] {
            let _ = timeline.shift(5 * MS, time, time);
        }
    }
}

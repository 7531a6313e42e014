//! Times through the child.

use super::times::Times;
use soleil_protocol::Mono;

/// GStreamer's time of the first frame.
const BEGIN: u64 = 10_000_000_000;

#[test]
fn timestamps_come_back_as_they_went_in() {
    let mut times = Times::new(90_000);
    // They run over in between.
    let first = u32::MAX - 100_000;
    let stamp = |n: u32| first.wrapping_add(n * 3_003);
    let mut pts = Vec::new();
    for n in 0..200 {
        let at = Mono(u64::from(n) * 33_000);
        let one = times.arrive(at, stamp(n), n == 0);
        assert_eq!(times.arrive(Mono(at.0 + 5), stamp(n), false), one, "packets of one frame");
        pts.push(one);
    }
    assert_eq!(pts[0], BEGIN);
    assert_eq!(pts[1] - pts[0], 33_366_666);
    assert!(pts.is_sorted());
    for n in 0..200 {
        let at = Mono(u64::from(n) * 33_000 + 5);
        assert_eq!(times.leave(pts[n as usize]), Some((stamp(n), at)));
    }
    assert_eq!(times.leave(BEGIN + 1), None);
    // Only the last ones are remembered.
    for n in 200..600 {
        times.arrive(Mono(0), stamp(n), false);
    }
    assert_eq!(times.leave(pts[0]), None);
}

#[test]
fn each_key_frame_of_the_source_is_one_of_each_layer() {
    let mut times = Times::new(90_000);
    let pts: Vec<u64> =
        (0..6).map(|n| times.arrive(Mono(0), n * 3_000, n == 0 || n == 3)).collect();
    let (mut a, mut b) = (0, 0);
    let due = |served: &mut u64, n: usize| times.key_due(served, pts[n]);
    assert_eq!(
        (0..6).map(|n| due(&mut a, n)).collect::<Vec<_>>(),
        [true, false, false, true, false, false]
    );
    // The frame itself did not get here: the next one that does.
    assert!(due(&mut b, 0) && !due(&mut b, 2) && due(&mut b, 4) && !due(&mut b, 5));
}

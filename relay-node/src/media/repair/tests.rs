//! When a packet is asked for, how often, and when it is given up.

use super::*;
use proptest::prelude::*;

const MS: u64 = 1000;

fn repair() -> Repair {
    Repair::new(RepairConfig::default())
}

fn due(r: &mut Repair, ms: u64) -> Vec<u64> {
    let mut out = Vec::new();
    r.take_due(Mono(ms * MS), Some(Duration::from_millis(40)), false, true, usize::MAX, &mut out);
    out.into_iter().map(|r| r.index.0).collect()
}

fn arrive(r: &mut Repair, ms: u64, index: u64) -> Arrival {
    r.arrived(Mono(ms * MS), PacketIndex(index))
}

#[test]
fn reordering_costs_no_request() {
    let mut r = repair();
    assert_eq!(arrive(&mut r, 0, 10), Arrival::Newest);
    assert_eq!(arrive(&mut r, 1, 12), Arrival::Newest);
    assert_eq!(due(&mut r, 4), Vec::<u64>::new());
    assert_eq!(arrive(&mut r, 5, 11), Arrival::Repaired { asked: false });
    assert_eq!((due(&mut r, 10), r.next_due(), r.asked()), (vec![], None, 0));
}

#[test]
fn a_gap_is_asked_for_with_growing_pauses_and_given_up() {
    let mut r = repair();
    arrive(&mut r, 0, 10);
    arrive(&mut r, 0, 12);
    let mut asks = Vec::new();
    let mut now = 0;
    while let Some(at) = r.next_due() {
        now = at.0.div_ceil(MS).max(now);
        if !due(&mut r, now).is_empty() {
            asks.push(now);
        }
    }
    assert_eq!(asks[0], 5);
    assert_eq!(asks[1], 65);
    assert!(asks[2] - asks[1] > 60 && asks.windows(2).all(|w| w[1] - w[0] <= 101));
    assert!(asks.len() <= 16 && asks.len() >= 12, "{asks:?}");
    assert!(now <= 1501);
    assert_eq!((r.lost(), r.asked(), r.len()), (1, 1, 0));
    assert_eq!(r.wanted(Mono(now * MS), PacketIndex(11)), Wanted::Refused);
    assert_eq!(arrive(&mut r, now, 11), Arrival::Late);
}

#[test]
fn a_heartbeat_reveals_a_lost_tail() {
    let mut r = repair();
    r.revealed(Mono(0), PacketIndex(5));
    assert!(r.is_empty());
    arrive(&mut r, 0, 6);
    r.revealed(Mono(MS), PacketIndex(6));
    assert!(r.is_empty());
    r.revealed(Mono(MS), PacketIndex(8));
    assert_eq!(due(&mut r, 6), [7, 8]);
    assert_eq!(arrive(&mut r, 7, 8), Arrival::Repaired { asked: true });
    assert_eq!(arrive(&mut r, 7, 9), Arrival::Newest);
    assert_eq!(r.len(), 1);
}

#[test]
fn many_children_ask_and_one_request_goes_up() {
    let mut r = repair();
    assert_eq!(r.wanted(Mono(0), PacketIndex(1)), Wanted::Refused);
    arrive(&mut r, 0, 100);
    assert_eq!(r.wanted(Mono(0), PacketIndex(90)), Wanted::Added);
    assert_eq!(r.wanted(Mono(0), PacketIndex(90)), Wanted::Known);
    assert_eq!(due(&mut r, 0), [90]);
    assert_eq!(r.wanted(Mono(0), PacketIndex(90)), Wanted::Known);
    assert_eq!(due(&mut r, 1), Vec::<u64>::new());
    assert_eq!(r.wanted(Mono(0), PacketIndex(100 + 5000)), Wanted::Refused);
}

#[test]
fn without_a_parent_requests_wait() {
    let mut r = repair();
    arrive(&mut r, 0, 1);
    arrive(&mut r, 0, 3);
    let mut out = Vec::new();
    r.take_due(Mono(10 * MS), None, false, false, 10, &mut out);
    assert_eq!((out.len(), r.asked()), (0, 0));
    assert_eq!(due(&mut r, 30), [2]);
}

#[test]
fn a_limit_spreads_requests() {
    let mut r = repair();
    arrive(&mut r, 0, 1);
    arrive(&mut r, 0, 12);
    let mut out = Vec::new();
    r.take_due(Mono(5 * MS), None, false, true, 4, &mut out);
    r.take_due(r.next_due().unwrap(), None, false, true, 10, &mut out);
    assert_eq!(out.iter().map(|r| r.index.0).collect::<Vec<_>>(), (2..12).collect::<Vec<_>>());
}

#[test]
fn jumps_are_bounded() {
    let mut r = repair();
    arrive(&mut r, 0, 1);
    arrive(&mut r, 0, 1 << 19);
    assert_eq!(r.len(), MAX_MISSING);
    arrive(&mut r, 0, (1 << 19) + 11);
    assert_eq!(r.len(), MAX_MISSING);
    assert_eq!(r.lost() + r.len() as u64, (1 << 19) - 2 + 10);
}

proptest! {
    #[test]
    fn it_is_bounded_and_counts_every_packet(
        steps in prop::collection::vec((0u64..50, 0u8..6, 0u64..4000), 1..200),
    ) {
        let (mut r, mut now, mut at) = (repair(), 0, 10_000u64);
        for (wait, kind, step) in steps {
            now += wait;
            match kind {
                0 => r.revealed(Mono(now * MS), PacketIndex(at + step % 5)),
                1 => { let _ = r.wanted(Mono(now * MS), PacketIndex(at + 100 - step.min(at))); }
                2 => { arrive(&mut r, now, at.saturating_sub(step)); }
                3 => { at += step; arrive(&mut r, now, at); }
                _ => { at += step % 3; arrive(&mut r, now, at); }
            }
            prop_assert!(r.len() <= MAX_MISSING);
            let asked = due(&mut r, now);
            prop_assert!(asked.is_sorted());
        }
        // Everything ends.
        let mut rounds = 0;
        while let Some(next) = r.next_due() {
            now = next.0.div_ceil(MS).max(now);
            due(&mut r, now);
            rounds += 1;
            prop_assert!(rounds < 100_000);
        }
        prop_assert!(r.is_empty());
    }
}

#[test]
fn on_a_lossy_path_nobody_waits_for_the_first_answer() {
    let mut r = repair();
    arrive(&mut r, 0, 1);
    arrive(&mut r, 0, 3);
    let rtt = Some(Duration::from_millis(100));
    let mut asks = Vec::new();
    for ms in 0..400 {
        let mut out = Vec::new();
        r.take_due(Mono(ms * MS), rtt, true, true, 10, &mut out);
        asks.extend(out.iter().map(|request| (ms, request.late)));
    }
    assert_eq!(asks[..2], [(5, false), (25, true)]);
    assert!(asks[2].0 >= 25 + 100, "{asks:?}");
}

#[test]
fn a_leap_is_another_life_of_the_layer_and_nothing_is_missing() {
    let mut r = repair();
    arrive(&mut r, 0, 10);
    arrive(&mut r, 0, 13);
    assert_eq!(r.len(), 2);
    let far = 13 + INDEX_LEAP + 1;
    r.revealed(Mono(MS), PacketIndex(far + 50));
    assert_eq!((r.highest(), r.len()), (Some(PacketIndex(13)), 2), "its first packet will tell");
    assert_eq!(arrive(&mut r, 2, far), Arrival::Newest);
    assert_eq!((r.len(), r.lost(), r.next_due()), (0, 0, None));
    // From here on it goes as always; what lies before is not looked for.
    arrive(&mut r, 3, far + 3);
    assert_eq!(r.len(), 2);
    assert_eq!(r.wanted(Mono(3 * MS), PacketIndex(far - 1)), Wanted::Refused);
    // One less is a gap, of which the last part is looked for.
    let mut r = repair();
    arrive(&mut r, 0, 10);
    arrive(&mut r, 0, 11 + INDEX_LEAP - 1);
    assert_eq!((r.len(), r.lost()), (MAX_MISSING, INDEX_LEAP - 1 - MAX_MISSING as u64));
}

#[test]
fn what_came_before_its_key_is_asked_for_if_it_begins_a_life() {
    let mut r = repair();
    arrive(&mut r, 0, 10);
    r.came_early(PacketIndex(12));
    arrive(&mut r, 1, 14);
    assert_eq!(r.len(), 3, "an index that is near changes nothing");
    let far = 20 + INDEX_LEAP;
    r.came_early(PacketIndex(far));
    arrive(&mut r, 2, far + 5);
    assert_eq!(due(&mut r, 100), (far..far + 5).collect::<Vec<_>>());
}

#[test]
fn what_a_child_was_quicker_to_ask_for_is_not_missing_once_it_has_come() {
    let mut r = repair();
    arrive(&mut r, 0, 100);
    assert_eq!(r.wanted(Mono(0), PacketIndex(101)), Wanted::Added);
    assert_eq!(due(&mut r, 19), Vec::<u64>::new(), "it comes by itself, most likely");
    assert_eq!(arrive(&mut r, 19, 101), Arrival::Newest);
    assert_eq!((r.is_empty(), due(&mut r, 2_000), r.lost(), r.asked()), (true, vec![], 0, 0));
    // One that does not come is asked for, and a gap that shows then leaves that as it is.
    assert_eq!(r.wanted(Mono(2_000 * MS), PacketIndex(102)), Wanted::Added);
    assert_eq!(due(&mut r, 2_020), [102]);
    arrive(&mut r, 2_021, 103);
    assert_eq!(due(&mut r, 2_030), Vec::<u64>::new());
    assert_eq!(arrive(&mut r, 2_031, 102), Arrival::Repaired { asked: true });
    assert!(r.is_empty());
}

#[test]
fn nobody_asks_far_ahead() {
    let mut r = repair();
    arrive(&mut r, 0, 100);
    let asked = (101..3_000).filter(|i| r.wanted(Mono(0), PacketIndex(*i)) == Wanted::Added);
    assert_eq!(asked.count() as u64, MAX_AHEAD);
    // Real gaps have their place beside it.
    for index in 101..600 {
        if index % 2 == 0 {
            arrive(&mut r, 1, index);
        }
    }
    assert_eq!((r.lost(), r.len()), (0, 249));
}

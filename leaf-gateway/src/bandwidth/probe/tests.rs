//! When a probe is sent, and what its arrival says. What it finds on a link is in the estimator's
//! tests.

use super::*;

fn outcome(rate: u64, arrivals: &[Option<i64>]) -> Option<Outcome> {
    let mut cluster = Cluster::new(Mono(0), 10, rate);
    for n in 0..arrivals.len() as u64 {
        cluster.sent(10 + n);
    }
    for (n, at) in arrivals.iter().enumerate() {
        if let Some(at) = at {
            cluster.received(10 + n as u64, *at, 1_000);
        }
    }
    assert_eq!(cluster.outcome(Mono(1), 9 + arrivals.len() as u64), None);
    cluster.outcome(Mono(1), 10 + arrivals.len() as u64)
}

fn every(micros: i64, n: i64) -> Vec<Option<i64>> {
    (0..n).map(|i| Some(5_000_000 + i * micros)).collect()
}

#[test]
fn the_pace_of_arrival_is_the_links() {
    // 8,000 bits each 4 ms.
    assert_eq!(outcome(4_000_000, &every(4_000, 10)), Some(Outcome::Carries(1_900_000)));
    // As fast as was asked for, and faster, which is not claimed.
    assert_eq!(outcome(2_100_000, &every(4_000, 10)), Some(Outcome::Carries(2_000_000)));
    assert_eq!(outcome(2_000_000, &every(4_000, 10)), Some(Outcome::Carries(2_000_000)));
    assert_eq!(outcome(500_000, &every(0, 10)), Some(Outcome::Carries(500_000)));
}

#[test]
fn what_is_lost_tells_nothing() {
    let mut arrivals = every(4_000, 10);
    arrivals[3] = None;
    arrivals[9] = None;
    assert_eq!(outcome(900_000, &arrivals), Some(Outcome::Carries(900_000)));
    arrivals[5] = None;
    assert_eq!(outcome(900_000, &arrivals), Some(Outcome::Lost));
    let mut cluster = Cluster::new(Mono(0), 0, 1_000);
    assert_eq!(cluster.outcome(Mono(0), 0), None);
    assert_eq!(cluster.outcome(Mono(1), 0), Some(Outcome::Unsent));
    cluster.sent(0);
    assert_eq!(cluster.outcome(Mono(1_999_999), 0), None);
    assert_eq!(cluster.outcome(Mono(2_000_000), 0), Some(Outcome::Lost));
    // Packets that are not its own do not count.
    cluster.received(1, 7, 1_000);
    assert_eq!(cluster.outcome(Mono(5), 1), Some(Outcome::Lost));
}

#[test]
fn probes_only_for_something_better_and_at_ease() {
    let mut prober = Prober::default();
    let now = Mono(1_000_000);
    assert_eq!(prober.poll(now, 1_000_000, None, true), None);
    assert_eq!(prober.poll(now, 1_000_000, Some(900_000), true), None);
    assert_eq!(prober.poll(now, 1_000_000, Some(3_000_000), false), None);
    // Twice the estimate at most: 2 Mbit/s for 25 ms are 6,250 bytes.
    let probe = prober.poll(now, 1_000_000, Some(3_000_000), true);
    assert_eq!(probe, Some(Probe { rate: 2_000_000, packets: 6 }));
    // One at a time.
    assert_eq!(prober.poll(now.after(CALM), 1_000_000, Some(3_000_000), true), None);
    prober.done(now, Outcome::Carries(2_000_000));
    assert_eq!(prober.poll(now, 2_000_000, Some(3_000_000), true), None);
    let probe = prober.poll(now.after(NEXT_STEP), 2_000_000, Some(3_000_000), true);
    assert_eq!(probe, Some(Probe { rate: 3_300_000, packets: 10 }));
    // On a narrow link the sound waits no longer than need be.
    let narrow = |estimate| Prober::default().poll(now, estimate, Some(3_000_000), true);
    assert_eq!(narrow(100_000), Some(Probe { rate: 200_000, packets: 3 }));
    assert_eq!(narrow(400_000), Some(Probe { rate: 800_000, packets: 4 }));
    assert_eq!(
        Prober::default().poll(now, 90_000_000, Some(99_000_000), true).unwrap().packets,
        MAX_PACKETS
    );
}

#[test]
fn probes_in_vain_become_rare() {
    let mut prober = Prober::default();
    let (mut now, mut times) = (Mono(0), vec![]);
    while now < Mono(60_000_000) {
        if prober.poll(now, 1_000_000, Some(3_000_000), true).is_some() {
            times.push(now.0 / 1_000_000);
            prober.done(now, Outcome::Carries(1_100_000));
        }
        now = now.after(Duration::from_millis(100));
    }
    assert_eq!(times, [0, 2, 6, 14, 24, 34, 44, 54]);
    prober.done(now, Outcome::Unsent);
    prober.reset(now);
    assert!(prober.poll(now.after(PAUSE), 1_000_000, Some(3_000_000), true).is_some());
}

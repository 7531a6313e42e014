//! How often, how many, and for whom.

use super::*;

fn ms(ms: u64) -> Mono {
    Mono(ms * 1_000)
}

/// Packets that are sent again if so many different ones are asked for each 10 ms.
fn asked(resends: &mut Resends, from: u64, to: u64, estimate: Option<u64>) -> u64 {
    let mut sent = 0;
    for now in (from..to).step_by(10) {
        resends.earn(ms(now), estimate);
        let packets = (0..50).map(|i| PacketIndex(now * 5 + i));
        sent += packets.filter(|p| resends.take(ms(now), 0, *p, None)).count() as u64;
    }
    sent
}

#[test]
fn burst_and_rate_bound_them() {
    let mut resends = Resends::new(ms(0));
    assert_eq!(asked(&mut resends, 0, 10_000, None), RESEND_BURST + 10 * RESENDS_PER_SECOND - 4);
}

#[test]
fn they_take_no_more_than_half_the_link() {
    for (estimate, a_second) in [(900_000, 46), (50_000, LEAST), (100_000_000, RESENDS_PER_SECOND)]
    {
        let mut resends = Resends::new(ms(0));
        let first = asked(&mut resends, 0, 1_000, Some(estimate));
        assert!(first <= 2 * a_second, "{first} at {estimate}");
        let sent = asked(&mut resends, 1_000, 11_000, Some(estimate));
        assert!((9 * a_second..=10 * a_second + 10).contains(&sent), "{sent} at {estimate}");
    }
}

#[test]
fn what_was_saved_up_is_lost_when_the_link_narrows() {
    let mut resends = Resends::new(ms(0));
    resends.earn(ms(0), Some(900_000));
    let sent = (0..200).filter(|i| resends.take(ms(0), 0, PacketIndex(*i), None)).count();
    assert_eq!(sent, 46);
}

#[test]
fn the_same_packet_waits_for_its_round_trip() {
    let mut resends = Resends::new(ms(0));
    let rtt = Some(Duration::from_millis(300));
    let mut ask = |at, track, index| {
        resends.earn(ms(at), None);
        resends.take(ms(at), track, PacketIndex(index), rtt)
    };
    assert!(ask(0, 0, 7) && ask(0, 0, 8) && ask(0, 1, 9));
    // A viewer that thinks that it is near asks each 25 ms.
    let times: Vec<u64> = (25..1_000).step_by(25).filter(|at| ask(*at, 0, 7)).collect();
    assert_eq!(times, [150, 300, 450, 600, 750, 900]);
    // Another track's packet with the same number is another one.
    assert!(ask(1_000, 1, 7) && ask(1_000, 0, 7));
}

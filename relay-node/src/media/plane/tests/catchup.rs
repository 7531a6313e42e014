//! What a link that comes late gets out of the ring, and how fast.

use super::*;

const LATE: NextHop = NextHop::Link(LinkId(2));

/// A root with a child that plays, and another one that is about to.
fn two_children() -> Net {
    let mut net = Net::new(3, 1);
    for child in 1..3 {
        net.link(child as u64, 0, child);
    }
    net.route(0, VIDEO, NextHop::Link(LinkId(1)), None);
    net.route(1, VIDEO, NextHop::Local, None);
    net.run(200);
    net
}

#[test]
fn a_link_catches_up_at_a_multiple_of_what_comes() {
    let mut net = two_children();
    let mut next = 0;
    let mut stream = |net: &mut Net, ms: u64| {
        for _ in 0..ms {
            net.send(VIDEO, next);
            net.run(1);
            next += 1;
        }
        next
    };
    stream(&mut net, 1_500);
    net.route(2, VIDEO, NextHop::Local, Some(500));
    net.route(0, VIDEO, LATE, Some(500));
    stream(&mut net, 100);
    // A packet comes each millisecond; ten milliseconds' worth goes at once.
    let due = PlaneConfig::default().catch_up * 110;
    let sent = net.sent(0, 2).len() as u64;
    assert!((due - 30..=due + 10).contains(&sent), "{sent} sent, {due} due");
    let end = stream(&mut net, 500);
    net.run(20);
    assert_eq!(net.got(2, VIDEO), (500..end).collect::<Vec<_>>());
    assert_eq!(net.sent(0, 2), (500..end).collect::<Vec<_>>(), "nothing twice");
    assert_eq!(net.layer(2).nacks, 0);
}

#[test]
fn what_hardly_flows_is_caught_up_with_all_the_same() {
    let mut net = two_children();
    for i in 0..30 {
        net.send(VIDEO, i);
        net.run(50);
    }
    net.route(2, VIDEO, NextHop::Local, Some(0));
    net.route(0, VIDEO, LATE, Some(0));
    net.run(40);
    assert_eq!(net.got(2, VIDEO), (0..30).collect::<Vec<_>>());
}

#[test]
fn what_is_about_to_leave_the_ring_is_not_held_back() {
    let mut net = two_children();
    // Much at once, then nothing, so that only the least pace is left.
    const MUCH: u64 = 1_500;
    for i in 0..MUCH {
        net.send(VIDEO, i);
    }
    net.run(900);
    net.route(2, VIDEO, NextHop::Local, Some(0));
    net.route(0, VIDEO, LATE, Some(0));
    net.run(80);
    let early = net.sent(0, 2).len() as u64;
    assert!((10..MUCH / 2).contains(&early), "{early} at their pace");
    // At half of the time that the ring holds it, the rest goes at once.
    net.run(30);
    let all: Vec<u64> = (0..MUCH).collect();
    assert!(net.sent(0, 2) == all, "{} sent", net.sent(0, 2).len());
    net.run(100);
    assert!(net.got(2, VIDEO) == all, "{} got", net.got(2, VIDEO).len());
}

//! Lost packets come back, and are asked for once.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

/// Drops each of these media indexes once between two nodes.
fn lose_once(net: &mut Net, from: usize, to: usize, indexes: &[u64]) {
    let left = RefCell::new(indexes.iter().copied().collect::<HashSet<u64>>());
    net.filter = Box::new(move |f, t, what| match what {
        Kind::Media(VIDEO, i) if (f, t) == (from, to) => !left.borrow_mut().remove(&i),
        _ => true,
    });
}

#[test]
fn a_lost_packet_is_asked_for_and_sent_again() {
    let mut net = Net::chain(3, 1);
    lose_once(&mut net, 0, 1, &[3, 4]);
    for i in 0..8 {
        net.send(VIDEO, i);
        net.run(3);
    }
    net.run(200);
    assert_eq!(net.got(2, VIDEO), [0, 1, 2, 5, 6, 7, 3, 4]);
    let (relay, leaf) = (net.layer(1), net.layer(2));
    assert_eq!((relay.missed, relay.repaired, relay.lost, relay.nacks), (2, 2, 0, 2));
    // The leaf asked too, and that was absorbed.
    assert_eq!((leaf.repaired, leaf.lost), (2, 0));
    assert_eq!(relay.absorbed, leaf.nacks);
    let root = net.link_stats(0, 1);
    assert_eq!((root.nacks_received, root.resent, root.unavailable), (2, 2, 0));
}

#[test]
fn many_children_lack_a_packet_and_the_relay_asks_once() {
    // Root 0, relay 1, and eight children of the relay.
    let mut net = Net::new(10, 1);
    net.link(1, 0, 1);
    net.route(0, VIDEO, NextHop::Link(LinkId(1)), None);
    for child in 2..10 {
        net.link(child as u64, 1, child);
        net.route(1, VIDEO, NextHop::Link(LinkId(child as u64)), None);
        net.route(child, VIDEO, NextHop::Local, None);
    }
    net.run(300);
    lose_once(&mut net, 0, 1, &[5, 10, 15]);
    for i in 0..20 {
        net.send(VIDEO, i);
        net.run(4);
    }
    net.run(300);
    for child in 2..10 {
        let mut got = net.got(child, VIDEO);
        got.sort_unstable();
        assert_eq!(got, (0..20).collect::<Vec<_>>());
        assert!(net.layer(child).nacks >= 3);
    }
    assert_eq!((net.layer(1).nacks, net.link_stats(0, 1).resent), (3, 3));
    assert!(net.layer(1).absorbed >= 24);
    // Each packet passed each link of the children once.
    assert_eq!(net.sent(1, 5).len(), 20);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// However many children lack a packet, whatever is lost and however far the nodes are apart:
    /// one request for it goes upward, and everybody gets it once.
    #[test]
    fn one_request_goes_upward_for_a_packet_that_many_children_lack(
        children in 1usize..9,
        lost in prop::collection::btree_set(1u64..60, 1..30),
        delay in 0u64..20, pace in 1u64..20, seed: u64,
    ) {
        let mut net = Net::new(2 + children, seed);
        net.weather.delay = delay * MS;
        net.link(1, 0, 1);
        net.route(0, VIDEO, NextHop::Link(LinkId(1)), None);
        for child in 2..2 + children {
            net.link(child as u64, 1, child);
            net.route(1, VIDEO, NextHop::Link(LinkId(child as u64)), None);
            net.route(child, VIDEO, NextHop::Local, None);
        }
        net.run(500);
        let lost: Vec<u64> = lost.into_iter().collect();
        lose_once(&mut net, 0, 1, &lost);
        for i in 0..60 {
            net.send(VIDEO, i);
            net.run(pace);
        }
        net.run(500);
        let (asked, root) = (net.layer(1).nacks, net.link_stats(0, 1));
        prop_assert_eq!(asked, lost.len() as u64);
        prop_assert_eq!((root.nacks_received, root.resent), (asked, asked));
        for child in 2..2 + children {
            let mut got = net.got(child, VIDEO);
            got.sort_unstable();
            prop_assert_eq!(got, (0..60).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_child_gets_its_own_loss_from_the_relays_ring() {
    let mut net = Net::chain(3, 1);
    lose_once(&mut net, 1, 2, &[2]);
    for i in 0..5 {
        net.send(VIDEO, i);
        net.run(3);
    }
    net.run(100);
    assert_eq!(net.got(2, VIDEO), [0, 1, 3, 4, 2]);
    assert_eq!((net.layer(1).nacks, net.link_stats(1, 2).resent), (0, 1));
}

#[test]
fn a_heartbeat_reveals_a_lost_tail() {
    let mut net = Net::chain(3, 1);
    net.send(VIDEO, 0);
    net.run(20);
    lose_once(&mut net, 0, 1, &[1, 2, 3]);
    (1..4).for_each(|i| net.send(VIDEO, i));
    // Heartbeat within 50 ms, its way, reordering delay, there and back, and the leaf's hop.
    net.run(50 + 5 + 10 + 10 + 10 + 20);
    assert_eq!(net.got(2, VIDEO), [0, 1, 2, 3]);
}

#[test]
fn what_never_comes_is_given_up() {
    let mut net = Net::chain(3, 1);
    net.filter = Box::new(|from, _, what| !(from == 0 && what == Kind::Media(VIDEO, 3)));
    for i in 0..300 {
        net.send(VIDEO, i);
        net.run(10);
    }
    let relay = net.layer(1);
    assert_eq!((relay.lost, relay.missing, relay.repaired), (1, 0, 0));
    assert!(relay.nacks <= 16, "{}", relay.nacks);
    assert_eq!(net.layer(2).lost, 1);
    assert_eq!(net.layer(2).packets, 299);
}

#[test]
fn a_request_for_what_the_ring_no_longer_has_is_counted() {
    let mut net = Net::chain(2, 1);
    net.send(VIDEO, 0);
    net.filter = Box::new(|from, _, what| !(from == 0 && what == Kind::Media(VIDEO, 1)));
    net.send(VIDEO, 1);
    net.send(VIDEO, 2);
    net.run(100);
    // The root forgets: its ring is 2 s long, the child looks for 1.5 s. So ask by hand.
    net.run(2500);
    let mut nack = Vec::new();
    let child = net.nodes[1].plane.links.get_mut(0).unwrap();
    rtcp::nack(&mut nack, Ssrc(1), VIDEO, &[PacketIndex(1)]);
    child.sealer.seal(&mut nack, 0).unwrap();
    let before = net.link_stats(0, 1).unavailable;
    net.deliver(0, address(1), nack);
    assert_eq!(net.link_stats(0, 1).unavailable, before + 1);
}

#[test]
fn a_nack_flood_is_limited() {
    let mut net = Net::chain(2, 1);
    for i in 0..1000 {
        net.send(VIDEO, i);
        net.run(1);
    }
    let wanted: Vec<PacketIndex> = (0..1000).map(PacketIndex).collect();
    net.log.clear();
    for _ in 0..50 {
        let mut nack = Vec::new();
        rtcp::nack(&mut nack, Ssrc(1), VIDEO, &wanted);
        let child = net.nodes[1].plane.links.get_mut(0).unwrap();
        child.sealer.seal(&mut nack, 0).unwrap();
        net.deliver(0, address(1), nack);
    }
    let limit = PlaneConfig::default().resend_rate as usize;
    assert!(net.sent(0, 1).len() <= limit, "{}", net.sent(0, 1).len());
}

#[test]
fn a_child_asks_only_for_what_is_routed_to_it() {
    let mut net = Net::chain(2, 1);
    net.send(VIDEO, 0);
    let next = NextHop::Link(LinkId(1));
    net.command(0, PlaneCommand::RemoveRoute { pipeline: PIPE, ssrc: VIDEO, next });
    net.run(50);
    net.log.clear();
    let mut rtcp = Vec::new();
    rtcp::nack(&mut rtcp, Ssrc(1), VIDEO, &[PacketIndex(0)]);
    rtcp::pli(&mut rtcp, Ssrc(1), VIDEO);
    let child = net.nodes[1].plane.links.get_mut(0).unwrap();
    child.sealer.seal(&mut rtcp, 0).unwrap();
    net.deliver(0, address(1), rtcp);
    assert!(net.sent(0, 1).is_empty());
    assert!(net.nodes[0].events.is_empty());
}

#[test]
fn reports_and_feedback_measure_the_hop() {
    let mut net = Net::chain(2, 1);
    let count = Rc::new(RefCell::new(0u32));
    let counter = count.clone();
    // Every seventh first transmission is lost.
    let seen = RefCell::new(HashSet::new());
    net.filter = Box::new(move |from, _, what| match what {
        Kind::Media(VIDEO, i) if from == 0 && i % 7 == 5 => {
            let again = !seen.borrow_mut().insert(i);
            *counter.borrow_mut() += u32::from(!again);
            again
        }
        _ => true,
    });
    for i in 0..400 {
        net.timestamp += 900;
        net.send(VIDEO, i);
        net.run(10);
    }
    net.run(1100);
    assert_eq!(*count.borrow(), 57);
    let (root, leaf) = (net.link_stats(0, 1), net.layer(1));
    assert_eq!((leaf.missed, leaf.repaired, leaf.lost), (57, 57, 0));
    assert!(leaf.jitter.as_micros() < 500, "{:?}", leaf.jitter);
    let report = root.reports.iter().find(|r| r.ssrc == VIDEO).unwrap();
    assert_eq!((report.lost, report.highest), (57, 399));
    assert!(root.rtt.is_some_and(|r| (9..=11).contains(&r.as_millis())), "{:?}", root.rtt);
    assert!(root.feedback_packets >= 380 && root.feedback_packets <= 400);
    // Most were repaired before the feedback spoke of them.
    assert!((1..=57).contains(&root.feedback_lost), "{}", root.feedback_lost);
    assert!(net.link_stats(1, 1).fraction_lost.is_some());
    assert_eq!((root.rtcp_refused, net.link_stats(1, 1).rtcp_refused), (0, 0));
}

#[test]
fn what_an_outage_of_the_parent_left_out_is_fetched_from_the_next() {
    let mut net = Net::chain(2, 1);
    // Node 2: another parent with the same packets, not yet asked.
    let mut other = Net::new(1, 3).nodes.remove(0);
    other.address = address(5);
    net.nodes.push(other);
    for i in 0..60u64 {
        net.send(VIDEO, i);
        let (packet, now) = (net.seal(VIDEO, i, false), net.at());
        let node = &mut net.nodes[2];
        node.plane.inject(now, &packet, &mut node.sink);
        if i == 30 {
            net.filter = Box::new(|from, to, _| from != 0 && to != 0);
        }
        net.run(10);
    }
    assert!(net.nodes[1].events.contains(&PlaneEvent::LinkSilent(LinkId(1))));
    net.command(1, PlaneCommand::RemoveLink(LinkId(1)));
    net.command(2, PlaneCommand::AddLink(hop(7, PeerSide::Child, 5)));
    net.command(1, PlaneCommand::AddLink(hop(7, PeerSide::Parent, 5)));
    let from = net.layer(1).highest.unwrap().0 + 1;
    net.route(2, VIDEO, NextHop::Link(LinkId(7)), Some(from));
    net.run(200);
    assert_eq!(net.got(1, VIDEO), (0..60).collect::<Vec<_>>());
}

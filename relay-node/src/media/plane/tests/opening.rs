//! Paths open by STUN, addresses are validated, silence is noticed.

use super::*;

#[test]
fn a_path_opens_from_the_child_and_each_side_says_so_once() {
    let mut net = Net::new(2, 1);
    net.link(1, 0, 1);
    net.run(100);
    assert_eq!(net.nodes[0].events, [PlaneEvent::LinkOpen(LinkId(1), address(1))]);
    assert_eq!(net.nodes[1].events, [PlaneEvent::LinkOpen(LinkId(1), address(0))]);
    net.run(3000);
    assert_eq!((net.nodes[0].events.len(), net.nodes[1].events.len()), (1, 1));
    let rtt = net.link_stats(1, 1).rtt.unwrap();
    assert_eq!(rtt.as_millis(), 10);
    assert!(net.link_stats(0, 1).rtt.is_some_and(|r| (9..=11).contains(&r.as_millis())));
}

#[test]
fn the_steps_of_opening_are_these_and_no_others() {
    let mut net = Net::new(2, 1);
    net.filter = Box::new(|_, _, _| false);
    net.link(1, 0, 1);
    net.run(1);
    let kinds = |net: &Net| net.log.iter().map(|(f, t, k, _)| (*f, *t, *k)).collect::<Vec<_>>();
    assert_eq!(kinds(&net), [(address(1), address(0), Kind::Stun)]);
    let request = net.log.pop().unwrap().3;
    net.deliver(0, address(1), request);
    // The parent answers, and asks itself; nothing else.
    let to_child = (address(0), address(1), Kind::Stun);
    assert_eq!(kinds(&net), [to_child, to_child]);
    assert!(net.nodes[0].events.is_empty());
    let (question, answer) = (net.log.remove(1).3, net.log.remove(0).3);
    net.deliver(1, address(0), answer);
    assert_eq!(net.nodes[1].events, [PlaneEvent::LinkOpen(LinkId(1), address(0))]);
    assert_eq!(kinds(&net), []);
    net.deliver(1, address(0), question);
    assert_eq!(kinds(&net), [(address(1), address(0), Kind::Stun)]);
    let proof = net.log.pop().unwrap().3;
    net.deliver(0, address(1), proof.clone());
    assert_eq!(net.nodes[0].events, [PlaneEvent::LinkOpen(LinkId(1), address(1))]);
    assert_eq!(kinds(&net), []);
    // A response is good once.
    net.deliver(0, address(1), proof);
    assert_eq!(net.nodes[0].plane.stats().strays.stun_refused, 1);
}

#[test]
fn no_media_goes_to_an_address_before_it_is_validated() {
    let mut net = Net::new(2, 1);
    net.link(1, 0, 1);
    net.route(0, VIDEO, NextHop::Link(LinkId(1)), None);
    net.route(1, VIDEO, NextHop::Local, None);
    // The child never answers the parent's request.
    net.filter = Box::new(|from, _, _| from == 1);
    (0..20).for_each(|i| {
        net.send(VIDEO, i);
        net.run(20);
    });
    assert!(net.sent(0, 1).is_empty());
    // Then it does, and gets what it has missed since it subscribed.
    net.filter = Box::new(|_, _, _| true);
    net.run(1500);
    assert_eq!(net.got(1, VIDEO), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_wrong_credential_opens_nothing() {
    let mut net = Net::new(2, 1);
    net.command(0, PlaneCommand::AddLink(hop(1, PeerSide::Child, 0)));
    let wrong = HopLink { credential: HopCredential([9; 32]), ..hop(1, PeerSide::Parent, 0) };
    net.command(1, PlaneCommand::AddLink(wrong));
    net.run(3000);
    assert!(net.nodes.iter().all(|n| n.events.is_empty()));
    assert!(net.nodes[0].plane.stats().strays.stun_refused > 3);
    // Nothing at all is answered.
    assert!(net.log.iter().all(|(from, ..)| *from == address(1)));
}

#[test]
fn a_spoofed_address_gets_no_media_and_little_else() {
    let mut net = Net::chain(2, 1);
    net.run(3000);
    let request = net
        .log
        .iter()
        .find(|(from, _, k, d)| *from == address(1) && *k == Kind::Stun && d[0] == 0)
        .unwrap()
        .3
        .clone();
    let victim: SocketAddr = "10.9.9.9:99".parse().unwrap();
    net.log.clear();
    for i in 0..100 {
        net.deliver(0, victim, request.clone());
        net.send(VIDEO, i);
        net.run(1);
    }
    let to_victim: Vec<_> = net.log.iter().filter(|(_, to, ..)| *to == victim).collect();
    assert!(to_victim.iter().all(|(_, _, k, _)| *k == Kind::Stun));
    let bytes: usize = to_victim.iter().map(|(.., d)| d.len()).sum();
    assert!(bytes <= 102 * request.len(), "{bytes} for {}", 100 * request.len());
    net.run(50);
    assert_eq!(net.got(1, VIDEO).len(), 100);
    assert!(net.nodes[0].events.is_empty());
}

#[test]
fn a_child_that_moves_is_validated_again_and_loses_nothing() {
    let mut net = Net::chain(2, 1);
    let moved: SocketAddr = "10.0.0.77:4444".parse().unwrap();
    for i in 0..200 {
        if i == 50 {
            net.nodes[1].address = moved;
        }
        net.send(VIDEO, i);
        net.run(10);
    }
    net.run(1500);
    assert_eq!(net.nodes[0].events, [PlaneEvent::LinkOpen(LinkId(1), moved)]);
    let mut got = net.got(1, VIDEO);
    got.sort_unstable();
    assert_eq!(got, (0..200).collect::<Vec<_>>());
    // Its own reports told the parent: no waiting for the next keepalive.
    assert!(net.layer(1).missed <= 30, "{}", net.layer(1).missed);
}

#[test]
fn a_silent_parent_is_noticed_within_the_timeout_and_may_come_back() {
    let mut net = Net::chain(2, 1);
    net.send(VIDEO, 0);
    net.run(100);
    net.filter = Box::new(|from, _, _| from == 1);
    net.run(150);
    assert!(net.nodes[1].events.is_empty());
    net.run(120);
    assert_eq!(net.nodes[1].events, [PlaneEvent::LinkSilent(LinkId(1))]);
    (1..10).for_each(|i| net.send(VIDEO, i));
    net.run(500);
    assert_eq!(net.nodes[1].events.len(), 1);
    net.filter = Box::new(|_, _, _| true);
    net.run(500);
    assert_eq!(net.nodes[1].events[1..], [PlaneEvent::LinkOpen(LinkId(1), address(0))]);
    assert_eq!(net.got(1, VIDEO), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_child_that_is_gone_gets_nothing_more_until_it_opens_again() {
    let mut net = Net::chain(2, 1);
    net.filter = Box::new(|_, _, _| false);
    net.run(6000);
    assert_eq!(net.nodes[0].events, [PlaneEvent::LinkSilent(LinkId(1))]);
    assert!(net.link_stats(0, 1).address.is_none());
    net.log.clear();
    net.send(VIDEO, 5);
    net.run(100);
    assert!(net.log.iter().all(|(from, ..)| *from != address(0)));
    net.filter = Box::new(|_, _, _| true);
    net.run(1200);
    assert_eq!(net.nodes[0].events[1..], [PlaneEvent::LinkOpen(LinkId(1), address(1))]);
    assert_eq!(net.got(1, VIDEO), [5]);
}

#[test]
fn a_stall_of_our_own_thread_is_nobodys_silence() {
    let mut net = Net::chain(2, 1);
    net.run(500);
    net.now += 800 * MS;
    let now = net.at();
    net.nodes[1].plane.handle_timeout(now);
    net.collect(1);
    assert!(net.nodes[1].events.is_empty());
    net.filter = Box::new(|_, _, _| false);
    net.flights.clear();
    net.run(400);
    assert_eq!(net.nodes[1].events, [PlaneEvent::LinkSilent(LinkId(1))]);
}

#[test]
fn all_addresses_of_a_parent_are_tried() {
    let mut net = Net::new(2, 1);
    net.command(0, PlaneCommand::AddLink(hop(1, PeerSide::Child, 0)));
    let mut link = hop(1, PeerSide::Parent, 0);
    link.addresses = vec!["10.1.1.1:1".parse().unwrap(), "10.1.1.2:1".parse().unwrap(), address(0)];
    net.command(1, PlaneCommand::AddLink(link));
    net.run(1000);
    assert_eq!(net.nodes[1].events, [PlaneEvent::LinkOpen(LinkId(1), address(0))]);
}

#[test]
fn the_same_link_again_does_not_reuse_rtcp_indexes() {
    let mut net = Net::chain(2, 1);
    let before = net.link_stats(0, 1);
    net.command(0, PlaneCommand::AddLink(hop(1, PeerSide::Child, 0)));
    assert_eq!(net.link_stats(0, 1), before);
    net.send(VIDEO, 1);
    net.run(100);
    assert_eq!(net.got(1, VIDEO), [1]);
}

#[test]
fn a_removed_link_is_silent_at_once() {
    let mut net = Net::chain(2, 1);
    net.command(0, PlaneCommand::RemoveLink(LinkId(1)));
    net.command(1, PlaneCommand::RemoveLink(LinkId(1)));
    net.run(20);
    net.log.clear();
    net.send(VIDEO, 1);
    net.run(5000);
    assert!(net.log.is_empty());
    assert!(net.nodes.iter().all(|n| n.plane.poll_timeout().is_none()));
    assert!(net.nodes.iter().all(|n| n.plane.transactions.is_empty()
        && n.plane.addresses.is_empty()
        && n.plane.link_ssrcs.is_empty()));
}

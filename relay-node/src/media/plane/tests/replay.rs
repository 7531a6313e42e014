//! Datagrams that are sent again, links that are made again, and links that are hard to tell apart.

use super::*;
use std::collections::HashMap;

/// All datagrams that went to a node so far, with where they came from.
fn sent_to(net: &Net, node: usize) -> Vec<(SocketAddr, Kind, Vec<u8>)> {
    let to = net.nodes[node].address;
    net.log.iter().filter(|l| l.1 == to).map(|(from, _, k, d)| (*from, *k, d.clone())).collect()
}

/// Fails if two RTCP datagrams of one sender, seen under one key, have one (SSRC, index) and
/// different bytes: GCM would be broken.
fn assert_no_rtcp_index_is_used_twice<'a>(datagrams: impl Iterator<Item = &'a Vec<u8>>) {
    let mut seen: HashMap<Vec<u8>, &Vec<u8>> = HashMap::new();
    for datagram in datagrams {
        let nonce = [&datagram[4..8], &datagram[datagram.len() - 4..]].concat();
        let first = seen.entry(nonce).or_insert(datagram);
        assert_eq!(*first, datagram, "one index for two packets");
    }
}

fn remade(id: u64, peer: PeerSide, nonce: u8) -> HopLink {
    HopLink { child_nonce: [nonce; 16], parent_nonce: [nonce + 1; 16], ..hop(id, peer, 0) }
}

#[test]
fn links_that_share_half_of_their_ids_are_told_apart() {
    // A relay with three children whose link ids differ in the upper half only; the lower one is
    // what their RTCP says of itself.
    let mut net = Net::new(4, 1);
    let ids = [7, 7 | 1 << 32, 7 | 9 << 40];
    for (i, id) in ids.into_iter().enumerate() {
        net.link(id, 0, i + 1);
        net.route(0, VIDEO, NextHop::Link(LinkId(id)), None);
        net.route(i + 1, VIDEO, NextHop::Local, None);
    }
    net.run(300);
    let lost = std::cell::RefCell::new(std::collections::HashSet::new());
    net.filter = Box::new(move |from, to, what| match what {
        // Each child loses one packet of its own.
        Kind::Media(VIDEO, i) if from == 0 && i == 10 + to as u64 => !lost.borrow_mut().insert(to),
        _ => true,
    });
    for i in 0..40 {
        net.send(VIDEO, i);
        net.run(50);
    }
    for (i, id) in ids.into_iter().enumerate() {
        let mut got = net.got(i + 1, VIDEO);
        got.sort_unstable();
        assert_eq!(got, (0..40).collect::<Vec<_>>());
        let stats = net.link_stats(0, id);
        assert_eq!((stats.rtcp_refused, stats.nacks_received, stats.resent), (0, 1, 1), "{id}");
        assert!(!stats.reports.is_empty(), "{id}");
    }
    // One goes: the others are found still.
    net.command(0, PlaneCommand::RemoveLink(LinkId(7)));
    let before: Vec<u64> =
        ids[1..].iter().map(|id| net.link_stats(0, *id).feedback_packets).collect();
    (40..60).for_each(|i| {
        net.send(VIDEO, i);
        net.run(50);
    });
    for (id, before) in ids[1..].iter().zip(before) {
        assert!(net.link_stats(0, *id).feedback_packets >= before + 15);
    }
}

#[test]
fn what_a_stranger_says_in_the_name_of_a_shared_ssrc_is_nobodys() {
    let mut net = Net::new(3, 1);
    for (i, id) in [7, 7 | 1 << 32].into_iter().enumerate() {
        net.link(id, 0, i + 1);
    }
    net.run(300);
    let before = net.nodes[0].plane.stats();
    let mut forged = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
    forged.extend_from_slice(&[5; 20]);
    net.deliver(0, address(1), forged);
    let after = net.nodes[0].plane.stats();
    let refused = |stats: &PlaneStats| stats.links.iter().map(|l| l.rtcp_refused).sum::<u64>();
    assert_eq!(refused(&after), refused(&before) + 1);
}

#[test]
fn a_link_is_not_made_a_second_time_from_the_same_secrets() {
    let mut net = Net::chain(2, 1);
    net.send(VIDEO, 1);
    net.run(2000);
    for node in [0, 1] {
        net.command(node, PlaneCommand::RemoveLink(LinkId(1)));
    }
    net.command(0, PlaneCommand::AddLink(hop(1, PeerSide::Child, 0)));
    net.command(1, PlaneCommand::AddLink(hop(1, PeerSide::Parent, 0)));
    // Neither under another number, nor as the other side.
    net.command(0, PlaneCommand::AddLink(HopLink { id: LinkId(9), ..hop(1, PeerSide::Child, 0) }));
    net.command(1, PlaneCommand::AddLink(hop(1, PeerSide::Child, 0)));
    net.run(2000);
    for node in [0, 1] {
        let stats = net.nodes[node].plane.stats();
        assert!(stats.links.is_empty());
        assert_eq!(stats.strays.links_refused, 2);
        let from = address(node);
        let rtcp = net.log.iter().filter(|l| l.0 == from && l.2 == Kind::Rtcp);
        assert_no_rtcp_index_is_used_twice(rtcp.map(|l| &l.3));
    }
    // With fresh nonces it is another link.
    net.command(0, PlaneCommand::AddLink(remade(1, PeerSide::Child, 70)));
    net.command(1, PlaneCommand::AddLink(remade(1, PeerSide::Parent, 70)));
    net.run(300);
    assert!(net.link_stats(0, 1).address.is_some());
}

#[test]
fn a_second_link_with_the_secrets_of_one_that_lives_is_refused() {
    let mut net = Net::chain(2, 1);
    net.command(0, PlaneCommand::AddLink(HopLink { id: LinkId(9), ..hop(1, PeerSide::Child, 0) }));
    assert_eq!(net.nodes[0].plane.stats().strays.links_refused, 1);
    assert!(net.link_stats(0, 1).address.is_some());
}

#[test]
fn everything_sent_again_changes_nothing() {
    let mut net = Net::chain(3, 1);
    for i in 0..100 {
        net.send(VIDEO, i);
        net.run(10);
    }
    net.run(1200);
    let copies: Vec<_> =
        (0..3).flat_map(|n| sent_to(&net, n).into_iter().map(move |c| (n, c))).collect();
    let before: Vec<PlaneStats> = net.nodes.iter().map(|n| n.plane.stats()).collect();
    net.log.clear();
    for (node, (from, _, data)) in copies.clone() {
        net.deliver(node, from, data);
    }
    assert!(net.log.is_empty(), "nothing is sent on, answered or asked: {:?}", net.log[0]);
    assert!(net.nodes.iter().all(|n| n.events.is_empty()));
    for (node, before) in before.into_iter().enumerate() {
        let mut after = net.nodes[node].plane.stats();
        for layer in &mut after.layers {
            layer.duplicates = 0;
        }
        for link in &mut after.links {
            link.rtcp_refused = 0;
        }
        after.strays = before.strays;
        assert_eq!(after, before);
    }
    assert_eq!(net.got(2, VIDEO), (0..100).collect::<Vec<_>>());
}

#[test]
fn nothing_of_a_link_counts_after_it_was_made_again() {
    let mut net = Net::chain(2, 1);
    for i in 0..50 {
        net.send(VIDEO, i);
        net.run(10);
    }
    net.run(1200);
    let copies: Vec<_> = (0..2).map(|n| sent_to(&net, n)).collect();
    for node in [0, 1] {
        net.command(node, PlaneCommand::RemoveLink(LinkId(1)));
    }
    net.run(100);
    net.log.clear();
    // The same ticket shown again: same number, same credential, other nonces. What is replayed
    // comes before the real peer says anything.
    net.filter = Box::new(|_, _, _| false);
    net.command(0, PlaneCommand::AddLink(remade(1, PeerSide::Child, 70)));
    net.command(1, PlaneCommand::AddLink(remade(1, PeerSide::Parent, 70)));
    net.route(1, VIDEO, NextHop::Local, None);
    net.route(0, VIDEO, NextHop::Link(LinkId(1)), None);
    for (node, copies) in copies.iter().enumerate() {
        for (from, _, data) in copies {
            net.deliver(node, *from, data.clone());
        }
    }
    for node in [0, 1] {
        assert!(net.nodes[node].events.is_empty(), "{:?}", net.nodes[node].events);
        let stats = net.link_stats(node, 1);
        assert!(stats.address.is_none());
        assert_eq!(
            (stats.packets_received, stats.nacks_received, stats.feedback_packets),
            (0, 0, 0)
        );
    }
    // And while it is open again, old RTCP and old media are as dead.
    net.filter = Box::new(|_, _, _| true);
    net.run(1500);
    let before: Vec<_> = (0..2).map(|n| net.link_stats(n, 1)).collect();
    for (node, copies) in copies.iter().enumerate() {
        for (from, kind, data) in copies.iter().filter(|(_, k, _)| *k != Kind::Stun) {
            net.deliver(node, *from, data.clone());
            assert!(*kind == Kind::Rtcp || net.layer(1).duplicates > 0);
        }
        let mut after = net.link_stats(node, 1);
        after.rtcp_refused = before[node].rtcp_refused;
        assert_eq!(after, before[node]);
    }
    assert_eq!(net.got(1, VIDEO), (0..50).collect::<Vec<_>>());
}

#[test]
fn copied_requests_do_not_keep_a_dead_child_alive() {
    let mut net = Net::chain(2, 1);
    // More keepalives than a link remembers: the first ones are as good as new to it.
    net.run(1000 * (crate::media::link::MAX_SEEN_REQUESTS as u64 + 20));
    let requests: Vec<Vec<u8>> = sent_to(&net, 0)
        .into_iter()
        .filter(|(_, k, d)| *k == Kind::Stun && d[1] == 1 && d[0] == 0)
        .map(|(_, _, d)| d)
        .collect();
    assert!(requests.len() > crate::media::link::MAX_SEEN_REQUESTS);
    net.filter = Box::new(|from, _, _| from == 0);
    for i in 0..60u64 {
        net.deliver(0, address(1), requests[i as usize % 10].clone());
        net.run(100);
    }
    assert_eq!(net.nodes[0].events, [PlaneEvent::LinkSilent(LinkId(1))]);
}

#[test]
fn a_copied_request_moves_nothing_and_is_answered_to_nobody() {
    let mut net = Net::chain(2, 1);
    net.run(3000);
    let victim: SocketAddr = "10.9.9.9:99".parse().unwrap();
    let requests: Vec<_> =
        sent_to(&net, 0).into_iter().filter(|(_, k, _)| *k == Kind::Stun).collect();
    net.log.clear();
    for (_, _, request) in requests {
        net.deliver(0, victim, request);
    }
    assert!(net.log.is_empty());
    // A child that moves meanwhile is let in all the same.
    let moved: SocketAddr = "10.0.0.77:4444".parse().unwrap();
    net.nodes[1].address = moved;
    net.run(1200);
    assert_eq!(net.nodes[0].events, [PlaneEvent::LinkOpen(LinkId(1), moved)]);
}

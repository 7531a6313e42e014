//! What goes to whom, and what is dropped.

use super::*;

#[test]
fn packets_pass_three_hops_with_identical_bytes() {
    let mut net = Net::chain(4, 1);
    for i in 0..50 {
        net.send(VIDEO, i);
        net.send(AUDIO, 1_000_000 + i);
        net.run(5);
    }
    net.run(100);
    assert_eq!(net.got(3, VIDEO), (0..50).collect::<Vec<_>>());
    assert_eq!(net.got(3, AUDIO), (1_000_000..1_000_050).collect::<Vec<_>>());
    assert_eq!(net.nodes[3].sink.packets[0].2, vec![0; 100]);
    let bytes = |from: usize, to: usize| -> Vec<Vec<u8>> {
        let (from, to) = (address(from), address(to));
        let media = |k: &Kind| matches!(k, Kind::Media(..));
        let log = net.log.iter();
        log.filter(|(f, t, k, _)| *f == from && *t == to && media(k)).map(|l| l.3.clone()).collect()
    };
    assert_eq!(bytes(0, 1).len(), 100);
    assert_eq!(bytes(0, 1), bytes(1, 2));
    assert_eq!(bytes(0, 1), bytes(2, 3));
    // Nobody but the last opened anything for its own use.
    assert!(net.nodes[1].sink.packets.is_empty());
    let stats = net.layer(3);
    assert_eq!((stats.packets, stats.lost, stats.missed, stats.epoch), (50, 0, 0, Some(Epoch(1))));
    assert_eq!((stats.oldest, stats.highest), (Some(PacketIndex(0)), Some(PacketIndex(49))));
}

#[test]
fn without_an_entry_in_the_table_a_packet_is_dropped_and_counted() {
    let mut net = Net::chain(3, 1);
    let next = NextHop::Link(LinkId(2));
    net.command(1, PlaneCommand::RemoveRoute { pipeline: PIPE, ssrc: VIDEO, next });
    net.send(VIDEO, 1);
    net.run(30);
    assert!(net.sent(1, 2).is_empty());
    assert_eq!((net.layer(1).no_route, net.layer(1).packets), (1, 0));
}

#[test]
fn forgeries_are_dropped_before_they_touch_anything() {
    let mut net = Net::chain(3, 1);
    net.send(VIDEO, 1);
    net.run(30);
    let (before, real) = (net.nodes[1].plane.stats(), net.seal(VIDEO, 2, true));
    for at in [1, 5, 40, real.len() - 2] {
        let mut forged = real.clone();
        forged[at] ^= 1;
        net.log.clear();
        net.deliver(1, address(0), forged);
        assert_eq!(net.log.len(), 0);
    }
    // A huge index must not move the window.
    let other = Sealer::new(&PipelineKey { key: [9; 16], salt: [2; 12] }, Epoch(1));
    let header = HopHeader { ssrc: VIDEO, index: PacketIndex(1 << 47), ..HopHeader::default() };
    let mut forged = Vec::new();
    other.seal(&header, b"x", &mut forged).unwrap();
    net.deliver(1, address(0), forged);
    let mut after = net.nodes[1].plane.stats();
    assert_eq!(after.layers[0].forged, 5);
    after.layers[0].forged = 0;
    assert_eq!(after, before);
    net.deliver(1, address(0), real);
    assert_eq!(net.layer(1).highest, Some(PacketIndex(2)));
}

#[test]
fn media_is_accepted_from_a_validated_parent_only() {
    let mut net = Net::chain(3, 1);
    let packet = net.seal(VIDEO, 1, false);
    for stranger in ["10.0.0.0:7001", "10.3.3.3:7000"] {
        net.deliver(1, stranger.parse().unwrap(), packet.clone());
    }
    // A child is no source either.
    net.deliver(1, address(2), packet.clone());
    assert_eq!(net.nodes[1].plane.stats().strays.not_validated, 3);
    assert_eq!(net.layer(1).packets, 0);
    net.deliver(1, address(0), packet);
    assert_eq!(net.layer(1).packets, 1);
}

#[test]
fn duplicates_are_filtered() {
    let mut net = Net::chain(3, 1);
    let packet = net.seal(VIDEO, 1, false);
    (0..3).for_each(|_| net.deliver(1, address(0), packet.clone()));
    assert_eq!(net.sent(1, 2), [1]);
    assert_eq!((net.layer(1).duplicates, net.layer(1).packets), (2, 1));
}

#[test]
fn a_packet_from_before_the_replay_window_counts_as_seen() {
    let mut net = Net::chain(3, 1);
    let old = net.seal(VIDEO, 1, false);
    net.deliver(1, address(0), net.seal(VIDEO, 1_000_000, false));
    let before = net.layer(1);
    net.log.clear();
    // It is genuine, and was never seen: how should we know?
    net.deliver(1, address(0), old);
    assert_eq!(net.layer(1), LayerStats { too_old: before.too_old + 1, ..before });
    assert!(net.sent(1, 2).is_empty());
}

#[test]
fn what_is_no_packet_of_ours_is_counted_and_ignored() {
    let mut net = Net::chain(3, 1);
    let unknown = {
        let mut p = net.seal(VIDEO, 1, false);
        p[8] = 99;
        p
    };
    let mut padded = net.seal(VIDEO, 1, false);
    padded[0] |= 0x20;
    let before = net.log.len();
    for data in [vec![], vec![20; 100], vec![255], unknown, padded, vec![0x90, 96], vec![0; 30]] {
        net.deliver(1, address(0), data);
    }
    let strays = net.nodes[1].plane.stats().strays;
    assert_eq!((strays.unknown, strays.unknown_layer, strays.malformed), (3, 1, 2));
    assert_eq!((strays.stun_refused, net.log.len()), (1, before));
}

#[test]
fn a_late_child_gets_what_the_ring_has_from_where_it_asks() {
    let mut net = Net::chain(3, 1);
    (0..1000).for_each(|i| net.send(VIDEO, i));
    net.run(100);
    // Another child of the relay comes later.
    let mut late = Net::new(1, 9).nodes.remove(0);
    late.address = address(9);
    net.nodes.push(late);
    let link = hop(9, PeerSide::Child, 1);
    net.command(1, PlaneCommand::AddLink(link));
    net.command(3, PlaneCommand::AddLink(hop(9, PeerSide::Parent, 1)));
    net.route(3, VIDEO, NextHop::Local, Some(300));
    net.route(1, VIDEO, NextHop::Link(LinkId(9)), Some(300));
    for i in 1000..1100 {
        net.send(VIDEO, i);
        net.run(1);
    }
    net.run(300);
    assert_eq!(net.got(3, VIDEO), (300..1100).collect::<Vec<_>>());
    // Heartbeats while it caught up have not made it ask for what was on its way.
    assert_eq!(net.layer(3).nacks, 0);
    assert_eq!(net.sent(1, 3).len(), 800);
}

#[test]
fn local_use_can_begin_in_the_past_too() {
    let mut net = Net::chain(3, 1);
    (0..100).for_each(|i| net.send(VIDEO, i));
    net.run(100);
    net.route(1, VIDEO, NextHop::Local, Some(90));
    net.send(VIDEO, 100);
    net.run(100);
    assert_eq!(net.got(1, VIDEO), (90..=100).collect::<Vec<_>>());
}

#[test]
fn a_stale_layer_does_not_ask_for_the_time_when_nobody_wanted_it() {
    let mut net = Net::chain(3, 1);
    let next = NextHop::Link(LinkId(1));
    net.send(VIDEO, 0);
    net.run(50);
    net.command(0, PlaneCommand::RemoveRoute { pipeline: PIPE, ssrc: VIDEO, next });
    let local = NextHop::Local;
    let relay = NextHop::Link(LinkId(2));
    net.command(1, PlaneCommand::RemoveRoute { pipeline: PIPE, ssrc: VIDEO, next: relay });
    net.command(2, PlaneCommand::RemoveRoute { pipeline: PIPE, ssrc: VIDEO, next: local });
    (1..50).for_each(|i| net.send(VIDEO, i));
    net.run(50);
    net.route(2, VIDEO, local, None);
    net.route(1, VIDEO, relay, None);
    net.route(0, VIDEO, next, None);
    (50..60).for_each(|i| net.send(VIDEO, i));
    net.run(500);
    assert_eq!(net.got(2, VIDEO), std::iter::once(0).chain(50..60).collect::<Vec<_>>());
    assert_eq!((net.layer(1).nacks, net.layer(2).nacks), (0, 0));
}

#[test]
fn several_epochs_are_valid_at_once() {
    let mut net = Net::chain(3, 1);
    let second = PipelineKey { key: [5; 16], salt: [6; 12] };
    let old = net.seal(VIDEO, 1, false);
    net.sealer = Sealer::new(&second, Epoch(2));
    let new = net.seal(VIDEO, 2, false);
    net.deliver(2, address(1), new.clone());
    assert_eq!(net.layer(2).unknown_key, 1);
    net.command(2, PlaneCommand::AddKey(PIPE, Epoch(2), second));
    net.deliver(2, address(1), new);
    net.deliver(2, address(1), old);
    assert_eq!(net.got(2, VIDEO), [2, 1]);
    net.command(2, PlaneCommand::RemoveKey(PIPE, Epoch(1)));
    net.sealer = Sealer::new(&key(), Epoch(1));
    let old = net.seal(VIDEO, 3, false);
    net.deliver(2, address(1), old);
    assert_eq!(net.layer(2).unknown_key, 2);
}

#[test]
fn epochs_are_bounded() {
    let mut net = Net::new(1, 1);
    (2..40).for_each(|e| net.command(0, PlaneCommand::AddKey(PIPE, Epoch(e), key())));
    assert_eq!(net.nodes[0].plane.pipelines[&PIPE].openers.len(), MAX_EPOCHS);
}

#[test]
fn a_pipeline_can_be_redefined_and_removed() {
    let mut net = Net::chain(2, 1);
    net.send(VIDEO, 1);
    net.run(50);
    net.command(0, PlaneCommand::DefinePipeline(PIPE, layers()[..1].to_vec()));
    net.send(AUDIO, 1);
    assert_eq!(net.nodes[0].plane.stats().strays.unknown_layer, 1);
    net.send(VIDEO, 2);
    net.run(50);
    assert_eq!(net.got(1, VIDEO), [1, 2]);
    // A queue that has not been flushed forgets the pipeline's packets.
    let packet = net.seal(VIDEO, 3, false);
    let now = net.at();
    let node = &mut net.nodes[0];
    node.plane.inject(now, &packet, &mut node.sink);
    node.plane.handle_command(now, PlaneCommand::RemovePipeline(PIPE), &mut node.sink);
    assert_eq!(node.plane.transmits().count(), 0);
    assert!(node.plane.layer_ssrcs.is_empty() && node.plane.stats().layers.is_empty());
}

#[test]
fn an_ssrc_belongs_to_one_pipeline() {
    let mut net = Net::new(1, 1);
    net.command(0, PlaneCommand::DefinePipeline(PipelineId(2), layers()));
    assert_eq!(net.nodes[0].plane.stats().strays.conflicts, 2);
    net.command(0, PlaneCommand::RemovePipeline(PipelineId(2)));
    assert_eq!(net.nodes[0].plane.stats().layers.len(), 2);
}

#[test]
fn each_link_gets_its_packets_in_one_run_and_the_order_rotates() {
    let mut net = Net::new(4, 1);
    for child in 1..4 {
        net.link(child as u64, 0, child);
        net.route(0, VIDEO, NextHop::Link(LinkId(child as u64)), None);
    }
    net.run(200);
    let mut firsts = Vec::new();
    for round in 0..6u64 {
        let now = net.at();
        for i in 0..5 {
            let packet = net.seal(VIDEO, round * 5 + i, false);
            let root = &mut net.nodes[0];
            root.plane.inject(now, &packet, &mut root.sink);
        }
        let order: Vec<SocketAddr> = net.nodes[0].plane.transmits().map(|t| t.0).collect();
        let mut runs = order.clone();
        runs.dedup();
        assert_eq!((order.len(), runs.len()), (15, 3));
        firsts.push(runs[0]);
        net.collect(0);
    }
    let mut distinct = firsts[..3].to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 3, "{firsts:?}");
}

#[test]
fn two_parents_need_only_the_duplicate_filter() {
    let mut net = Net::chain(2, 1);
    // Node 2 is a second parent of node 1, fed with the same packets.
    let mut other = Net::new(1, 3).nodes.remove(0);
    other.address = address(5);
    net.nodes.push(other);
    net.command(2, PlaneCommand::AddLink(hop(7, PeerSide::Child, 5)));
    net.command(1, PlaneCommand::AddLink(hop(7, PeerSide::Parent, 5)));
    net.route(2, VIDEO, NextHop::Link(LinkId(7)), None);
    net.run(200);
    // The first parent loses everything half-way.
    for i in 0..100 {
        if i == 50 {
            net.filter = Box::new(|from, to, _| (from, to) != (0, 1) && (from, to) != (1, 0));
        }
        net.send(VIDEO, i);
        let (packet, now) = (net.seal(VIDEO, i, false), net.at());
        let node = &mut net.nodes[2];
        node.plane.inject(now, &packet, &mut node.sink);
        net.collect(2);
        net.run(10);
    }
    net.run(300);
    assert_eq!(net.got(1, VIDEO), (0..100).collect::<Vec<_>>());
    assert!(net.layer(1).duplicates >= 45);
}

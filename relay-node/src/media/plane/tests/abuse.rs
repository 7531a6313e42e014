//! Whatever comes, nothing panics, nothing spins, nothing is taken for true.

use super::*;
use proptest::prelude::*;
use rand::Rng;

proptest! {
    #[test]
    fn random_datagrams_change_nothing(
        data in prop::collection::vec(any::<u8>(), 0..1400),
        first in prop::option::of(prop::sample::select(vec![0u8, 1, 0x80, 0x81, 0x90])),
        second in prop::option::of(prop::sample::select(vec![1u8, 96, 200, 201, 204, 205, 206])),
        from_parent: bool,
    ) {
        let mut net = Net::chain(3, 1);
        let mut data = data;
        if let (Some(b), true) = (first, data.len() > 2) { data[0] = b; }
        if let (Some(b), true) = (second, data.len() > 2) { data[1] = b; }
        let before = net.nodes[1].plane.stats();
        let from = if from_parent { address(0) } else { "10.7.7.7:7".parse().unwrap() };
        net.log.clear();
        net.deliver(1, from, data);
        prop_assert!(net.log.is_empty());
        let after = net.nodes[1].plane.stats();
        prop_assert_eq!(before.layers[0].packets, after.layers[0].packets);
        prop_assert_eq!(before.layers[0].highest, after.layers[0].highest);
        net.send(VIDEO, 1);
        net.run(50);
        prop_assert_eq!(net.got(2, VIDEO), vec![1]);
    }

    #[test]
    fn damaged_copies_of_real_datagrams_change_nothing(seed: u64, flips in 1usize..4) {
        let mut net = Net::chain(3, 1);
        (0..5).for_each(|i| net.send(VIDEO, i));
        net.run(1200);
        let real: Vec<_> = net.log.iter().map(|(f, t, _, d)| (*f, *t, d.clone())).collect();
        let mut rng = StdRng::seed_from_u64(seed);
        for (from, to, mut data) in real {
            for _ in 0..flips {
                let at = rng.random_range(0..data.len());
                data[at] ^= 1 << rng.random_range(0..8);
            }
            let node = net.index_of(to).unwrap();
            net.deliver(node, from, data);
        }
        (5..10).for_each(|i| net.send(VIDEO, i));
        net.run(100);
        prop_assert_eq!(net.got(2, VIDEO), (0..10).collect::<Vec<_>>());
        prop_assert!(net.nodes.iter().all(|n| n.events.is_empty()));
    }

    /// An insider: RTCP that is sealed with the link's own key, but nonsense.
    #[test]
    fn authentic_nonsense_is_bounded(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
        kinds in prop::collection::vec(199u8..208, 20), counts in prop::collection::vec(0u8..32, 20),
        ssrc_first: bool, to_parent: bool,
    ) {
        let mut net = Net::chain(3, 1);
        (0..5).for_each(|i| net.send(VIDEO, i));
        net.run(50);
        for (i, body) in bodies.into_iter().enumerate() {
            let (id, from, to) = if to_parent { (2u64, 2, 1) } else { (1, 0, 1) };
            let mut packet = vec![0x80 | counts[i], kinds[i], 0, 0, 0, 0, 0, id as u8];
            if ssrc_first { packet.extend_from_slice(&VIDEO.0.to_be_bytes()); }
            if kinds[i] == 204 { packet.extend_from_slice(b"SOLH"); }
            packet.extend_from_slice(&body[..body.len() / 4 * 4]);
            let words = (packet.len() / 4 - 1) as u16;
            packet[2..4].copy_from_slice(&words.to_be_bytes());
            let plane = &mut net.nodes[from].plane;
            let key = plane.link_ids[&LinkId(id)];
            plane.links.get_mut(key).unwrap().sealer.seal(&mut packet, 0).unwrap();
            net.deliver(to, address(from), packet);
        }
        net.run(3000);
        let repair = net.layer(1).missing;
        prop_assert!(repair <= crate::media::repair::MAX_MISSING as u64);
        net.send(VIDEO, 5);
        net.run(100);
        prop_assert!(net.got(2, VIDEO).contains(&5));
    }

    /// Any order of orders: links, pipelines, keys and routes come and go.
    #[test]
    fn any_sequence_of_operations_keeps_the_tables_in_step(
        steps in prop::collection::vec((0u8..14, 0u64..4, 0u32..3), 1..120),
    ) {
        let mut net = Net::chain(3, 1);
        let mut index = 0;
        for (what, a, b) in steps {
            let (id, ssrc) = (LinkId(a), if b == 0 { AUDIO } else { VIDEO });
            let next = if a == 0 { NextHop::Local } else { NextHop::Link(id) };
            let node = (b as usize) % 3;
            let pipeline = PIPE;
            match what {
                0 => net.command(node, PlaneCommand::AddLink(hop(a, PeerSide::Child, node))),
                1 => net.command(node, PlaneCommand::AddLink(hop(a, PeerSide::Parent, 0))),
                2 => net.command(node, PlaneCommand::RemoveLink(id)),
                3 => net.command(node, PlaneCommand::DefinePipeline(PIPE, layers())),
                4 => net.command(node, PlaneCommand::DefinePipeline(PIPE, layers()[..1].to_vec())),
                5 => net.command(node, PlaneCommand::RemovePipeline(PIPE)),
                6 => net.command(node, PlaneCommand::AddKey(PIPE, Epoch(b), key())),
                7 => net.command(node, PlaneCommand::RemoveKey(PIPE, Epoch(b))),
                8 => net.route(node, ssrc, next, Some(index)),
                9 => net.route(node, ssrc, next, None),
                10 => net.command(node, PlaneCommand::RemoveRoute { pipeline, ssrc, next }),
                11 => net.command(node, PlaneCommand::RequestKeyFrame(PIPE, ssrc)),
                12 => net.run(a * 100),
                _ => {
                    (0..10).for_each(|i| net.send(ssrc, index + i));
                    index += 10 + a;
                }
            }
        }
        net.run(2000);
        for node in &net.nodes {
            let p = &node.plane;
            prop_assert_eq!(p.link_ids.len(), p.links.iter().count());
            prop_assert_eq!(p.layer_ssrcs.len(), p.layers.iter().count());
            for (key, layer) in p.layers.iter() {
                prop_assert!(p.pipelines[&layer.pipeline].layers.contains(&key));
                for link in &layer.links {
                    let link = p.links.get(*link).unwrap();
                    prop_assert!(link.routes.iter().any(|r| r.layer == key));
                }
                prop_assert!(layer.parent.is_none_or(|l| p.links.get(l).is_some()));
            }
            for (key, link) in p.links.iter() {
                for route in &link.routes {
                    let layer = p.layers.get(route.layer).unwrap();
                    prop_assert_eq!(layer.links.iter().filter(|l| **l == key).count(), 1);
                }
            }
            prop_assert!(p.addresses.values().chain(p.transactions.values())
                .all(|l| p.links.get(*l).is_some()));
        }
    }
}

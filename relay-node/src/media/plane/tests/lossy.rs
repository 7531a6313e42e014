//! Property: over three hops with loss up to 20 %, reordering and duplication, everything arrives.

use super::*;
use proptest::prelude::*;
use rand::Rng;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_packet_arrives_over_three_lossy_hops(
        seed: u64, loss in 0.0f64..0.2, duplicate in 0.0f64..0.1, delay in 0u64..20,
        jitter in 1u64..15, start in 0u64..1 << 40,
    ) {
        const PACKETS: u64 = 400;
        let mut net = Net::chain(4, seed);
        net.send(VIDEO, start);
        net.run(100);
        net.weather = Weather { loss, duplicate, delay: delay * MS, jitter: jitter * MS };
        for i in 1..PACKETS {
            net.timestamp += 450;
            net.send(VIDEO, start + i);
            net.run(5);
        }
        // The time to give up is 1.5 s on each hop; the tail is revealed by heartbeats.
        net.run(4000);
        let mut got = net.got(3, VIDEO);
        prop_assert_eq!(got.len() as u64, PACKETS, "lost {}", net.layer(3).lost);
        got.sort_unstable();
        got.dedup();
        prop_assert_eq!(got.len() as u64, PACKETS);
        for (_, index, payload) in &net.nodes[3].sink.packets {
            prop_assert_eq!(payload.len() as u64, 100 + index % 3);
            prop_assert!(payload.iter().all(|b| *b == *index as u8));
        }
        for node in 1..4 {
            let layer = net.layer(node);
            prop_assert_eq!((layer.packets, layer.lost, layer.missing), (PACKETS, 0, 0));
            prop_assert_eq!(layer.forged, 0);
        }
        prop_assert!(net.nodes.iter().all(|n| n.plane.stats().strays == StrayStats::default()
            || n.plane.stats().strays.stun_refused > 0));
    }

    #[test]
    fn the_relay_asks_once_per_packet_however_many_lack_it(seed: u64, children in 2usize..8) {
        let mut net = Net::new(2 + children, seed);
        net.link(1, 0, 1);
        net.route(0, VIDEO, NextHop::Link(LinkId(1)), None);
        for child in 2..2 + children {
            net.link(child as u64, 1, child);
            net.route(1, VIDEO, NextHop::Link(LinkId(child as u64)), None);
            net.route(child, VIDEO, NextHop::Local, None);
        }
        net.run(300);
        // The first transmission from the root is lost in one of ten cases; requests and
        // repairs are not, so one request per packet must do.
        let mut rng = StdRng::seed_from_u64(seed);
        let mut seen = std::collections::HashSet::new();
        let lost = std::rc::Rc::new(std::cell::Cell::new(0));
        let counter = lost.clone();
        net.filter = Box::new(move |from, _, what| match what {
            Kind::Media(VIDEO, i) if from == 0 && i > 0 && seen.insert(i) => {
                let drop = rng.random_bool(0.1);
                counter.set(counter.get() + u64::from(drop));
                !drop
            }
            _ => true,
        });
        for i in 0..300 {
            net.send(VIDEO, i);
            net.run(4);
        }
        net.run(500);
        prop_assert_eq!(net.layer(1).nacks, lost.get());
        prop_assert_eq!(net.link_stats(0, 1).resent, lost.get());
        for child in 2..2 + children {
            prop_assert_eq!(net.got(child, VIDEO).len(), 300);
            // A child's request may cross the repair on its way. Only what comes within three
            // quarters of a round trip is known to have crossed, so one more copy may go down.
            let mut sent = net.sent(1, child);
            sent.sort_unstable();
            let copies = |w: &[u64]| w.first() == w.last();
            let extra = sent.windows(2).filter(|w| copies(w)).count() as u64;
            prop_assert!(extra <= lost.get(), "{extra} copies for {} lost packets", lost.get());
            prop_assert!(!sent.windows(3).any(copies), "a packet went down three times");
        }
    }
}

//! Forged, replayed and misdirected packets on the hop between a relay and its leaf. What stands in
//! the hop sends from the very addresses that both ends have validated.

use super::{DEADLINE, Scene};
use soleil_tests::emulator::{Dir, LinkConfig};
use soleil_tests::harness::{Hop, Options, Running};
use soleil_tests::wait::until;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

const TIMES: usize = 1_000;

/// Whether a datagram is RTCP, and whether it is RTP (RFC 5761 section 4).
fn kind(data: &[u8]) -> (bool, bool) {
    let ours = data.len() > 12 && data[0] >> 6 == 2;
    let rtcp = ours && (192..=223).contains(&data[1]);
    (rtcp, ours && !rtcp)
}

fn strays(node: &Running, reason: &str) -> f64 {
    node.metrics().sum("soleil_media_strays_total", &[("reason", reason)])
}

#[test]
fn forged_and_replayed_packets_on_a_hop() {
    let hop = Hop { emulate: Some(LinkConfig::default()), tap: false };
    let mut scene = Scene::new(&Options { relay_hop: hop, ..Options::default() });
    let tree = &scene.tree;
    let (relay, leaf, emulator) = (&tree.relays[0], &tree.leaves[0], &tree.relay_emulators[0]);
    emulator.record();
    let of = |dir: Dir, rtp: bool| -> Vec<Vec<u8>> {
        let all = emulator.recorded().into_iter().filter(|(d, _)| *d == dir);
        all.filter(|(_, data)| if rtp { kind(data).1 } else { kind(data).0 })
            .map(|(_, data)| data)
            .collect()
    };
    until("packets to copy", DEADLINE, || {
        of(Dir::FromTarget, true).len() >= 50
            && of(Dir::FromTarget, false).len() >= 20
            && of(Dir::ToTarget, false).len() >= 5
    });
    let media = of(Dir::FromTarget, true);
    let (from_relay, from_leaf) = (of(Dir::FromTarget, false), of(Dir::ToTarget, false));
    let layer = |name: &str| leaf.metrics().sum(&format!("soleil_layer_{name}_total"), &[]);
    let rtcp_refused = |node: &Running| node.metrics().sum("soleil_hop_rtcp_refused_total", &[]);

    // From the parent's own address: packets that nobody can have sealed, of numbers still to come.
    let forged = layer("forged");
    for n in 0..TIMES {
        let mut packet = media[n % media.len()].clone();
        let number = u16::from_be_bytes([packet[2], packet[3]]).wrapping_add(5_000 + n as u16);
        packet[2..4].copy_from_slice(&number.to_be_bytes());
        let end = packet.len() - 2;
        packet[end] ^= 1 << (n % 8);
        emulator.inject(Dir::FromTarget, 0, packet);
    }
    let counted = || layer("forged") - forged;
    until("forged media to be counted", DEADLINE, || counted() >= 0.9 * TIMES as f64);
    scene.told(leaf, "media_forged", counted() as u64);

    // Copies of packets that have come.
    let known = layer("duplicates") + layer("too_old");
    for n in 0..TIMES {
        emulator.inject(Dir::FromTarget, 0, media[n % media.len()].clone());
    }
    until("copies to be counted", DEADLINE, || {
        layer("duplicates") + layer("too_old") - known >= 0.9 * TIMES as f64
    });

    // RTCP, altered and replayed, both ways.
    for (node, dir, packets) in
        [(leaf, Dir::FromTarget, &from_relay), (relay, Dir::ToTarget, &from_leaf)]
    {
        let before = rtcp_refused(node);
        for n in 0..TIMES {
            let mut packet = packets[n % packets.len()].clone();
            if n % 2 == 0 {
                let at = 8 + n % (packet.len() - 8);
                packet[at] ^= 0x10;
            }
            emulator.inject(dir, 0, packet);
        }
        let name = node.process.name();
        until(&format!("RTCP to be counted at {name}"), DEADLINE, || {
            rtcp_refused(node) - before >= 0.9 * TIMES as f64
        });
        scene.told(node, "rtcp_refused", (rtcp_refused(node) - before) as u64);
    }

    // The same, and good packets, from somebody else's address: neither end takes them, and nothing
    // goes there.
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let ports = tree.udp_ports();
    let port = |name: &str| ports.iter().find(|(n, _)| n == name).unwrap().1;
    let before = [strays(leaf, "not_validated"), strays(relay, "not_validated")];
    let stun = |node: &Running| strays(node, "stun_refused");
    let stun_before = stun(relay);
    let checks: Vec<Vec<u8>> = emulator
        .recorded()
        .into_iter()
        .filter(|(dir, data)| *dir == Dir::ToTarget && data.first().is_some_and(|b| *b <= 3))
        .map(|(_, data)| data)
        .collect();
    for n in 0..TIMES {
        for name in ["leaf media", "relay media"] {
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port(name)));
            let _ = stranger.send_to(&media[n % media.len()], to);
        }
        if let Some(check) = checks.get(n % checks.len().max(1)) {
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port("relay media")));
            let _ = stranger.send_to(check, to);
        }
    }
    // A socket's buffer may overflow where a thousand come at once: most is enough.
    until("media from nowhere to be counted", DEADLINE, || {
        strays(leaf, "not_validated") - before[0] >= 0.5 * TIMES as f64
            && strays(relay, "not_validated") - before[1] >= 0.5 * TIMES as f64
    });
    if !checks.is_empty() {
        until("copied STUN to be counted", DEADLINE, || stun(relay) > stun_before);
    }
    scene.told(leaf, "media_not_validated", (strays(leaf, "not_validated") - before[0]) as u64);
    let mut buffer = [0; 2_000];
    let mut got = 0;
    while let Ok((size, _)) = stranger.recv_from(&mut buffer) {
        assert!(!kind(&buffer[..size]).1, "media went to a stranger");
        got += size;
    }
    println!("a stranger who sent {} copies got {got} bytes back", 3 * TIMES);
    scene.unharmed();
}

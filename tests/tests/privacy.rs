//! "Captured between the nodes in a test: no control message, no media payload and no key is
//! readable (RTP headers and STUN are, by design)."

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relay_node::identity::encoding::{base64url, hex};
use soleil_tests::emulator::{Dir, LinkConfig, UdpEmulator};
use soleil_tests::harness::{Hop, Options, Tree};
use soleil_tests::viewer::{self, Viewers};
use soleil_tests::wait::{holds_within, pause};
use std::collections::HashSet;
use std::net::UdpSocket;
use std::time::Duration;

/// Stands in every audio packet.
const MARKER: &[u8] = b"soleil-marker-that-nobody-may-read";
/// No ciphertext has so many printable characters in a row (chance below 1e-20).
const LONGEST_TEXT: usize = 48;
/// Bytes of a payload that no other bytes are like by chance.
const PIECE: usize = 16;

fn holds(data: &[u8], text: &[u8]) -> bool {
    data.windows(text.len()).any(|window| window == text)
}

fn longest_text(data: &[u8]) -> usize {
    let printable = |b: &u8| (32..127).contains(b);
    data.split(|b| !printable(b)).map(<[u8]>::len).max().unwrap_or(0)
}

/// Pieces of what the broadcaster sent, which no hop may show. Runs of one value stand for nothing.
fn pieces(packets: &[Vec<u8>]) -> HashSet<[u8; PIECE]> {
    let payloads = packets.iter().filter(|p| p.len() > 12 && p[0] >> 6 == 2 && p[1] & 0x7f == 96);
    let all = payloads.flat_map(|p| p[12..].as_chunks::<PIECE>().0);
    all.filter(|piece| piece.iter().collect::<HashSet<_>>().len() > PIECE / 2).copied().collect()
}

/// TLS 1.3 seals everything after the two hellos in application records (RFC 8446 section 5.1):
/// one hello in the clear, the change of cipher that does nothing, then only those.
fn only_hellos_are_clear(stream: &[u8]) {
    let (mut rest, mut hellos) = (stream, 0);
    while let [kind, 3, _, high, low, after @ ..] = rest {
        match kind {
            22 => hellos += 1,
            20 | 23 => {}
            _ => panic!("a TLS record of type {kind}"),
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        // The last record may still be on its way.
        rest = after.get(length..).unwrap_or_default();
    }
    assert!(rest.len() < 5, "not TLS: {:?}", &rest[..5]);
    assert_eq!(hellos, 1, "handshake records in the clear");
}

/// A secret as it is, in hex and in base64.
fn forms(secret: &[u8]) -> [Vec<u8>; 4] {
    let text = hex(secret);
    let upper = text.to_uppercase();
    [secret.to_vec(), text.into_bytes(), upper.into_bytes(), base64url(secret).into_bytes()]
}

#[test]
fn nothing_is_readable_between_the_nodes() {
    let hop = Hop { emulate: Some(LinkConfig::default()), tap: true };
    let options = Options { root_hop: hop.clone(), relay_hop: hop, ..Options::default() };
    let mut tree = Tree::start(&options).unwrap();
    let emulators: Vec<_> = tree.root_emulator.iter().chain(&tree.relay_emulators).collect();
    emulators.iter().for_each(|e| e.record());
    // Opus is not looked into by anybody, so the marker goes through unchanged.
    let (video, audio) = tree.ingest(0);
    let any = "127.0.0.1:0".parse().unwrap();
    let clear = UdpEmulator::start(any, video, LinkConfig::default(), 1).unwrap();
    clear.record();
    let source = tree.broadcast_by(0, clear.address(), &["--no-audio"]).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sequence = 0u16;
    let mut send = || {
        let mut packet = vec![0x80, 111];
        packet.extend(sequence.to_be_bytes());
        packet.extend((u32::from(sequence) * 960).to_be_bytes());
        packet.extend(0x5011_E117u32.to_be_bytes());
        packet.extend(MARKER);
        sequence += 1;
        sender.send_to(&packet, audio).unwrap();
        pause(Duration::from_millis(20));
    };
    assert!(holds_within(Duration::from_secs(20), || {
        send();
        tree.is_live("demo")
    }));
    let viewers = Viewers::start(&tree.whep_url("demo"), 1, &viewer::Options::default()).unwrap();
    let mut report = viewers.report();
    holds_within(Duration::from_secs(20), || {
        send();
        report = viewers.report();
        report.video.frames > 60 && report.audio.packets > 60
    });
    assert!(report.video.frames > 60 && report.audio.packets > 60, "{report}");

    let sent = clear.recorded().into_iter().filter(|(dir, _)| *dir == Dir::ToTarget);
    let sent = pieces(&sent.map(|(_, packet)| packet).collect::<Vec<_>>());
    assert!(sent.len() > 2_000, "{} pieces of the picture", sent.len());
    // The private keys of the nodes and of the CA: the part of the file that is the key.
    let mut keys = Vec::new();
    for node in ["root", "relay-1", "leaf-1"] {
        let file = tree.directory().join(node).join("node.key");
        let der = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let secret = der.windows(3).position(|w| w == [1, 4, 32]).expect("a PKCS #8 P-256 key") + 3;
        keys.extend(forms(&der[secret..secret + 32]));
    }

    // Whoever reads them must not find the marker in media that certainly carried it.
    for (n, emulator) in emulators.iter().enumerate() {
        let packets = emulator.recorded();
        let media = packets.iter().filter(|(_, p)| p.first().is_some_and(|b| b >> 6 == 2)).count();
        assert!(media > 200, "hop {n}: {media} packets");
        for (_, packet) in &packets {
            assert!(!holds(packet, MARKER), "hop {n} carries plain payload");
            let shown = packet.windows(PIECE).any(|w| sent.contains(w));
            assert!(!shown, "hop {n} carries the picture: {packet:?}");
            assert!(!keys.iter().any(|key| holds(packet, key)), "hop {n} shows a key");
            // STUN shows user names, by design.
            if packet.first().is_some_and(|b| b >> 6 == 2) {
                assert!(longest_text(packet) < LONGEST_TEXT, "hop {n}: text in {packet:?}");
            }
        }
    }
    let token = std::fs::read_to_string(tree.directory().join("relay-1.toml")).unwrap();
    let token = token.lines().find_map(|l| l.strip_prefix("token = ")).unwrap().to_owned();
    let secret = token.trim_matches('"').split('.').nth(3).unwrap().to_owned();
    for tap in tree.root_tap.iter().chain(&tree.relay_taps) {
        let streams = tap.recorded();
        streams.iter().filter(|s| !s.is_empty()).for_each(|stream| only_hellos_are_clear(stream));
        let bytes = streams.concat();
        assert!(tap.connections() > 0 && bytes.len() > 2_000, "{} bytes", bytes.len());
        for text in
            ["<message", "</message", "GET /soleil", "Bearer", "statArray", "HELLO", "hello"]
        {
            assert!(!holds(&bytes, text.as_bytes()), "a control link shows {text:?}");
        }
        assert!(!holds(&bytes, secret.as_bytes()), "a control link shows the join token");
        assert!(!keys.iter().any(|key| holds(&bytes, key)), "a control link shows a key");
        assert!(longest_text(&bytes) < LONGEST_TEXT, "a control link carries text");
    }
    let _ = viewers.stop();
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

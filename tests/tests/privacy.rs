//! "Captured between the nodes in a test: no control message, no media payload and no key is
//! readable (RTP headers and STUN are, by design)."

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::emulator::LinkConfig;
use soleil_tests::harness::{Hop, Options, Tree};
use soleil_tests::viewer::{self, Viewers};
use soleil_tests::wait::{holds_within, pause};
use std::net::UdpSocket;
use std::time::Duration;

/// Stands in every audio packet.
const MARKER: &[u8] = b"soleil-marker-that-nobody-may-read";
/// No ciphertext has so many printable characters in a row (chance below 1e-20).
const LONGEST_TEXT: usize = 48;

fn holds(data: &[u8], text: &[u8]) -> bool {
    data.windows(text.len()).any(|window| window == text)
}

fn longest_text(data: &[u8]) -> usize {
    let printable = |b: &u8| (32..127).contains(b);
    data.split(|b| !printable(b)).map(<[u8]>::len).max().unwrap_or(0)
}

#[test]
fn nothing_is_readable_between_the_nodes() {
    let hop = Hop { emulate: Some(LinkConfig::default()), tap: true };
    let options = Options { root_hop: hop.clone(), relay_hop: hop, ..Options::default() };
    let mut tree = Tree::start(&options).unwrap();
    let emulators: Vec<_> = tree.root_emulator.iter().chain(&tree.relay_emulators).collect();
    emulators.iter().for_each(|e| e.record());
    // Opus is not looked into by anybody, so the marker goes through unchanged.
    let source = tree.broadcast(0, &["--no-audio"]).unwrap();
    let (_, audio) = tree.ingest(0);
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

    // Whoever reads them must not find the marker in media that certainly carried it.
    for (n, emulator) in emulators.iter().enumerate() {
        let packets = emulator.recorded();
        let media = packets.iter().filter(|(_, p)| p.first().is_some_and(|b| b >> 6 == 2)).count();
        assert!(media > 200, "hop {n}: {media} packets");
        for (_, packet) in &packets {
            assert!(!holds(packet, MARKER), "hop {n} carries plain payload");
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
        let bytes = tap.recorded();
        assert!(tap.connections() > 0 && bytes.len() > 2_000, "{} bytes", bytes.len());
        for text in ["<message", "</", "GET /soleil", "Bearer", "statArray", "HELLO", "hello"] {
            assert!(!holds(&bytes, text.as_bytes()), "a control link shows {text:?}");
        }
        assert!(!holds(&bytes, secret.as_bytes()), "a control link shows the join token");
        assert!(longest_text(&bytes) < LONGEST_TEXT, "a control link carries text");
    }
    let _ = viewers.stop();
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

//! What broadcasters post to the root, and the datagrams that come to its WHIP port.

use relay_node::config::candidates::Candidate;
use relay_node::webrtc::fragment::Fragment;
use root_node::ingest::TrackSpec;
use root_node::whip::answer::{Ours, answer};
use root_node::whip::offer::{Credentials, Offer};
use root_node::whip::plan::Plan;
use root_node::whip::route::Routes;
use soleil_protocol::pipeline::Codec;
use std::net::SocketAddr;

/// The first byte says what the rest is.
pub fn root_whip(data: &[u8]) {
    let Some((what, rest)) = data.split_first() else { return };
    match what % 4 {
        0 => route(rest),
        1 => text(rest, fragment),
        2 => text(rest, |offer| describe(offer, Codec::Vp8)),
        _ => text(rest, |offer| describe(offer, Codec::H264)),
    }
}

fn text(data: &[u8], take: impl Fn(&str)) {
    if let Ok(text) = std::str::from_utf8(data) {
        take(text);
    }
}

fn ours() -> Credentials {
    Credentials::new("ours", "0123456789012345678901").expect("credentials of the right form")
}

fn at() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 8189))
}

/// Nothing that was sent may end a line of ours.
fn check_lines(out: &str) {
    let line = |l: &str| l.as_bytes().get(1) == Some(&b'=') && !l.contains('\r');
    assert!(out.ends_with("\r\n") && out.split("\r\n").all(|l| l.is_empty() || line(l)), "{out}");
}

fn fragment(text: &str) {
    let Ok(fragment) = Fragment::parse(text) else { return };
    let _ = fragment.credentials();
    let (ours, at) = (ours(), [Candidate::udp(at())]);
    check_lines(&fragment.answer(&ours.ufrag, &ours.pwd, &at).expect("memory"));
}

fn describe(text: &str, codec: Codec) {
    let Ok(offer) = Offer::parse(text) else { return };
    let track = |name: &str, codec, payload_type, clock_rate, channels, layers| TrackSpec {
        name: name.into(),
        codec,
        payload_type,
        clock_rate,
        channels,
        fmtp: String::new(),
        layers,
        made: 0,
    };
    let tracks =
        [track("video", codec, 96, 90_000, 0, 3), track("audio", Codec::Opus, 111, 48_000, 2, 1)];
    let Ok(plan) = Plan::new(&offer, &tracks) else { return };
    for line in &plan.lines {
        assert!(line.rids.len() <= 3 && line.first_layer <= 3);
        // Three of the picture, and the sound.
        assert!(line.rids.iter().all(|rid| line.layer(rid).is_some_and(|layer| layer < 4)));
    }
    let at = [Candidate::udp(at())];
    let ours = Ours { ice: &ours(), fingerprint: "sha-256 00", addresses: &at, session: 1 };
    check_lines(&answer(&plan, &ours).expect("memory"));
}

fn route(data: &[u8]) {
    let mut routes = Routes::default();
    routes.add_ufrag(1, "ours");
    // An answer to a check.
    let answer = [&[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    routes.sent(1, at(), &answer);
    let stranger = SocketAddr::from(([192, 0, 2, 9], 9));
    let found = routes.find(stranger, data);
    assert!(found.is_none() || data.windows(4).any(|w| w == b"ours"), "of nobody");
}

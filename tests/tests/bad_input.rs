//! "Bad input, each with a test": at ingest, over WHEP and WHIP, with join tokens, and random
//! bytes everywhere. Nothing panics, and viewers who are there notice nothing. Control messages
//! have a file of their own, bad_control.rs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use soleil_tests::harness::{Options, PUBLISH_TOKEN, Stream, Tree};
use soleil_tests::http;
use soleil_tests::viewer::{self, Codec, Offer, Viewers};
use soleil_tests::wait::until;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const VIEWERS: usize = 3;
const DEADLINE: Duration = Duration::from_secs(20);

/// A tree with a stream on air, one that is not, and viewers.
fn tree_with_viewers() -> (Tree, soleil_tests::harness::Broadcast, Viewers) {
    let streams =
        ["demo", "silent"].map(|name| Stream { name: name.into(), codec: "H264" }).to_vec();
    let tree = Tree::start(&Options { streams, ..Options::default() }).unwrap();
    let source = tree.go_live(0, &[]).unwrap();
    let viewers =
        Viewers::start(&tree.whep_url("demo"), VIEWERS, &viewer::Options::default()).unwrap();
    viewers
        .wait(DEADLINE, |r| r.with_picture() == VIEWERS)
        .unwrap_or_else(|report| panic!("not all have a picture:\n{report}"));
    (tree, source, viewers)
}

/// The viewers go on for two seconds and have lost nothing; no process has ended or panicked.
fn unharmed(tree: &mut Tree, viewers: &Viewers) {
    let frames = viewers.report().video.frames;
    let report = viewers
        .wait(DEADLINE, |r| r.video.frames >= frames + 60 * VIEWERS as u64)
        .unwrap_or_else(|report| panic!("the picture stands still:\n{report}"));
    assert_eq!((report.failed, report.unopened), (0, 0), "{report}");
    assert_eq!((report.video.lost, report.audio.lost), (0, 0), "{report}");
    assert_eq!(report.video.broken_frames, 0, "{report}");
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

fn rtp(payload_type: u8, sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend(7u32.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

#[test]
fn rtp_that_does_not_belong_there() {
    let (mut tree, source, viewers) = tree_with_viewers();
    let (video, audio) = tree.ingest(0);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let before = tree.root.metrics();
    for n in 0..200u16 {
        for (to, payload_type) in [(video, 96), (audio, 111)] {
            // A second sender; a payload type that nobody configured; a header cut short; lengths
            // that point outside; RTCP that is none.
            let whole = rtp(payload_type, n, 1, &[0x65; 100]);
            let cut = usize::from(n % 12);
            let mut csrcs = whole.clone();
            csrcs[0] = 0x8F;
            let mut extension = whole[..16].to_vec();
            extension[0] = 0x90;
            let mut padding = whole.clone();
            padding[0] = 0xA0;
            let rtcp = [0x80, 200, 0xFF, 0xFF, 1, 2, 3, 4];
            for packet in [
                &whole[..],
                &rtp(97, n, 1, &[1; 50]),
                &whole[..cut],
                &csrcs[..14],
                &extension,
                &padding,
                &rtcp,
            ] {
                stranger.send_to(packet, to).unwrap();
            }
        }
    }
    let name = "soleil_ingest_dropped_total";
    let rise = |tree: &Tree, labels: &[(&str, &str)]| {
        tree.root.metrics().sum(name, labels) - before.sum(name, labels)
    };
    until("the root to have counted them", DEADLINE, || rise(&tree, &[]) >= 2_000.0);
    // The second sender is known for one on both ports.
    for track in ["video", "audio"] {
        let refused = rise(&tree, &[("track", track), ("reason", "second_sender")]);
        assert!(refused >= 150.0, "{track}: {refused} packets of a second sender");
    }
    unharmed(&mut tree, &viewers);
    drop(source);
}

/// A viewer's offer.
fn offer() -> String {
    Offer {
        id: 1,
        ufrag: "abcdefgh",
        pwd: "abcdefghijklmnopqrstuvwx",
        fingerprint: &["AB"; 32].join(":"),
        video: &[Codec::H264],
        audio: true,
        feedback: true,
        candidate: "127.0.0.1:9".parse().unwrap(),
    }
    .to_sdp()
}

/// What broadcasters may get wrong, while one is on air: each is told what and where.
fn broadcasts_that_cannot_be_taken(tree: &Tree) {
    let post = |stream: &str, token: Option<&str>, body: &str| {
        let bearer = format!("Bearer {}", token.unwrap_or_default());
        let mut headers = vec![("Content-Type", "application/sdp")];
        headers.extend(token.map(|_| ("Authorization", bearer.as_str())));
        http::request("POST", &tree.whip_url(stream), &headers, body.as_bytes()).unwrap()
    };
    let good = offer().replace("a=recvonly", "a=sendonly");
    let video = &good[good.find("m=video").unwrap()..good.find("m=audio").unwrap()];
    let second = video.replace("a=mid:0", "a=mid:2");
    let two = format!("{}{second}", good.replace("BUNDLE 0 1", "BUNDLE 0 1 2"));
    let large = format!("{good}{}", "a=candidate:1 1 udp 1 1.2.3.4 5 typ host\r\n".repeat(20_000));
    let right = Some(PUBLISH_TOKEN);
    for (stream, token, body, status, says) in [
        ("silent", None, &good, 401, "a publish token is needed"),
        ("silent", Some("of-somebody-else"), &good, 401, "the publish token is not this stream's"),
        ("nothing-of-that-name", right, &good, 404, "no stream of this name"),
        ("demo", right, &good, 409, "already"),
        ("silent", right, &good.replace("sendonly", "sendrecv"), 422, "one is sendrecv"),
        ("silent", right, &two, 422, "more than one video section"),
        ("silent", right, &good.replace("H264", "H263"), 422, "defined for H264"),
        ("silent", right, &"v=0\r\n".to_owned(), 400, "SDP"),
        ("silent", right, &large, 413, ""),
    ] {
        let answer = post(stream, token, body);
        let text = answer.text();
        assert_eq!(answer.status, status, "{stream}: {text}");
        assert!(text.contains(says) && !text.is_empty(), "{stream}: {text}");
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert_eq!(challenge.starts_with("Bearer"), status == 401, "{challenge}");
    }
    // The same as it should be.
    let answer = post("silent", right, &good);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let session = answer.header("location").unwrap();
    assert_eq!(http::request("DELETE", session, &[], b"").unwrap().status, 200);
}

#[test]
fn offers_that_cannot_be_served() {
    let (mut tree, _source, viewers) = tree_with_viewers();
    let sdp = [("Content-Type", "application/sdp")];
    let post = |stream: &str, body: &str| {
        http::follow("POST", &tree.whep_url(stream), &sdp, body.as_bytes()).unwrap()
    };
    let good = offer();

    assert_eq!(post("nothing-of-that-name", &good).status, 404);
    let silent = post("silent", &good);
    assert_eq!(silent.status, 409, "{}", silent.text());
    assert!(silent.header("retry-after").is_some(), "{:?}", silent.headers);

    // The last one ends within its first media line.
    let cut = &good[..good.find("m=").unwrap() + 9];
    for garbage in ["", "hello", "v=0\r\n", "v=0\r\nm=\r\n", cut] {
        let answer = post("demo", garbage);
        assert_eq!(answer.status, 400, "{garbage:?}: {}", answer.text());
        assert!(!answer.body.is_empty());
    }
    let bomb = format!("{good}{}", "a=candidate:1 1 udp 1 1.2.3.4 5 typ host\r\n".repeat(20_000));
    assert!([400, 413].contains(&post("demo", &bomb).status));

    let foreign = good.replace("H264/90000", "H263/90000").replace("opus/48000/2", "PCMU/8000");
    let answer = post("demo", &foreign);
    assert!([406, 422].contains(&answer.status), "{} {}", answer.status, answer.text());
    assert!(!answer.body.is_empty(), "it says why");

    let text = [("Content-Type", "text/plain")];
    let answer = http::follow("POST", &tree.whep_url("demo"), &text, good.as_bytes()).unwrap();
    assert_eq!(answer.status, 415);
    // A leaf serves nobody whom the root has not sent.
    let direct = format!("{}/whep/demo", tree.leaf_http(0));
    let answer = http::request("POST", &direct, &sdp, good.as_bytes()).unwrap();
    assert!([401, 403].contains(&answer.status), "{}", answer.status);
    let forged = format!("{direct}?ticket=eyJhIjoxfQ.AAAA");
    let answer = http::request("POST", &forged, &sdp, good.as_bytes()).unwrap();
    assert!([401, 403].contains(&answer.status), "{}", answer.status);
    broadcasts_that_cannot_be_taken(&tree);
    unharmed(&mut tree, &viewers);
}

#[test]
fn tokens_that_let_nobody_in() {
    let mut tree = Tree::start(&Options { relays: 0, leaves: 0, ..Options::default() }).unwrap();
    let good = tree.token("relay", &[]).unwrap();
    let mut parts: Vec<String> = good.split('.').map(str::to_owned).collect();
    // Another secret of the same form.
    let other = if parts[3].starts_with('A') { "B" } else { "A" };
    parts[3].replace_range(..1, other);
    let wrong = parts.join(".");
    let expired = tree.token("relay", &["--ttl", "1s"]).unwrap();
    let revoked = tree.token("relay", &[]).unwrap();
    let id = revoked.split('.').nth(2).unwrap().to_owned();
    tree.root_command(&["token", "revoke", &id]).unwrap();
    let refused = |tree: &Tree| {
        tree.root.metrics().sum("soleil_control_refused_total", &[("reason", "token")])
    };
    for (what, token) in [("wrong", wrong), ("revoked", revoked), ("expired", expired)] {
        if what == "expired" {
            let list = || tree.root_command(&["token", "list"]).unwrap();
            until("the token to expire", DEADLINE, || list().contains("expired"));
        }
        let before = refused(&tree);
        let mut relay = tree.stranger(&token).unwrap();
        until(&format!("the {what} token to be refused"), DEADLINE, || refused(&tree) > before);
        assert!(!relay.is_ready(), "a node with a {what} token is ready");
        relay.process.stop();
    }
    let mut relay = tree.stranger(&good).unwrap();
    relay.wait_ready(DEADLINE).unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

#[test]
fn random_bytes_on_every_port() {
    let (mut tree, _source, viewers) = tree_with_viewers();
    let mut rng = StdRng::seed_from_u64(5);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (_, port) in tree.udp_ports() {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        for _ in 0..300 {
            let mut data = vec![0; rng.random_range(0..1400)];
            rng.fill(&mut data[..]);
            // Half of it looks like STUN, DTLS, RTP or RTCP at first sight.
            if rng.random() && data.len() > 8 {
                let begin: &[u8] = [
                    &[0, 1, 0, 8, 0x21, 0x12, 0xA4, 0x42][..],
                    &[22, 0xFE, 0xFD, 0, 0],
                    &[0x90, 96],
                    &[0x81, 205, 0, 9],
                ][rng.random_range(0..4)];
                data[..begin.len()].copy_from_slice(begin);
            }
            let _ = socket.send_to(&data, to);
        }
    }
    for (name, port) in tree.tcp_ports() {
        for n in 0..20 {
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let mut stream = TcpStream::connect_timeout(&to, DEADLINE)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut data = vec![0; 2000];
            rng.fill(&mut data[..]);
            let begin: &[u8] = [&b"POST /whep/demo HTTP/1.1\r\n"[..], b"\x16\x03\x01", b""][n % 3];
            let _ = stream.write_all(begin);
            let _ = stream.write_all(&data);
        }
    }
    unharmed(&mut tree, &viewers);
}

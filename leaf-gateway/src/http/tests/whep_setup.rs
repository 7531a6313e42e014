//! WHEP sections 4.2 (session set-up), 4.5 (WebRTC constraints), 4.7 (STUN and TURN) and 4.9
//! (extensions).

use super::*;
use crate::http::ice_servers::IceServer;

const SDP: &str = "Content-Type: application/sdp\r\n";

/// An offer without the codec of the stream.
fn foreign() -> String {
    OFFER.replace("VP8", "VP7")
}

/// What Chromium would answer to a counter-offer of video alone.
fn answer(setup: &str, direction: &str, payload_type: u8) -> String {
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF {payload_type} 97\r\nc=IN IP4 0.0.0.0\r\n\
         a=ice-ufrag:page\r\na=ice-pwd:a-password-of-the-page-itself\r\n\
         a=fingerprint:sha-256 {}\r\na=setup:{setup}\r\na=mid:0\r\na={direction}\r\n\
         a=rtcp-mux\r\na=rtpmap:{payload_type} VP8/90000\r\na=rtcp-fb:{payload_type} nack\r\n\
         a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt={payload_type}\r\n",
        ["AB"; 32].join(":")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_2_1_post_answers_201_with_sdp_and_location() {
    let b = bench(|_| {}).await;
    let answer = b.post("demo", OFFER).await;
    assert_eq!(status(&answer), 201, "{answer}");
    assert_eq!(header(&answer, "content-type"), Some("application/sdp"));
    assert!(header(&answer, "location").unwrap().starts_with("http://leaf.test/whep/demo/"));
    assert!(body(&answer).starts_with("v=0\r\n"));
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_2_2_without_a_common_codec_there_is_a_counter_offer() {
    let b = bench(|_| {}).await;
    let counter = b.post("layers", &foreign()).await;
    assert_eq!(status(&counter), 406, "{counter}");
    assert_eq!(header(&counter, "content-type"), Some("application/sdp"));
    assert!(header(&counter, "location").unwrap().starts_with("http://leaf.test/whep/layers/"));
    for line in [
        "i=no codec in common: the stream has VP8 and opus",
        "m=video ",
        "a=rtpmap:96 VP8/90000",
        "a=rtpmap:97 rtx/90000",
        "m=audio 0 UDP/TLS/RTP/SAVPF 111",
        "a=rtpmap:111 opus/48000/2",
        "a=bundle-only",
        "a=group:BUNDLE 0 1",
        "a=setup:actpass",
        "a=sendonly",
        "a=rtcp-mux-only",
        "a=candidate:1 ",
    ] {
        assert!(body(&counter).contains(&format!("\r\n{line}")), "{line} is not in {counter}");
    }
    assert_eq!(b.leaf.occupancy(), (1, 1), "it holds a place");
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_2_2_the_answer_to_a_counter_offer_is_patched_and_answered_204() {
    let b = bench(|_| {}).await;
    let counter = b.post("demo", &foreign()).await;
    let path = path_of(&counter);
    assert_eq!(status(&b.send("GET", &path, "", "").await), 204, "it stands");
    let done = b.send("PATCH", &path, SDP, &answer("active", "recvonly", 96)).await;
    assert_eq!((status(&done), body(&done)), (204, ""), "{done}");
    assert_eq!(b.leaf.metrics().joins.get(), 1);
    // From now on it is a session like any other, with the tag that came with the offer.
    let tag = format!("If-Match: {}\r\n", header(&counter, "etag").unwrap());
    let trickle = format!("Content-Type: application/trickle-ice-sdpfrag\r\n{tag}");
    assert_eq!(status(&b.send("PATCH", &path, &trickle, "a=ice-ufrag:page\r\n").await), 204);
    let again = b.send("PATCH", &path, SDP, &answer("active", "recvonly", 96)).await;
    assert_eq!(status(&again), 415, "there is no renegotiation");
    assert_eq!(status(&b.send("DELETE", &path, "", "").await), 200);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_2_2_a_malformed_answer_is_4xx_and_leaves_the_offer_standing() {
    let b = bench(|_| {}).await;
    let path = path_of(&b.post("demo", &foreign()).await);
    for (bad, expected) in [
        ("garbage".to_owned(), 400),
        (answer("passive", "recvonly", 96), 400),
        (answer("active", "sendonly", 96), 400),
        (answer("active", "recvonly", 98), 422),
        (OFFER.replace("actpass", "active"), 400),
        ("x".repeat(MAX_OFFER_LEN + 1), 413),
    ] {
        assert_eq!(status(&b.send("PATCH", &path, SDP, &bad).await), expected, "{bad:.60}");
    }
    let trickle = "Content-Type: application/trickle-ice-sdpfrag\r\nIf-Match: *\r\n";
    assert_eq!(status(&b.send("PATCH", &path, trickle, "a=mid:0\r\n").await), 404);
    let good = answer("active", "recvonly", 96);
    assert_eq!(status(&b.send("PATCH", &path, SDP, &good).await), 204);
    let none = format!("/whep/demo/{:034x}", 7);
    assert_eq!(status(&b.send("PATCH", &none, SDP, &good).await), 404);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_2_2_a_counter_offer_can_be_deleted_and_gives_its_place_back() {
    let b = bench(|_| {}).await;
    let path = path_of(&b.post("demo", &foreign()).await);
    assert_eq!(status(&b.send("DELETE", &path, "", "").await), 200);
    assert_eq!(b.leaf.occupancy(), (0, 0));
    let good = answer("active", "recvonly", 96);
    assert_eq!(status(&b.send("PATCH", &path, SDP, &good).await), 404);
    assert_eq!(status(&b.send("DELETE", &path, "", "").await), 404);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_2_4_wrong_types_and_malformed_offers_are_4xx() {
    let b = bench(|_| {}).await;
    let path = format!("/whep/demo?ticket={}", b.ticket("demo", "leaf-1", 60_000));
    for head in ["", "Content-Type: text/plain\r\n", "Content-Type: application/sdpx\r\n"] {
        assert_eq!(status(&b.send("POST", &path, head, OFFER).await), 415, "{head}");
    }
    let with_parameter = "Content-Type: application/SDP; charset=utf-8\r\n";
    assert_eq!(status(&b.send("POST", &path, with_parameter, OFFER).await), 201);
    // Without an offer there is nothing to counter: the player always begins (section 3).
    for bad in ["", "garbage", "v=0\r\n"] {
        assert_eq!(status(&b.post("demo", bad).await), 400, "{bad}");
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_2_5_directions() {
    let b = bench(|_| {}).await;
    let served = b.post("demo", OFFER).await;
    assert!(body(&served).contains("\r\na=sendonly\r\n") && !served.contains("a=sendrecv"));
    let both = OFFER.replace("a=recvonly", "a=sendrecv");
    let served = b.post("demo", &both).await;
    assert_eq!(status(&served), 201, "a player may offer sendrecv");
    assert!(body(&served).contains("\r\na=sendonly\r\n") && !served.contains("a=sendrecv"));
    for wrong in ["a=sendonly", "a=inactive"] {
        let answer = b.post("demo", &OFFER.replace("a=recvonly", wrong)).await;
        assert_eq!(status(&answer), 400, "{wrong}");
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_2_8_a_stream_that_is_not_on_air_is_409_with_retry_after() {
    let b = bench(|_| {}).await;
    let off = b.post("off", OFFER).await;
    assert_eq!(status(&off), 409);
    assert!(header(&off, "retry-after").unwrap().parse::<u32>().unwrap() > 0);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_5_1_everything_is_one_bundle_with_rtcp_mux() {
    let b = bench(|_| {}).await;
    let served = b.post("layers", OFFER).await;
    assert!(body(&served).contains("\r\na=group:BUNDLE 0 1\r\n"), "{served}");
    assert_eq!(served.matches("\r\na=rtcp-mux\r\n").count(), 2);
    // RFC 8858 section 4 forbids it in answers; a counter-offer has it.
    assert!(!served.contains("rtcp-mux-only"));
    for wrong in [
        OFFER.replace("a=rtcp-mux\r\n", ""),
        OFFER.replace("a=group:BUNDLE 0 1\r\n", ""),
        OFFER.replace("a=group:BUNDLE 0 1\r\n", "a=group:BUNDLE 0\r\n"),
    ] {
        assert_eq!(status(&b.post("layers", &wrong).await), 400);
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_5_2_there_is_one_media_stream_with_one_track_of_a_kind() {
    let b = bench(|_| {}).await;
    let (_, served) = begin(&b, "layers").await;
    let streams: Vec<&str> = body(&served)
        .lines()
        .filter_map(|l| l.strip_prefix("a=msid:")?.split(' ').next())
        .collect();
    assert_eq!(streams, ["soleil", "soleil"]);
    let more = OFFER.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0 1 2");
    let video = &OFFER[OFFER.find("m=video").unwrap()..OFFER.find("m=audio").unwrap()];
    let more = more + &video.replace("a=mid:0", "a=mid:2");
    let served = b.post("layers", &more).await;
    assert_eq!(status(&served), 201, "{served}");
    let sections: Vec<&str> = body(&served).lines().filter(|l| l.starts_with("m=")).collect();
    assert!(sections[2].starts_with("m=video 0 "), "a second video is refused: {sections:?}");
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_7_ice_servers_come_as_links() {
    let b = bench(|c| {
        let server = |url: &str, secret: Option<&str>| IceServer {
            url: url.into(),
            username: None,
            credential: None,
            secret: secret.map(str::to_owned),
        };
        c.webrtc.ice_servers = vec![
            server("stun:stun.test:3478", None),
            server("turn:turn.test?transport=udp", Some("north")),
        ];
    })
    .await;
    for answer in [b.post("demo", OFFER).await, b.post("demo", &foreign()).await] {
        let links = headers(&answer, "link");
        assert!(links.contains(&"<stun:stun.test:3478>; rel=\"ice-server\""), "{links:?}");
        let turn = links.iter().find(|l| l.starts_with("<turn:turn.test?transport=udp>")).unwrap();
        for part in ["rel=\"ice-server\"", "username=\"", "credential=\"", "credential-type="] {
            assert!(turn.contains(part), "{turn}");
        }
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_9_extensions_are_announced_by_one_link_each_and_not_needed() {
    let b = bench(|_| {}).await;
    let (path, answer) = begin(&b, "demo").await;
    let links = headers(&answer, "link");
    assert_eq!(
        links,
        [
            format!(
                "<http://leaf.test{path}/events>; \
                 rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; \
                 events=\"active,inactive,layers,reconnect,viewercount\""
            ),
            format!("<http://leaf.test{path}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\""),
        ]
    );
    b.leaf.stop().await;
}

//! The rules of RFC 9725, each named after its section.

use super::*;
use crate::whip::Refused;

/// A fragment with one candidate.
const CANDIDATE: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\n\
    m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n\
    a=candidate:2 1 tcp 1 fantasy.local 9 typ host tcptype active\r\na=end-of-candidates\r\n";
/// A fragment with new credentials.
const RESTART: &str = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n\
    m=audio 9 RTP/AVP 0\r\na=mid:0\r\n";
const TRICKLE: &str = "Content-Type: application/trickle-ice-sdpfrag";

#[tokio::test]
async fn section_4_2_an_offer_is_answered_by_201_with_sdp_and_an_absolute_location() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/sdp");
    let session = answer.session(&site);
    let name = session.strip_prefix("/whip/demo/").unwrap();
    assert_eq!(name.len(), 32, "128 bits that nobody guesses (section 5)");
    // What was not offered is not answered, what is not the stream's either.
    let sections: Vec<&str> = answer.body.split("m=").collect();
    assert!(sections[1].starts_with("audio 9 UDP/TLS/RTP/SAVPF 111\r\n"), "{}", answer.body);
    assert!(sections[1].contains("a=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r\n"));
    assert!(sections[2].starts_with("video 9 UDP/TLS/RTP/SAVPF 96 97\r\n"), "{}", answer.body);
    for line in [
        "a=recvonly",
        "a=setup:passive",
        "a=rtcp-mux",
        "a=rtcp-fb:96 nack",
        "a=rtcp-fb:96 nack pli",
        "a=rtcp-fb:96 ccm fir",
        "a=rtcp-fb:96 transport-cc",
        "a=fmtp:97 apt=96",
        "a=mid:1",
    ] {
        assert!(sections[2].lines().any(|l| l == line), "{line} in {}", answer.body);
    }
    for word in ["H264", "goog-remb", "abs-send-time", "sendrecv", "simulcast"] {
        assert!(!answer.body.contains(word), "{word} in {}", answer.body);
    }
}

#[tokio::test]
async fn section_4_2_another_type_is_415_and_what_is_no_offer_400() {
    let site = Site::start().await;
    let token = format!("Authorization: Bearer {TOKEN}");
    let ask =
        async |kind: &str, body: &str| site.ask("POST", "/whip/demo", &[&token, kind], body).await;
    ask("Content-Type: text/plain", &offer(&[])).await.refuses(415, "application/sdp");
    ask("Accept: */*", &offer(&[])).await.refuses(415, "application/sdp");
    let kind = "content-type: Application/SDP; charset=utf-8";
    for text in ["", "hello", "v=0\r\n", "{\"sdp\":\"v=0\"}"] {
        ask(kind, text).await.refuses(400, "");
    }
    let whole = offer(&[]);
    for part in ["a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\n", "a=mid:1\r\n"] {
        ask(kind, &whole.replace(part, "")).await.refuses(400, "no a=");
    }
    ask(kind, &whole.replace("sha-256", "sha-1")).await.refuses(400, "SHA-256");
    ask(kind, &"x".repeat(10 << 20)).await.refuses(413, "");
    assert_eq!(site.whip.counters.sessions.get(), 0);
    assert_eq!(ask(kind, &whole).await.status, 201);
}

#[tokio::test]
async fn section_4_2_only_what_is_sent_one_way_is_taken() {
    let site = Site::start().await;
    for direction in ["sendrecv", "recvonly", "inactive"] {
        let text = offer(&[]).replace("a=sendonly", &format!("a={direction}"));
        site.post(&text).await.refuses(422, direction);
    }
}

#[tokio::test]
async fn section_4_2_delete_ends_the_session_and_frees_the_stream() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    let session = answer.session(&site);
    // A condition is not looked at (section 4.3.1).
    let ended = site.ask("DELETE", &session, &["If-Match: \"other\""], "").await;
    assert_eq!((ended.status, ended.body.as_str()), (200, ""));
    site.ask("DELETE", &session, &[], "").await.refuses(404, "no such session");
    site.ask("PATCH", &session, &[TRICKLE], CANDIDATE).await.refuses(404, "no such session");
    let deadline =
        tokio::time::timeout(LIMIT, async { while site.post(&offer(&[])).await.status != 201 {} });
    deadline.await.unwrap();
}

#[tokio::test]
async fn section_4_2_other_methods_are_405_with_allow() {
    let site = Site::start().await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH"] {
        let answer = site.ask(method, "/whip/demo", &[], "").await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.header("allow").contains("POST"), "{method}: {:?}", answer.headers);
    }
    let session = site.post(&offer(&[])).await.session(&site);
    for method in ["GET", "HEAD", "PUT", "POST"] {
        let answer = site.ask(method, &session, &[], "").await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.header("allow").contains("PATCH"), "{method}: {:?}", answer.headers);
    }
}

#[tokio::test]
async fn section_4_2_options_are_200_with_accept_post_and_pages_may_call() {
    let site = Site::start().await;
    let preflight = ["Origin: https://a.example", "Access-Control-Request-Method: POST"];
    let answer = site.ask("OPTIONS", "/whip/demo", &preflight, "").await;
    assert_eq!((answer.status, answer.header("accept-post")), (200, "application/sdp"));
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    for header in ["Authorization", "Content-Type", "If-Match"] {
        assert!(answer.header("access-control-allow-headers").contains(header));
    }
    let created = site.post(&offer(&[])).await;
    let shown = created.header("access-control-expose-headers").to_owned();
    for header in ["Location", "Link", "ETag"] {
        assert!(shown.contains(header), "{shown}");
    }
    let of_session = site.ask("OPTIONS", &created.session(&site), &preflight, "").await;
    assert!(of_session.header("access-control-allow-methods").contains("DELETE"));
    assert_eq!(of_session.status, 200);
}

#[tokio::test]
async fn section_4_3_1_a_patch_of_another_type_is_415_and_a_bad_one_400() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    let (session, tag) = (answer.session(&site), answer.header("etag").to_owned());
    let matching = format!("If-Match: {tag}");
    let patch =
        async |kind: &str, body: &str| site.ask("PATCH", &session, &[&matching, kind], body).await;
    patch("Content-Type: application/sdp", CANDIDATE).await.refuses(415, "trickle-ice-sdpfrag");
    let two = "m=audio 9 RTP/AVP 0\r\na=mid:0\ra=ice-lite\r\n";
    for body in ["", "nonsense", "a=foo:bar\r\n", two, "v=0\r\na=ice-ufrag:abcd\r\n"] {
        patch(TRICKLE, body).await.refuses(400, "");
    }
    patch(TRICKLE, "a=ice-ufrag:ysXw\r\n").await.refuses(400, "ice-pwd");
    patch(TRICKLE, &"a=candidate:x\r\n".repeat(2_000)).await.refuses(413, "");
    // None of it has touched the session.
    assert_eq!(patch(TRICKLE, CANDIDATE).await.status, 204);
}

#[tokio::test]
async fn section_4_3_1_the_201_has_a_strong_tag_that_a_restart_changes() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    let tag = answer.header("etag").to_owned();
    assert!(tag.len() > 6 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    let restarted =
        site.ask("PATCH", &answer.session(&site), &["If-Match: *", TRICKLE], RESTART).await;
    assert_eq!(restarted.status, 200);
    assert_ne!(restarted.header("etag"), tag);
}

#[tokio::test]
async fn section_4_3_2_candidates_are_204_without_body_and_tag() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    let (session, tag) = (answer.session(&site), answer.header("etag").to_owned());
    let patched =
        site.ask("PATCH", &session, &[&format!("If-Match: {tag}"), TRICKLE], CANDIDATE).await;
    assert_eq!((patched.status, patched.body.as_str(), patched.header("etag")), (204, "", ""));
    let other = site.ask("PATCH", &session, &["If-Match: \"other\"", TRICKLE], CANDIDATE).await;
    other.refuses(412, "ETag");
    site.ask("PATCH", &session, &[TRICKLE], CANDIDATE).await.refuses(428, "If-Match");
}

#[tokio::test]
async fn section_4_3_2_the_answer_has_all_our_candidates() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    let port = site.whip.bound.port();
    let candidate = format!("a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host\r\n");
    assert!(answer.body.contains(&candidate), "{}", answer.body);
    assert!(answer.body.contains("a=end-of-candidates\r\n"));
    assert!(answer.body.contains("a=ice-lite\r\n"));
}

#[tokio::test]
async fn section_4_3_3_a_restart_is_200_with_new_credentials_and_tag() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    let (session, tag) = (answer.session(&site), answer.header("etag").to_owned());
    // The star of the example in the RFC stands in quotes.
    let restarted = site.ask("PATCH", &session, &["If-Match: \"*\"", TRICKLE], RESTART).await;
    assert_eq!(restarted.status, 200, "{}", restarted.body);
    assert_eq!(restarted.header("content-type"), "application/trickle-ice-sdpfrag");
    let line = |text: &str, name: &str| {
        text.lines().find_map(|l| l.strip_prefix(name)).map(str::to_owned).unwrap()
    };
    let new = line(&restarted.body, "a=ice-ufrag:");
    assert_ne!(new, line(&answer.body, "a=ice-ufrag:"));
    assert_ne!(line(&restarted.body, "a=ice-pwd:"), line(&answer.body, "a=ice-pwd:"));
    assert!(restarted.body.contains("a=ice-lite\r\n") && restarted.body.contains("a=candidate:1 "));
    assert_eq!(restarted.header("etag"), format!("\"{new}\""));
    // The old tag is that of the past.
    let late = site.ask("PATCH", &session, &[&format!("If-Match: {tag}"), TRICKLE], RESTART).await;
    late.refuses(412, "ETag");
}

#[tokio::test]
async fn section_4_3_3_a_restart_that_fails_leaves_the_session_as_it_was() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    let (session, tag) = (answer.session(&site), answer.header("etag").to_owned());
    let short = RESTART.replace("vw5LmwG4y/e6dPP/zAP9Gp5k", "short");
    site.ask("PATCH", &session, &["If-Match: *", TRICKLE], &short).await.refuses(400, "ice-pwd");
    let matching = format!("If-Match: {tag}");
    let patched = site.ask("PATCH", &session, &[&matching, TRICKLE], CANDIDATE).await;
    assert_eq!(patched.status, 204);
}

#[tokio::test]
async fn section_4_4_1_everything_is_one_bundle_with_rtcp_mux() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    assert!(answer.body.contains("a=group:BUNDLE 0 1\r\n"));
    let loose = offer(&[]).replace("BUNDLE 0 1", "BUNDLE 0");
    site.post(&loose).await.refuses(422, "BUNDLE");
    site.post(&offer(&[]).replace("a=rtcp-mux\r\n", "")).await.refuses(422, "rtcp-mux");
}

#[tokio::test]
async fn section_4_4_2_two_pictures_or_two_media_streams_are_422() {
    let site = Site::start().await;
    let whole = offer(&[]);
    let (_, video) = whole.split_once("m=video").unwrap();
    let twice = format!("{whole}m=video{}", video.replace("a=mid:1", "a=mid:2"));
    let twice = twice.replace("BUNDLE 0 1", "BUNDLE 0 1 2");
    site.post(&twice).await.refuses(422, "more than one video");
    site.post(&whole.replace("a=msid:s v", "a=msid:t v")).await.refuses(422, "MediaStream");
}

#[tokio::test]
async fn section_4_4_3_no_section_is_rejected_alone() {
    let site = Site::start().await;
    let no_vp8 = offer(&[]).replace("VP8/90000", "VP9/90000");
    site.post(&no_vp8).await.refuses(422, "defined for VP8");
    let mut data = offer(&[]).replace("BUNDLE 0 1", "BUNDLE 0 1 2");
    data.push_str("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n");
    site.post(&data).await.refuses(422, "only audio and video");
    // A picture alone is whole in itself.
    let whole = offer(&[]);
    let (head, rest) = whole.split_once("m=audio").unwrap();
    let (_, video) = rest.split_once("m=video").unwrap();
    let alone = format!("{head}m=video{video}").replace("BUNDLE 0 1", "BUNDLE 1");
    assert_eq!(site.post(&alone).await.status, 201);
}

#[tokio::test]
async fn section_4_4_4_the_root_is_the_dtls_server() {
    let site = Site::start().await;
    let passive = offer(&[]).replace("a=setup:actpass", "a=setup:passive");
    site.post(&passive).await.refuses(422, "a=setup");
    let active = offer(&[]).replace("a=setup:actpass", "a=setup:active");
    let answer = site.post(&active).await;
    assert_eq!(answer.status, 201);
    assert!(answer.body.contains("a=setup:passive\r\n"));
}

#[tokio::test]
async fn section_4_5_when_all_places_are_taken_it_is_503_with_retry_after() {
    let site = Site::with(Setup { places: 0, ..Setup::default() }).await;
    let answer = site.post(&offer(&[])).await;
    answer.refuses(503, "places");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
}

#[tokio::test]
async fn section_4_5_a_root_that_stops_is_503_with_retry_after_and_lets_sessions_go_on() {
    let site = Site::start().await;
    let session = site.post(&offer(&[])).await.session(&site);
    site.draining.cancel();
    let answer = site.post(&offer(&[])).await;
    answer.refuses(503, "stopping");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    assert_eq!(site.ask("DELETE", &session, &[], "").await.status, 200);
}

#[tokio::test]
async fn section_4_6_ice_servers_come_as_links() {
    let server = |url: &str, user: Option<&str>| IceServer {
        url: url.to_owned(),
        username: user.map(str::to_owned),
        credential: user.map(str::to_owned),
        secret: None,
    };
    let servers = vec![server("stun:a.example", None), server("turn:a.example", Some("me"))];
    let site = Site::with(Setup { ice_servers: servers, ..Setup::default() }).await;
    let answer = site.post(&offer(&[])).await;
    let links: Vec<&str> =
        answer.headers.iter().filter(|(n, _)| n == "link").map(|(_, v)| v.as_str()).collect();
    assert_eq!(links[0], "<stun:a.example>; rel=\"ice-server\"");
    assert!(links[1].starts_with("<turn:a.example>; rel=\"ice-server\"; username=\"me\""));
}

#[tokio::test]
async fn section_4_7_1_without_a_token_it_is_401_with_the_scheme() {
    let site = Site::start().await;
    let sdp = "Content-Type: application/sdp";
    for stream in ["demo", "closed", "other"] {
        let path = format!("/whip/{stream}");
        let answer = site.ask("POST", &path, &[sdp], &offer(&[])).await;
        answer.refuses(401, "publish token");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"whip\"", "{stream}");
        let basic = site.ask("POST", &path, &[sdp, "Authorization: Basic eDp5"], "").await;
        assert_eq!(basic.status, 401);
    }
}

#[tokio::test]
async fn section_4_7_1_a_wrong_token_is_401_and_an_unknown_stream_404() {
    let site = Site::start().await;
    let ask = async |stream: &str, token: &str| {
        let token = format!("Authorization: Bearer {token}");
        let headers = [token.as_str(), "Content-Type: application/sdp"];
        site.ask("POST", &format!("/whip/{stream}"), &headers, &offer(&[])).await
    };
    let wrong = ask("demo", "south").await;
    wrong.refuses(401, "not this stream's");
    assert!(wrong.header("www-authenticate").contains("invalid_token"));
    // A stream without a token is open to nobody, and says what is missing.
    ask("closed", TOKEN).await.refuses(401, "publish_token");
    ask("other", TOKEN).await.refuses(404, "no stream");
    assert_eq!(ask("demo", TOKEN).await.status, 201);
}

/// Checks that wait for something, as for a disk.
#[derive(Debug)]
struct Waits(std::sync::Mutex<std::sync::mpsc::Receiver<Result<(), Refused>>>);

impl PublishCheck for Waits {
    fn check(&self, _: &str, _: Option<&str>) -> Result<(), Refused> {
        self.0.lock().unwrap().recv_timeout(LIMIT / 2).unwrap_or(Err(Refused::WrongToken))
    }
}

#[tokio::test]
async fn section_4_7_1_nobody_waits_with_the_check_of_a_token() {
    let (tell, waits) = std::sync::mpsc::channel();
    let tokens = Arc::new(Waits(std::sync::Mutex::new(waits)));
    let site = Site::with(Setup { tokens, ..Setup::default() }).await;
    // This test has one thread: a check on it would hold up what lets the check go on.
    let whole = offer(&[]);
    let other = async {
        assert_eq!(site.ask("OPTIONS", "/whip/demo", &[], "").await.status, 200);
        tell.send(Ok(())).unwrap();
    };
    let (answer, ()) = tokio::join!(site.post(&whole), other);
    assert_eq!(answer.status, 201, "{}", answer.body);
    tell.send(Err(Refused::Unavailable)).unwrap();
    let answer = site.post(&whole).await;
    answer.refuses(503, "tokens");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
}

#[tokio::test]
async fn a_stream_that_rests_is_409_for_who_may_broadcast_it() {
    let site = Site::start().await;
    for (stream, why) in [("rests", "is stopped"), ("fails", "can't run")] {
        let path = format!("/whip/{stream}");
        let ask = async |token: &str| {
            let token = format!("Authorization: Bearer {token}");
            let headers = [token.as_str(), "Content-Type: application/sdp"];
            site.ask("POST", &path, &headers, &offer(&[])).await
        };
        let answer = ask(TOKEN).await;
        answer.refuses(409, why);
        assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
        ask("south").await.refuses(401, "not this stream's");
    }
}

#[tokio::test]
async fn section_4_8_simulcast_is_answered_for_the_layers_that_the_stream_has() {
    let site = Site::start().await;
    let answer = site.post(&offer(&["h", "m", "l", "x"])).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    for line in ["a=rid:h recv", "a=rid:m recv", "a=rid:l recv", "a=simulcast:recv h;m;l"] {
        assert!(answer.body.lines().any(|l| l == line), "{line} in {}", answer.body);
    }
    assert!(!answer.body.contains("a=rid:x"));
}

#[tokio::test]
async fn a_second_broadcaster_is_409_whatever_the_first_one_speaks() {
    let site = Site::start().await;
    assert_eq!(site.post(&offer(&[])).await.status, 201);
    let second = site.post(&offer(&[])).await;
    second.refuses(409, "already");
    // By then who has crashed and comes again can have the stream (RFC 9110 section 10.2.3).
    assert_eq!(second.header("retry-after"), "5");
    // Plain RTP has to wait as well.
    let plain = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let packet = [0x80, 100, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x10, 0, 0, 0];
    plain.send_to(&packet, site.ingest.ports[0]).await.unwrap();
    let mut counters = site.ingest.counters.clone();
    let refused = counters
        .wait_for(|layers| layers[0].3.dropped(crate::ingest::DropReason::SecondSender) == 1);
    tokio::time::timeout(LIMIT, refused).await.unwrap().unwrap();
    // And the other way round.
    let other = Site::start().await;
    plain.send_to(&packet, other.ingest.ports[0]).await.unwrap();
    let mut counters = other.ingest.counters.clone();
    let taken = counters.wait_for(|layers| layers[0].3.accepted == 1);
    tokio::time::timeout(LIMIT, taken).await.unwrap().unwrap();
    plain.send_to(&packet, other.ingest.ports[0]).await.unwrap();
    other.post(&offer(&[])).await.refuses(409, "already");
}

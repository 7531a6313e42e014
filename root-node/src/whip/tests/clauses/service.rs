//! Sections 4.5 to 4.9 (load, ICE servers, tokens, simulcast, extensions), section 5, and a stream that is
//! not to be had.

use super::*;
use crate::whip::Refused;

#[tokio::test]
async fn s4_5_nothing_is_redirected() {
    let site = Site::start().await;
    // With 301 and 302 a POST becomes a GET. Slashes and points are no other way to an address either.
    for path in ["/whip/demo", "/whip/demo/", "/whip//demo", "/whip/./demo", "/whip"] {
        for method in ["GET", "POST", "PATCH", "DELETE"] {
            let answer = site.ask(method, path, &[SDP], &offer(&[])).await;
            assert!(!(300..400).contains(&answer.status), "{method} {path}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn s4_5_when_all_places_are_taken_it_is_503_with_retry_after() {
    let site = Site::with(Setup { places: 0, ..Setup::default() }).await;
    let answer = site.post(&offer(&[])).await;
    answer.refuses(503, "places");
    assert!(answer.retry_after() > 0);
}

#[tokio::test]
async fn s4_5_a_root_that_stops_is_503_with_retry_after_and_lets_sessions_go_on() {
    let site = Site::start().await;
    let (session, _) = begun(&site).await;
    site.draining.cancel();
    let answer = site.post(&offer(&[])).await;
    answer.refuses(503, "stopping");
    assert!(answer.retry_after() > 0);
    assert_eq!(site.ask("DELETE", &session, &[], "").await.status, 200);
}

fn ice_servers() -> Vec<IceServer> {
    let server = |url: &str, user: Option<&str>| IceServer {
        url: url.to_owned(),
        username: user.map(str::to_owned),
        credential: user.map(str::to_owned),
        secret: None,
    };
    vec![server("stun:a.example", None), server("turn:a.example?transport=udp", Some("me"))]
}

#[tokio::test]
async fn s4_6_ice_servers_come_as_links() {
    let site = Site::with(Setup { ice_servers: ice_servers(), ..Setup::default() }).await;
    let answer = site.post(&offer(&[])).await;
    let links: Vec<&str> =
        answer.headers.iter().filter(|(n, _)| n == "link").map(|(_, v)| v.as_str()).collect();
    let turn = "<turn:a.example?transport=udp>; rel=\"ice-server\"; username=\"me\"; \
                credential=\"me\"; credential-type=\"password\"";
    assert_eq!(links, ["<stun:a.example>; rel=\"ice-server\"", turn]);
}

#[tokio::test]
async fn s4_6_a_preflight_gets_no_ice_servers() {
    let site = Site::with(Setup { ice_servers: ice_servers(), ..Setup::default() }).await;
    let preflight = ["Origin: https://a.example", "Access-Control-Request-Method: POST"];
    let answer = site.ask("OPTIONS", "/whip/demo", &preflight, "").await;
    assert_eq!((answer.status, answer.header("link")), (200, ""));
}

#[tokio::test]
async fn s4_7_1_without_a_token_it_is_401_with_the_scheme() {
    let site = Site::start().await;
    for stream in ["demo", "closed", "other"] {
        let path = format!("/whip/{stream}");
        let answer = site.ask("POST", &path, &[SDP], &offer(&[])).await;
        answer.refuses(401, "publish token");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"whip\"", "{stream}");
        let basic = site.ask("POST", &path, &[SDP, "Authorization: Basic eDp5"], "").await;
        assert_eq!(basic.status, 401);
    }
}

#[tokio::test]
async fn s4_7_1_a_wrong_token_is_401_and_an_unknown_stream_404() {
    let site = Site::start().await;
    let wrong = post(&site, "demo", "south").await;
    wrong.refuses(401, "not this stream's");
    assert!(wrong.header("www-authenticate").contains("invalid_token"));
    // A stream without a token is open to nobody, and says what is missing.
    post(&site, "closed", TOKEN).await.refuses(401, "publish_token");
    post(&site, "other", TOKEN).await.refuses(404, "no stream");
    assert_eq!(post(&site, "demo", TOKEN).await.status, 201);
}

#[tokio::test]
async fn s4_7_1_preflights_and_sessions_need_no_token_and_take_one() {
    let site = Site::start().await;
    let preflight = ["Origin: https://a.example", "Access-Control-Request-Method: POST"];
    for path in ["/whip/demo", "/whip/demo/0123"] {
        assert_eq!(site.ask("OPTIONS", path, &preflight, "").await.status, 200, "{path}");
    }
    // Clients send their token in every request; a session is known by its URL.
    let (session, matching) = begun(&site).await;
    let token = format!("Authorization: Bearer {TOKEN}");
    for headers in [vec![matching.as_str(), TRICKLE], vec![&matching, TRICKLE, &token]] {
        assert_eq!(site.ask("PATCH", &session, &headers, CANDIDATE).await.status, 204);
    }
    assert_eq!(site.ask("DELETE", &session, &[&token], "").await.status, 200);
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
async fn s4_7_1_nobody_waits_with_the_check_of_a_token() {
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
    assert!(answer.retry_after() > 0);
}

#[tokio::test]
async fn s4_8_simulcast_is_answered_for_the_layers_that_the_stream_has() {
    let site = Site::start().await;
    let answer = site.post(&offer(&["h", "m", "l", "x"])).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.lines("a=rid:"), ["a=rid:h recv", "a=rid:m recv", "a=rid:l recv"]);
    assert_eq!(answer.lines("a=simulcast:"), ["a=simulcast:recv h;m;l"]);
}

#[tokio::test]
async fn s4_8_simulcast_that_was_not_offered_is_not_answered() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    assert_eq!(answer.lines("a=rid:").len() + answer.lines("a=simulcast:").len(), 0);
}

#[tokio::test]
async fn s4_9_no_extension_is_announced_and_none_is_needed() {
    let site = Site::with(Setup { ice_servers: ice_servers(), ..Setup::default() }).await;
    let answer = site.post(&offer(&[])).await;
    for (name, value) in &answer.headers {
        assert!(!value.contains("urn:ietf:params:whip"), "{name}: {value}");
    }
    let session = answer.session(&site);
    assert_eq!(site.ask("POST", &format!("{session}/sse"), &[], "").await.status, 404);
    assert_eq!(site.ask("DELETE", &session, &[], "").await.status, 200);
}

#[tokio::test]
async fn s5_sessions_have_names_that_nobody_guesses() {
    let site = Site::start().await;
    let mut names = Vec::new();
    for _ in 0..2 {
        let session = when_free(&site).await.session(&site);
        let name = session.strip_prefix("/whip/demo/").unwrap().to_owned();
        assert!(name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
        // One that is nearly so is nobody's.
        let other = if name.ends_with('0') { "1" } else { "0" };
        let near = format!("/whip/demo/{}{other}", &name[..31]);
        site.ask("DELETE", &near, &[], "").await.refuses(404, "no such session");
        assert_eq!(site.ask("DELETE", &session, &[], "").await.status, 200);
        names.push(name);
    }
    assert_ne!(names[0], names[1]);
}

#[tokio::test]
async fn s5_an_address_that_asks_too_often_waits() {
    let site = Site::with(Setup { of_an_address: 1, ..Setup::default() }).await;
    let mut limited = None;
    // Twenty at once, then one a second: the machine is not so slow that it never has an end.
    for _ in 0..10_000 {
        let answer = site.ask("DELETE", "/whip/demo/0123", &[], "").await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        answer.refuses(404, "no such session");
    }
    let limited = limited.expect("429");
    limited.refuses(429, "too many requests");
    assert!(limited.retry_after() > 0);
    assert_eq!(limited.header("access-control-allow-origin"), "*");
    // Preflights are the browser's.
    assert_eq!(site.ask("OPTIONS", "/whip/demo", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_stream_that_rests_is_409_for_who_may_broadcast_it() {
    let site = Site::start().await;
    for (stream, why) in [("rests", "is stopped"), ("fails", "can't run")] {
        let answer = post(&site, stream, TOKEN).await;
        answer.refuses(409, why);
        assert!(answer.retry_after() > 0);
        post(&site, stream, "south").await.refuses(401, "not this stream's");
    }
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

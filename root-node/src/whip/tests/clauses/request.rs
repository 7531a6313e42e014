//! Section 4.1 (HTTP) and section 4.2 (setting up a session, and ending it).

use super::super::parts::check;
use super::*;

#[tokio::test]
async fn s4_1_refusals_are_problem_statements() {
    let site = Site::start().await;
    // `refuses` looks at the type and the text (RFC 9457).
    site.post("hello").await.refuses(400, "\"detail\":\"the body is not an SDP offer\"");
    post(&site, "demo", "south").await.refuses(401, "\"status\":401");
    site.ask("DELETE", "/whip/demo/0123", &[], "").await.refuses(404, "\"title\":\"Not Found\"");
    site.ask("PUT", "/whip/demo", &[], "").await.refuses(405, "Allow");
}

#[tokio::test]
async fn s4_1_get_is_2xx_without_content() {
    let site = Site::start().await;
    let (session, _) = begun(&site).await;
    // The endpoint says nothing of which streams there are.
    for path in ["/whip/demo", "/whip/closed", "/whip/nothing", session.as_str()] {
        for method in ["GET", "HEAD"] {
            let answer = site.ask(method, path, &[], "").await;
            assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{method} {path}");
        }
    }
    assert_eq!(site.ask("DELETE", &session, &[], "").await.status, 200);
    site.ask("GET", &session, &[], "").await.refuses(404, "no such session");
}

#[tokio::test]
async fn s4_1_other_methods_are_405_with_allow() {
    let site = Site::start().await;
    let (session, _) = begun(&site).await;
    for (path, methods, takes) in [
        ("/whip/demo", ["PUT", "DELETE", "PATCH"], ["GET", "POST", "OPTIONS"]),
        (session.as_str(), ["PUT", "POST", "TRACE"], ["GET", "PATCH", "DELETE"]),
    ] {
        for method in methods {
            let answer = site.ask(method, path, &[], "").await;
            assert_eq!(answer.status, 405, "{method} {path}");
            for taken in takes {
                let allow = answer.header("allow");
                assert!(allow.contains(taken), "{method} {path}: {allow}");
            }
        }
    }
}

#[tokio::test]
async fn s4_2_an_offer_is_answered_by_201_with_sdp() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/sdp");
    assert!(answer.body.starts_with("v=0\r\no=- "), "{}", answer.body);
}

#[tokio::test]
async fn s4_2_created_has_an_absolute_location() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    // `session` looks for our address before the path.
    assert!(answer.session(&site).starts_with("/whip/demo/"));
}

#[tokio::test]
async fn s4_2_the_answer_answers_each_section_with_what_both_have() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    // What was not offered is not answered, what is not the stream's either (RFC 9429 section 5.3.1).
    let sections: Vec<&str> = answer.body.split("m=").collect();
    assert_eq!(sections.len(), 3, "{}", answer.body);
    assert!(sections[1].starts_with("audio 9 UDP/TLS/RTP/SAVPF 111\r\n"), "{}", answer.body);
    assert!(sections[1].contains("a=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r\n"));
    assert!(sections[2].starts_with("video 9 UDP/TLS/RTP/SAVPF 96 97\r\n"), "{}", answer.body);
    for line in [
        "a=mid:1",
        "a=rtcp-fb:96 nack",
        "a=rtcp-fb:96 nack pli",
        "a=rtcp-fb:96 ccm fir",
        "a=rtcp-fb:96 transport-cc",
        "a=fmtp:97 apt=96",
    ] {
        assert!(sections[2].lines().any(|l| l == line), "{line} in {}", answer.body);
    }
    for word in ["H264", "goog-remb", "abs-send-time", "simulcast"] {
        assert!(!answer.body.contains(word), "{word} in {}", answer.body);
    }
}

#[tokio::test]
async fn s4_2_the_answer_is_recvonly() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    assert_eq!(answer.lines("a=recvonly").len(), 2, "{}", answer.body);
    for other in ["a=sendrecv", "a=sendonly", "a=inactive"] {
        assert!(answer.lines(other).is_empty(), "{}", answer.body);
    }
}

#[tokio::test]
async fn s4_2_an_offer_that_does_not_only_send_is_422() {
    let site = Site::start().await;
    for direction in ["sendrecv", "recvonly", "inactive"] {
        let text = offer(&[]).replace("a=sendonly", &format!("a={direction}"));
        site.post(&text).await.refuses(422, direction);
    }
    // What says nothing is sendrecv (RFC 8866 section 6.7).
    site.post(&offer(&[]).replace("a=sendonly\r\n", "")).await.refuses(422, "sendrecv");
}

#[tokio::test]
async fn s4_2_another_type_is_415() {
    let site = Site::start().await;
    let token = format!("Authorization: Bearer {TOKEN}");
    let ask = async |kind: &str| site.ask("POST", "/whip/demo", &[&token, kind], &offer(&[])).await;
    for kind in ["Content-Type: text/plain", "Content-Type: application/sdpx", "Accept: */*"] {
        ask(kind).await.refuses(415, "application/sdp");
    }
    assert_eq!(ask("content-type: Application/SDP; charset=utf-8").await.status, 201);
}

#[tokio::test]
async fn s4_2_a_malformed_offer_is_400() {
    let site = Site::start().await;
    for text in ["", "hello", "v=0\r\n", "{\"sdp\":\"v=0\"}"] {
        site.post(text).await.refuses(400, "");
    }
    let whole = offer(&[]);
    for part in ["a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\n", "a=mid:1\r\n"] {
        site.post(&whole.replace(part, "")).await.refuses(400, "no a=");
    }
    site.post(&whole.replace("sha-256", "sha-1")).await.refuses(400, "SHA-256");
    site.post(&whole.replace("a=mid:1", "a=mid:0")).await.refuses(400, "same mid");
    assert_eq!(site.whip.counters.sessions.get(), 0);
    assert_eq!(site.post(&whole).await.status, 201, "none of it has taken the stream");
}

#[tokio::test]
async fn s4_2_an_offer_of_10_mb_is_413() {
    let site = Site::start().await;
    site.post(&"x".repeat(10 << 20)).await.refuses(413, "");
    assert_eq!(site.post(&offer(&[])).await.status, 201);
}

#[tokio::test]
async fn s4_2_delete_ends_the_session_and_frees_the_stream() {
    let site = Site::start().await;
    let (session, matching) = begun(&site).await;
    let ended = site.ask("DELETE", &session, &[], "").await;
    assert_eq!((ended.status, ended.body.as_str()), (200, ""));
    site.ask("DELETE", &session, &[], "").await.refuses(404, "no such session");
    let patched = site.ask("PATCH", &session, &[&matching, TRICKLE], CANDIDATE).await;
    patched.refuses(404, "no such session");
    when_free(&site).await;
}

#[tokio::test]
async fn s4_2_an_ended_session_answers_no_checks() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    let word = |name: &str| answer.lines(name)[0].strip_prefix(name).unwrap();
    let check = check(word("a=ice-ufrag:"), word("a=ice-pwd:"), &[]);
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(site.whip.bound).await.unwrap();
    socket.send(&check).await.unwrap();
    let mut buffer = [0; 1_500];
    let answered = async {
        loop {
            // The root may check as well; the response has our transaction (RFC 8489 section 5).
            socket.recv(&mut buffer).await.unwrap();
            if buffer[8..20] == check[8..20] {
                break buffer[..2] == [1, 1];
            }
        }
    };
    assert!(tokio::time::timeout(LIMIT, answered).await.unwrap(), "a success response");

    assert_eq!(site.ask("DELETE", &answer.session(&site), &[], "").await.status, 200);
    // What was under way before has come by now.
    while socket.try_recv(&mut buffer).is_ok() {}
    let strangers = &site.whip.counters.strangers;
    let before = strangers.get();
    socket.send(&check).await.unwrap();
    let seen = async {
        while strangers.get() == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, seen).await.unwrap();
    assert!(socket.try_recv(&mut buffer).is_err(), "consent is revoked (RFC 7675 section 5.2)");
}

#[tokio::test]
async fn s4_2_options_are_200_with_accept_post() {
    let site = Site::start().await;
    let answer = site.ask("OPTIONS", "/whip/demo", &[], "").await;
    assert_eq!((answer.status, answer.header("accept-post")), (200, "application/sdp"));
    let (session, _) = begun(&site).await;
    let answer = site.ask("OPTIONS", &session, &[], "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("accept-patch"), "application/trickle-ice-sdpfrag");
}

#[tokio::test]
async fn s4_2_pages_of_other_sites_may_call() {
    let site = Site::start().await;
    let created = site.post(&offer(&[])).await;
    let session = created.session(&site);
    for (path, method) in [("/whip/demo", "POST"), (session.as_str(), "PATCH")] {
        let asked = format!("Access-Control-Request-Method: {method}");
        let preflight = ["Origin: https://a.example", asked.as_str()];
        let answer = site.ask("OPTIONS", path, &preflight, "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        for allowed in [method, "DELETE"] {
            assert!(answer.header("access-control-allow-methods").contains(allowed));
        }
        for header in ["Authorization", "Content-Type", "If-Match"] {
            assert!(answer.header("access-control-allow-headers").contains(header));
        }
    }
    let shown = created.header("access-control-expose-headers");
    for header in ["Location", "Link", "ETag"] {
        assert!(shown.contains(header), "{shown}");
    }
}

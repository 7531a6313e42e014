//! WHEP section 4.1 (HTTP usage), the editors' copy's section on discovery, 4.3 (termination) and
//! what section 4.6 says of HTTP. Numbers are those of draft-ietf-wish-whep-03.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn section_4_1_errors_are_problem_details() {
    let b = bench(|_| {}).await;
    let answer = b.post("nothing", OFFER).await;
    assert_eq!(header(&answer, "content-type"), Some("application/problem+json"));
    let problem: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
    assert_eq!(problem["status"], 404);
    assert_eq!(problem["detail"], "there is no such stream");
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_1_get_answers_2xx_without_content() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let endpoint = b.send("GET", "/whep/demo", "", "").await;
    assert_eq!((status(&endpoint), body(&endpoint)), (200, ""), "{endpoint}");
    let session = b.send("GET", &path, "", "").await;
    assert_eq!((status(&session), body(&session)), (204, ""), "{session}");
    let other = format!("/whep/demo/{:034x}", 7);
    assert_eq!(status(&b.send("GET", &other, "", "").await), 404, "no such session");
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn editors_copy_head_finds_a_whep_endpoint() {
    let b = bench(|_| {}).await;
    // Without a ticket, and without telling whether there is a stream.
    for path in ["/whep/demo", "/whep/nothing"] {
        let head = b.send("HEAD", path, "", "").await;
        assert_eq!((status(&head), body(&head)), (200, ""), "{head}");
        assert_eq!(header(&head, "content-type"), Some("application/sdp"));
        let get = b.send("GET", path, "", "").await;
        assert_eq!(header(&get, "content-type"), Some("application/sdp"));
    }
    assert_eq!(status(&b.send("HEAD", "/other", "", "").await), 404);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_3_delete_answers_200_and_ends_the_session() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    assert_eq!(status(&b.send("DELETE", &path, "", "").await), 200);
    assert_eq!(b.leaf.metrics().ended_by(crate::session::EndCause::Deleted), 1);
    assert_eq!(b.leaf.occupancy(), (0, 0), "the place is free");
    // The effect of a second one is the same (RFC 9110 section 9.2.2); the answer says so.
    assert_eq!(status(&b.send("DELETE", &path, "", "").await), 404);
    assert_eq!(status(&b.send("GET", &path, "", "").await), 404);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_3_options_answer_200_with_accept_post_and_cors() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let extension = [format!("{path}/events"), format!("{path}/layer")];
    for (url, accepts) in [
        ("/whep/demo", "application/sdp"),
        (path.as_str(), "application/sdp"),
        (extension[0].as_str(), "application/json"),
        (extension[1].as_str(), "application/json"),
    ] {
        let preflight = "Origin: https://page.test\r\nAccess-Control-Request-Method: PATCH\r\n\
                         Access-Control-Request-Headers: authorization, if-match\r\n";
        let answer = b.send("OPTIONS", url, preflight, "").await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(header(&answer, "accept-post"), Some(accepts), "{url}");
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        let list = |name| header(&answer, name).unwrap().split(", ").collect::<Vec<_>>();
        for method in ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"] {
            assert!(list("access-control-allow-methods").contains(&method), "{method}");
        }
        for name in ["authorization", "content-type", "if-match"] {
            assert!(list("access-control-allow-headers").contains(&name), "{name}");
        }
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_3_a_page_of_another_origin_sees_the_headers_that_whep_works_with() {
    let b = bench(|_| {}).await;
    for answer in [b.post("demo", OFFER).await, b.post("off", OFFER).await] {
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        let exposed = header(&answer, "access-control-expose-headers").unwrap();
        let exposed: Vec<&str> = exposed.split(", ").collect();
        for name in ["location", "link", "etag", "retry-after", "accept-post", "accept-patch"] {
            assert!(exposed.contains(&name), "{name}");
        }
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_405_with_allow() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let (events, layer) = (format!("{path}/events"), format!("{path}/layer"));
    for (method, url) in [
        ("PUT", "/whep/demo"),
        ("DELETE", "/whep/demo"),
        ("PATCH", "/whep/demo"),
        ("PUT", &path),
        ("POST", &path),
        ("GET", &events),
        ("GET", &layer),
        ("DELETE", &layer),
    ] {
        let answer = b.send(method, url, "", "").await;
        assert_eq!(status(&answer), 405, "{method} {url}");
        assert!(header(&answer, "allow").is_some());
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_6_an_overloaded_leaf_answers_503_with_retry_after() {
    let b = bench(|c| c.capacity.viewers = 1).await;
    let (path, _) = begin(&b, "demo").await;
    let full = b.post("demo", OFFER).await;
    assert_eq!(status(&full), 503);
    assert!(header(&full, "retry-after").unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(status(&b.send("DELETE", &path, "", "").await), 200);
    assert_eq!(status(&b.post("demo", OFFER).await), 201, "the place is taken again");
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_5_an_address_that_asks_too_often_waits() {
    let b = bench(|c| c.webrtc.sessions_per_address = 2).await;
    let path = format!("/whep/demo/{:034x}", 7);
    let mut limited = None;
    for _ in 0..200 {
        let answer = b.send("DELETE", &path, "", "").await;
        if status(&answer) != 404 {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("nobody says that it is enough");
    assert_eq!(status(&limited), 429, "{limited}");
    assert_eq!(header(&limited, "retry-after"), Some("1"));
    assert_eq!(header(&limited, "access-control-allow-origin"), Some("*"));
    assert_eq!(status(&b.send("OPTIONS", &path, "", "").await), 200, "preflights are free");
    assert_eq!(b.leaf.metrics().limited.get(), 1);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_5_sessions_have_names_that_cannot_be_guessed() {
    let b = bench(|_| {}).await;
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let (path, _) = begin(&b, "demo").await;
        let name = path.rsplit('/').next().unwrap().to_owned();
        assert_eq!(name.len(), 34, "the worker and 128 bits");
        assert!(names.insert(name));
    }
    b.leaf.stop().await;
}

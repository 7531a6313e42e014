//! A session's life over HTTP: POST, OPTIONS, PATCH, DELETE as RFC 9725 has them.

use super::*;

const TRICKLE: &str = "Content-Type: application/trickle-ice-sdpfrag\r\n";

/// A session: the path of its URL and its ETag.
async fn session(b: &Bench) -> (String, String) {
    let answer = b.post("demo", OFFER).await;
    assert_eq!(status(&answer), 201, "{answer}");
    let location = header(&answer, "location").unwrap();
    let path = location.strip_prefix("http://leaf.test").unwrap().to_owned();
    (path, header(&answer, "etag").unwrap().to_owned())
}

async fn patch(b: &Bench, path: &str, head: &str, body: &str) -> u16 {
    status(&b.send("PATCH", path, &format!("{TRICKLE}{head}"), body).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_created_and_deleted() {
    let b = bench(|_| {}).await;
    let answer = b.post("demo", OFFER).await;
    assert_eq!(status(&answer), 201, "{answer}");
    assert_eq!(header(&answer, "content-type"), Some("application/sdp"));
    assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&answer, "cache-control"), Some("no-store"));
    assert_eq!(header(&answer, "accept-patch"), Some("application/trickle-ice-sdpfrag"));
    let exposed = header(&answer, "access-control-expose-headers").unwrap();
    assert!(exposed.contains("location") && exposed.contains("etag"));
    let path = header(&answer, "location").unwrap().strip_prefix("http://leaf.test").unwrap();
    assert_eq!(status(&b.send("DELETE", path, "", "").await), 200);
    assert_eq!(status(&b.send("DELETE", path, "", "").await), 404);
    assert_eq!(b.leaf.metrics().ended_by(crate::session::EndCause::Deleted), 1);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_needs_the_right_etag() {
    let b = bench(|_| {}).await;
    let (path, etag) = session(&b).await;
    let same = "a=ice-ufrag:lW2S\r\na=candidate:1 1 udp 1 192.0.2.1 4000 typ host\r\n";
    assert_eq!(patch(&b, &path, "", same).await, 428);
    for wrong in ["\"x\"", "x", &format!("W/{etag}"), etag.trim_matches('"'), ""] {
        assert_eq!(patch(&b, &path, &format!("If-Match: {wrong}\r\n"), same).await, 412, "{wrong}");
    }
    for right in ["*", &etag, &format!("\"x\", {etag}")] {
        assert_eq!(patch(&b, &path, &format!("If-Match: {right}\r\n"), same).await, 204, "{right}");
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fragments_change_nothing() {
    let b = bench(|_| {}).await;
    let (path, etag) = session(&b).await;
    let tag = format!("If-Match: {etag}\r\n");
    for bad in ["complete garbage", "", "a=sendonly\r\n", "a=ice-ufrag:lW2S\r\ngarbage\r\n"] {
        assert_eq!(patch(&b, &path, &tag, bad).await, 400, "{bad}");
    }
    // A restart that is not complete.
    assert_eq!(patch(&b, &path, "If-Match: *\r\n", "a=ice-ufrag:other\r\n").await, 400);
    let short = "a=ice-ufrag:other\r\na=ice-pwd:short\r\n";
    assert_eq!(patch(&b, &path, "If-Match: *\r\n", short).await, 400);
    assert_eq!(patch(&b, &path, &tag, &"x".repeat(20_000)).await, 413);
    let wrong = format!("Content-Type: application/sdp\r\n{tag}");
    assert_eq!(status(&b.send("PATCH", &path, &wrong, "").await), 415);
    assert_eq!(status(&b.send("PATCH", &path, &tag, "").await), 415, "no type at all");
    let other = format!("/whep/demo/{:034x}", 7);
    assert_eq!(patch(&b, &other, &tag, "").await, 404);
    assert_eq!(patch(&b, "/whep/demo/short", &tag, "").await, 404);
    assert_eq!(patch(&b, &path, &tag, "a=ice-ufrag:lW2S\r\n").await, 204, "it lives");
    assert_eq!(status(&b.send("DELETE", &path, "", "").await), 200);
    assert_eq!(patch(&b, &path, &tag, "").await, 404);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_gives_new_credentials_and_a_new_etag() {
    let b = bench(|_| {}).await;
    let (path, etag) = session(&b).await;
    let fragment = "a=ice-ufrag:other\r\na=ice-pwd:0123456789012345678901\r\n\
                    m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n";
    let head = format!("{TRICKLE}If-Match: *\r\n");
    let answer = b.send("PATCH", &path, &head, fragment).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(header(&answer, "content-type"), Some("application/trickle-ice-sdpfrag"));
    let renewed = header(&answer, "etag").unwrap().to_owned();
    assert_ne!(renewed, etag);
    assert!(answer.contains(&format!("a=ice-ufrag:{}\r\n", renewed.trim_matches('"'))));
    assert!(answer.contains("\r\na=mid:0\r\n") && answer.contains("\r\na=candidate:1 "));
    let candidate = "a=ice-ufrag:other\r\na=candidate:1 1 udp 1 192.0.2.1 4000 typ host\r\n";
    assert_eq!(patch(&b, &path, &format!("If-Match: {etag}\r\n"), candidate).await, 412);
    assert_eq!(patch(&b, &path, &format!("If-Match: {renewed}\r\n"), candidate).await, 204);
    let other = format!("/whep/demo/{:034x}", 7);
    assert_eq!(patch(&b, &other, "If-Match: *\r\n", fragment).await, 404);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_say_what_may_be_sent_and_other_methods_are_refused() {
    let b = bench(|_| {}).await;
    let (path, _) = session(&b).await;
    for url in ["/whep/demo", path.as_str()] {
        let preflight = "Origin: https://page.test\r\nAccess-Control-Request-Method: PATCH\r\n\
                         Access-Control-Request-Headers: content-type, if-match\r\n";
        let answer = b.send("OPTIONS", url, preflight, "").await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(header(&answer, "accept-post"), Some("application/sdp"));
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        let methods = header(&answer, "access-control-allow-methods").unwrap();
        assert!(["POST", "PATCH", "DELETE"].iter().all(|m| methods.contains(m)), "{methods}");
        let headers = header(&answer, "access-control-allow-headers").unwrap();
        assert!(["content-type", "if-match"].iter().all(|h| headers.contains(h)), "{headers}");
        for method in ["PUT", "TRACE"] {
            let answer = b.send(method, url, "", "").await;
            assert_eq!(status(&answer), 405, "{method} {url}");
            assert!(header(&answer, "allow").is_some());
        }
    }
    assert_eq!(status(&b.send("DELETE", "/whep/demo", "", "").await), 405);
    assert_eq!(status(&b.send("POST", &path, "", "").await), 405);
    assert_eq!(status(&b.send("GET", "/", "", "").await), 404);
    b.leaf.stop().await;
}

//! WHEP section 4.4: trickled candidates and ICE restarts.

use super::*;

const TRICKLE: &str = "Content-Type: application/trickle-ice-sdpfrag\r\n";
const CANDIDATE: &str = "a=ice-ufrag:lW2S\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n\
                         a=candidate:1 1 udp 1 192.0.2.1 4000 typ host\r\n\
                         a=candidate:2 1 tcp 1 192.0.2.1 9 typ host tcptype active\r\n\
                         a=candidate:3 1 udp 1 a-name.local 9 typ host\r\n";
const RESTART: &str = "a=ice-ufrag:other\r\na=ice-pwd:0123456789012345678901\r\n\
                       m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n";

async fn patch(b: &Bench, path: &str, condition: &str, body: &str) -> String {
    let head = match condition {
        "" => TRICKLE.to_owned(),
        _ => format!("{TRICKLE}If-Match: {condition}\r\n"),
    };
    b.send("PATCH", path, &head, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_4_1_wrong_types_and_malformed_fragments_are_4xx() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    for head in ["", "Content-Type: application/sdp\r\n", "Content-Type: application/json\r\n"] {
        let answer = b.send("PATCH", &path, &format!("{head}If-Match: *\r\n"), CANDIDATE).await;
        assert_eq!(status(&answer), 415, "{head}");
    }
    for bad in ["", "garbage", "a=sendonly\r\n"] {
        assert_eq!(status(&patch(&b, &path, "*", bad).await), 400, "{bad}");
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_4_1_the_201_has_a_strong_entity_tag_and_accept_patch() {
    let b = bench(|_| {}).await;
    let (_, first) = begin(&b, "demo").await;
    let (_, second) = begin(&b, "demo").await;
    let tag = header(&first, "etag").unwrap();
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "strong: {tag}");
    assert_ne!(header(&second, "etag"), Some(tag), "unique");
    assert_eq!(header(&first, "accept-patch"), Some("application/trickle-ice-sdpfrag"));
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_4_1_no_tag_is_428_and_another_one_412() {
    let b = bench(|_| {}).await;
    let (path, created) = begin(&b, "demo").await;
    assert_eq!(status(&patch(&b, &path, "", CANDIDATE).await), 428);
    let weak = format!("W/{}", header(&created, "etag").unwrap());
    for other in ["\"another\"", weak.as_str()] {
        assert_eq!(status(&patch(&b, &path, other, CANDIDATE).await), 412, "{other}");
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_4_1_delete_ignores_entity_tags() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let stale = "If-Match: \"another\"\r\n";
    assert_eq!(status(&b.send("DELETE", &path, stale, "").await), 200);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_4_2_the_answer_has_all_our_candidates() {
    let b = bench(|_| {}).await;
    let (_, created) = begin(&b, "demo").await;
    let sdp = body(&created);
    assert!(sdp.contains("\r\na=candidate:1 1 udp ") && sdp.contains("\r\na=end-of-candidates"));
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_4_2_candidates_are_204_without_body_and_tag_usable_or_not() {
    let b = bench(|_| {}).await;
    let (path, created) = begin(&b, "demo").await;
    let tag = header(&created, "etag").unwrap();
    for _ in 0..2 {
        let answer = patch(&b, &path, tag, CANDIDATE).await;
        assert_eq!((status(&answer), body(&answer)), (204, ""), "{answer}");
        assert_eq!(header(&answer, "etag"), None);
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_4_3_a_restart_is_200_with_new_credentials_candidates_and_tag() {
    let b = bench(|_| {}).await;
    let (path, created) = begin(&b, "demo").await;
    let answer = patch(&b, &path, "*", RESTART).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(header(&answer, "content-type"), Some("application/trickle-ice-sdpfrag"));
    let (old, new) = (header(&created, "etag").unwrap(), header(&answer, "etag").unwrap());
    assert_ne!(old, new);
    let line = |text: &str, key: &str| {
        body(text).lines().find_map(|l| l.strip_prefix(key).map(str::to_owned)).unwrap()
    };
    for key in ["a=ice-ufrag:", "a=ice-pwd:"] {
        assert_ne!(line(&created, key), line(&answer, key), "{key}");
    }
    assert!(body(&answer).contains("\r\na=candidate:1 1 udp "));
    assert_eq!(status(&patch(&b, &path, old, CANDIDATE).await), 412, "the old tag is over");
    let next = CANDIDATE.replace("lW2S", "other");
    assert_eq!(status(&patch(&b, &path, new, &next).await), 204);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_4_3_fragment_and_answer_have_the_same_ice_attributes() {
    let b = bench(|_| {}).await;
    let (path, created) = begin(&b, "demo").await;
    let restarted = patch(&b, &path, "*", RESTART).await;
    for text in [&created, &restarted] {
        assert!(body(text).contains("a=ice-lite\r\na=ice-options:trickle ice2\r\n"), "{text}");
        assert!(!text.contains("ice-pacing"));
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_4_3_the_star_of_the_drafts_example_is_taken_with_its_quotes() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    assert_eq!(status(&patch(&b, &path, "\"*\"", RESTART).await), 200);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_4_3_a_restart_that_fails_leaves_the_session_as_it_was() {
    let b = bench(|_| {}).await;
    let (path, created) = begin(&b, "demo").await;
    for bad in ["a=ice-ufrag:other\r\n", "a=ice-ufrag:other\r\na=ice-pwd:short\r\n"] {
        assert_eq!(status(&patch(&b, &path, "*", bad).await), 400, "{bad}");
    }
    let tag = header(&created, "etag").unwrap();
    assert_eq!(status(&patch(&b, &path, tag, CANDIDATE).await), 204, "the old ICE session holds");
    b.leaf.stop().await;
}

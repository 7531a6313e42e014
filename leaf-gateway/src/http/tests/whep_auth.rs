//! WHEP section 4.8: who may play.

use super::*;

const SDP: &str = "Content-Type: application/sdp\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn section_4_8_without_a_token_it_is_401_with_the_scheme() {
    let b = bench(|_| {}).await;
    for head in ["", "Authorization: Basic dTpw\r\n", "Authorization: Bearer\r\n"] {
        let answer = b.send("POST", "/whep/demo", &format!("{SDP}{head}"), OFFER).await;
        assert_eq!(status(&answer), 401, "{head}");
        assert_eq!(header(&answer, "www-authenticate"), Some("Bearer"));
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_8_1_a_play_ticket_is_taken_as_bearer_token() {
    let b = bench(|_| {}).await;
    let good = b.ticket("demo", "leaf-1", 60_000);
    for scheme in ["Bearer", "bearer"] {
        let head = format!("{SDP}Authorization: {scheme} {good}\r\n");
        assert_eq!(status(&b.send("POST", "/whep/demo", &head, OFFER).await), 201, "{scheme}");
    }
    for bad in [b.ticket("demo", "leaf-1", -1_000), b.ticket("off", "leaf-1", 60_000), "x".into()] {
        let head = format!("{SDP}Authorization: Bearer {bad}\r\n");
        let answer = b.send("POST", "/whep/demo", &head, OFFER).await;
        assert_eq!(status(&answer), 401, "{bad}");
        let challenge = header(&answer, "www-authenticate");
        assert_eq!(challenge, Some("Bearer error=\"invalid_token\""));
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_8_1_a_ticket_in_the_url_does_as_well_and_goes_first() {
    let b = bench(|_| {}).await;
    let path = format!("/whep/demo?ticket={}", b.ticket("demo", "leaf-1", 60_000));
    // A player may send the root's token along to where the root sends it.
    for head in [SDP.to_owned(), format!("{SDP}Authorization: Bearer of-the-root\r\n")] {
        assert_eq!(status(&b.send("POST", &path, &head, OFFER).await), 201, "{head}");
    }
    let path = format!("/whep/demo?ticket={}", b.ticket("demo", "leaf-2", 60_000));
    assert_eq!(status(&b.send("POST", &path, SDP, OFFER).await), 403);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_8_1_a_session_is_known_by_its_url_with_or_without_a_token() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let head = "Authorization: Bearer whatever\r\n";
    assert_eq!(status(&b.send("GET", &path, head, "").await), 204);
    assert_eq!(status(&b.send("DELETE", &path, head, "").await), 200);
    b.leaf.stop().await;
}

//! Section 4.3: PATCH, candidates, restarts of ICE.

use super::super::parts::session;
use super::*;
use crate::whip::offer::Credentials;
use crate::whip::session::{CONNECT_TIME, End, MAX_RESTARTS};

#[tokio::test]
async fn s4_3_1_a_patch_of_another_type_is_415() {
    let site = Site::start().await;
    let (session, matching) = begun(&site).await;
    let patched = site.ask("PATCH", &session, &[&matching, SDP], CANDIDATE).await;
    patched.refuses(415, "trickle-ice-sdpfrag");
}

#[tokio::test]
async fn s4_3_1_a_malformed_fragment_is_400() {
    let site = Site::start().await;
    let (session, matching) = begun(&site).await;
    let patch = async |body: &str| site.ask("PATCH", &session, &[&matching, TRICKLE], body).await;
    let two = "m=audio 9 RTP/AVP 0\r\na=mid:0\ra=ice-lite\r\n";
    for body in ["", "nonsense", "a=foo:bar\r\n", two, "v=0\r\na=ice-ufrag:abcd\r\n"] {
        patch(body).await.refuses(400, "");
    }
    patch("a=ice-ufrag:ysXw\r\n").await.refuses(400, "ice-pwd");
    patch(&"a=candidate:x\r\n".repeat(2_000)).await.refuses(413, "");
    // None of it has touched the session.
    assert_eq!(patch(CANDIDATE).await.status, 204);
}

#[tokio::test]
async fn s4_3_1_created_has_a_strong_entity_tag_of_its_own() {
    let site = Site::start().await;
    let mut tags = Vec::new();
    for _ in 0..2 {
        let answer = when_free(&site).await;
        let tag = answer.header("etag").to_owned();
        assert!(tag.len() > 6 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        tags.push(tag);
        site.ask("DELETE", &answer.session(&site), &[], "").await;
    }
    assert_ne!(tags[0], tags[1]);
}

#[tokio::test]
async fn s4_3_1_delete_ignores_entity_tags() {
    let site = Site::start().await;
    let (session, _) = begun(&site).await;
    let ended = site.ask("DELETE", &session, &["If-Match: \"other\""], "").await;
    assert_eq!(ended.status, 200);
}

#[tokio::test]
async fn s4_3_1_a_missing_tag_is_428() {
    let site = Site::start().await;
    let (session, _) = begun(&site).await;
    for body in [CANDIDATE, RESTART] {
        site.ask("PATCH", &session, &[TRICKLE], body).await.refuses(428, "If-Match");
    }
}

#[tokio::test]
async fn s4_3_1_another_tag_is_412() {
    let site = Site::start().await;
    let (session, matching) = begun(&site).await;
    let weak = matching.replace("\"", "").replace("If-Match: ", "If-Match: W/\"") + "\"";
    for other in ["If-Match: \"other\"", weak.as_str()] {
        for body in [CANDIDATE, RESTART] {
            site.ask("PATCH", &session, &[other, TRICKLE], body).await.refuses(412, "ETag");
        }
    }
    // One of several is enough, in one line or two (RFC 9110 section 13.1.1).
    let lines = ["If-Match: \"other\"", matching.as_str(), TRICKLE];
    assert_eq!(site.ask("PATCH", &session, &lines, CANDIDATE).await.status, 204);
    let list = matching.replace("If-Match: ", "If-Match: \"other\", ");
    assert_eq!(site.ask("PATCH", &session, &[&list, TRICKLE], CANDIDATE).await.status, 204);
}

#[tokio::test]
async fn s4_3_2_candidates_are_204_without_body_and_tag() {
    let site = Site::start().await;
    let (session, matching) = begun(&site).await;
    let patched = site.ask("PATCH", &session, &[&matching, TRICKLE], CANDIDATE).await;
    assert_eq!((patched.status, patched.body.as_str(), patched.header("etag")), (204, "", ""));
}

#[tokio::test]
async fn s4_3_2_candidates_that_are_of_no_use_are_passed_over() {
    let site = Site::start().await;
    let (session, matching) = begun(&site).await;
    for candidate in [
        "2 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
        "3 1 udp 2122260223 4af2c9b6.local 61764 typ host",
        "4 1 carrier-pigeon 1 nowhere 0 typ imaginary",
    ] {
        let body = format!("a=ice-ufrag:EsAw\r\na=candidate:{candidate}\r\n");
        let patched = site.ask("PATCH", &session, &[&matching, TRICKLE], &body).await;
        assert_eq!(patched.status, 204, "{candidate}");
    }
}

#[tokio::test]
async fn s4_3_2_the_answer_has_all_our_candidates() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    let port = site.whip.bound.port();
    let candidate = format!("a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host");
    assert!(answer.lines("a=candidate:").contains(&candidate.as_str()), "{}", answer.body);
    assert!(!answer.lines("a=end-of-candidates").is_empty(), "{}", answer.body);
}

#[tokio::test]
async fn s4_3_3_new_credentials_are_a_restart_with_new_ones_of_ours() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    let headers = ["If-Match: *", TRICKLE];
    let restarted = site.ask("PATCH", &answer.session(&site), &headers, RESTART).await;
    assert_eq!(restarted.status, 200, "{}", restarted.body);
    assert_eq!(restarted.header("content-type"), "application/trickle-ice-sdpfrag");
    for name in ["a=ice-ufrag:", "a=ice-pwd:"] {
        let (new, old) = (restarted.lines(name), answer.lines(name));
        assert_eq!(new.len(), 1, "{}", restarted.body);
        assert!(!old.contains(&new[0]), "{name} is the old one");
    }
    // In the section of the fragment.
    assert_eq!(restarted.lines("m="), ["m=audio 9 RTP/AVP 0"]);
    assert_eq!(restarted.lines("a=mid:"), ["a=mid:0"]);
    assert_eq!(restarted.lines("a=candidate:").len(), 1, "{}", restarted.body);
}

#[tokio::test]
async fn s4_3_3_a_restart_has_a_new_entity_tag() {
    let site = Site::start().await;
    let (session, matching) = begun(&site).await;
    let restarted = site.ask("PATCH", &session, &["If-Match: *", TRICKLE], RESTART).await;
    let new = format!("If-Match: {}", restarted.header("etag"));
    assert_ne!(new, matching);
    // The old tag is that of the past.
    let late = site.ask("PATCH", &session, &[&matching, TRICKLE], RESTART).await;
    late.refuses(412, "ETag");
    // The credentials of now are no restart.
    let patched = site.ask("PATCH", &session, &[&new, TRICKLE], RESTART).await;
    assert_eq!((patched.status, patched.header("etag")), (204, ""));
}

#[tokio::test]
async fn s4_3_3_the_star_of_the_example_is_taken_with_its_quotes() {
    let site = Site::start().await;
    let (session, _) = begun(&site).await;
    let restarted = site.ask("PATCH", &session, &["If-Match: \"*\"", TRICKLE], RESTART).await;
    assert_eq!(restarted.status, 200, "{}", restarted.body);
}

#[tokio::test]
async fn s4_3_3_answer_and_restart_have_the_same_ice_attributes() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    let headers = ["If-Match: *", TRICKLE];
    let restarted = site.ask("PATCH", &answer.session(&site), &headers, RESTART).await;
    for name in ["a=ice-lite", "a=ice-options:", "a=ice-pacing:"] {
        assert_eq!(restarted.lines(name), answer.lines(name));
    }
    assert_eq!(answer.lines("a=ice-lite").len(), 1);
}

#[tokio::test]
async fn s4_3_3_a_restart_that_fails_leaves_the_session_as_it_was() {
    let site = Site::start().await;
    let (session, matching) = begun(&site).await;
    let short = RESTART.replace("vw5LmwG4y/e6dPP/zAP9Gp5k", "short");
    site.ask("PATCH", &session, &["If-Match: *", TRICKLE], &short).await.refuses(400, "ice-pwd");
    let patched = site.ask("PATCH", &session, &[&matching, TRICKLE], CANDIDATE).await;
    assert_eq!(patched.status, 204, "the ICE session of the tag is the present one");
}

#[test]
fn s4_3_3_a_session_that_cannot_be_restarted_goes_on_and_ends_in_time() {
    let clock = Clock::start();
    let now = clock.instant(clock.now().mono);
    let mut session = session(now);
    let pwd = "bP+XJMM09aR8AiX1jdukzR6Y";
    let credentials = |n: u32| Credentials::new(&format!("try{n}"), pwd).unwrap();
    for n in 0..MAX_RESTARTS {
        session.restart(now, credentials(n)).unwrap();
    }
    let before = session.local().clone();
    assert!(session.restart(now, credentials(MAX_RESTARTS)).is_err());
    assert_eq!((session.local(), session.ended()), (&before, None));
    assert_eq!(*session.remote(), credentials(MAX_RESTARTS - 1));
    session.handle_timeout(now + CONNECT_TIME);
    assert_eq!(session.ended(), Some(End::NeverSent));
}

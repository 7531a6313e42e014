//! Section 4.4: what WebRTC is restricted to.

use super::*;

#[tokio::test]
async fn s4_4_1_everything_is_one_bundle() {
    let site = Site::start().await;
    for group in ["BUNDLE 0", "BUNDLE", "LS 0 1"] {
        site.post(&offer(&[]).replace("BUNDLE 0 1", group)).await.refuses(422, "BUNDLE");
    }
    let answer = site.post(&offer(&[])).await;
    assert_eq!(answer.lines("a=group:"), ["a=group:BUNDLE 0 1"]);
}

#[tokio::test]
async fn s4_4_1_rtcp_is_multiplexed() {
    let site = Site::start().await;
    site.post(&offer(&[]).replace("a=rtcp-mux\r\n", "")).await.refuses(422, "rtcp-mux");
    let answer = site.post(&offer(&[])).await;
    let multiplexed = answer.lines("a=rtcp-mux").into_iter().filter(|l| *l == "a=rtcp-mux");
    assert_eq!(multiplexed.count(), 2, "{}", answer.body);
}

#[tokio::test]
async fn s4_4_1_each_section_says_rtcp_mux_only() {
    let site = Site::start().await;
    let answer = site.post(&offer(&[])).await;
    assert_eq!(answer.lines("a=rtcp-mux-only").len(), 2, "{}", answer.body);
}

/// An offer as RFC 9725 has it in its first example (RFC 9429 section 5.2.1): the second section has port
/// 0 and nothing of a transport.
fn bundle_only() -> String {
    let whole = offer(&[]);
    let (first, second) = whole.split_once("m=video 9").unwrap();
    let transport = ["a=ice-", "a=fingerprint:", "a=setup:", "a=rtcp-mux", "c="];
    let lines = second.lines().filter(|l| !transport.iter().any(|t| l.starts_with(t)));
    let second = lines.collect::<Vec<_>>().join("\r\n");
    let first = first.replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=rtcp-mux-only\r\n");
    format!("{first}m=video 0{second}\r\na=bundle-only\r\n")
}

#[tokio::test]
async fn s4_4_1_bundle_only_sections_go_by_the_transport_of_the_tagged_one() {
    let site = Site::start().await;
    let text = bundle_only();
    // That one has to have it.
    site.post(&text.replace("a=rtcp-mux\r\n", "")).await.refuses(422, "rtcp-mux");
    let answer = site.post(&text).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    // What is taken has a port in the answer (RFC 9143 section 7.3).
    assert!(answer.body.contains("m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n"), "{}", answer.body);
    assert_eq!(answer.lines("a=bundle-only").len(), 0, "{}", answer.body);
}

#[test]
fn s4_4_1_the_tagged_section_need_not_come_first() {
    let text = bundle_only();
    let (head, sections) = text.split_once("m=audio").unwrap();
    let (audio, video) = sections.split_once("m=video").unwrap();
    let swapped = format!("{head}m=video{video}m=audio{audio}");
    let offer = crate::whip::offer::Offer::parse(&swapped).unwrap();
    assert_eq!(offer.ice.ufrag, "EsAw");
    let mids: Vec<&str> = offer.sections.iter().map(|s| s.mid.as_str()).collect();
    assert_eq!(mids, ["1", "0"]);
}

#[tokio::test]
async fn s4_4_2_two_tracks_of_a_kind_are_422() {
    let site = Site::start().await;
    let whole = offer(&[]);
    let (_, video) = whole.split_once("m=video").unwrap();
    let twice = format!("{whole}m=video{}", video.replace("a=mid:1", "a=mid:2"));
    let twice = twice.replace("BUNDLE 0 1", "BUNDLE 0 1 2");
    site.post(&twice).await.refuses(422, "more than one video");
}

#[tokio::test]
async fn s4_4_2_two_media_streams_are_422() {
    let site = Site::start().await;
    let two = offer(&[]).replace("a=msid:s v", "a=msid:t v");
    site.post(&two).await.refuses(422, "MediaStream");
}

#[tokio::test]
async fn s4_4_2_one_track_is_enough() {
    let site = Site::start().await;
    let whole = offer(&[]);
    let (head, rest) = whole.split_once("m=audio").unwrap();
    let (_, video) = rest.split_once("m=video").unwrap();
    let alone = format!("{head}m=video{video}").replace("BUNDLE 0 1", "BUNDLE 1");
    assert_eq!(site.post(&alone).await.status, 201);
}

#[tokio::test]
async fn s4_4_3_no_section_is_rejected_alone() {
    let site = Site::start().await;
    let no_vp8 = offer(&[]).replace("VP8/90000", "VP9/90000");
    site.post(&no_vp8).await.refuses(422, "defined for VP8");
    let mut data = offer(&[]).replace("BUNDLE 0 1", "BUNDLE 0 1 2");
    data.push_str("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n");
    site.post(&data).await.refuses(422, "only audio and video");
    site.post(&offer(&[]).replace("m=video 9", "m=video 0")).await.refuses(422, "port 0");
    // No answer has a section with port 0.
    let answer = site.post(&offer(&[])).await;
    assert!(answer.lines("m=").iter().all(|l| l.contains(" 9 ")), "{}", answer.body);
}

#[tokio::test]
async fn s4_4_4_the_root_is_the_dtls_server() {
    let site = Site::start().await;
    for setup in ["passive", "holdconn"] {
        let text = offer(&[]).replace("a=setup:actpass", &format!("a=setup:{setup}"));
        site.post(&text).await.refuses(422, "a=setup");
    }
    let active = offer(&[]).replace("a=setup:actpass", "a=setup:active");
    let answer = site.post(&active).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.lines("a=setup:"), ["a=setup:passive"; 2]);
}

#[tokio::test]
async fn s4_4_5_the_broadcaster_does_full_ice() {
    let site = Site::start().await;
    let lite = offer(&[]).replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n");
    site.post(&lite).await.refuses(422, "full ICE");
    assert_eq!(site.post(&offer(&[])).await.lines("a=ice-lite").len(), 1, "the root does not");
}

//! WHEP through a whole tree: from the root's URL to a leaf with a broadcast, as a player goes. The
//! clauses one by one are tested at the leaf alone (`leaf-gateway/src/http/tests/whep_*.rs`);
//! `docs/whep.md` has them all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::harness::{Options, Tree};
use soleil_tests::http::{self, Response};
use soleil_tests::viewer::{self, Codec, Offer, Viewers};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);
const SDP: (&str, &str) = ("content-type", "application/sdp");
const JSON: (&str, &str) = ("content-type", "application/json");

fn offer(video: &[Codec]) -> String {
    Offer {
        id: 1,
        ufrag: "page",
        pwd: "a-password-of-the-page-itself",
        fingerprint: &["AB"; 32].join(":"),
        video,
        audio: true,
        feedback: true,
        candidate: "127.0.0.1:9".parse().unwrap(),
    }
    .to_sdp()
}

fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Response {
    http::request(method, url, headers, body.as_bytes()).unwrap()
}

/// The URL of the link with a relation.
fn link<'a>(response: &'a Response, relation: &str) -> &'a str {
    let links = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("link"));
    let found = links.map(|(_, value)| value).find(|v| v.contains(&format!("rel=\"{relation}\"")));
    let value = found.unwrap_or_else(|| panic!("no {relation} in {:?}", response.headers));
    value.strip_prefix('<').unwrap().split_once('>').unwrap().0
}

/// Reads an event stream until a line comes that has what is wanted.
fn until_line(lines: &mut impl Iterator<Item = std::io::Result<String>>, wanted: &str) -> String {
    lines
        .map(|line| line.expect("the stream stops"))
        .find(|line| line.contains(wanted))
        .unwrap_or_else(|| panic!("the stream ends without {wanted:?}"))
}

#[test]
fn section_4_6_the_root_redirects_with_307_and_the_leaf_answers_201() {
    let tree = Tree::start(&Options::default()).unwrap();
    let _source = tree.go_live(0, &[]).unwrap();
    let root = tree.whep_url("demo");
    let sent = request("POST", &root, &[SDP], &offer(&[Codec::H264]));
    assert_eq!(sent.status, 307, "{}", sent.text());
    let leaf = http::resolve(&root, sent.header("location").unwrap()).unwrap();
    assert!(leaf.starts_with(&tree.leaf_http(0)), "{leaf}");
    let created = request("POST", &leaf, &[SDP], &offer(&[Codec::H264]));
    assert_eq!(created.status, 201, "{}", created.text());
    let session = created.header("location").unwrap();
    assert!(session.starts_with(&tree.leaf_http(0)), "final, no redirect: {session}");
    assert_eq!(request("DELETE", session, &[], "").status, 200);
}

#[test]
fn section_4_2_2_a_player_without_the_streams_codec_hears_what_there_is() {
    let tree = Tree::start(&Options::default()).unwrap();
    let _source = tree.go_live(0, &[]).unwrap();
    let offer = offer(&[Codec::Vp8]);
    let root = tree.whep_url("demo");
    let counter = http::follow("POST", &root, &[SDP], offer.as_bytes()).unwrap();
    assert_eq!(counter.status, 406, "{}", counter.text());
    assert_eq!(counter.header("content-type"), Some("application/sdp"));
    assert!(counter.text().contains(" H264/90000\r\n"), "{}", counter.text());
    assert_eq!(request("DELETE", counter.header("location").unwrap(), &[], "").status, 200);
}

#[test]
fn events_and_layers_of_a_viewer_who_watches() {
    // The session that the events are of gets no media: it shall not end for that.
    let leaf_extra = "connect_timeout = \"120s\"\n".into();
    let tree = Tree::start(&Options { leaf_extra, ..Options::default() }).unwrap();
    let source = tree.go_live(0, &[]).unwrap();
    let viewers = Viewers::start(&tree.whep_url("demo"), 1, &viewer::Options::default()).unwrap();
    viewers
        .wait(DEADLINE, |r| r.with_picture() == 1)
        .unwrap_or_else(|report| panic!("no picture:\n{report}"));
    // A second session beside it, for the links in its answer.
    let offer = offer(&[Codec::H264]);
    let url = tree.whep_url("demo");
    let created = http::follow("POST", &url, &[SDP], offer.as_bytes()).unwrap();
    let events = link(&created, "urn:ietf:params:whep:ext:core:server-sent-events");
    let layer = link(&created, "urn:ietf:params:whep:ext:core:layer");

    let list = "[\"active\",\"inactive\",\"layers\",\"viewercount\"]";
    let stream = request("POST", events, &[JSON], list);
    assert_eq!(stream.status, 201, "{}", stream.text());
    let (host, path) = http::split(stream.header("location").unwrap()).unwrap();
    let mut socket = TcpStream::connect(&host).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut lines = BufReader::new(socket).lines();
    until_line(&mut lines, "event: active");
    until_line(&mut lines, "{\"viewercount\":1}");

    // Another viewer of the stream leaves the count, and the layer is the one that there is.
    let again = request("POST", events, &[JSON], "[\"layers\"]");
    let (host, path) = http::split(again.header("location").unwrap()).unwrap();
    let mut socket = TcpStream::connect(&host).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut layers = BufReader::new(socket).lines();
    let data = until_line(&mut layers, "\"bitrate\":");
    let data: serde_json::Value =
        serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    let rid = data["0"][0]["rid"].as_str().unwrap();
    let choice = format!("{{\"mediaId\":\"0\",\"rid\":\"{rid}\"}}");
    assert_eq!(request("POST", layer, &[JSON], &choice).status, 200);
    assert_eq!(request("POST", layer, &[JSON], "{\"rid\":\"1\"}").status, 404);

    source.stop().unwrap();
    until_line(&mut lines, "event: inactive");
    drop(viewers);
}

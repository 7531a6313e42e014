//! Messages as Janus 1.1.2 sent them, and a server that plays them back.

use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;

const CREATED: &str =
    r#"{"janus":"success","transaction":"create","data":{"id":5187705481595425}}"#;
const ATTACHED: &str = r#"{"janus":"success","session_id":5187705481595425,"transaction":"attach","data":{"id":6927022864647489}}"#;
const ACK: &str = r#"{"janus":"ack","session_id":5187705481595425,"transaction":"watch"}"#;
const OFFER: &str = r#"[{"janus":"event","session_id":5187705481595425,"transaction":"watch","sender":6927022864647489,"plugindata":{"plugin":"janus.plugin.streaming","data":{"streaming":"event","result":{"status":"preparing"}}},"jsep":{"type":"offer","sdp":"v=0\r\no=- 1795803545874061 1 IN IP4 127.0.0.1\r\n"}}]"#;
const STARTING: &str = r#"[{"janus":"media","session_id":1,"sender":2,"type":"video","receiving":true},{"janus":"event","session_id":5187705481595425,"transaction":"start","sender":6927022864647489,"plugindata":{"plugin":"janus.plugin.streaming","data":{"streaming":"event","result":{"status":"starting"}}}}]"#;
const IDLE: &str = r#"{"janus":"keepalive"}"#;
const NO_STREAM: &str = r#"[{"janus":"event","session_id":5187705481595425,"transaction":"watch","sender":6927022864647489,"plugindata":{"plugin":"janus.plugin.streaming","data":{"streaming":"event","error_code":455,"error":"No such mountpoint/stream 7"}}}]"#;
const NO_HANDLE: &str = r#"{"janus":"error","session_id":5187705481595425,"transaction":"watch","error":{"code":459,"reason":"No such handle 77 in session 5187705481595425"}}"#;
const DESTROYED: &str =
    r#"{"janus":"success","session_id":5187705481595425,"transaction":"destroy"}"#;

/// Answers one request after the other with these bodies; gives the requests.
fn playing(answers: &'static [&'static str]) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/janus/", server.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        answers
            .iter()
            .map(|body| {
                let (mut connection, _) = server.accept().unwrap();
                let request = request(&mut connection);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
                let length = body.len();
                write!(connection, "{head}Content-Length: {length}\r\n\r\n{body}").unwrap();
                request
            })
            .collect()
    });
    (url, thread)
}

/// Head and body.
fn request(connection: &mut impl Read) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    connection.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

#[test]
fn a_viewer_comes_stays_and_goes() {
    let (url, server) =
        playing(&[CREATED, ATTACHED, ACK, IDLE, OFFER, ACK, STARTING, ACK, DESTROYED]);
    let handle = Handle::open(&url).unwrap();
    let offer = handle.watch(1).unwrap();
    assert_eq!(offer, "v=0\r\no=- 1795803545874061 1 IN IP4 127.0.0.1\r\n");
    handle.start("v=0\r\n").unwrap();
    handle.keep().unwrap();
    handle.leave().unwrap();
    let requests = server.join().unwrap();
    let lines: Vec<&str> = requests.iter().map(|r| r.lines().next().unwrap()).collect();
    let session = "/janus/5187705481595425";
    assert_eq!(
        lines,
        [
            "POST /janus HTTP/1.1".to_owned(),
            format!("POST {session} HTTP/1.1"),
            format!("POST {session}/6927022864647489 HTTP/1.1"),
            format!("GET {session}?maxev=10 HTTP/1.1"),
            format!("GET {session}?maxev=10 HTTP/1.1"),
            format!("POST {session}/6927022864647489 HTTP/1.1"),
            format!("GET {session}?maxev=10 HTTP/1.1"),
            format!("POST {session} HTTP/1.1"),
            format!("POST {session} HTTP/1.1"),
        ]
    );
    let body = |n: usize| {
        serde_json::from_str::<Value>(requests[n].split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    assert_eq!(body(1)["plugin"], "janus.plugin.streaming");
    assert_eq!(body(2)["body"], json!({ "request": "watch", "id": 1 }));
    assert_eq!(body(5)["jsep"], json!({ "type": "answer", "sdp": "v=0\r\n" }));
    assert_eq!(body(7)["janus"], "keepalive");
    assert_eq!(body(8)["janus"], "destroy");
}

#[test]
fn refusals_say_why() {
    let (url, server) = playing(&[CREATED, ATTACHED, ACK, NO_STREAM, NO_HANDLE]);
    let handle = Handle::open(&url).unwrap();
    let plugin = handle.watch(7).unwrap_err().to_string();
    assert_eq!(plugin, "Janus: No such mountpoint/stream 7 (455)");
    let gateway = handle.watch(7).unwrap_err().to_string();
    assert_eq!(gateway, "Janus: No such handle 77 in session 5187705481595425 (459)");
    server.join().unwrap();
}

#[test]
fn what_is_not_expected_is_an_error() {
    assert!(matches!(Message::read(b"<html>"), Err(JanusError::Json(_))));
    assert!(matches!(Message::read(b"[]"), Err(JanusError::Json(_))));
    let ack = Message::read(ACK.as_bytes()).unwrap();
    assert!(matches!(ack.clone().id(), Err(JanusError::Unexpected(..))));
    assert!(matches!(ack.offer(), Err(JanusError::Unexpected(..))));
    let events = Message::read_events(OFFER.replace("\"offer\"", "\"answer\"").as_bytes());
    assert!(matches!(events.unwrap().remove(0).offer(), Err(JanusError::Unexpected(..))));
}

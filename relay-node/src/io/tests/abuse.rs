//! What strangers and misbehaving peers send. Each test ends by showing that another link noticed
//! nothing.

use super::super::counters::Direction;
use super::*;
use crate::refusals::Refusal;
use futures_util::{SinkExt, StreamExt};
use soleil_protocol::limits::MAX_MESSAGE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tungstenite::Message as Frame;

/// Reads frames until the peer closes; gives the messages.
async fn rest<S>(socket: &mut WebSocketStream<S>) -> Vec<Message>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut messages = Vec::new();
    let reading = async {
        while let Some(Ok(frame)) = socket.next().await {
            if let Frame::Text(text) = frame {
                messages.push(Message::from_xml(&text).unwrap());
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("the peer does not close");
    messages
}

fn is_error(message: &Message, code: ErrorCode) -> bool {
    matches!(&message.body, Body::Error(report) if report.code == code)
}

/// Waits until the peer has closed a plain TCP connection.
async fn ends(mut tcp: TcpStream) {
    let mut buffer = [0; 1024];
    let reading = async { while matches!(tcp.read(&mut buffer).await, Ok(n) if n > 0) {} };
    timeout(PATIENCE, reading).await.expect("the connection stays open");
}

#[tokio::test]
async fn garbage_is_answered_by_error_and_the_end() {
    let world = World::new();
    let (root, mut node, _, theirs) = world.joined().await;
    let long = format!(
        "<message type=\"bye\" time=\"1\"><reason>{}</reason></message>",
        "x".repeat(MAX_MESSAGE)
    );
    let deep = format!("<message type=\"ping\" time=\"1\">{}", "<a>".repeat(10_000));
    for frame in [
        Frame::text("hello"),
        Frame::text("<message"),
        Frame::text(deep),
        Frame::text("<!DOCTYPE x [<!ENTITY a \"b\">]><message type=\"ping\" time=\"1\"/>"),
        Frame::text(long),
        Frame::binary(vec![0; 100]),
        Frame::binary(vec![0; MAX_MESSAGE + 1]),
    ] {
        let mut raw = world.raw(root.address).await;
        let what = format!("{frame:?}").chars().take(60).collect::<String>();
        raw.send(frame).await.unwrap();
        let answers = rest(&mut raw).await;
        assert!(answers.iter().any(|m| is_error(m, ErrorCode::Malformed)), "{what}: {answers:?}");
    }
    assert!(root.handle.counters().refusals(Refusal::Malformed) >= 7);
    node.works(theirs, "unharmed").await;
}

#[tokio::test]
async fn an_unknown_type_is_answered_and_the_link_stays() {
    let world = World::new();
    let mut root = world.root().await;
    let mut raw = world.raw(root.address).await;
    raw.send(Frame::text("<message type=\"dance\" time=\"5\"/>")).await.unwrap();
    let (conn, _) = root.accepted().await;
    let Some(Ok(Frame::Text(answer))) = timeout(PATIENCE, raw.next()).await.unwrap() else {
        panic!("no answer");
    };
    assert!(is_error(&Message::from_xml(&answer).unwrap(), ErrorCode::UnknownType));
    raw.send(Frame::text(ping("a").to_xml())).await.unwrap();
    assert_eq!(root.message_on(conn).await, ping("a"));
}

#[tokio::test]
async fn broken_frames_end_the_link() {
    let world = World::new();
    let (root, mut node, _, theirs) = world.joined().await;
    // Reserved bits and an opcode that does not exist; an unmasked frame; a length of 2^63.
    for bytes in [
        vec![0xff, 0x80, 1, 2, 3, 4],
        vec![0x81, 0x01, b'x'],
        vec![0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4],
        vec![0x81, 0x83, 0, 0, 0, 0, 0xff, 0xfe, 0xfd],
    ] {
        let mut raw = world.raw(root.address).await;
        raw.get_mut().write_all(&bytes).await.unwrap();
        raw.get_mut().flush().await.unwrap();
        rest(&mut raw).await;
    }
    node.works(theirs, "unharmed").await;
}

#[tokio::test]
async fn random_bytes_and_plain_http_on_the_tls_port() {
    let world = World::new();
    let (root, mut node, _, theirs) = world.joined().await;
    let mut noise = vec![0u8; 20_000];
    for seed in 0..8u8 {
        // A fixed pattern that looks like nothing; the first two look like TLS at first sight.
        for (i, byte) in noise.iter_mut().enumerate() {
            *byte = (i as u8).wrapping_mul(167).wrapping_add(seed).rotate_left(3);
        }
        if seed < 2 {
            noise[..5].copy_from_slice(&[0x16, 3, 1, 0x3f, 0xff]);
        }
        let mut tcp = TcpStream::connect(root.address).await.unwrap();
        let _ = tcp.write_all(&noise).await;
        ends(tcp).await;
    }
    let mut tcp = TcpStream::connect(root.address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    ends(tcp).await;
    let counters = root.handle.counters().clone();
    until("the refusals are counted", || counters.refusals(Refusal::Handshake) >= 9).await;
    node.works(theirs, "unharmed").await;
}

fn impatient() -> LinkLimits {
    LinkLimits {
        handshake_timeout: Duration::from_millis(500),
        half_open_per_address: 8,
        ..LinkLimits::default()
    }
}

#[tokio::test]
async fn slowloris_is_cut_off_before_and_after_tls() {
    let world = World::with_limits(impatient());
    let (root, mut node, _, theirs) = world.joined().await;
    // Silent; one byte of TLS; TLS and then half a request.
    let silent = TcpStream::connect(root.address).await.unwrap();
    let mut slow = TcpStream::connect(root.address).await.unwrap();
    slow.write_all(&[0x16]).await.unwrap();
    let mut half = world.tls(root.address).await;
    half.write_all(b"GET /soleil HTTP/1.1\r\nHost: ").await.unwrap();
    half.flush().await.unwrap();
    ends(silent).await;
    ends(slow).await;
    let mut buffer = [0; 64];
    let reading = timeout(PATIENCE, half.read(&mut buffer)).await.expect("it stays open");
    assert!(!matches!(reading, Ok(n) if n > 0));
    assert_eq!(root.handle.counters().refusals(Refusal::Slow), 3);
    node.works(theirs, "unharmed").await;
}

#[tokio::test]
async fn a_flood_of_half_open_connections_is_bounded_and_passes() {
    let world = World::with_limits(impatient());
    let (root, mut node, _, theirs) = world.joined().await;
    let mut flood = Vec::new();
    for _ in 0..40 {
        flood.push(TcpStream::connect(root.address).await.unwrap());
    }
    let counters = root.handle.counters().clone();
    until("the crowd is turned away", || counters.refusals(Refusal::Crowded) >= 32).await;
    node.works(theirs, "during").await;
    for tcp in flood {
        ends(tcp).await;
    }
    // All places are free again.
    let mut late = world.node(&root, &world.tokens.good).await;
    late.dial(1, DialTarget::Root);
    let conn = late.dialed().await.unwrap();
    late.works(conn, "after").await;
}

#[tokio::test]
async fn connections_in_all_are_bounded() {
    let limits = LinkLimits { connections: 3, ..LinkLimits::default() };
    let world = World::with_limits(limits);
    let (root, mut node, _, theirs) = world.joined().await;
    let _second = world.raw(root.address).await;
    let _third = world.raw(root.address).await;
    ends(TcpStream::connect(root.address).await.unwrap()).await;
    node.works(theirs, "unharmed").await;
}

#[tokio::test]
async fn a_child_that_never_reads_is_closed_and_others_notice_nothing() {
    let limits = LinkLimits { queued_messages: 200, ..LinkLimits::default() };
    let world = World::with_limits(limits);
    let (mut root, mut node, _, theirs) = world.joined().await;
    let deaf = world.raw(root.address).await;
    let (conn, _) = root.accepted().await;
    let reason = "x".repeat(500);
    let bye = message(Body::Bye(Bye { reason }));
    // Far more than the kernel's buffers hold, in steps that the queue of commands holds.
    let counters = root.handle.counters().clone();
    let mut sent = 0u64;
    while counters.refusals(Refusal::NotReading) == 0 {
        assert!(sent < 1_000_000, "a peer that never reads is fed for ever");
        for _ in 0..100 {
            root.act(Action::Send(conn, bye.clone()));
        }
        sent += 100;
        let done = || {
            let out = counters.messages(Direction::Out, "bye");
            out >= sent || counters.refusals(Refusal::NotReading) > 0
        };
        until("the messages are taken", done).await;
    }
    root.closed(conn).await;
    node.works(theirs, "unharmed").await;
    drop(deaf);
}

#[tokio::test]
async fn one_message_that_does_not_leave_in_time_ends_the_link() {
    let limits = LinkLimits { write_timeout: Duration::from_millis(300), ..LinkLimits::default() };
    let world = World::with_limits(limits);
    let (mut root, mut node, _, theirs) = world.joined().await;
    let deaf = world.raw(root.address).await;
    let (conn, _) = root.accepted().await;
    let bye = message(Body::Bye(Bye { reason: "x".repeat(500) }));
    let counters = root.handle.counters().clone();
    let mut sent = 0u64;
    // As many as the queue takes (far below its own bound), until the kernel takes no more.
    while counters.refusals(Refusal::NotReading) == 0 && sent < 3500 * 600 {
        for _ in 0..1000 {
            root.act(Action::Send(conn, bye.clone()));
        }
        sent += 1000;
        until("the messages are taken", || {
            counters.messages(Direction::Out, "bye") >= sent
                || counters.refusals(Refusal::NotReading) > 0
        })
        .await;
    }
    root.closed(conn).await;
    node.works(theirs, "unharmed").await;
    drop(deaf);
}

#[tokio::test]
async fn a_flood_of_messages_is_slowed_down_and_others_are_served() {
    let limits = LinkLimits { rate: 200, burst: 20, ..LinkLimits::default() };
    let world = World::with_limits(limits);
    let (mut root, mut node, _, theirs) = world.joined().await;
    let mut raw = world.raw(root.address).await;
    let (conn, _) = root.accepted().await;
    let began = world.clock.now().mono;
    for _ in 0..100 {
        raw.send(Frame::text(message(Body::Pong(Echo { token: "f".into() })).to_xml()))
            .await
            .unwrap();
    }
    node.works(theirs, "meanwhile").await;
    for _ in 0..100 {
        root.message_on(conn).await;
    }
    let took = world.clock.now().mono.since(began);
    // Eighty beyond the burst at 200 a second.
    assert!(took >= Duration::from_millis(390), "{took:?}");
}

#[tokio::test]
async fn a_peer_that_vanishes_is_closed_and_forgotten() {
    let world = World::new();
    let (mut root, mut node, _, theirs) = world.joined().await;
    let raw = world.raw(root.address).await;
    let (conn, _) = root.accepted().await;
    drop(raw);
    root.closed(conn).await;
    let counters = root.handle.counters().clone();
    until("it is counted out", || counters.open() == 1).await;
    node.works(theirs, "unharmed").await;
}

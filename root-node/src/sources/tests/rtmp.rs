//! What the RTMP server does with strangers; real encoders publish in `tests/tests/sources.rs`.

use crate::config::{Secret, SourceKind, SourceSection};
use crate::sources::driver::{Source, start};
use crate::sources::rtmp::{Entry, MAX_GREETING, serve};
use crate::sources::status::State;
use relay_node::clock::Clock;
use rtmp_runtime::client::{ClientConfig, ClientEvent, ClientSession};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);

/// A server for the stream `push` with the key `secret`.
async fn server(stop: &CancellationToken) -> (SocketAddr, crate::sources::driver::SourceHandle) {
    let section = SourceSection {
        kind: SourceKind::Rtmp,
        uri: None,
        listen: None,
        path: None,
        text: None,
        standby: false,
        repeat: false,
        stream_id: None,
        user: None,
        secret: Some(Secret("secret".into())),
        secret_file: None,
        latency: Duration::ZERO,
    };
    let source = Source { stream: "push".into(), number: 0, section, targets: Vec::new() };
    let clock = Clock::start();
    let source = start(source, clock, stop.clone()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kept = source.clone();
    let entry = Entry {
        key: Secret("secret".into()),
        stream: "push".into(),
        source: Box::new(move || Some(kept.clone())),
    };
    tokio::spawn(serve(listener, vec![entry], clock, stop.clone()));
    (address, source)
}

/// Sends bytes and gives how many came back before the server closed.
async fn answer(address: SocketAddr, bytes: &[u8]) -> usize {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // It may close before it has read everything.
    let _ = socket.write_all(bytes).await;
    let mut back = Vec::new();
    let _ = timeout(LIMIT, socket.read_to_end(&mut back)).await.expect("it stays open");
    back.len()
}

#[tokio::test]
async fn garbage_is_let_go_and_starts_nothing() {
    let stop = CancellationToken::new();
    let (address, source) = server(&stop).await;
    let request = b"GET / HTTP/1.1\r\nHost: example.org\r\n".repeat(100);
    assert_eq!(answer(address, &request).await, 0);
    assert_eq!(answer(address, &[0xff; 5000]).await, 0);
    // A handshake in order, and then no message that anybody knows.
    let mut handshake = vec![3];
    handshake.extend(vec![0; 2 * 1536]);
    handshake.extend(vec![0x55; MAX_GREETING]);
    assert!(answer(address, &handshake).await < 2 * MAX_GREETING);
    assert_eq!(source.status.borrow().state, State::Waiting);
    stop.cancel();
}

/// Publishes there with a client of the crate until the server closes; `true` if it said "go on".
async fn publishes(address: SocketAddr, app: &str, key: &str) -> bool {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut config = ClientConfig::default();
    (config.app, config.stream_key) = (app.into(), key.into());
    let mut client = ClientSession::new(config);
    let mut buffer = vec![0; 4096];
    socket.write_all(&client.start()).await.unwrap();
    loop {
        let n = timeout(LIMIT, socket.read(&mut buffer)).await.expect("it stays open").unwrap_or(0);
        if n == 0 {
            return false;
        }
        let (out, events) = client.handle_data(&buffer[..n]).unwrap();
        if events.contains(&ClientEvent::Publishing) {
            return true;
        }
        if socket.write_all(&out).await.is_err() {
            return false;
        }
    }
}

#[tokio::test]
async fn only_who_has_the_key_of_the_stream_may_publish() {
    let stop = CancellationToken::new();
    let (address, source) = server(&stop).await;
    for (app, key) in [("push", "Secret"), ("push", ""), ("other", "secret"), ("", "secret")] {
        assert!(!publishes(address, app, key).await, "{app} {key}");
        assert_eq!(source.status.borrow().state, State::Waiting);
    }
    assert!(publishes(address, "push", "secret").await);
    stop.cancel();
}

//! Clients that are slow, send too much or send nonsense: each is let go in time, and others
//! notice nothing.

use super::*;
use crate::http::server::{MAX_HEAD, Patience};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);

/// Everything that the server still says, once it has let the connection go.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(DEADLINE, read).await.expect("the server never lets go");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn impatient(tls: Option<TlsFiles>) -> (SocketAddr, CancellationToken) {
    let server = HttpServer::bind("127.0.0.1:0".parse().unwrap(), tls).await.unwrap();
    let server = server.with_patience(Patience { head: SHORT, tls: SHORT, ..Patience::default() });
    let to = server.local_addr().unwrap();
    let stop = CancellationToken::new();
    let router = Router::new().route("/", axum::routing::get(|| async { "hello" }));
    tokio::spawn(server.serve(router, stop.clone()));
    (to, stop)
}

async fn connect(to: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_dripping_clients_are_let_go() {
    let (to, stop) = impatient(None).await;
    let mut silent = connect(to, "").await;
    let mut half = connect(to, "GET / HTTP/1.1\r\nHost: a\r\nX-Slow").await;
    let dripping = async {
        let mut stream = connect(to, "GET / HTTP/1.1\r\nX-Drip: ").await;
        let mut drops = tokio::time::interval(SHORT / 10);
        loop {
            drops.tick().await;
            let mut answer = [0; 256];
            if stream.write_all(b"x").await.is_err()
                || matches!(stream.try_read(&mut answer), Ok(0))
            {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, dripping).await.expect("it may drip for ever");
    assert!(!rest(&mut silent).await.contains("200"));
    assert!(!rest(&mut half).await.contains("200"));
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_let_go_after_its_answer() {
    let (to, stop) = impatient(None).await;
    let mut idle = connect(to, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = rest(&mut idle).await;
    assert_eq!(status(&answer), 200, "{answer}");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_handshake_that_never_comes_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["leaf.test".into()]).unwrap();
    let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (to, stop) = impatient(Some(TlsFiles::load(&cert, &key).unwrap())).await;
    assert_eq!(rest(&mut connect(to, "").await).await, "");
    rest(&mut connect(to, "\x16\x03\x01\x02").await).await;
    rest(&mut connect(to, "GET / HTTP/1.1\r\n\r\n").await).await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_nonsense_are_bounded() {
    let (to, stop) = impatient(None).await;
    let mut stream = TcpStream::connect(to).await.unwrap();
    let long = format!("GET / HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(2 * MAX_HEAD));
    let _ = stream.write_all(long.as_bytes()).await;
    let answer = rest(&mut stream).await;
    assert!(answer.is_empty() || status(&answer) == 431, "{answer}");
    for nonsense in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = rest(&mut connect(to, nonsense).await).await;
        assert!(!answer.contains("200"), "{answer}");
    }
    let good = rest(&mut connect(to, "GET / HTTP/1.0\r\n\r\n").await).await;
    assert_eq!(status(&good), 200);
    stop.cancel();
}

impl Bench {
    /// The head of a POST that is welcome.
    fn head(&self, more: &str) -> String {
        let ticket = self.ticket("demo", "leaf-1", 60_000);
        format!(
            "POST /whep/demo?ticket={ticket} HTTP/1.1\r\nHost: leaf.test\r\n\
             Connection: close\r\nContent-Type: application/sdp\r\n{more}\r\n"
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded_in_length_and_time() {
    let b = bench(|_| {}).await;
    let mut slow = connect(b.http, &b.head("Content-Length: 6000\r\n")).await;
    slow.write_all(&OFFER.as_bytes()[..100]).await.unwrap();
    let gone = connect(b.http, &b.head("Content-Length: 6000\r\n")).await;
    drop(gone);
    // Endless chunks: refused as soon as the limit is passed.
    let mut endless = connect(b.http, &b.head("Transfer-Encoding: chunked\r\n")).await;
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    for _ in 0..MAX_OFFER_LEN / 0x1000 + 1 {
        let _ = endless.write_all(chunk.as_bytes()).await;
    }
    assert_eq!(status(&rest(&mut endless).await), 413);
    let mut binary = connect(b.http, &b.head("Content-Length: 4\r\n")).await;
    binary.write_all(&[0xff, 0xfe, 0, 1]).await.unwrap();
    assert_eq!(status(&rest(&mut binary).await), 400);
    // While one is slow others are served, and in the end it hears why.
    assert_eq!(status(&b.post("demo", OFFER).await), 201);
    assert_eq!(status(&rest(&mut slow).await), 408);
    let (sessions, connecting) = b.leaf.occupancy();
    assert_eq!((sessions, connecting), (1, 1), "those who failed hold no place");
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_an_answer_but_not_for_ever() {
    let b = bench(|_| {}).await;
    let _slow = connect(b.http, &b.head("Content-Length: 6000\r\n")).await;
    tokio::time::timeout(DEADLINE, b.leaf.stop()).await.expect("a slow client holds the stop up");
}

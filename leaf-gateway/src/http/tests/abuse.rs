//! Clients whose offer is slow or too much: each is let go in time, and others notice nothing. (What
//! the listener itself bounds is tested in `relay_node::http_server`.)

use super::*;
use std::net::SocketAddr;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

/// Everything that the server still says, once it has let the connection go.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(DEADLINE, read).await.expect("the server never lets go");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn connect(to: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
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

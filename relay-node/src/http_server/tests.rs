//! The listener on real sockets: limits, patience, TLS that is renewed, the end.

use super::*;
use axum::routing::get;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_rustls::{TlsConnector, rustls};

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);
/// More than the sockets on both sides hold.
const LARGE: usize = 32 * 1024 * 1024;

struct Site {
    at: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    /// Lets a request for `/wait` end.
    go: Arc<Notify>,
    /// A request for `/wait` is there.
    waiting: Arc<Notify>,
}

async fn site(limits: Limits, tls: Option<TlsFiles>) -> Site {
    let (go, waiting) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (go_in, waiting_in) = (go.clone(), waiting.clone());
    let router = Router::new()
        .route(
            "/who",
            get(|Extension(from): Extension<ClientAddr>| async move { from.0.to_string() }),
        )
        .route(
            "/cut",
            get(|Extension(hangup): Extension<Hangup>| async move {
                hangup.now();
                std::future::pending::<()>().await;
            }),
        )
        .route("/large", get(|| async { vec![b'x'; LARGE] }))
        .route(
            "/wait",
            get(|| async move {
                waiting_in.notify_one();
                go_in.notified().await;
                "done"
            }),
        );
    let server = HttpServer::bind(([127, 0, 0, 1], 0).into(), tls).await.unwrap();
    let server = server.with_limits(limits);
    let at = server.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(server.serve(router, stop.clone()));
    Site { at, stop, task, go, waiting }
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

async fn rest<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn ask(site: &Site, path: &str) -> String {
    let mut stream = TcpStream::connect(site.at).await.unwrap();
    let _ = stream.write_all(request(path).as_bytes()).await;
    rest(&mut stream).await
}

#[tokio::test]
async fn a_handler_can_hang_up_on_its_client_alone() {
    let site = site(Limits::default(), None).await;
    assert_eq!(ask(&site, "/cut").await, "", "no answer, but an end");
    assert!(ask(&site, "/who").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn handlers_learn_where_a_request_comes_from() {
    let site = site(Limits::default(), None).await;
    let mut stream = TcpStream::connect(site.at).await.unwrap();
    stream.write_all(request("/who").as_bytes()).await.unwrap();
    let own = stream.local_addr().unwrap().to_string();
    assert!(rest(&mut stream).await.ends_with(&own));
}

#[tokio::test]
async fn slow_heads_are_closed_and_their_places_free_again() {
    let site = site(Limits { per_address: 2, head: SHORT, ..Limits::default() }, None).await;
    let mut slow = Vec::new();
    for head in ["", "GET /who HTTP/1.1\r\nHost"] {
        let mut stream = TcpStream::connect(site.at).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    for mut stream in slow {
        assert!(!rest(&mut stream).await.contains(" 200 "));
    }
    soon(async { while !ask(&site, "/who").await.contains(" 200 ") {} }).await;
}

#[tokio::test]
async fn a_head_that_drips_is_not_waited_for() {
    let site = site(Limits { head: SHORT, ..Limits::default() }, None).await;
    let mut stream = TcpStream::connect(site.at).await.unwrap();
    stream.write_all(b"GET /who HTTP/1.1\r\nX-Drip: ").await.unwrap();
    let mut drops = tokio::time::interval(SHORT / 10);
    let dripping = async {
        loop {
            drops.tick().await;
            let mut answer = [0; 256];
            let gone = matches!(stream.try_read(&mut answer), Ok(0));
            if gone || stream.write_all(b"x").await.is_err() {
                return;
            }
        }
    };
    soon(dripping).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_answer() {
    let site = site(Limits { head: SHORT, ..Limits::default() }, None).await;
    let mut idle = TcpStream::connect(site.at).await.unwrap();
    idle.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = rest(&mut idle).await;
    assert!(answer.contains(" 200 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go_and_its_place_free_again() {
    let site = site(Limits { per_address: 1, write: SHORT, ..Limits::default() }, None).await;
    let mut mute = TcpStream::connect(site.at).await.unwrap();
    mute.write_all(request("/large").as_bytes()).await.unwrap();
    // The answer has begun, so the place is taken.
    soon(mute.readable()).await.unwrap();
    soon(async { while !ask(&site, "/who").await.contains(" 200 ") {} }).await;
    assert!(rest(&mut mute).await.len() < LARGE, "the answer was cut");
}

#[tokio::test]
async fn nonsense_is_not_answered_and_old_http_is() {
    let site = site(Limits { head: SHORT, ..Limits::default() }, None).await;
    let say = async |text: &str| {
        let mut stream = TcpStream::connect(site.at).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        rest(&mut stream).await
    };
    for nonsense in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = say(nonsense).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    assert!(say("GET /who HTTP/1.0\r\n\r\n").await.contains(" 200 "));
}

#[tokio::test]
async fn one_more_than_its_share_is_closed_at_once() {
    let site = site(Limits { per_address: 1, ..Limits::default() }, None).await;
    let mut first = TcpStream::connect(site.at).await.unwrap();
    first.write_all(request("/wait").as_bytes()).await.unwrap();
    soon(site.waiting.notified()).await;
    assert_eq!(ask(&site, "/who").await, "");
    site.go.notify_one();
    assert!(rest(&mut first).await.ends_with("done"));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let site = site(Limits::default(), None).await;
    let mut stream = TcpStream::connect(site.at).await.unwrap();
    let _ = stream.write_all(b"GET /who HTTP/1.1\r\nHost: ").await;
    let _ = stream.write_all(&vec![b'x'; MAX_HEAD + 1]).await;
    let answer = rest(&mut stream).await;
    assert!(answer.is_empty() || answer.contains(" 431 "), "{answer}");
    assert!(ask(&site, "/who").await.contains(" 200 "));
}

#[tokio::test]
async fn the_end_waits_for_requests_and_takes_no_new_ones() {
    let site = site(Limits::default(), None).await;
    let mut stream = TcpStream::connect(site.at).await.unwrap();
    stream.write_all(request("/wait").as_bytes()).await.unwrap();
    soon(site.waiting.notified()).await;
    let mut idle = TcpStream::connect(site.at).await.unwrap();
    site.stop.cancel();
    site.go.notify_one();
    assert!(rest(&mut stream).await.ends_with("done"));
    assert_eq!(rest(&mut idle).await, "");
    soon(site.task).await.unwrap();
    assert!(TcpStream::connect(site.at).await.is_err());
}

/// Writes a new self-signed pair and returns the certificate.
fn write_pair(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

async fn ask_tls(site: &Site, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(site.at).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(request("/who").as_bytes()).await?;
    Ok(rest(&mut stream).await)
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_pair(dir.path());
    let files = TlsFiles::load(&dir.path().join("cert.pem"), &dir.path().join("key.pem")).unwrap();
    let site = site(Limits { reload: SHORT, ..Limits::default() }, Some(files)).await;
    assert!(ask_tls(&site, &first).await.unwrap().contains(" 200 "));
    let second = write_pair(dir.path());
    soon(async { while ask_tls(&site, &second).await.is_err() {} }).await;
    assert!(ask_tls(&site, &first).await.is_err());
    // Files that make no sense change nothing.
    std::fs::write(dir.path().join("cert.pem"), "nonsense").unwrap();
    for _ in 0..3 {
        assert!(ask_tls(&site, &second).await.is_ok());
    }
}

#[tokio::test]
async fn whoever_does_not_shake_hands_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = write_pair(dir.path());
    let files = TlsFiles::load(&dir.path().join("cert.pem"), &dir.path().join("key.pem")).unwrap();
    let site = site(Limits { handshake: SHORT, ..Limits::default() }, Some(files)).await;
    for beginning in ["", "\x16\x03\x01\x02"] {
        let mut mute = TcpStream::connect(site.at).await.unwrap();
        mute.write_all(beginning.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut mute).await, "");
    }
    assert!(!ask(&site, "/who").await.contains(" 200 "), "plain HTTP is not spoken");
    assert!(ask_tls(&site, &trusted).await.unwrap().contains(" 200 "));
}

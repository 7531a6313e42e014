//! HTTPS with a certificate that the client pins, and a new one while the server runs.

use super::*;
use crate::config::TlsSection;
use crate::http::server::Patience;
use std::path::Path;
use std::time::Duration;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

struct Made {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
}

fn make() -> Made {
    let made = rcgen::generate_simple_self_signed(vec!["leaf.test".into()]).unwrap();
    Made {
        cert: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        der: made.cert.der().clone(),
    }
}

fn write(dir: &Path, cert: &str, key: &str) -> TlsSection {
    let section = TlsSection { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    std::fs::write(&section.cert, cert).unwrap();
    std::fs::write(&section.key, key).unwrap();
    section
}

/// Sends a request over TLS to a server that shows just this certificate.
async fn request(to: SocketAddr, pinned: &Made, request: &str) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(pinned.der.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("leaf.test").unwrap();
    let stream = TcpStream::connect(to).await?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // The server need not say goodbye in TLS, too.
    let _ = stream.read_to_end(&mut answer).await;
    Ok(String::from_utf8(answer).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whep_over_tls_with_the_pinned_certificate_only() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (make(), make());
    let section = write(dir.path(), &ours.cert, &ours.key);
    let b = bench(|c| c.http.tls = Some(section)).await;
    let path = format!("/whep/demo?ticket={}", b.ticket("demo", "leaf-1", 60_000));
    let post = format!(
        "POST {path} HTTP/1.1\r\nHost: leaf.test\r\nConnection: close\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{OFFER}",
        OFFER.len()
    );
    let answer = request(b.http, &ours, &post).await.unwrap();
    assert_eq!(status(&answer), 201, "{answer}");
    assert!(header(&answer, "location").unwrap().starts_with("https://leaf.test/whep/demo/"));
    request(b.http, &other, &post).await.unwrap_err();
    let plain = b.send("POST", &path, "Content-Type: application/sdp\r\n", OFFER).await;
    assert!(!plain.contains("201"), "no plain HTTP on this port: {plain}");
    b.leaf.stop().await;
}

#[tokio::test]
async fn files_that_are_no_pair_are_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (make(), make());
    for (cert, key) in [(&a.cert, &b.key), (&a.key, &a.key), (&a.cert, &a.cert)] {
        let s = write(dir.path(), cert, key);
        TlsFiles::load(&s.cert, &s.key).unwrap_err();
    }
    let error = TlsFiles::load(Path::new("nowhere.pem"), Path::new("nowhere.pem")).unwrap_err();
    assert!(error.contains("nowhere.pem"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_and_a_bad_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (make(), make());
    let section = write(dir.path(), &first.cert, &first.key);
    let tls = TlsFiles::load(&section.cert, &section.key).unwrap();
    let server = HttpServer::bind("127.0.0.1:0".parse().unwrap(), Some(tls)).await.unwrap();
    let server =
        server.with_patience(Patience { reload: Duration::from_millis(5), ..Patience::default() });
    let to = server.local_addr().unwrap();
    let stop = CancellationToken::new();
    let router = Router::new().route("/", axum::routing::get(|| async { "hello" }));
    let served = tokio::spawn(server.serve(router, stop.clone()));
    let get = "GET / HTTP/1.1\r\nHost: leaf.test\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&request(to, &first, get).await.unwrap()), 200);
    // A bad pair: the old one stays.
    write(dir.path(), "no certificate", &second.key);
    for _ in 0..10 {
        assert_eq!(status(&request(to, &first, get).await.unwrap()), 200);
    }
    write(dir.path(), &second.cert, &second.key);
    let changed = async {
        while request(to, &second, get).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, changed).await.expect("the new certificate is never shown");
    request(to, &first, get).await.unwrap_err();
    stop.cancel();
    served.await.unwrap();
}

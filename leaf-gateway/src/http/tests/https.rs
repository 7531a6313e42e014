//! WHEP over HTTPS with a certificate that the client pins.

use super::*;
use crate::config::TlsSection;
use relay_node::config::ConfigError;
use std::net::SocketAddr;
use std::path::Path;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

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
async fn a_bad_pair_is_an_error_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = LeafConfig::default();
    config.http.listen = "127.0.0.1:0".parse().unwrap();
    config.http.tls = Some(write(dir.path(), &make().cert, &make().key));
    let error = Leaf::bind(&config, Clock::start()).await.map(drop).unwrap_err();
    assert!(error.chain().any(|cause| cause.is::<ConfigError>()), "{error:#}");
    assert!(format!("{error:#}").contains("http.tls: "), "{error:#}");
}

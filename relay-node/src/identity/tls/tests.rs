//! Handshakes in memory: what is accepted, and every refusal.

use super::*;
use crate::identity::authority::Authority;
use soleil_protocol::Wall;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

struct World {
    clock: Clock,
    ca: Authority,
    now: Wall,
}

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

impl World {
    fn new() -> World {
        let clock = Clock::start();
        let now = clock.now().wall;
        World { clock, ca: Authority::create(now).unwrap(), now }
    }

    fn node(&self, name: &str) -> Credentials {
        self.node_at(name, self.now)
    }

    fn node_at(&self, name: &str, issued: Wall) -> Credentials {
        let key = NodeKey::generate().unwrap();
        let request = key.request(name).unwrap();
        let certificate = self.ca.issue(&request, &id(name), issued, DAY).unwrap();
        self.credentials(certificate, key)
    }

    fn root(&self) -> Credentials {
        let key = NodeKey::generate().unwrap();
        let certificate = self.ca.issue_root(&key, &id("root"), self.now, DAY).unwrap();
        self.credentials(certificate, key)
    }

    fn credentials(&self, certificate: Vec<u8>, key: NodeKey) -> Credentials {
        Credentials { certificate, authority: self.ca.certificate().to_vec(), key: Arc::new(key) }
    }

    fn expect_root(&self) -> Expect {
        Expect::Root(self.ca.fingerprint())
    }

    fn expect(&self, name: &str) -> Expect {
        Expect::Node { authority: self.ca.certificate().to_vec(), id: id(name) }
    }

    /// Shakes hands in memory; gives the client that the server saw.
    fn handshake(
        &self,
        server_is: &Credentials,
        strangers: Strangers,
        client_is: Option<&Credentials>,
        expect: Expect,
    ) -> Result<Option<NodeCertificate>, Error> {
        let server_config = server(server_is, strangers, self.clock).unwrap();
        let client_config = client(client_is, expect, self.clock).unwrap();
        shake(client_config, server_config)
    }
}

fn shake(
    client_config: Arc<ClientConfig>,
    server_config: Arc<ServerConfig>,
) -> Result<Option<NodeCertificate>, Error> {
    let mut client = rustls::ClientConnection::new(client_config, unused_server_name())?;
    let mut server = rustls::ServerConnection::new(server_config)?;
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut bytes = wire.as_slice();
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            server.process_new_packets()?;
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut bytes = wire.as_slice();
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client.process_new_packets()?;
        }
    }
    assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
    assert_eq!(client.tls13_tickets_received(), 0);
    let peer = server.peer_certificates().map(|chain| NodeCertificate::parse(&chain[0]).unwrap());
    Ok(peer)
}

#[test]
fn joining_pins_the_ca_and_needs_no_certificate() {
    let w = World::new();
    let peer = w.handshake(&w.root(), Strangers::MayJoin, None, w.expect_root()).unwrap();
    assert_eq!(peer, None);
}

#[test]
fn links_know_both_ends() {
    let w = World::new();
    let leaf = w.node("leaf-1");
    let peer = w
        .handshake(&w.node("relay-1"), Strangers::Refused, Some(&leaf), w.expect("relay-1"))
        .unwrap()
        .unwrap();
    assert_eq!(peer.id, id("leaf-1"));
    assert_eq!(peer.key, leaf.key.hash());
    // The root takes certificates as well, from those that have one.
    let peer = w.handshake(&w.root(), Strangers::MayJoin, Some(&leaf), w.expect("root")).unwrap();
    assert_eq!(peer.unwrap().id, id("leaf-1"));
}

#[test]
fn another_ca_is_refused_by_the_one_that_joins() {
    let (w, other) = (World::new(), World::new());
    let error = w.handshake(&w.root(), Strangers::MayJoin, None, other.expect_root()).unwrap_err();
    assert_eq!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer));
}

#[test]
fn the_right_ca_beside_anothers_certificate_is_refused() {
    // Who copies our CA's certificate (it is public) still cannot show one that it signed.
    let (w, other) = (World::new(), World::new());
    let mut fake = other.root();
    fake.authority = w.ca.certificate().to_vec();
    let error = w.handshake(&fake, Strangers::MayJoin, None, w.expect_root()).unwrap_err();
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");
}

#[test]
fn a_node_cannot_play_the_root_to_those_that_join() {
    let w = World::new();
    let error =
        w.handshake(&w.node("root"), Strangers::Refused, None, w.expect_root()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        ),
        "{error}"
    );
}

#[test]
fn another_nodes_certificate_is_refused() {
    let w = World::new();
    let leaf = w.node("leaf-1");
    let error = w
        .handshake(&w.node("relay-2"), Strangers::Refused, Some(&leaf), w.expect("relay-1"))
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        ),
        "{error}"
    );
}

#[test]
fn a_stolen_certificate_without_its_key_is_useless() {
    // rustls refuses to be configured so; the signature over the handshake is what counts for
    // those who use something else: the certificate with another key cannot sign it.
    let w = World::new();
    let (leaf, thief) = (w.node("leaf-1"), w.node("leaf-2"));
    let stolen = Credentials { key: thief.key.clone(), ..leaf };
    assert!(client(Some(&stolen), w.expect("relay-1"), w.clock).is_err());
    // Forced past that check:
    let signing = rustls::crypto::ring::sign::any_supported_type(&thief.key()).unwrap();
    let resolver = rustls::sign::CertifiedKey::new(stolen.chain(), signing);
    let mut config = (*client(None, w.expect("relay-1"), w.clock).unwrap()).clone();
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(resolver));
    let relay = server(&w.node("relay-1"), Strangers::Refused, w.clock).unwrap();
    let error = shake(Arc::new(config), relay).unwrap_err();
    assert_eq!(error, Error::InvalidCertificate(CertificateError::BadSignature));
}

#[test]
fn no_certificate_no_link() {
    let w = World::new();
    let error =
        w.handshake(&w.node("relay-1"), Strangers::Refused, None, w.expect("relay-1")).unwrap_err();
    assert_eq!(error, Error::NoCertificatesPresented);
}

#[test]
fn a_client_of_another_ca_is_refused() {
    let (w, other) = (World::new(), World::new());
    let stranger = other.node("leaf-1");
    for (server_is, strangers) in
        [(w.node("relay-1"), Strangers::Refused), (w.root(), Strangers::MayJoin)]
    {
        let name = NodeCertificate::parse(&server_is.certificate).unwrap().id.to_string();
        let error =
            w.handshake(&server_is, strangers, Some(&stranger), w.expect(&name)).unwrap_err();
        assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");
    }
}

#[test]
fn the_roots_certificate_is_no_clients() {
    let w = World::new();
    let root = w.root();
    let error = w
        .handshake(&w.node("relay-1"), Strangers::Refused, Some(&root), w.expect("relay-1"))
        .unwrap_err();
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");
}

#[test]
fn certificates_that_have_run_out_or_not_begun_are_refused_on_both_sides() {
    let w = World::new();
    let old = Wall(w.now.0 - 2 * 86_400_000_000);
    let early = Wall(w.now.0 + 3_600_000_000);
    for (issued, expired) in [(old, true), (early, false)] {
        let (good, bad) = (w.node("good"), w.node_at("bad", issued));
        let as_client =
            w.handshake(&good, Strangers::Refused, Some(&bad), w.expect("good")).unwrap_err();
        let as_server =
            w.handshake(&bad, Strangers::Refused, Some(&good), w.expect("bad")).unwrap_err();
        for error in [as_client, as_server] {
            let Error::InvalidCertificate(why) = error else { panic!("{error}") };
            let right = if expired {
                matches!(why, CertificateError::ExpiredContext { .. })
            } else {
                matches!(why, CertificateError::NotValidYetContext { .. })
            };
            assert!(right, "{why:?}");
        }
    }
}

#[test]
fn tls_1_2_is_not_spoken() {
    let w = World::new();
    let server_config = server(&w.root(), Strangers::MayJoin, w.clock).unwrap();
    let old = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots(w.ca.certificate()).unwrap())
        .with_no_client_auth();
    assert!(shake(Arc::new(old), server_config).is_err());
}

#[test]
fn a_client_that_would_resume_cannot() {
    // Even with a session store the server hands out no ticket, so the second connection is a full
    // handshake with the certificate in it.
    let w = World::new();
    let leaf = w.node("leaf-1");
    let mut config = (*client(Some(&leaf), w.expect("relay-1"), w.clock).unwrap()).clone();
    config.resumption = Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    let relay = server(&w.node("relay-1"), Strangers::Refused, w.clock).unwrap();
    for _ in 0..2 {
        let peer = shake(config.clone(), relay.clone()).unwrap();
        assert_eq!(peer.unwrap().id, id("leaf-1"));
    }
}

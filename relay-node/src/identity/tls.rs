//! The TLS configurations of control links: TLS 1.3 only, our own CA, mutual authentication.
//!
//! Verification of signatures, chains and validity is rustls' and webpki's; what we add is which
//! CA counts and which node the other end must be. Sessions are never resumed: every connection
//! proves the keys of both ends anew.

use super::IdentityError;
use super::authority::Fingerprint;
use super::certificate::NodeCertificate;
use super::key::NodeKey;
use crate::clock::Clock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use soleil_protocol::{NodeId, Wall};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls;

/// A node's certificate with what is needed to use and to check it.
#[derive(Clone)]
pub struct Credentials {
    /// The node's certificate (DER).
    pub certificate: Vec<u8>,
    /// The CA's certificate (DER).
    pub authority: Vec<u8>,
    /// The node's key.
    pub key: Arc<NodeKey>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl Credentials {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        [&self.certificate, &self.authority].map(|der| CertificateDer::from(der.clone())).to_vec()
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.pkcs8().to_vec()))
    }
}

/// Whom a client accepts as its server.
#[derive(Debug, Clone)]
pub enum Expect {
    /// The root: it shows a CA of this fingerprint and the root's own certificate.
    Root(Fingerprint),
    /// One node, under a CA that is already known.
    Node {
        /// The CA's certificate (DER).
        authority: Vec<u8>,
        /// Who it must be.
        id: NodeId,
    },
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Whether anonymous clients get through TLS, to prove a join token next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// At the root: a client without a certificate may show a token.
    MayJoin,
    /// Everywhere else: no certificate, no connection.
    Refused,
}

/// The server's side of a control link.
///
/// # Errors
/// If certificate, key or CA cannot be used.
pub fn server(
    own: &Credentials,
    strangers: Strangers,
    clock: Clock,
) -> Result<Arc<ServerConfig>, IdentityError> {
    let fail = |e: Error| IdentityError::Certificate(e.to_string());
    let provider = provider();
    let roots = Arc::new(roots(&own.authority)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        // Clients have one certificate: no hint needed, and none given to strangers.
        .clear_root_hint_subjects();
    let builder = match strangers {
        Strangers::MayJoin => builder.allow_unauthenticated(),
        Strangers::Refused => builder,
    };
    let chains = builder.build().map_err(|e| IdentityError::Certificate(e.to_string()))?;
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(fail)?
        .with_client_cert_verifier(Arc::new(NodeClients { chains }))
        .with_single_cert(own.chain(), own.key())
        .map_err(fail)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// The client's side of a control link; `own` is shown to the server if it is there.
///
/// # Errors
/// If certificate, key or CA cannot be used.
pub fn client(
    own: Option<&Credentials>,
    expect: Expect,
    clock: Clock,
) -> Result<Arc<ClientConfig>, IdentityError> {
    let fail = |e: Error| IdentityError::Certificate(e.to_string());
    let provider = provider();
    let known = match &expect {
        Expect::Root(_) => None,
        Expect::Node { authority, .. } => Some(roots(authority)?),
    };
    let verifier = TreeServers { expect, known, provider: provider.clone() };
    let builder = ClientConfig::builder_with_details(provider, Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(fail)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own {
        Some(own) => builder.with_client_auth_cert(own.chain(), own.key()).map_err(fail)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// The name for rustls' client: names are checked by our verifier, so it stands for nothing.
pub fn unused_server_name() -> ServerName<'static> {
    ServerName::IpAddress(rustls_pki_types::IpAddr::from(std::net::Ipv4Addr::UNSPECIFIED))
}

fn roots(authority: &[u8]) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(authority.to_vec()))
        .map_err(|e| IdentityError::Certificate(format!("the CA's: {e}")))?;
    Ok(roots)
}

/// Checks that a certificate was issued by an authority and is valid: signature, times, usage.
///
/// # Errors
/// What webpki says against it.
pub fn issued_by(certificate: &[u8], authority: &[u8], now: Wall) -> Result<(), IdentityError> {
    let fail = |e: Error| IdentityError::Certificate(e.to_string());
    let certificate = CertificateDer::from(certificate);
    verify_server_cert_signed_by_trust_anchor(
        &ParsedCertificate::try_from(&certificate).map_err(fail)?,
        &roots(authority)?,
        &[],
        UnixTime::since_unix_epoch(Duration::from_micros(now.0)),
        provider().signature_verification_algorithms.all,
    )
    .map_err(fail)
}

fn refused(error: IdentityError) -> Error {
    tracing::debug!(%error, "certificate refused");
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

/// The clock for rustls.
#[derive(Debug)]
struct ClockTime(Clock);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let wall = Duration::from_micros(self.0.now().wall.0);
        Some(UnixTime::since_unix_epoch(wall))
    }
}

/// Checks servers: pinned CA or known CA, then who it is.
#[derive(Debug)]
struct TreeServers {
    expect: Expect,
    known: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TreeServers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned;
        let roots = match (&self.expect, &self.known) {
            (Expect::Root(fingerprint), _) => {
                let authority = intermediates
                    .iter()
                    .find(|der| fingerprint.matches(der))
                    .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
                pinned = roots(authority).map_err(refused)?;
                &pinned
            }
            (Expect::Node { .. }, Some(known)) => known,
            (Expect::Node { .. }, None) => {
                return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
            }
        };
        // The CA signs nodes directly (path length 0), so nothing else may stand in between.
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            roots,
            &[],
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        let certificate = NodeCertificate::parse(end_entity).map_err(refused)?;
        let right = match &self.expect {
            Expect::Root(_) => certificate.root,
            Expect::Node { id, .. } => certificate.id == *id,
        };
        if !right {
            let who = format!("it is of {}", certificate.id);
            return Err(refused(IdentityError::Certificate(who)));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks clients: chain and validity by webpki, then that the certificate names a node.
#[derive(Debug)]
struct NodeClients {
    chains: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for NodeClients {
    fn offer_client_auth(&self) -> bool {
        self.chains.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chains.verify_client_cert(end_entity, &[], now)?;
        NodeCertificate::parse(end_entity).map_err(refused)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;

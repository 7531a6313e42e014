//! The building blocks of the root's certificate authority: make it, keep it, issue from a
//! request. When and for whom is decided at the root.

use super::certificate::{NODE_URI, ROOT_URI, sha256};
use super::encoding::{hex, same_secret};
use super::key::NodeKey;
use super::{IdentityError, random};
use crate::control::api::KeyHash;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use soleil_protocol::{NodeId, Wall};
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use zeroize::Zeroizing;

/// Longest certificate request that is looked at, in bytes. Ours take about 200.
pub const MAX_REQUEST: usize = 2048;
/// How long the CA lives. Every token holds its fingerprint, so it should outlive the machine.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// How far certificates reach back: clocks of nodes may be late by that much. A short-lived one
/// reaches back no further than forward, so that two thirds of its span, when it is renewed, are not
/// over before it begins.
const BACKDATE: Duration = Duration::from_secs(300);

/// SHA-256 of the CA certificate's DER: what join tokens pin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(certificate: &[u8]) -> Fingerprint {
        Fingerprint(sha256(certificate))
    }

    /// Whether the certificate has this fingerprint, in constant time.
    pub fn matches(&self, certificate: &[u8]) -> bool {
        same_secret(&self.0, &sha256(certificate))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The CA: its certificate and its key.
pub struct Authority {
    certificate: Vec<u8>,
    key: NodeKey,
}

impl Authority {
    /// A new CA.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn create(now: Wall) -> Result<Authority, IdentityError> {
        let key = NodeKey::generate()?;
        let mut params = authority_params();
        set_validity(&mut params, now, AUTHORITY_LIFETIME);
        params.serial_number = Some(serial()?);
        let certificate =
            params.self_signed(key.pair()).map_err(|e| IdentityError::Key(e.to_string()))?;
        Ok(Authority { certificate: certificate.der().to_vec(), key })
    }

    /// A CA from what was stored: certificate (DER) and key (PKCS #8).
    ///
    /// # Errors
    /// If either cannot be read, or they do not belong together.
    pub fn load(certificate: &[u8], key_pkcs8: &[u8]) -> Result<Authority, IdentityError> {
        let key = NodeKey::from_pkcs8(key_pkcs8)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|_| IdentityError::Certificate("the CA's cannot be read".into()))?;
        if parsed.public_key().raw != key.pair().subject_public_key_info() {
            return Err(IdentityError::Certificate("the CA's key is another's".into()));
        }
        Ok(Authority { certificate: certificate.to_vec(), key })
    }

    /// Its certificate (DER).
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Its key (PKCS #8, DER), to be stored where only the root can read it.
    pub fn key_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.key.pkcs8()
    }

    /// What tokens pin.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Issues a node's certificate from its request. The request's signature is checked and its
    /// key taken; the names in it are ignored.
    ///
    /// # Errors
    /// If the request cannot be read, is too long, its key is neither P-256 nor Ed25519, or its
    /// signature is wrong.
    pub fn issue(
        &self,
        request: &[u8],
        id: &NodeId,
        now: Wall,
        lifetime: Duration,
    ) -> Result<Vec<u8>, IdentityError> {
        let key = RequestedKey::from_request(request)?;
        let usages = [ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&key, id, &[], &usages, now, lifetime)
    }

    /// Issues the root's own server certificate for its key.
    ///
    /// # Errors
    /// If signing fails.
    pub fn issue_root(
        &self,
        key: &NodeKey,
        id: &NodeId,
        now: Wall,
        lifetime: Duration,
    ) -> Result<Vec<u8>, IdentityError> {
        // The root dials nobody: its certificate is good for a server only.
        let usages = [ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(key.pair(), id, &[ROOT_URI], &usages, now, lifetime)
    }

    fn sign(
        &self,
        key: &impl PublicKeyData,
        id: &NodeId,
        more_uris: &[&str],
        usages: &[ExtendedKeyUsagePurpose],
        now: Wall,
        lifetime: Duration,
    ) -> Result<Vec<u8>, IdentityError> {
        let fail = |e: rcgen::Error| IdentityError::Key(e.to_string());
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, id.as_str());
        let node_uri = format!("{NODE_URI}{id}");
        for uri in std::iter::once(node_uri.as_str()).chain(more_uris.iter().copied()) {
            params.subject_alt_names.push(SanType::URI(uri.try_into().map_err(fail)?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        set_validity(&mut params, now, lifetime);
        let issuer = Issuer::new(authority_params(), self.key.pair());
        let certificate = params.signed_by(key, &issuer).map_err(fail)?;
        Ok(certificate.der().to_vec())
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.fingerprint())
    }
}

/// SHA-256 of the public key in a certificate request: how the root tells "the same node again"
/// from "another node with the same name" before it issues anything.
///
/// # Errors
/// As [`Authority::issue`].
pub fn request_key(request: &[u8]) -> Result<KeyHash, IdentityError> {
    Ok(sha256(&RequestedKey::from_request(request)?.subject_public_key_info()))
}

/// What every CA of ours has in common; the issuer's name in certificates comes from here.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Soleil CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn set_validity(params: &mut CertificateParams, now: Wall, lifetime: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = Duration::from_micros(now.0);
    params.not_before = epoch + now.saturating_sub(BACKDATE.min(lifetime));
    params.not_after = epoch + (now + lifetime);
}

/// A random serial number (RFC 5280 section 4.1.2.2: positive, at most 20 bytes).
fn serial() -> Result<SerialNumber, IdentityError> {
    let mut bytes = random::<16>()?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// The public key of a request whose signature has been checked.
struct RequestedKey {
    bytes: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl RequestedKey {
    fn from_request(der: &[u8]) -> Result<RequestedKey, IdentityError> {
        const P256_KEY: &str = "1.2.840.10045.2.1";
        const P256_CURVE: &str = "1.2.840.10045.3.1.7";
        const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";
        const ED25519: &str = "1.3.101.112";
        let refuse = IdentityError::Request;
        if der.len() > MAX_REQUEST {
            return Err(refuse("it is too long"));
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| refuse("it cannot be read"))?;
        if !rest.is_empty() {
            return Err(refuse("bytes follow it"));
        }
        let info = &request.certification_request_info;
        let key = &info.subject_pki;
        let curve = key.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
        let curve = curve.map(|oid| oid.to_id_string());
        let signed_with = request.signature_algorithm.algorithm.to_id_string();
        let kind = key.algorithm.algorithm.to_id_string();
        let (algorithm, verification): (_, &dyn ring::signature::VerificationAlgorithm) =
            match (kind.as_str(), curve.as_deref(), signed_with.as_str()) {
                (P256_KEY, Some(P256_CURVE), ECDSA_SHA256) => {
                    (&rcgen::PKCS_ECDSA_P256_SHA256, &ring::signature::ECDSA_P256_SHA256_ASN1)
                }
                (ED25519, None, ED25519) => (&rcgen::PKCS_ED25519, &ring::signature::ED25519),
                _ => return Err(refuse("its key is neither P-256 nor Ed25519")),
            };
        let bytes = key.subject_public_key.data.to_vec();
        ring::signature::UnparsedPublicKey::new(verification, &bytes)
            .verify(info.raw, &request.signature_value.data)
            .map_err(|_| refuse("its signature is wrong"))?;
        Ok(RequestedKey { bytes, algorithm })
    }
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests;

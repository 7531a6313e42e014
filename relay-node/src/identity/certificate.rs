//! Reading certificates: whose they are (CN and the URI `soleil:node:<id>`), which key they
//! carry, when they end. Signature and validity are checked in `tls`; nothing here is trust.

use super::IdentityError;
use crate::control::api::KeyHash;
use soleil_protocol::{NodeId, Wall};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The URI that names a node in its certificate.
pub const NODE_URI: &str = "soleil:node:";
/// The URI that only the root's own server certificate carries: a node's certificate can then
/// not be used to play the root to others that join.
pub const ROOT_URI: &str = "soleil:root";
/// Longest certificate that is looked at, in bytes. Ours take about 600.
pub const MAX_CERTIFICATE: usize = 4096;

/// What a certificate of our CA says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCertificate {
    /// Whose it is.
    pub id: NodeId,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key: KeyHash,
    /// Whether it is the root's own.
    pub root: bool,
    /// First moment at which it is valid.
    pub not_before: Wall,
    /// Last moment at which it is valid.
    pub not_after: Wall,
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    out
}

impl NodeCertificate {
    /// Reads a certificate (DER) without judging it.
    ///
    /// # Errors
    /// If it is too long, no certificate, or does not name one node in both places.
    pub fn parse(der: &[u8]) -> Result<NodeCertificate, IdentityError> {
        let refuse = |why: &str| IdentityError::Certificate(why.into());
        if der.len() > MAX_CERTIFICATE {
            return Err(refuse("it is too long"));
        }
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| refuse("it cannot be read"))?;
        if !rest.is_empty() {
            return Err(refuse("bytes follow it"));
        }
        let mut names = certificate.subject().iter_common_name();
        let (Some(name), None) = (names.next(), names.next()) else {
            return Err(refuse("it must have one common name"));
        };
        let name = name.as_str().map_err(|_| refuse("its common name cannot be read"))?;
        let id = NodeId::new(name).map_err(|_| refuse("its common name is no node id"))?;
        let alternative = certificate
            .subject_alternative_name()
            .map_err(|_| refuse("its alternative names cannot be read"))?
            .ok_or_else(|| refuse("it has no alternative name"))?;
        let mut named = false;
        let mut root = false;
        for name in &alternative.value.general_names {
            match name {
                GeneralName::URI(uri) if *uri == ROOT_URI => root = true,
                GeneralName::URI(uri) if uri.strip_prefix(NODE_URI) == Some(id.as_str()) => {
                    named = true;
                }
                _ => return Err(refuse("it has an alternative name that is not ours")),
            }
        }
        if !named {
            return Err(refuse("its names differ"));
        }
        let wall = |t: x509_parser::time::ASN1Time| {
            Wall(u64::try_from(t.timestamp()).unwrap_or(0).saturating_mul(1_000_000))
        };
        Ok(NodeCertificate {
            id,
            key: sha256(certificate.public_key().raw),
            root,
            not_before: wall(certificate.validity().not_before),
            not_after: wall(certificate.validity().not_after),
        })
    }
}

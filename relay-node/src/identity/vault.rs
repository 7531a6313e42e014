//! A node's own secrets behind [`Vault`], the trait that control cores use.

use super::IdentityError;
use super::certificate::NodeCertificate;
use super::key::NodeKey;
use super::ticket::LinkTicket;
use super::tls::issued_by;
use super::wrap::WrapKey;
use crate::control::api::{KeyHash, TicketClaims, Vault};
use soleil_protocol::message::Identity;
use soleil_protocol::pipeline::Wrapped;
use soleil_protocol::{NodeId, Now, Wall};
use std::path::Path;
use std::sync::Arc;

/// The node's TLS key and its HPKE key. Clones share them: one goes into the core, one to TLS.
#[derive(Debug, Clone)]
pub struct NodeVault {
    key: Arc<NodeKey>,
    wrap: WrapKey,
}

impl NodeVault {
    /// A vault around a key, with a new HPKE key.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn new(key: NodeKey) -> Result<NodeVault, IdentityError> {
        Ok(NodeVault { key: Arc::new(key), wrap: WrapKey::generate()? })
    }

    /// With the key that is kept in `dir` (made there at the first start), or a new one that lives
    /// in memory only.
    ///
    /// # Errors
    /// If the key cannot be read, written or made.
    pub fn open(dir: Option<&Path>) -> Result<NodeVault, IdentityError> {
        NodeVault::new(match dir {
            Some(dir) => NodeKey::load_or_create(dir)?,
            None => NodeKey::generate()?,
        })
    }

    /// The TLS key.
    pub fn key(&self) -> &Arc<NodeKey> {
        &self.key
    }
}

/// The certificate of an identity that the owner of `key` can use: it names that identity, is for
/// that key, was issued by the identity's authority and is valid now.
///
/// # Errors
/// What does not hold.
pub fn usable(
    identity: &Identity,
    key: &KeyHash,
    now: Wall,
) -> Result<NodeCertificate, IdentityError> {
    let refuse = |why: &str| Err(IdentityError::Certificate(why.into()));
    let certificate = NodeCertificate::parse(&identity.certificate)?;
    if certificate.id != identity.id {
        return refuse("it names another node");
    }
    if certificate.key != *key {
        return refuse("it is for another key");
    }
    issued_by(&identity.certificate, &identity.authority, now)?;
    Ok(certificate)
}

impl Vault for NodeVault {
    fn certificate_request(&mut self, name: &NodeId) -> Vec<u8> {
        self.key.request(name.as_str()).unwrap_or_else(|error| {
            // Signing with a key that signed before does not fail; the root refuses an empty
            // request with a sentence.
            tracing::error!(%error, "cannot make a certificate request");
            Vec::new()
        })
    }

    fn wrap_key(&self) -> Vec<u8> {
        self.wrap.public()
    }

    fn unwrap(&self, context: &str, wrapped: &Wrapped) -> Option<Vec<u8>> {
        // The core owns the plain secret from here on and wipes it where it keeps it.
        self.wrap.unwrap(context, wrapped).map(|secret| secret.to_vec())
    }

    fn check_ticket(
        &self,
        ticket_key: &[u8],
        parent: &NodeId,
        ticket: &[u8],
        now: Now,
    ) -> Result<TicketClaims, String> {
        LinkTicket::check(ticket, ticket_key, parent, &self.wrap, now.wall)
            .map_err(|e| e.to_string())
    }

    fn check_identity(&self, identity: &Identity, now: Now) -> Result<(), String> {
        usable(identity, &self.key.hash(), now.wall).map(drop).map_err(|e| e.to_string())
    }

    fn validity(&self, certificate: &[u8]) -> Option<(Wall, Wall)> {
        let certificate = NodeCertificate::parse(certificate).ok()?;
        Some((certificate.not_before, certificate.not_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::authority::{Authority, request_key};
    use crate::identity::wrap::wrap;
    use std::time::Duration;

    #[test]
    fn an_identity_must_be_for_us_by_its_authority_and_valid_now() {
        let mut vault = NodeVault::open(None).unwrap();
        let mut other = NodeVault::open(None).unwrap();
        let id = |name: &str| NodeId::new(name).unwrap();
        let day = Duration::from_secs(86_400);
        let ca = Authority::create(Wall(0)).unwrap();
        let wall = |days: u64| Wall(days * 86_400_000_000);
        let request = vault.certificate_request(&id("n"));
        let certified = |certificate: Vec<u8>| Identity {
            id: id("n"),
            incarnation: Default::default(),
            certificate,
            authority: ca.certificate().to_vec(),
            ticket_key: vec![1; 32],
        };
        let check = |identity: &Identity, at| {
            vault.check_identity(identity, Now { wall: at, ..Now::default() })
        };
        let good = certified(ca.issue(&request, &id("n"), wall(10), day).unwrap());
        assert_eq!(check(&good, wall(10)), Ok(()));
        assert_eq!(check(&good, Wall(wall(11).0 - 1_000_000)), Ok(()));
        let refused = |identity: &Identity, at, why: &str| {
            let error = check(identity, at).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        refused(&good, wall(12), "expired");
        refused(&good, wall(9), "not valid yet");
        refused(&Identity { id: id("m"), ..good.clone() }, wall(10), "another node");
        let theirs = ca.issue(&other.certificate_request(&id("n")), &id("n"), wall(10), day);
        refused(&certified(theirs.unwrap()), wall(10), "another key");
        // An authority of the same name that is another one, and a certificate with a flipped bit.
        let stranger = Authority::create(Wall(0)).unwrap();
        let forged = certified(stranger.issue(&request, &id("n"), wall(10), day).unwrap());
        refused(&forged, wall(10), "");
        let mut flipped = good.clone();
        if let Some(last) = flipped.certificate.last_mut() {
            *last ^= 1;
        }
        refused(&flipped, wall(10), "");
        refused(&Identity { authority: vec![1, 2, 3], ..good.clone() }, wall(10), "");
    }

    #[test]
    fn a_vault_serves_the_core() {
        let mut vault = NodeVault::open(None).unwrap();
        let id = NodeId::new("n").unwrap();
        let request = vault.certificate_request(&id);
        assert_eq!(request_key(&request).unwrap(), vault.key().hash());
        let ca = Authority::create(Wall(0)).unwrap();
        assert!(ca.issue(&request, &id, Wall(0), Duration::from_secs(60)).is_ok());
        let wrapped = wrap(&vault.wrap_key(), "c", b"secret").unwrap();
        assert_eq!(vault.unwrap("c", &wrapped).unwrap(), b"secret");
        assert!(vault.check_ticket(&[0; 32], &id, b"garbage", Now::default()).is_err());
    }
}

//! A node's own secrets behind [`Vault`], the trait that control cores use.

use super::IdentityError;
use super::certificate::NodeCertificate;
use super::key::NodeKey;
use super::ticket::LinkTicket;
use super::wrap::WrapKey;
use crate::control::api::{TicketClaims, Vault};
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

//! The TLS configurations of a running node: made anew whenever its identity changes.

use crate::clock::Clock;
use crate::identity::authority::Fingerprint;
use crate::identity::certificate::NodeCertificate;
use crate::identity::tls::{Credentials, Expect, Strangers, client, server};
use crate::identity::vault::usable;
use crate::identity::{IdentityError, NodeKey};
use soleil_protocol::NodeId;
use soleil_protocol::message::Identity;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

/// What TLS needs to know.
pub(super) struct TlsState {
    key: Arc<NodeKey>,
    /// The CA that the join token pins; `None` at the root.
    pinned: Option<Fingerprint>,
    strangers: Strangers,
    clock: Clock,
    own: Option<(Credentials, NodeCertificate)>,
    server: watch::Sender<Option<Arc<ServerConfig>>>,
}

impl TlsState {
    pub(super) fn new(
        key: Arc<NodeKey>,
        pinned: Option<Fingerprint>,
        strangers: Strangers,
        clock: Clock,
    ) -> TlsState {
        let server = watch::Sender::new(None);
        TlsState { key, pinned, strangers, clock, own: None, server }
    }

    /// The listener's configuration, from the first identity on.
    pub(super) fn server(&self) -> watch::Receiver<Option<Arc<ServerConfig>>> {
        self.server.subscribe()
    }

    /// Uses an identity for every connection from now on. It must be of the CA that the token
    /// pins, for this node's key: identities for renewal come through other nodes.
    pub(super) fn adopt(&mut self, identity: &Identity) -> Result<(), IdentityError> {
        let refuse = |why: &str| IdentityError::Certificate(why.into());
        if self.pinned.is_some_and(|pinned| !pinned.matches(&identity.authority)) {
            return Err(refuse("it is of another CA than the join token says"));
        }
        let certificate = usable(identity, &self.key.hash(), self.clock.now().wall)?;
        let own = Credentials {
            certificate: identity.certificate.clone(),
            authority: identity.authority.clone(),
            key: self.key.clone(),
        };
        let config = server(&own, self.strangers, self.clock)?;
        self.own = Some((own, certificate));
        self.server.send_replace(Some(config));
        Ok(())
    }

    /// Our credentials, while they are valid by our own clock.
    fn valid(&self) -> Option<&Credentials> {
        let now = self.clock.now().wall;
        let (own, certificate) = self.own.as_ref()?;
        (certificate.not_before <= now && now <= certificate.not_after).then_some(own)
    }

    /// How to dial the root: with the certificate if there is one, then without.
    pub(super) fn to_root(&self) -> Result<Vec<Arc<ClientConfig>>, IdentityError> {
        let Some(pinned) = self.pinned else {
            return Err(IdentityError::Certificate("the root has nobody to dial".into()));
        };
        let mut configs = Vec::new();
        if let Some(own) = self.valid() {
            configs.push(client(Some(own), Expect::Root(pinned), self.clock)?);
        }
        configs.push(client(None, Expect::Root(pinned), self.clock)?);
        Ok(configs)
    }

    /// How to dial a parent.
    pub(super) fn to_node(&self, id: &NodeId) -> Result<Vec<Arc<ClientConfig>>, IdentityError> {
        let own = self
            .valid()
            .ok_or_else(|| IdentityError::Certificate("there is no valid one to show".into()))?;
        let expect = Expect::Node { authority: own.authority.clone(), id: id.clone() };
        Ok(vec![client(Some(own), expect, self.clock)?])
    }
}

//! The root's secrets as its core uses them: certificates, tickets and wrapping on top of
//! `relay_node::identity`. What is decided with them is the core's business.

use crate::core::api::{Authority, TicketRequest};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use relay_node::control::api::{KeyHash, TicketClaims};
use relay_node::identity::{self, IdentityError, LinkTicket, SigningKey};
use soleil_protocol::pipeline::Wrapped;
use soleil_protocol::{NodeId, Now, Role, Wall};
use std::sync::Arc;
use std::time::Duration;

/// How long a node's certificate lives if nothing else is configured, and at most. Renewed at two
/// thirds of it: a root may be gone for eight hours, and a removed node is out after a day at the
/// latest, whoever hides it.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The real authority.
pub struct RootAuthority {
    authority: Arc<identity::Authority>,
    tickets: Arc<SigningKey>,
    random: StdRng,
    life: Duration,
    stands: Box<dyn Fn(&str) -> bool + Send>,
}

impl std::fmt::Debug for RootAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootAuthority(..)")
    }
}

impl RootAuthority {
    /// With the CA, the ticket key, how long certificates live, and whether a join token (by its id)
    /// has not been revoked.
    ///
    /// # Errors
    /// If the system gives no random numbers to seed the generator with.
    pub fn new(
        authority: Arc<identity::Authority>,
        tickets: Arc<SigningKey>,
        life: Duration,
        stands: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Self, IdentityError> {
        // ChaCha with a seed of the system: cryptographically strong, and it can't fail later.
        let random = StdRng::from_seed(identity::random()?);
        Ok(Self { authority, tickets, random, life, stands: Box::new(stands) })
    }
}

impl Authority for RootAuthority {
    fn request_key(&self, csr: &[u8]) -> Result<KeyHash, String> {
        identity::authority::request_key(csr).map_err(|e| e.to_string())
    }

    fn issue(&mut self, now: Now, id: &NodeId, _role: Role, csr: &[u8]) -> Result<Vec<u8>, String> {
        self.authority.issue(csr, id, now.wall, self.life).map_err(|e| e.to_string())
    }

    fn ca_certificate(&self) -> Vec<u8> {
        self.authority.certificate().to_vec()
    }

    fn ticket_key(&self) -> Vec<u8> {
        self.tickets.public()
    }

    fn sign_ticket(&mut self, now: Now, ticket: &TicketRequest) -> Result<Vec<u8>, String> {
        let claims = TicketClaims {
            child: ticket.child.clone(),
            child_key: ticket.child_key,
            incarnation: ticket.incarnation,
            link: ticket.link,
            credential: ticket.credential.clone(),
            backup: ticket.backup,
        };
        let lives = u64::try_from(ticket.lives.as_micros()).unwrap_or(u64::MAX);
        let expires = Wall(now.wall.0.saturating_add(lives));
        LinkTicket::new(&claims, &ticket.parent, &ticket.parent_wrap_key, expires)
            .map(|t| t.sign(&self.tickets, ticket.version))
            .map_err(|e| e.to_string())
    }

    fn wrap(&mut self, wrap_key: &[u8], context: &str, secret: &[u8]) -> Result<Wrapped, String> {
        identity::wrap::wrap(wrap_key, context, secret).map_err(|e| e.to_string())
    }

    fn random(&mut self, out: &mut [u8]) {
        self.random.fill_bytes(out);
    }

    fn token_stands(&self, token: &str) -> bool {
        (self.stands)(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_node::control::api::Vault;
    use relay_node::identity::{NodeKey, NodeVault};
    use relay_node::media::api::HopCredential;
    use soleil_protocol::{Incarnation, LinkId};

    fn now(secs: u64) -> Now {
        Now { wall: Wall((1_700_000_000 + secs) * 1_000_000), ..Now::default() }
    }

    fn id(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    #[test]
    fn a_node_can_use_what_the_authority_makes() {
        let ca = Arc::new(identity::Authority::create(now(0).wall).unwrap());
        let tickets = Arc::new(SigningKey::generate().unwrap());
        let day = CERTIFICATE_LIFETIME;
        let mut authority = RootAuthority::new(ca, tickets, day, |token| token == "good").unwrap();
        assert!(authority.token_stands("good") && !authority.token_stands("revoked"));
        let mut vault = NodeVault::new(NodeKey::generate().unwrap()).unwrap();
        let csr = vault.certificate_request(&id("what-it-asks-for"));
        let key = authority.request_key(&csr).unwrap();
        let certificate = authority.issue(now(0), &id("relay-1"), Role::Relay, &csr).unwrap();
        let read = identity::NodeCertificate::parse(&certificate).unwrap();
        assert_eq!((read.id, read.key), (id("relay-1"), key));
        assert!(authority.issue(now(0), &id("x"), Role::Relay, &[1, 2, 3]).is_err());

        let wrapped = authority.wrap(&vault.wrap_key(), "test", &[9; 32]).unwrap();
        assert_eq!(vault.unwrap("test", &wrapped), Some(vec![9; 32]));
        assert!(authority.wrap(&[0; 3], "test", &[9; 32]).is_err());

        let request = TicketRequest {
            child: id("leaf-1"),
            child_key: key,
            incarnation: Incarnation(3),
            parent: id("relay-1"),
            parent_wrap_key: vault.wrap_key(),
            link: LinkId(5),
            credential: HopCredential([4; 32]),
            backup: None,
            version: 2,
            lives: Duration::from_secs(300),
        };
        let ticket = authority.sign_ticket(now(0), &request).unwrap();
        let check = |t, parent: &str| {
            vault.check_ticket(&authority.ticket_key(), &id(parent), &ticket, now(t))
        };
        let claims = check(299, "relay-1").unwrap();
        assert_eq!(
            (claims.child, claims.link, claims.credential.0),
            (id("leaf-1"), LinkId(5), [4; 32])
        );
        assert!(check(301, "relay-1").is_err());
        assert!(check(0, "relay-2").is_err());
        let (mut a, mut b) = ([0; 32], [0; 32]);
        authority.random(&mut a);
        authority.random(&mut b);
        assert_ne!(a, b);
    }
}

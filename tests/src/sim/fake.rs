//! A vault and an authority without public-key cryptography. What matters to the cores is kept:
//! only the receiver can unwrap, and only in the right context; certificates and tickets name keys,
//! run out, and can't be altered.

use relay_node::control::api::{KeyHash, TicketClaims, Vault};
use relay_node::media::api::HopCredential;
use ring::digest::{SHA256, digest};
use root_node::core::api::{Authority, TicketRequest};
use soleil_protocol::message::{Identity, VERSION};
use soleil_protocol::pipeline::Wrapped;
use soleil_protocol::{Incarnation, LinkId, NodeId, Now, Rank, Role, Wall};

/// How long a certificate of the simulation lives.
const CERTIFICATE_MICROS: u64 = 3_600_000_000;

/// How far certificates reach back, as the real ones do
/// (`relay_node::identity::authority`): clocks may be late by that much.
pub(super) const BACKDATE_MICROS: u64 = 300_000_000;

/// The only ticket key (32 bytes, as the real one).
const TICKET_KEY: &[u8; 32] = b"the ticket key of the simulation";

const TAG: usize = 16;

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, &all).as_ref());
    out
}

fn mask(public: &[u8], context: &str, text: &[u8]) -> Vec<u8> {
    let stream = (0u8..)
        .flat_map(|block| hash(&[b"stream", public, context.as_bytes(), &[block]]))
        .take(text.len());
    text.iter().zip(stream).map(|(a, b)| a ^ b).collect()
}

fn wrap(public: &[u8], context: &str, secret: &[u8]) -> Wrapped {
    let mut sealed = mask(public, context, secret);
    let tag = hash(&[b"tag", public, context.as_bytes(), secret]);
    sealed.extend_from_slice(&tag[..TAG]);
    Wrapped { enc: public.to_vec(), sealed }
}

/// Appends a tag that only the authority is supposed to make.
fn sign(text: String) -> Vec<u8> {
    let mut out = text.into_bytes();
    out.extend_from_slice(&hash(&[b"sign", TICKET_KEY, &out])[..TAG]);
    out
}

fn verify(signed: &[u8]) -> Option<Vec<String>> {
    let (text, tag) = signed.split_at_checked(signed.len().checked_sub(TAG)?)?;
    (hash(&[b"sign", TICKET_KEY, text])[..TAG] == *tag)
        .then(|| std::str::from_utf8(text).ok())?
        .map(|text| text.split('|').map(str::to_owned).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()).collect()
}

fn ticket_context(parent: &str, link: u64) -> String {
    format!("sim ticket {parent} {link}")
}

/// A node's secrets.
#[derive(Debug, Clone)]
pub struct SimVault {
    secret: [u8; 32],
    speaks: u32,
}

impl SimVault {
    /// From a seed: the same seed is the same key.
    pub fn new(seed: u64) -> Self {
        Self { secret: hash(&[b"vault", &seed.to_be_bytes()]), speaks: VERSION }
    }

    /// The same secrets in a program that speaks this version: it reads no newer tickets.
    #[must_use]
    pub fn speaking(self, speaks: u32) -> Self {
        Self { speaks, ..self }
    }

    /// The key that TLS would show.
    pub fn key(&self) -> KeyHash {
        hash(&[b"key", &self.secret])
    }

    fn public(&self) -> [u8; 32] {
        hash(&[b"public", &self.secret])
    }

    fn open(&self, context: &str, wrapped: &Wrapped) -> Option<Vec<u8>> {
        let public = self.public();
        let (text, tag) =
            wrapped.sealed.split_at_checked(wrapped.sealed.len().checked_sub(TAG)?)?;
        let plain = mask(&public, context, text);
        let right = hash(&[b"tag", &public, context.as_bytes(), &plain]);
        (wrapped.enc == public && right[..TAG] == *tag).then_some(plain)
    }
}

impl Vault for SimVault {
    fn certificate_request(&mut self, _name: &NodeId) -> Vec<u8> {
        self.key().to_vec()
    }

    fn wrap_key(&self) -> Vec<u8> {
        self.public().to_vec()
    }

    fn unwrap(&self, context: &str, wrapped: &Wrapped) -> Option<Vec<u8>> {
        self.open(context, wrapped)
    }

    fn check_identity(&self, identity: &Identity, now: Now) -> Result<(), String> {
        let parts = verify(&identity.certificate).ok_or("not signed")?;
        let (from, until) = self.validity(&identity.certificate).ok_or("not a certificate")?;
        if parts[0] != identity.id.as_str() || parts.get(4) != Some(&hex(&self.key())) {
            return Err("another's certificate".into());
        }
        (from <= now.wall && now.wall <= until).then_some(()).ok_or_else(|| "not valid now".into())
    }

    fn validity(&self, certificate: &[u8]) -> Option<(Wall, Wall)> {
        let parts = verify(certificate)?;
        Some((Wall(parts.get(2)?.parse().ok()?), Wall(parts.get(3)?.parse().ok()?)))
    }

    fn check_ticket(
        &self,
        ticket_key: &[u8],
        parent: &NodeId,
        ticket: &[u8],
        now: Now,
    ) -> Result<TicketClaims, String> {
        if ticket_key != TICKET_KEY {
            return Err("another authority's key".into());
        }
        let parts = verify(ticket).ok_or("not signed")?;
        let none = "0".to_owned();
        let (child, key, to, incarnation, link, until, rank, sealed) = match &parts[..] {
            // Version 1 knew no ranks.
            [child, key, to, number, link, until, sealed] => {
                (child, key, to, number, link, until, &none, sealed)
            }
            [child, key, to, number, link, until, rank, sealed] if self.speaks > 1 => {
                (child, key, to, number, link, until, rank, sealed)
            }
            _ => return Err("not a ticket, or of another version".into()),
        };
        let number = |text: &str| text.parse::<u64>().map_err(|e| e.to_string());
        if to != parent.as_str() {
            return Err("for another parent".into());
        }
        if number(until)? < now.wall.0 {
            return Err("expired".into());
        }
        let wrapped = Wrapped {
            enc: self.public().to_vec(),
            sealed: unhex(sealed).ok_or("not hexadecimal")?,
        };
        let credential = self
            .open(&ticket_context(to, number(link)?), &wrapped)
            .and_then(|c| c.try_into().ok())
            .ok_or("the credential is not for this parent")?;
        Ok(TicketClaims {
            child: NodeId::new(child).map_err(|e| e.to_string())?,
            child_key: unhex(key).and_then(|k| k.try_into().ok()).ok_or("not a key")?,
            incarnation: Incarnation(number(incarnation)?),
            link: LinkId(number(link)?),
            credential: HopCredential(credential),
            backup: Some(number(rank)? as u32).filter(|rank| *rank > 0).map(Rank),
        })
    }
}

/// The root's authority.
#[derive(Debug)]
pub struct SimAuthority {
    state: [u8; 32],
}

impl SimAuthority {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: hash(&[b"authority", &seed.to_be_bytes()]) }
    }
}

impl Authority for SimAuthority {
    fn request_key(&self, csr: &[u8]) -> Result<KeyHash, String> {
        csr.try_into().map_err(|_| "not a certificate request".to_owned())
    }

    fn issue(&mut self, now: Now, id: &NodeId, role: Role, csr: &[u8]) -> Result<Vec<u8>, String> {
        let now = now.wall.0;
        let (from, until) = (now.saturating_sub(BACKDATE_MICROS), now + CERTIFICATE_MICROS);
        Ok(sign(format!("{id}|{role}|{from}|{until}|{}", hex(csr))))
    }

    fn ca_certificate(&self) -> Vec<u8> {
        b"the simulation's CA".to_vec()
    }

    fn ticket_key(&self) -> Vec<u8> {
        TICKET_KEY.to_vec()
    }

    fn sign_ticket(&mut self, now: Now, ticket: &TicketRequest) -> Result<Vec<u8>, String> {
        let context = ticket_context(ticket.parent.as_str(), ticket.link.0);
        let sealed = wrap(&ticket.parent_wrap_key, &context, &ticket.credential.0).sealed;
        let TicketRequest { child, parent, incarnation, link, .. } = ticket;
        let rank = match ticket.backup {
            _ if ticket.version < 2 => String::new(),
            rank => format!("{}|", rank.map_or(0, |rank| rank.0)),
        };
        let key = hex(&ticket.child_key);
        let until = now.wall.0 + ticket.lives.as_micros() as u64;
        let sealed = hex(&sealed);
        Ok(sign(format!("{child}|{key}|{parent}|{incarnation}|{link}|{until}|{rank}{sealed}")))
    }

    fn wrap(&mut self, wrap_key: &[u8], context: &str, secret: &[u8]) -> Result<Wrapped, String> {
        Ok(wrap(wrap_key, context, secret))
    }

    fn random(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            self.state = hash(&[b"next", &self.state]);
            chunk.copy_from_slice(&self.state[..chunk.len()]);
        }
    }

    fn token_stands(&self, _token: &str) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_receiver_unwraps_and_only_in_context() {
        let (a, b) = (SimVault::new(1), SimVault::new(2));
        let mut authority = SimAuthority::new(3);
        let secret: Vec<u8> = (0..60).collect();
        let wrapped = authority.wrap(&a.wrap_key(), "context", &secret).unwrap();
        assert_eq!(a.unwrap("context", &wrapped), Some(secret));
        assert_eq!(a.unwrap("another", &wrapped), None);
        assert_eq!(b.unwrap("context", &wrapped), None);
    }

    #[test]
    fn tickets_name_their_parent_and_run_out() {
        let (parent, other) = (SimVault::new(1), SimVault::new(2));
        let mut authority = SimAuthority::new(3);
        let id = |name| NodeId::new(name).unwrap();
        let request = TicketRequest {
            child: id("c"),
            child_key: other.key(),
            incarnation: Incarnation(4),
            parent: id("p"),
            parent_wrap_key: parent.wrap_key(),
            link: LinkId(5),
            credential: HopCredential([9; 32]),
            backup: None,
            version: 2,
            lives: std::time::Duration::from_secs(30),
        };
        let ticket = authority.sign_ticket(Now::default(), &request).unwrap();
        let check = |vault: &SimVault, name, ticket: &[u8], at| {
            let now = Now { wall: Wall(at), ..Now::default() };
            vault.check_ticket(TICKET_KEY, &id(name), ticket, now)
        };
        let claims = check(&parent, "p", &ticket, 0).unwrap();
        assert_eq!((claims.link, claims.credential.0), (LinkId(5), [9; 32]));
        assert!(check(&parent, "q", &ticket, 0).is_err());
        assert!(check(&other, "p", &ticket, 0).is_err());
        assert!(check(&parent, "p", &ticket, 30_000_001).is_err());
        let mut altered = ticket;
        altered[0] ^= 1;
        assert!(check(&parent, "p", &altered, 0).is_err());
    }
}

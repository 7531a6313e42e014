//! The link ticket: the root's word that one child may attach to one parent (DESIGN 6.2). The
//! child shows it, the parent checks it without asking anybody.

use super::IdentityError;
use super::key::{SigningKey, verify};
use super::wrap::{WrapKey, wrap};
use crate::control::api::{KeyHash, TicketClaims};
use crate::media::api::HopCredential;
use soleil_protocol::message::WARM_VERSION;
use soleil_protocol::pipeline::Wrapped;
use soleil_protocol::{Incarnation, LinkId, NodeId, Rank, Wall};
use zeroize::Zeroize;

/// Longest ticket that is looked at, in bytes: two ids of 64, the wrapped secret and the
/// signature make 350.
pub const MAX_TICKET: usize = 512;
/// The first version had no rank: it is made for parents that speak the protocol's version 1, and
/// understood.
const PURPOSE_1: &[u8] = b"soleil link ticket 1\0";
const VERSION_1: u8 = 1;
const PURPOSE: &[u8] = b"soleil link ticket 2\0";
const VERSION: u8 = 2;
const SIGNATURE_LEN: usize = 64;

/// What a link ticket says. Its wire form is binary: version, ids with a length byte, numbers big
/// endian, the wrapped credential, an Ed25519 signature over all of it.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkTicket {
    /// The child that may attach.
    pub child: NodeId,
    /// SHA-256 of the child's SubjectPublicKeyInfo.
    pub child_key: KeyHash,
    /// The parent that it may attach to.
    pub parent: NodeId,
    /// Which life of the child.
    pub incarnation: Incarnation,
    /// The media link.
    pub link: LinkId,
    /// Last moment at which it is accepted.
    pub expires: Wall,
    /// The child's rank, if the parent is a backup. On the wire 0 for `None`: that is the root's.
    pub backup: Option<Rank>,
    /// The hop credential, wrapped for the parent.
    credential: Wrapped,
}

/// The HPKE context of a ticket's credential: bound to the link and to both ends, so that it
/// cannot be moved into another ticket.
fn context(child: &NodeId, parent: &NodeId, link: LinkId) -> String {
    format!("soleil ticket credential {child} {parent} {link}")
}

impl LinkTicket {
    /// Makes a ticket: the credential is wrapped for the parent's X25519 key.
    ///
    /// # Errors
    /// If the parent's key is none.
    pub fn new(
        claims: &TicketClaims,
        parent: &NodeId,
        parent_wrap_key: &[u8],
        expires: Wall,
    ) -> Result<LinkTicket, IdentityError> {
        let context = context(&claims.child, parent, claims.link);
        Ok(LinkTicket {
            child: claims.child.clone(),
            child_key: claims.child_key,
            parent: parent.clone(),
            incarnation: claims.incarnation,
            link: claims.link,
            expires,
            backup: claims.backup,
            credential: wrap(parent_wrap_key, &context, &claims.credential.0)?,
        })
    }

    /// The ticket as it travels, signed by the root, for a parent that speaks this version of the
    /// protocol. Version 1 knows no ranks.
    pub fn sign(&self, key: &SigningKey, speaks: u32) -> Vec<u8> {
        let old = speaks < WARM_VERSION;
        let (version, purpose) = if old { (VERSION_1, PURPOSE_1) } else { (VERSION, PURPOSE) };
        let mut out = vec![version];
        for id in [&self.child, &self.parent] {
            // A node id has at most 64 bytes, so its length fits a byte.
            out.push(id.as_str().len() as u8);
            out.extend_from_slice(id.as_str().as_bytes());
        }
        out.extend_from_slice(&self.child_key);
        let rank = self.backup.map_or(0, |rank| u64::from(rank.0));
        let numbers = [self.incarnation.0, self.link.0, self.expires.0, rank];
        for number in &numbers[..if old { 3 } else { 4 }] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for part in [&self.credential.enc, &self.credential.sealed] {
            out.push(part.len() as u8);
            out.extend_from_slice(part);
        }
        let signature = key.sign(purpose, &out);
        out.extend_from_slice(&signature);
        out
    }

    /// Reads a ticket whose signature is right. Whom it is for and whether it has run out is
    /// [`LinkTicket::check`]'s business.
    ///
    /// # Errors
    /// If it is too long, the signature is wrong, or it cannot be read.
    pub fn open(bytes: &[u8], ticket_key: &[u8]) -> Result<LinkTicket, IdentityError> {
        let refuse = IdentityError::Ticket;
        if bytes.len() > MAX_TICKET {
            return Err(refuse("it is too long"));
        }
        let Some(length) = bytes.len().checked_sub(SIGNATURE_LEN) else {
            return Err(refuse("it is too short"));
        };
        let (body, signature) = bytes.split_at(length);
        // The purpose is part of what is signed: no ticket is read as one of the other version.
        let purpose = if body.first() == Some(&VERSION_1) { PURPOSE_1 } else { PURPOSE };
        if !verify(ticket_key, purpose, body, signature) {
            return Err(refuse("its signature is wrong"));
        }
        Self::parse(body).ok_or(refuse("it cannot be read"))
    }

    fn parse(body: &[u8]) -> Option<LinkTicket> {
        let mut reader = Reader(body);
        let version = *reader.take(1)?.first()?;
        if !matches!(version, VERSION_1 | VERSION) {
            return None;
        }
        let child = reader.id()?;
        let parent = reader.id()?;
        let child_key = reader.take(32)?.try_into().ok()?;
        let incarnation = Incarnation(reader.number()?);
        let link = LinkId(reader.number()?);
        let expires = Wall(reader.number()?);
        let rank = if version == VERSION_1 { 0 } else { reader.number()? };
        let rank = u32::try_from(rank).ok()?;
        let backup = (rank > 0).then_some(Rank(rank));
        let credential =
            Wrapped { enc: reader.counted()?.to_vec(), sealed: reader.counted()?.to_vec() };
        let ticket =
            LinkTicket { child, child_key, parent, incarnation, link, expires, backup, credential };
        reader.0.is_empty().then_some(ticket)
    }

    /// All that a parent checks: signature, that it is named, expiry; unwraps the credential. That
    /// the child is the one that TLS proved, with the key that the ticket names, is checked by
    /// the caller, who knows the connection.
    ///
    /// # Errors
    /// The reason, for the log and the ERROR message.
    pub fn check(
        bytes: &[u8],
        ticket_key: &[u8],
        parent: &NodeId,
        parent_wrap_key: &WrapKey,
        now: Wall,
    ) -> Result<TicketClaims, IdentityError> {
        let ticket = LinkTicket::open(bytes, ticket_key)?;
        if ticket.parent != *parent {
            return Err(IdentityError::Ticket("it is for another parent"));
        }
        if now > ticket.expires {
            return Err(IdentityError::Ticket("it has expired"));
        }
        let context = context(&ticket.child, parent, ticket.link);
        let refused = IdentityError::Ticket("its credential was wrapped for another key");
        let secret = parent_wrap_key.unwrap(&context, &ticket.credential).ok_or(refused)?;
        let mut credential: [u8; 32] = secret
            .as_slice()
            .try_into()
            .map_err(|_| IdentityError::Ticket("its credential has a wrong length"))?;
        let claims = TicketClaims {
            child: ticket.child,
            child_key: ticket.child_key,
            incarnation: ticket.incarnation,
            link: ticket.link,
            credential: HopCredential(credential),
            backup: ticket.backup,
        };
        credential.zeroize();
        Ok(claims)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let n = self.take(1)?[0];
        self.take(usize::from(n))
    }

    fn id(&mut self) -> Option<NodeId> {
        NodeId::new(std::str::from_utf8(self.counted()?).ok()?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_760_000_000_000_000);

    fn id(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    fn claims() -> TicketClaims {
        TicketClaims {
            child: id("leaf-1"),
            child_key: [3; 32],
            incarnation: Incarnation(4),
            link: LinkId(99),
            credential: HopCredential([5; 32]),
            backup: Some(Rank(7)),
        }
    }

    struct World {
        root: SigningKey,
        parent: WrapKey,
        ticket: Vec<u8>,
    }

    fn world() -> World {
        let root = SigningKey::generate().unwrap();
        let parent = WrapKey::generate().unwrap();
        let ticket = LinkTicket::new(&claims(), &id("relay-1"), &parent.public(), NOW).unwrap();
        let ticket = ticket.sign(&root, 2);
        World { root, parent, ticket }
    }

    impl World {
        fn check(&self, ticket: &[u8], parent: &str, now: Wall) -> Result<TicketClaims, String> {
            LinkTicket::check(ticket, &self.root.public(), &id(parent), &self.parent, now)
                .map_err(|e| e.to_string())
        }
    }

    #[test]
    fn a_good_ticket_gives_its_claims() {
        let world = world();
        let got = world.check(&world.ticket, "relay-1", NOW).unwrap();
        assert_eq!(got.child, id("leaf-1"));
        assert_eq!(got.child_key, [3; 32]);
        assert_eq!(got.incarnation, Incarnation(4));
        assert_eq!(got.link, LinkId(99));
        assert_eq!(got.credential.0, [5; 32]);
        assert_eq!(got.backup, Some(Rank(7)));
        assert!(world.ticket.len() < MAX_TICKET);
    }

    #[test]
    fn a_parent_of_the_first_version_gets_a_ticket_without_rank() {
        let world = world();
        let ticket = LinkTicket::new(&claims(), &id("relay-1"), &world.parent.public(), NOW);
        let old = ticket.unwrap().sign(&world.root, 1);
        assert_eq!((old[0], world.ticket[0]), (1, 2));
        assert_eq!(old.len() + 8, world.ticket.len());
        let got = world.check(&old, "relay-1", NOW).unwrap();
        assert_eq!((got.child, got.link, got.backup), (id("leaf-1"), LinkId(99), None));
        // Neither is taken for the other.
        for (ticket, version) in [(&old, 2), (&world.ticket, 1)] {
            let mut relabelled = ticket.clone();
            relabelled[0] = version;
            assert!(world.check(&relabelled, "relay-1", NOW).unwrap_err().contains("signature"));
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let world = world();
        for i in 0..world.ticket.len() {
            let mut bad = world.ticket.clone();
            bad[i] ^= 0x20;
            assert!(world.check(&bad, "relay-1", NOW).unwrap_err().contains("signature"));
        }
        for n in [0, 1, 63, 64, 65, world.ticket.len() - 1] {
            assert!(world.check(&world.ticket[..n], "relay-1", NOW).is_err());
        }
        assert!(world.check(&vec![0; 100_000], "relay-1", NOW).unwrap_err().contains("long"));
    }

    #[test]
    fn it_is_for_one_parent_and_one_time() {
        let world = world();
        let refused = |parent: &str, now| world.check(&world.ticket, parent, now).unwrap_err();
        assert!(refused("relay-2", NOW).contains("another parent"));
        assert!(refused("relay-1", Wall(NOW.0 + 1)).contains("expired"));
    }

    #[test]
    fn another_roots_ticket_and_another_parents_key_are_refused() {
        let world = world();
        let stranger = SigningKey::generate().unwrap();
        let forged = LinkTicket::new(&claims(), &id("relay-1"), &world.parent.public(), NOW)
            .unwrap()
            .sign(&stranger, 2);
        assert!(world.check(&forged, "relay-1", NOW).unwrap_err().contains("signature"));
        let elsewhere = WrapKey::generate().unwrap();
        let ticket = LinkTicket::new(&claims(), &id("relay-1"), &elsewhere.public(), NOW)
            .unwrap()
            .sign(&world.root, 2);
        assert!(world.check(&ticket, "relay-1", NOW).unwrap_err().contains("another key"));
    }

    #[test]
    fn a_credential_cannot_be_moved_into_another_ticket() {
        let world = world();
        let mut moved = LinkTicket::open(&world.ticket, &world.root.public()).unwrap();
        moved.link = LinkId(100);
        let moved = moved.sign(&world.root, 2);
        assert!(world.check(&moved, "relay-1", NOW).unwrap_err().contains("another key"));
    }
}

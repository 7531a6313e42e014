//! The play ticket: the root's word that a viewer may play one stream at one leaf. It travels in
//! the URL of the 307 (browsers drop `Authorization` on a redirect to another origin), so it is
//! short-lived and good for one leaf.

use super::encoding::{base64url, unbase64url};
use super::key::{SigningKey, verify};
use super::{IdentityError, random};
use serde::{Deserialize, Serialize};
use soleil_protocol::{Millis, NodeId, Now};

/// Longest ticket text that is looked at, in characters: a stream name of 64 and a node id of 64
/// make about 400.
pub const MAX_TEXT: usize = 640;
const PURPOSE: &[u8] = b"soleil play ticket 1\0";

/// What a play ticket says. As text: `payload.signature`, both base64url; the payload is JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlayTicket {
    /// The stream's name.
    #[serde(rename = "s")]
    pub stream: String,
    /// The leaf that it is good for.
    #[serde(rename = "l")]
    pub leaf: String,
    /// Last moment at which it is accepted, milliseconds since the epoch.
    #[serde(rename = "e")]
    pub expires_ms: u64,
    /// Random text: makes every ticket different, so that a leaf may accept each one once only.
    #[serde(rename = "n")]
    pub nonce: String,
}

impl PlayTicket {
    /// A ticket with a random nonce.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn new(stream: &str, leaf: &NodeId, expires: Millis) -> Result<Self, IdentityError> {
        let nonce = base64url(&random::<12>()?);
        Ok(PlayTicket {
            stream: stream.into(),
            leaf: leaf.to_string(),
            expires_ms: expires.0,
            nonce,
        })
    }

    /// The ticket as it stands in a URL (only characters that need no escaping there).
    ///
    /// # Errors
    /// If it cannot be written as JSON, which does not happen.
    pub fn sign(&self, key: &SigningKey) -> Result<String, IdentityError> {
        let payload =
            serde_json::to_vec(self).map_err(|_| IdentityError::Ticket("it cannot be written"))?;
        let signature = key.sign(PURPOSE, &payload);
        Ok(format!("{}.{}", base64url(&payload), base64url(&signature)))
    }

    /// Checks a ticket: signature first, then stream, leaf and expiry.
    ///
    /// # Errors
    /// The reason, for the log and the HTTP answer.
    pub fn verify(
        text: &str,
        ticket_key: &[u8],
        now: Now,
        stream: &str,
        leaf: &NodeId,
    ) -> Result<PlayTicket, IdentityError> {
        let refuse = IdentityError::Ticket;
        if text.len() > MAX_TEXT {
            return Err(refuse("it is too long"));
        }
        let malformed = refuse("it has not the form of one");
        let (payload, signature) = text.split_once('.').ok_or(malformed.clone())?;
        let payload = unbase64url(payload).ok_or(malformed.clone())?;
        let signature = unbase64url(signature).ok_or(malformed.clone())?;
        if !verify(ticket_key, PURPOSE, &payload, &signature) {
            return Err(refuse("its signature is wrong"));
        }
        let ticket: PlayTicket = serde_json::from_slice(&payload).map_err(|_| malformed)?;
        if ticket.stream != stream {
            return Err(refuse("it is for another stream"));
        }
        if ticket.leaf != leaf.as_str() {
            return Err(refuse("it is for another leaf"));
        }
        if now.wall.millis().0 > ticket.expires_ms {
            return Err(refuse("it has expired"));
        }
        Ok(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use soleil_protocol::Wall;

    fn leaf(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    fn at(ms: u64) -> Now {
        Now { wall: Wall(ms * 1000), ..Now::default() }
    }

    #[test]
    fn good_and_every_refusal() {
        let key = SigningKey::generate().unwrap();
        let ticket = PlayTicket::new("demo", &leaf("leaf-1"), Millis(1000)).unwrap();
        let text = ticket.sign(&key).unwrap();
        let check = |text: &str, now, stream: &str, at_leaf: &str| {
            PlayTicket::verify(text, &key.public(), now, stream, &leaf(at_leaf))
                .map_err(|e| e.to_string())
        };
        assert_eq!(check(&text, at(1000), "demo", "leaf-1"), Ok(ticket));
        let refused = |text: &str, now, stream, leaf| check(text, now, stream, leaf).unwrap_err();
        assert!(refused(&text, at(1001), "demo", "leaf-1").contains("expired"));
        assert!(refused(&text, at(0), "other", "leaf-1").contains("another stream"));
        assert!(refused(&text, at(0), "demo", "leaf-2").contains("another leaf"));
        for i in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[i] = if bad[i] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bad).unwrap();
            assert!(check(&bad, at(0), "demo", "leaf-1").is_err(), "byte {i}");
        }
        for bad in ["", ".", "a.b", "é.é", &"x".repeat(10_000)] {
            assert!(check(bad, at(0), "demo", "leaf-1").is_err());
        }
        let stranger = SigningKey::generate().unwrap().public();
        assert!(PlayTicket::verify(&text, &stranger, at(0), "demo", &leaf("leaf-1")).is_err());
    }

    #[test]
    fn two_tickets_differ() {
        let ticket = || PlayTicket::new("demo", &leaf("leaf-1"), Millis(0)).unwrap();
        assert_ne!(ticket(), ticket());
    }
}

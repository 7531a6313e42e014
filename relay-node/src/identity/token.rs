//! The join token: all that an operator gives a new node (DESIGN 6.1).

use super::authority::Fingerprint;
use super::encoding::{base64url, unbase64url, unhex};
use super::{IdentityError, random};
use soleil_protocol::Role;
use std::fmt;
use std::str::FromStr;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A join token: `soleil1.<role>.<token-id>.<secret>.<ca-sha256>`.
///
/// The role is a hint for people and for early refusal (a leaf's token given to a relay); what
/// counts is what the root has stored under the token's id. The secret is 32 bytes in base64url,
/// the fingerprint SHA-256 of the CA certificate in hexadecimal.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct JoinToken {
    /// The role that the root grants for it.
    #[zeroize(skip)]
    pub role: Role,
    /// The token's number in the root's list.
    #[zeroize(skip)]
    pub id: String,
    /// What proves it, as text.
    secret: String,
    /// Which CA the root must show.
    #[zeroize(skip)]
    pub authority: Fingerprint,
}

impl JoinToken {
    /// Longest token id, in characters; the root makes 16.
    pub const MAX_ID: usize = 32;
    /// Bytes of secret: 256 bits, so that a stored SHA-256 of it cannot be searched.
    pub const SECRET_LEN: usize = 32;
    const PREFIX: &'static str = "soleil1";

    /// A new token with a random id and secret.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate(role: Role, authority: Fingerprint) -> Result<JoinToken, IdentityError> {
        let id = super::encoding::hex(&random::<8>()?);
        let mut secret = random::<{ Self::SECRET_LEN }>()?;
        let token = JoinToken { role, id, secret: base64url(&secret), authority };
        secret.zeroize();
        Ok(token)
    }

    /// The secret as it travels in `Authorization` and as [`crate::io::TokenCheck`] gets it.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// What follows `Bearer ` in the upgrade request: `<token-id>.<secret>`.
    pub fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// Splits a bearer value into token id and secret; `None` if it has not the form of one.
    pub fn parse_bearer(text: &str) -> Option<(&str, &str)> {
        let (id, secret) = text.split_once('.')?;
        (legal_id(id) && legal_secret(secret)).then_some((id, secret))
    }
}

fn legal_id(id: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !id.is_empty() && id.len() <= JoinToken::MAX_ID && id.bytes().all(legal)
}

fn legal_secret(secret: &str) -> bool {
    unbase64url(secret).is_some_and(|mut bytes| {
        let fits = bytes.len() == JoinToken::SECRET_LEN;
        bytes.zeroize();
        fits
    })
}

impl fmt::Display for JoinToken {
    /// The whole token, secret included: for `token create`, never for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JoinToken { role, id, secret, authority } = self;
        write!(f, "{}.{role}.{id}.{secret}.{authority}", Self::PREFIX)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({} {})", self.role, self.id)
    }
}

impl FromStr for JoinToken {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let refuse = IdentityError::Token;
        let mut parts = text.trim().split('.');
        if parts.next() != Some(Self::PREFIX) {
            return Err(refuse("it must begin with \"soleil1.\""));
        }
        let (Some(role), Some(id), Some(secret), Some(ca), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refuse("it must have five parts with dots between them"));
        };
        let role = role.parse().map_err(|_| refuse("its role is neither relay nor leaf"))?;
        if role == Role::Root {
            return Err(refuse("its role is neither relay nor leaf"));
        }
        if !legal_id(id) {
            return Err(refuse("its id is damaged"));
        }
        if !legal_secret(secret) {
            return Err(refuse("its secret is damaged"));
        }
        let authority = Fingerprint(unhex(ca).ok_or(refuse("its fingerprint is damaged"))?);
        Ok(JoinToken { role, id: id.into(), secret: secret.into(), authority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken::generate(Role::Relay, Fingerprint([7; 32])).unwrap()
    }

    #[test]
    fn there_and_back() {
        let token = token();
        assert_eq!(token.to_string().parse::<JoinToken>().unwrap(), token);
        assert_eq!(format!(" {token}\n").parse::<JoinToken>().unwrap(), token);
        let bearer = token.bearer();
        assert_eq!(JoinToken::parse_bearer(&bearer), Some((token.id.as_str(), token.secret())));
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = token();
        assert!(!format!("{token:?}").contains(token.secret()));
    }

    #[test]
    fn garbage_is_refused_with_a_reason() {
        let good = token().to_string();
        let parts: Vec<&str> = good.split('.').collect();
        let with = |i: usize, value: &str| {
            let mut parts = parts.clone();
            parts[i] = value;
            parts.join(".")
        };
        for bad in [
            String::new(),
            "hello".into(),
            good.replacen("soleil1", "soleil2", 1),
            with(1, "root"),
            with(1, "king"),
            with(2, ""),
            with(2, "a/b"),
            with(2, &"x".repeat(33)),
            with(3, "short"),
            with(3, &"é".repeat(22)),
            with(4, "00"),
            format!("{good}.more"),
            parts[..4].join("."),
        ] {
            let error = bad.parse::<JoinToken>().unwrap_err();
            assert!(matches!(error, IdentityError::Token(_)), "{bad}: {error}");
        }
        for bad in ["", ".", "id", "id.", ".secret", "a b.c", "id.secret"] {
            assert_eq!(JoinToken::parse_bearer(bad), None, "{bad}");
        }
    }
}

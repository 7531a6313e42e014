//! STUN and TURN servers for viewers and broadcasters, as `Link` headers (RFC 9725 section 4.6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::Deserialize;
use soleil_protocol::Wall;
use std::time::Duration;

/// How long TURN credentials made from a shared secret are good: a viewer needs them when its
/// network changes, too.
const CREDENTIAL_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// One server in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// `stun:host:port` or `turn:host:port?transport=udp`.
    pub url: String,
    /// A fixed TURN user name.
    pub username: Option<String>,
    /// A fixed TURN password.
    pub credential: Option<String>,
    /// The secret that the TURN server shares with us: user name and password are made from it
    /// for each viewer (draft-uberti-behave-turn-rest).
    pub secret: Option<String>,
}

impl IceServer {
    /// What is wrong with it, if anything is.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<(), String> {
        let scheme = ["stun:", "stuns:", "turn:", "turns:"];
        let clean =
            |text: &str| text.bytes().all(|b| (0x21..0x7f).contains(&b) && !b"\"<>\\".contains(&b));
        if !scheme.iter().any(|s| self.url.starts_with(s)) || !clean(&self.url) {
            return Err(format!("{:?} is no stun: or turn: URL", self.url));
        }
        for text in [&self.username, &self.credential].into_iter().flatten() {
            if !clean(text) {
                return Err("user name or credential has a character that is not allowed".into());
            }
        }
        if self.secret.is_some() && (self.username.is_some() || self.credential.is_some()) {
            return Err("either secret, or username and credential".into());
        }
        if self.username.is_some() != self.credential.is_some() {
            return Err("username and credential belong together".into());
        }
        Ok(())
    }

    /// The value of a `Link` header.
    pub fn link(&self, now: Wall) -> String {
        let url = &self.url;
        let (user, credential) = match (&self.secret, &self.username, &self.credential) {
            (Some(secret), ..) => {
                let expires = now.0 / 1_000_000 + CREDENTIAL_LIFETIME.as_secs();
                let user = format!("{expires}:viewer");
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
                let credential = STANDARD.encode(hmac::sign(&key, user.as_bytes()));
                (user, credential)
            }
            (None, Some(user), Some(credential)) => (user.clone(), credential.clone()),
            _ => return format!("<{url}>; rel=\"ice-server\""),
        };
        format!(
            "<{url}>; rel=\"ice-server\"; username=\"{user}\"; credential=\"{credential}\"; \
             credential-type=\"password\""
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> IceServer {
        IceServer { url: url.into(), username: None, credential: None, secret: None }
    }

    #[test]
    fn links_have_the_form_of_the_rfc() {
        let now = Wall(1_000_000_000_000);
        assert_eq!(server("stun:a:1").link(now), "<stun:a:1>; rel=\"ice-server\"");
        let secret = IceServer { secret: Some("north".into()), ..server("turn:a:1") };
        secret.check().unwrap();
        let link = secret.link(now);
        assert!(link.contains("username=\"1043200:viewer\"; credential=\""), "{link}");
        let fixed = IceServer {
            username: Some("u".into()),
            credential: Some("c".into()),
            ..server("turn:a:1")
        };
        assert!(
            fixed
                .link(now)
                .ends_with("username=\"u\"; credential=\"c\"; credential-type=\"password\"")
        );
    }

    #[test]
    fn bad_ones_are_refused() {
        for url in ["http://a", "stun:a>b", "stun:a\nb", ""] {
            assert!(server(url).check().is_err(), "{url}");
        }
        let half = IceServer { username: Some("u".into()), ..server("turn:a") };
        assert!(half.check().is_err());
        let both = IceServer {
            secret: Some("s".into()),
            username: Some("u".into()),
            credential: Some("c".into()),
            ..server("turn:a")
        };
        assert!(both.check().is_err());
    }
}

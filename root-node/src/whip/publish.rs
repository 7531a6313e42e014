//! Who may broadcast: a bearer token for each stream (RFC 9725 section 4.7.1). The handlers ask through a
//! trait, so that tokens may come from the configuration or from a store.

use ring::digest;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Says whether a token is good for a stream. It may wait for a disk: not to be called where others
/// would wait with it.
pub trait PublishCheck: Send + Sync + std::fmt::Debug {
    /// # Errors
    /// Why it is not.
    fn check(&self, stream: &str, token: Option<&str>) -> Result<(), Refused>;
}

/// Why somebody may not broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No token was sent.
    NoToken,
    /// The token is not this stream's.
    WrongToken,
    /// The stream has no token at all: nobody may.
    NotOpen,
    /// Tokens can't be looked up at the moment: whether this one is good is not known.
    Unavailable,
}

/// Tokens of the configuration. Only their hashes are kept.
#[derive(Debug, Default)]
pub struct ConfiguredTokens(BTreeMap<String, [u8; 32]>);

impl ConfiguredTokens {
    /// Stream names with their tokens.
    pub fn new<'a>(tokens: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(tokens.into_iter().map(|(name, token)| (name.to_owned(), hash(token))).collect())
    }
}

impl PublishCheck for ConfiguredTokens {
    fn check(&self, stream: &str, token: Option<&str>) -> Result<(), Refused> {
        let token = token.ok_or(Refused::NoToken)?;
        let stored = self.0.get(stream).ok_or(Refused::NotOpen)?;
        let given = hash(token);
        // Every byte is looked at, whatever the ones before it were.
        let different = stored.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
        if different == 0 { Ok(()) } else { Err(Refused::WrongToken) }
    }
}

/// Several that are asked in turn: one that says yes is enough. Of those that do not, one that could
/// not look decides: the token may be good.
#[derive(Debug)]
pub struct AnyOf(pub Vec<Arc<dyn PublishCheck>>);

impl PublishCheck for AnyOf {
    fn check(&self, stream: &str, token: Option<&str>) -> Result<(), Refused> {
        let mut all = self.0.iter().map(|check| check.check(stream, token));
        all.try_fold(Refused::NotOpen, |worst, checked| match checked {
            Ok(()) => Err(()),
            Err(Refused::NotOpen) => Ok(worst),
            Err(_) if worst == Refused::Unavailable => Ok(worst),
            Err(refused) => Ok(refused),
        })
        .map_or(Ok(()), Err)
    }
}

fn hash(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_stream_only() {
        let tokens = ConfiguredTokens::new([("a", "north"), ("b", "south")]);
        assert_eq!(tokens.check("a", Some("north")), Ok(()));
        assert_eq!(tokens.check("b", Some("north")), Err(Refused::WrongToken));
        assert_eq!(tokens.check("a", Some("")), Err(Refused::WrongToken));
        assert_eq!(tokens.check("a", None), Err(Refused::NoToken));
        assert_eq!(tokens.check("c", Some("north")), Err(Refused::NotOpen));
        assert!(!format!("{tokens:?}").contains("north"));
    }

    #[test]
    fn one_that_knows_the_token_is_enough() {
        let one = |stream, token| Arc::new(ConfiguredTokens::new([(stream, token)])) as _;
        let both = AnyOf(vec![one("a", "north"), one("a", "south"), one("b", "west")]);
        assert_eq!(both.check("a", Some("north")), Ok(()));
        assert_eq!(both.check("a", Some("south")), Ok(()));
        assert_eq!(both.check("a", Some("west")), Err(Refused::WrongToken));
        assert_eq!(both.check("a", None), Err(Refused::NoToken));
        assert_eq!(both.check("c", Some("west")), Err(Refused::NotOpen));
        assert_eq!(AnyOf(Vec::new()).check("a", Some("west")), Err(Refused::NotOpen));
    }

    #[derive(Debug)]
    struct Broken;

    impl PublishCheck for Broken {
        fn check(&self, _: &str, _: Option<&str>) -> Result<(), Refused> {
            Err(Refused::Unavailable)
        }
    }

    #[test]
    fn a_token_that_may_be_good_is_not_called_wrong() {
        let known =
            || -> Arc<dyn PublishCheck> { Arc::new(ConfiguredTokens::new([("a", "north")])) };
        for both in [vec![known(), Arc::new(Broken)], vec![Arc::new(Broken), known()]] {
            let both = AnyOf(both);
            assert_eq!(both.check("a", Some("north")), Ok(()));
            assert_eq!(both.check("a", Some("south")), Err(Refused::Unavailable));
            assert_eq!(both.check("b", Some("south")), Err(Refused::Unavailable));
        }
    }
}

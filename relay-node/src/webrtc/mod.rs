//! What WHIP at the root (RFC 9725) and WHEP at the leaf have in common: [`sdp`] reads the parts of
//! descriptions, [`fragment`] the pieces that candidates and restarts come in, [`ice`] writes what both say
//! of ICE, [`http`] has the rules of requests, and [`rate`] how often an address may ask. What of an offer
//! is taken, sessions and their media are not here: each has its own.

pub mod fragment;
pub mod http;
pub mod ice;
pub mod rate;
pub mod sdp;

/// Not of the form that it must have; a sentence for whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

impl Malformed {
    fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

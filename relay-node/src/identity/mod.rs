//! Who a node is and how it proves it: join tokens, keys, certificates, tickets, secrets wrapped
//! for one receiver, and the TLS configurations made of them (PROTOCOL "Security").
//!
//! What it is not: a policy. Who may join, which lifetime a certificate gets and which tokens are
//! revoked is decided at the root.

pub mod authority;
pub mod certificate;
pub mod encoding;
pub mod key;
pub mod play;
pub mod ticket;
pub mod tls;
pub mod token;
pub mod vault;
pub mod wrap;

pub use authority::{Authority, Fingerprint};
pub use certificate::NodeCertificate;
pub use key::{NodeKey, SigningKey};
pub use play::PlayTicket;
pub use ticket::LinkTicket;
pub use token::JoinToken;
pub use vault::NodeVault;

/// What can go wrong with keys, certificates, tokens and tickets. The texts are for the log and
/// for ERROR messages: they say what is refused and hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The join token does not have its form.
    #[error("not a join token: {0}")]
    Token(&'static str),
    /// The certificate request is refused.
    #[error("certificate request refused: {0}")]
    Request(&'static str),
    /// A certificate that is not one of ours.
    #[error("certificate refused: {0}")]
    Certificate(String),
    /// A link ticket or play ticket is refused.
    #[error("ticket refused: {0}")]
    Ticket(&'static str),
    /// A key that cannot be read or used.
    #[error("key cannot be used: {0}")]
    Key(String),
    /// A secret could not be wrapped (the receiver's key is not an X25519 key).
    #[error("cannot wrap for this receiver: {0}")]
    Wrap(String),
    /// The system's random generator failed.
    #[error("the system gives no random numbers")]
    Random,
    /// A file in the data directory.
    #[error("{0}")]
    File(String),
}

/// Fills an array from the system's random generator.
///
/// # Errors
/// [`IdentityError::Random`] if the system has none.
pub fn random<const N: usize>() -> Result<[u8; N], IdentityError> {
    use ring::rand::SecureRandom;
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| IdentityError::Random)?;
    Ok(bytes)
}

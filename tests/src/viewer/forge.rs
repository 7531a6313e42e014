//! What somebody who means no good sends to a viewer port: real messages in the wrong place.

use super::secure::Identity;
use super::stun::{Role, Secrets};
use super::{Answer, Signalling, SrtpOffer, ViewerError};
use relay_node::clock::Clock;
use rtc_dtls::endpoint::Endpoint;
use rtc_shared::TransportProtocol;
use std::net::SocketAddr;

/// The first flight of a DTLS handshake.
///
/// # Errors
/// If there is no DTLS identity, or the library makes no flight.
pub fn client_hello(to: SocketAddr) -> Result<Vec<u8>, ViewerError> {
    let identity =
        Identity::new(SrtpOffer::Both, Signalling::Whep).map_err(ViewerError::Identity)?;
    let clock = Clock::start();
    let local = SocketAddr::from(([127, 0, 0, 1], 9));
    let mut dtls = Endpoint::new(local, TransportProtocol::UDP, None);
    dtls.connect(clock.instant(clock.now().mono), to, identity.config.clone(), None)
        .map_err(|e| ViewerError::Identity(e.to_string()))?;
    let flight = dtls.poll_transmit().map(|t| t.message.to_vec());
    flight.ok_or_else(|| ViewerError::Identity("no first flight".into()))
}

/// Connectivity checks for a session that an answer has opened.
pub struct Checks {
    identity: Identity,
    secrets: Secrets,
    sent: u64,
}

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checks").field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl Checks {
    /// For the session of `answer` to an offer with this user name fragment; with another password
    /// than the answer's they are forged.
    ///
    /// # Errors
    /// If there is no library for the integrity.
    pub fn new(
        answer: &Answer,
        local_ufrag: &str,
        password: Option<&str>,
    ) -> Result<Self, ViewerError> {
        let identity =
            Identity::new(SrtpOffer::Both, Signalling::Whep).map_err(ViewerError::Identity)?;
        let secrets = Secrets {
            local_ufrag: local_ufrag.to_owned(),
            local_pwd: String::new(),
            remote_ufrag: answer.ufrag.clone(),
            remote_pwd: password.unwrap_or(&answer.pwd).to_owned(),
        };
        Ok(Self { identity, secrets, sent: 0 })
    }

    /// The next check.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        self.sent += 1;
        let mut transaction = [0; 12];
        transaction[..8].copy_from_slice(&self.sent.to_be_bytes());
        self.secrets.request(self.identity.provider.crypto(), transaction, Role::Controlling, 1)
    }
}

//! `[webrtc]`: broadcasters over WHIP.

use relay_node::config::ConfigError;
use relay_node::config::candidates::Announced;
use relay_node::config::ice_servers::IceServer;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// Announced addresses of the port: interfaces times address families.
const MAX_ANNOUNCED: usize = 8;
/// Broadcasters at the same time by default: each costs its decryption, on one core for all.
const DEFAULT_SESSIONS: usize = 32;
/// Shortest publish token: 16 characters of base 64 are 96 bits.
const MIN_TOKEN: usize = 16;
/// Longest publish token.
const MAX_TOKEN: usize = 256;

/// `[webrtc]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebrtcSection {
    /// The one UDP port for all broadcasters.
    pub listen: SocketAddr,
    /// Where they reach it; default: the bound address, or those of all interfaces.
    pub announce: Vec<Announced>,
    /// STUN and TURN servers that they are told.
    pub ice_servers: Vec<IceServer>,
    /// Broadcasters at the same time; 0: WHIP is off.
    pub sessions: usize,
}

impl Default for WebrtcSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8189),
            announce: Vec::new(),
            ice_servers: Vec::new(),
            sessions: DEFAULT_SESSIONS,
        }
    }
}

impl WebrtcSection {
    /// What must be right in it.
    ///
    /// # Errors
    /// What is not, and where.
    pub fn check(&self, path: Option<&Path>) -> Result<(), ConfigError> {
        let announce = &self.announce;
        if announce.len() > MAX_ANNOUNCED || announce.iter().any(|a| !a.is_definite()) {
            let message = format!("at most {MAX_ANNOUNCED} addresses, none of them 0.0.0.0 or ::");
            return Err(ConfigError::at(path, "webrtc.announce", message));
        }
        for server in &self.ice_servers {
            server
                .check()
                .map_err(|message| ConfigError::at(path, "webrtc.ice_servers", message))?;
        }
        Ok(())
    }
}

/// A publish token. It is shown nowhere.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublishToken(String);

impl std::fmt::Debug for PublishToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublishToken")
    }
}

impl PublishToken {
    /// The token itself.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PublishToken {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // RFC 6750 section 2.1.
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        if !(MIN_TOKEN..=MAX_TOKEN).contains(&text.len()) || !text.bytes().all(legal) {
            return Err(format!(
                "a publish token has {MIN_TOKEN} to {MAX_TOKEN} characters out of A-Z a-z 0-9 \
                 - . _ ~ + / ="
            ));
        }
        Ok(Self(text))
    }
}

//! The sections that several binaries share. Each has defaults for everything.

use super::ConfigError;
use super::values;
use crate::identity::JoinToken;
use serde::Deserialize;
use soleil_protocol::message::{Capacity, HostPort};
use soleil_protocol::{NodeId, Role};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest token file that is read, in bytes: a token has about 150 characters.
const MAX_TOKEN_FILE: u64 = 4096;

/// `[node]`: who this node is.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSection {
    /// The name it asks for; default: role and host name. The root adds a suffix if another node
    /// has it.
    #[serde(deserialize_with = "values::optional_text")]
    pub name: Option<NodeId>,
    /// Where it stands, in the operator's words.
    #[serde(deserialize_with = "values::word")]
    pub region: String,
    /// Free labels.
    #[serde(deserialize_with = "values::labels")]
    pub labels: Vec<(String, String)>,
    /// Where it keeps its key (and the root its database). Without it a child node's key lives in
    /// memory, and each start is a new node.
    pub data_dir: Option<PathBuf>,
    /// How long SIGTERM may take to move children and viewers away.
    #[serde(deserialize_with = "values::period")]
    pub drain_timeout: Duration,
}

impl Default for NodeSection {
    fn default() -> Self {
        NodeSection {
            name: None,
            region: String::new(),
            labels: Vec::new(),
            data_dir: None,
            // Container platforms kill after 30 s by default: be gone well before.
            drain_timeout: Duration::from_secs(15),
        }
    }
}

impl NodeSection {
    /// The name to ask for.
    pub fn name_or_default(&self, role: Role) -> NodeId {
        self.name.clone().unwrap_or_else(|| {
            let host = std::env::var("HOSTNAME")
                .ok()
                .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
                .unwrap_or_default();
            default_name(role, &host)
        })
    }
}

fn default_name(role: Role, host: &str) -> NodeId {
    let host: String = host
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
        // Room for the role before and a suffix of the root after it.
        .take(48)
        .collect();
    let host = host.trim_matches('-');
    let name = if host.is_empty() { role.to_string() } else { format!("{role}-{host}") };
    // Only legal characters are left, and few enough.
    NodeId::new(&name).unwrap_or_else(|_| unreachable_name(role))
}

fn unreachable_name(role: Role) -> NodeId {
    #[allow(clippy::expect_used)] // A role's word is a legal id.
    NodeId::new(role.as_str()).expect("a role is a legal node id")
}

/// `[root]`: how a relay or leaf finds and convinces the root.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RootSection {
    /// The root's overlay address, `host:port`.
    #[serde(deserialize_with = "values::optional_endpoint")]
    pub address: Option<HostPort>,
    /// The join token.
    #[serde(deserialize_with = "values::optional_text")]
    pub token: Option<JoinToken>,
    /// A file with the join token in it, if it is not to stand in the configuration.
    pub token_file: Option<PathBuf>,
}

impl RootSection {
    /// Address and token, wherever they were given.
    ///
    /// # Errors
    /// If one is missing, the token file cannot be read, or the token is for another role.
    pub fn resolve(
        &self,
        role: Role,
        config: Option<&Path>,
    ) -> Result<(HostPort, JoinToken), ConfigError> {
        let address = self
            .address
            .clone()
            .ok_or_else(|| ConfigError::missing("root.address", Some("--root")))?;
        let (token, key) = match (&self.token, &self.token_file) {
            (Some(token), _) => (token.clone(), "root.token"),
            (None, Some(path)) => (
                read_token(path).map_err(|e| ConfigError::at(config, "root.token_file", e))?,
                "root.token_file",
            ),
            (None, None) => return Err(ConfigError::missing("root.token", Some("--token"))),
        };
        if token.role != role {
            let message = format!("this token is for a {}, and this is a {role}", token.role);
            return Err(ConfigError::at(config, key, message));
        }
        Ok((address, token))
    }
}

fn read_token(path: &Path) -> Result<JoinToken, String> {
    let name = path.display();
    let length = std::fs::metadata(path).map_err(|e| format!("{name}: {e}"))?.len();
    if length > MAX_TOKEN_FILE {
        return Err(format!("{name} holds no token: too long"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| format!("{name}: {e}"))?;
    let text = zeroize::Zeroizing::new(text);
    text.parse().map_err(|e| format!("{name}: {e}"))
}

/// `[overlay]`: the control links' listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OverlaySection {
    /// Where to accept control links (TLS).
    pub listen: SocketAddr,
    /// The address that others are told; default: the address towards the root.
    #[serde(deserialize_with = "values::optional_endpoint")]
    pub announce: Option<HostPort>,
}

/// The port of control links (TCP) and, by default, of media (UDP): one number for firewalls.
pub const DEFAULT_PORT: u16 = 7443;

fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

impl Default for OverlaySection {
    fn default() -> Self {
        OverlaySection { listen: everywhere(DEFAULT_PORT), announce: None }
    }
}

/// `[media]`: the UDP port of media hops.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaSection {
    /// Where to send and receive media.
    pub listen: SocketAddr,
    /// The addresses that others are told; default: the address towards the root.
    pub announce: Vec<SocketAddr>,
}

impl Default for MediaSection {
    fn default() -> Self {
        MediaSection { listen: everywhere(DEFAULT_PORT), announce: Vec::new() }
    }
}

/// `[capacity]`: how much the planner may give this node.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CapacitySection {
    /// Child nodes.
    pub children: u32,
    /// Viewers (leaves).
    pub viewers: u32,
    /// Bits per second, like "1G"; 0 means not stated.
    #[serde(deserialize_with = "values::quantity")]
    pub egress: u64,
}

impl Default for CapacitySection {
    fn default() -> Self {
        // Thirty-two children at 5 Mbit/s are 160 Mbit/s: any machine does that. A thousand
        // viewers a leaf is well below what one core was measured to carry.
        CapacitySection { children: 32, viewers: 1000, egress: 0 }
    }
}

impl CapacitySection {
    /// As HELLO says it.
    pub fn for_role(&self, role: Role) -> Capacity {
        Capacity {
            children: if role == Role::Leaf { 0 } else { self.children },
            viewers: if role == Role::Leaf { self.viewers } else { 0 },
            egress: self.egress,
        }
    }
}

/// `[ops]`: the private listener with /healthz, /readyz and /metrics.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpsSection {
    /// Whether to have one.
    pub enabled: bool,
    /// Where. Keep it private: whoever reaches it reads the metrics and changes the log level.
    pub listen: SocketAddr,
}

impl Default for OpsSection {
    fn default() -> Self {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9100);
        OpsSection { enabled: true, listen }
    }
}

/// `[log]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// What to log: a level, or directives like `info,relay_node=debug`.
    pub level: LogLevel,
    /// How.
    pub format: LogFormat,
}

/// Directives that have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(pub String);

impl Default for LogLevel {
    fn default() -> Self {
        LogLevel("info".into())
    }
}

impl std::str::FromStr for LogLevel {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        crate::logging::check_level(text)?;
        Ok(LogLevel(text.to_string()))
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        values::text(deserializer)
    }
}

/// Text or JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_names_are_legal_whatever_the_host_is_called() {
        let name = |host: &str| default_name(Role::Relay, host).to_string();
        assert_eq!(name("box.example\n"), "relay-box-example");
        assert_eq!(name(""), "relay");
        assert_eq!(name("ü"), "relay");
        assert_eq!(name(&"x".repeat(300)).len(), "relay-".len() + 48);
    }

    #[test]
    fn capacity_depends_on_the_role() {
        let section = CapacitySection::default();
        assert_eq!(section.for_role(Role::Leaf).children, 0);
        assert_eq!(section.for_role(Role::Relay).viewers, 0);
    }
}

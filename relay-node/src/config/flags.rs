//! The flags that relays and leaves have in common. They overlay file and environment.

use super::sections::{NodeSection, OpsSection, RootSection};
use super::values::parse_endpoint;
use crate::identity::JoinToken;
use soleil_protocol::NodeId;
use soleil_protocol::message::HostPort;
use std::net::SocketAddr;
use std::path::PathBuf;

/// `--config`, `--check` and the common keys, for `#[command(flatten)]`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CommonFlags {
    /// Configuration file (TOML); a commented sample is beside the sources
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the configuration and exit (0: good, 78: not)
    #[arg(long)]
    pub check: bool,
    /// The root's overlay address [root.address]
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_endpoint)]
    pub root: Option<HostPort>,
    /// Join token, as `root-node token create` printed it [root.token]; where others can see your
    /// command line, use SOLEIL_ROOT__TOKEN or root.token_file instead
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<JoinToken>,
    /// The name to ask for [node.name; default: role and host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<NodeId>,
    /// Private address for /healthz, /readyz and /metrics [ops.listen; default: 127.0.0.1:9100]
    #[arg(long, value_name = "ADDR:PORT")]
    pub ops: Option<SocketAddr>,
}

impl CommonFlags {
    /// Puts what was given over the sections.
    pub fn apply(&self, node: &mut NodeSection, root: &mut RootSection, ops: &mut OpsSection) {
        if let Some(name) = &self.name {
            node.name = Some(name.clone());
        }
        if let Some(address) = &self.root {
            root.address = Some(address.clone());
        }
        if let Some(token) = &self.token {
            root.token = Some(token.clone());
        }
        if let Some(listen) = self.ops {
            ops.listen = listen;
        }
    }
}

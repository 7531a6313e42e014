//! The relay: a node with nothing added. Its configuration, and `load` and `run` for `main`.

use crate::clock::Clock;
use crate::config::flags::CommonFlags;
use crate::config::sections::{
    CapacitySection, LogSection, MediaSection, NodeSection, OpsSection, OverlaySection, RootSection,
};
use crate::config::{self, ConfigError, ENV_PREFIX, listen, reach};
use crate::control::NodeCore;
use crate::control::api::{NodeCommand, NodeParams};
use crate::identity::{JoinToken, NodeVault, random};
use crate::io::limits::LinkLimits;
use crate::logging::{self, LogControl};
use crate::media::api::NoSink;
use crate::node::{Bound, Node, NodeHandle, NodeOptions, NodeTask};
use crate::ops::Ops;
use serde::Deserialize;
use soleil_protocol::Role;
use soleil_protocol::message::HostPort;
use std::net::SocketAddr;

/// The command line of `relay-node`.
#[derive(Debug, Clone, Default, clap::Parser)]
#[command(
    name = "relay-node",
    version,
    about = "A Soleil relay: takes live streams from its parent in the tree and passes them on to \
             its children",
    after_help = "Examples:\n  \
        root-node token create --role relay            make a token, on the root's machine\n  \
        relay-node --root root.example:7443 --token soleil1.relay...\n  \
        SOLEIL_ROOT__TOKEN=soleil1.relay... relay-node --root root.example:7443 --name fra-1\n  \
        relay-node --config /etc/soleil/relay-node.toml --check\n\n\
        Every key of the file is also a variable: node.drain_timeout is \
        SOLEIL_NODE__DRAIN_TIMEOUT.\n\
        Flags go over variables, variables over the file.\n\n\
        Open to others: TCP and UDP 7443. Not open: the operations address.\n\
        SIGTERM moves the children away and stops (node.drain_timeout).\n\
        Exit codes: 0 stopped as asked, 64 usage, 78 configuration, 1 anything else."
)]
pub struct Cli {
    /// What relays and leaves have in common.
    #[command(flatten)]
    pub common: CommonFlags,
    /// TCP address for control links of children [overlay.listen; default: 0.0.0.0:7443]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// UDP address for media between nodes [media.listen; default: 0.0.0.0:7443]
    #[arg(long, value_name = "ADDR:PORT")]
    pub media: Option<SocketAddr>,
}

/// The configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayConfig {
    /// Who it is.
    pub node: NodeSection,
    /// How it finds the root.
    pub root: RootSection,
    /// Control links.
    pub overlay: OverlaySection,
    /// Media.
    pub media: MediaSection,
    /// How much it carries.
    pub capacity: CapacitySection,
    /// Operations endpoint.
    pub ops: OpsSection,
    /// Log.
    pub log: LogSection,
}

/// A configuration that has everything.
#[derive(Debug, Clone)]
pub struct Relay {
    /// What was configured.
    pub config: RelayConfig,
    /// The root's address.
    pub root: HostPort,
    /// The join token.
    pub token: JoinToken,
}

impl Relay {
    /// File, environment, flags; checked.
    ///
    /// # Errors
    /// What is wrong or missing, and where.
    pub fn load(cli: &Cli) -> Result<Relay, ConfigError> {
        let path = cli.common.config.as_deref();
        let mut config: RelayConfig = config::load(path, ENV_PREFIX)?;
        cli.common.apply(&mut config.node, &mut config.root, &mut config.ops);
        if let Some(listen) = cli.listen {
            config.overlay.listen = listen;
        }
        if let Some(listen) = cli.media {
            config.media.listen = listen;
        }
        let tcp = [("overlay.listen", config.overlay.listen), ("ops.listen", config.ops.listen)];
        listen::distinct(path, &tcp[..if config.ops.enabled { 2 } else { 1 }])?;
        let (root, token) = config.root.resolve(Role::Relay, path)?;
        Ok(Relay { config, root, token })
    }

    /// Starts the relay on the current runtime.
    ///
    /// # Errors
    /// If an address cannot be bound or the node's key cannot be read or made.
    pub async fn start(
        self,
        log: LogControl,
    ) -> anyhow::Result<(NodeHandle<NodeCommand>, NodeTask)> {
        let Relay { config, root, token } = self;
        let vault = NodeVault::open(config.node.data_dir.as_deref())?;
        let seed = random()?;
        let core_vault = Box::new(vault.clone());
        let ops = config.ops.enabled.then(|| (config.ops.listen, Ops::new("relay-node", log)));
        let options = NodeOptions {
            clock: Clock::start(),
            seed: random()?,
            vault,
            overlay: Some(config.overlay.listen),
            media: config.media.listen,
            root: Some((root.clone(), token)),
            tokens: None,
            identity: None,
            drain_timeout: config.node.drain_timeout,
            limits: LinkLimits::default(),
            ops,
        };
        let core = |bound: &Bound| {
            let params = params(&config, &root, bound);
            tracing::info!(name = %params.name, server = ?params.server, media = ?params.media,
                "relay starts");
            Ok(NodeCore::new(params, core_vault, seed))
        };
        Node::start(options, core, Box::new(NoSink)).await
    }
}

/// What the core says of the node to others.
fn params(config: &RelayConfig, root: &HostPort, bound: &Bound) -> NodeParams {
    let guess = reach::guess(Some(root));
    let server = bound.overlay.and_then(|overlay| {
        config.overlay.announce.clone().or_else(|| {
            let address = reach::announced(&[], overlay, &guess).first().copied()?;
            Some(HostPort { host: address.ip().to_string(), port: address.port() })
        })
    });
    NodeParams {
        name: config.node.name_or_default(Role::Relay),
        role: Role::Relay,
        server,
        media: reach::announced(&config.media.announce, bound.media, &guess),
        http: None,
        capacity: config.capacity.for_role(Role::Relay),
        region: config.node.region.clone(),
        labels: config.node.labels.clone(),
    }
}

/// The whole program: loads, checks, runs until told to stop.
///
/// # Errors
/// A [`ConfigError`] for exit code 78, anything else for 1.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    let relay = Relay::load(cli)?;
    if cli.common.check {
        println!("the configuration is good");
        return Ok(());
    }
    let log = logging::start(&relay.config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let reason = runtime.block_on(async {
        let (handle, task) = relay.start(log).await?;
        task.run_until_signalled(handle).await
    })?;
    tracing::info!(%reason, "stopped");
    Ok(())
}

#[cfg(test)]
mod tests;

//! A tree in this process, over real sockets: the root with one stream of sound that never pauses,
//! and nodes as they are added. For tests of the control plane that want many nodes, or look into
//! them. Whole processes are started by [`crate::harness`].

mod broadcaster;
mod watched;

pub use broadcaster::Broadcaster;
pub use watched::{Manners, Seen, Watched};

use anyhow::Context;
use leaf_gateway::Started;
use leaf_gateway::config::LeafConfig;
use relay_node::clock::Clock;
use relay_node::control::api::NodeCommand;
use relay_node::identity::JoinToken;
use relay_node::logging::LogControl;
use relay_node::node::{NodeHandle, NodeTask};
use relay_node::relay::{Relay, RelayConfig};
use root_node::config::{Config, StreamSection};
use root_node::core::api::NodeView;
use root_node::root::Root;
use root_node::store::Store;
use soleil_protocol::message::HostPort;
use soleil_protocol::{NodeId, PipelineId, Role};
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::harness::Ports;

/// A relay that runs.
pub type Node = (NodeHandle<NodeCommand>, NodeTask);

/// Any port of this machine.
#[must_use]
pub fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// The root, its runtime and its data.
pub struct Small {
    /// The root.
    pub root: Root,
    /// What everything runs on.
    pub runtime: Runtime,
    /// Where nodes join.
    pub address: HostPort,
    /// The stream.
    pub pipeline: PipelineId,
    _source: Broadcaster,
    data: TempDir,
}

impl std::fmt::Debug for Small {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Small").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Small {
    /// A root with a stream on air; `change` may configure it otherwise.
    ///
    /// # Errors
    /// What does not work.
    pub fn start(change: impl FnOnce(&mut Config)) -> anyhow::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let data = tempfile::tempdir()?;
        let mut config = Config::default();
        config.node.data_dir = Some(data.path().to_owned());
        config.overlay.listen = any();
        config.media.listen = any();
        config.http.listen = any();
        config.webrtc.listen = any();
        config.ops.enabled = false;
        let mut stream = StreamSection::demo();
        stream.track.remove(0);
        stream.track[0].ports = vec![Ports::default().take(2)?];
        config.stream = vec![stream];
        change(&mut config);
        let root = runtime.block_on(Root::start(config, LogControl::none()))?;
        let source = Broadcaster::start(root.ingest[0].ports[0])?;
        let port = root.node.bound().overlay.context("the root listens")?.port();
        let address = HostPort { host: "127.0.0.1".into(), port };
        let mut pipelines = root.node.pipelines();
        let known = runtime.block_on(pipelines.wait_for(|p| !p.is_empty()))?.keys().next().copied();
        let pipeline = known.context("there is a stream")?;
        Ok(Self { root, runtime, address, pipeline, _source: source, data })
    }

    /// The root's database, as the command line opens it beside the running root.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::open(self.data.path())?)
    }

    /// A join token.
    ///
    /// # Errors
    /// If none can be made.
    pub fn token(&self, role: Role, lives: Option<Duration>) -> anyhow::Result<JoinToken> {
        Ok(self.store()?.create_token(Clock::start().now().wall, role, lives, "")?)
    }

    /// A relay with this name; nobody waits for it.
    ///
    /// # Errors
    /// If it does not start.
    pub fn relay(
        &self,
        name: &str,
        token: &JoinToken,
        change: impl FnOnce(&mut RelayConfig),
    ) -> anyhow::Result<Node> {
        let mut config = RelayConfig::default();
        config.node.name = Some(NodeId::new(name)?);
        config.overlay.listen = any();
        config.media.listen = any();
        config.ops.enabled = false;
        change(&mut config);
        let relay = Relay { config, root: self.address.clone(), token: token.clone() };
        self.runtime.block_on(relay.start(LogControl::none()))
    }

    /// A leaf with this name; nobody waits for it.
    ///
    /// # Errors
    /// If it does not start.
    pub fn leaf(&self, name: &str, token: &JoinToken) -> anyhow::Result<Started> {
        let mut config = LeafConfig::default();
        config.node.name = Some(NodeId::new(name)?);
        config.root.address = Some(self.address.clone());
        config.root.token = Some(token.clone());
        config.http.listen = any();
        config.webrtc.listen = any();
        config.webrtc.listen = any();
        config.webrtc.tcp = false;
        config.ops.enabled = false;
        self.runtime.block_on(leaf_gateway::start(&config, None, LogControl::none()))
    }

    /// What the root says of a node.
    #[must_use]
    pub fn view(&self, node: &str) -> Option<NodeView> {
        self.root.view.borrow().nodes.iter().find(|n| n.id.as_str() == node).cloned()
    }

    /// Whether a node is in the tree, below this parent.
    #[must_use]
    pub fn is_below(&self, node: &str, parent: &str) -> bool {
        self.view(node)
            .is_some_and(|n| n.attached && n.parent.is_some_and(|p| p.as_str() == parent))
    }

    /// Nodes that are in the tree, the root not counted.
    #[must_use]
    pub fn in_tree(&self) -> usize {
        self.root.view.borrow().nodes.iter().filter(|n| n.attached).count().saturating_sub(1)
    }
}

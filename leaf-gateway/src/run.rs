//! The whole program: node, viewers, signals.

#[cfg(test)]
mod tests;

use crate::config::LeafConfig;
use crate::gateway::{Leaf, NodeSide, RunningLeaf};
use crate::metrics::Metrics;
use anyhow::Context;
use relay_node::clock::Clock;
use relay_node::config::reach;
use relay_node::control::NodeCore;
use relay_node::control::api::{NodeCommand, NodeParams};
use relay_node::identity::{NodeVault, random};
use relay_node::io::limits::LinkLimits;
use relay_node::logging::LogControl;
use relay_node::node::{Node, NodeHandle, NodeOptions, NodeTask};
use relay_node::ops::{MetricsSource, Ops};
use soleil_protocol::Role;
use soleil_protocol::message::HostPort;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long viewers' goodbyes may take before the node leaves all the same.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

impl MetricsSource for Metrics {
    fn write_metrics(&self, out: &mut String) {
        out.push_str(&self.render());
    }
}

/// A started leaf, for programs and tests.
pub struct Started {
    /// The node.
    pub node: NodeHandle<NodeCommand>,
    /// The viewers' side.
    pub leaf: RunningLeaf,
    /// Where WHEP is served.
    pub http: SocketAddr,
    /// The viewer port.
    pub viewers: SocketAddr,
    task: NodeTask,
    ops: Arc<Ops>,
}

/// Starts a leaf on the current runtime.
///
/// # Errors
/// What is missing, can't be bound or read.
pub async fn start(
    config: &LeafConfig,
    config_file: Option<&Path>,
    log: LogControl,
) -> anyhow::Result<Started> {
    let clock = Clock::start();
    let (root, token) = config.root.resolve(Role::Leaf, config_file)?;
    let (leaf, sink) = Leaf::bind(config, clock).await?;
    let (http, viewers) = (leaf.http_addr(), leaf.viewer_addr());
    let ops = Ops::new("leaf-gateway", log);
    ops.register(leaf.metrics().clone());
    // A machine that can't reach the root yet will later: the address is a guess until then.
    let here = reach::toward(&root).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let url = config.http.public_url.clone().unwrap_or_else(|| {
        let ip = if http.ip().is_unspecified() { here } else { http.ip() };
        let scheme = if config.http.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", SocketAddr::new(ip, http.port()))
    });
    let media = config.media.clone();
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let vault = NodeVault::open(config.node.data_dir.as_deref()).context("node.data_dir")?;
    let options = NodeOptions {
        clock,
        seed: random()?,
        vault: vault.clone(),
        overlay: config.overlay.as_ref().map(|o| o.listen),
        media: media.as_ref().map_or(any, |m| m.listen),
        root: Some((root, token)),
        tokens: None,
        identity: None,
        drain_timeout: config.node.drain_timeout,
        limits: LinkLimits::default(),
        ops: config.ops.enabled.then(|| (config.ops.listen, ops.clone())),
    };
    let core_seed = random()?;
    let announce = media.map(|m| m.announce).unwrap_or_default();
    let (node, task) = Node::start(
        options,
        |bound| {
            let params = NodeParams {
                name: config.node.name_or_default(Role::Leaf),
                role: Role::Leaf,
                server: config.overlay.as_ref().zip(bound.overlay).map(|(section, bound)| {
                    section.announce.clone().unwrap_or_else(|| {
                        let ip = if bound.ip().is_unspecified() { here } else { bound.ip() };
                        HostPort { host: ip.to_string(), port: bound.port() }
                    })
                }),
                media: reach::announced(&announce, bound.media, &[here]),
                http: Some(url.clone()),
                capacity: config.capacity.for_role(Role::Leaf),
                region: config.node.region.clone(),
                labels: config.node.labels.clone(),
            };
            Ok(NodeCore::new(params, Box::new(vault), core_seed))
        },
        sink,
    )
    .await?;
    let commands = node.clone();
    let side = NodeSide {
        pipelines: node.pipelines(),
        identity: node.identity(),
        lack: node.lack(),
        command: Box::new(move |command| {
            commands.command(command);
        }),
    };
    let leaf = leaf.start(config, side);
    tracing::info!(%http, %viewers, url, "the leaf is up");
    Ok(Started { node, leaf, http, viewers, task, ops })
}

/// Why viewers can't be served any more, as soon as that is so.
async fn failed(mut failure: watch::Receiver<Option<String>>) -> String {
    match failure.wait_for(Option::is_some).await {
        Ok(why) => why.clone().unwrap_or_default(),
        // The viewer thread has ended as it should.
        Err(_) => std::future::pending().await,
    }
}

impl Started {
    /// Runs until a signal, the root or a failure ends it; viewers are told first. A (second)
    /// signal while it leaves ends it at once.
    ///
    /// A leaf that can't serve viewers any more is of no use, and nothing within the process brings
    /// its viewer thread back: it leaves the tree, so that the root sends nobody here, and the
    /// supervisor starts it anew.
    ///
    /// # Errors
    /// If node or viewer thread failed, or signals can't be caught.
    pub async fn wait(self) -> anyhow::Result<String> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut ended = std::pin::pin!(self.task.wait());
        let cause = tokio::select! {
            reason = &mut ended => {
                let reason = reason?;
                self.leaf.stop().await;
                return Ok(reason);
            }
            _ = terminate.recv() => Ok("SIGTERM"),
            _ = interrupt.recv() => Ok("Ctrl-C"),
            why = failed(self.leaf.failure()) => Err(why),
        };
        let name = match &cause {
            Ok(signal) => {
                tracing::info!(signal, "stopping");
                self.ops.readiness().hold("draining", "the leaf is stopping");
                signal
            }
            Err(why) => {
                tracing::error!(why, "leaving the tree: no viewer can be served here");
                self.ops.readiness().hold("viewers", why);
                why.as_str()
            }
        };
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, self.leaf.drain()).await;
        self.node.drain(name);
        let reason = tokio::select! {
            reason = &mut ended => reason?,
            _ = terminate.recv() => "a second signal".into(),
            _ = interrupt.recv() => "a second signal".into(),
        };
        self.leaf.stop().await;
        cause.map(|_| reason).map_err(anyhow::Error::msg)
    }

    /// Ends it without a signal (tests).
    ///
    /// # Errors
    /// If the node failed.
    pub async fn stop(self) -> anyhow::Result<String> {
        self.leaf.drain().await;
        self.node.drain("stopped");
        let reason = self.task.wait().await;
        self.leaf.stop().await;
        reason
    }
}

/// Runs the program with a configuration that is complete.
///
/// # Errors
/// Whatever stops it but a signal or the root.
pub async fn run(config: LeafConfig, config_file: Option<&Path>) -> anyhow::Result<()> {
    let log = relay_node::logging::start(&config.log);
    let reason = start(&config, config_file, log).await?.wait().await?;
    tracing::info!(reason, "stopped");
    Ok(())
}

//! A whole node: forwarding plane, control links, operations endpoint, started and stopped
//! together. Relay, root and leaf are this with different cores and sinks.

use crate::clock::Clock;
use crate::control::api::{Core, Lack, NodeCommand};
use crate::identity::{JoinToken, NodeVault};
use crate::io::TokenCheck;
use crate::io::counters::LinkCounters;
use crate::io::driver::{self, DriverHandle, DriverOptions};
use crate::io::limits::LinkLimits;
use crate::io::media_thread::{MediaConfig, MediaHandle, MediaThread};
use crate::io::plane::{MediaMetrics, MediaPlane};
use crate::media::api::LocalSink;
use crate::ops::Ops;
use anyhow::Context;
use soleil_protocol::message::{HostPort, Identity};
use soleil_protocol::pipeline::PipelineDef;
use soleil_protocol::{NodeId, PipelineId};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Events of the forwarding plane that wait for the core. They are rare (links, merged key-frame
/// requests); what does not fit is dropped by the plane and comes again.
const MAX_PLANE_EVENTS: usize = 1024;

/// The names of the reasons that hold readiness back.
const LACKS: [&str; 3] = ["attached", "media", "root"];

fn name(lack: Lack) -> &'static str {
    let [attached, media, root] = LACKS;
    match lack {
        Lack::Parent => attached,
        Lack::Media => media,
        Lack::Root => root,
    }
}

/// What a node is started with.
pub struct NodeOptions {
    /// The process' clock.
    pub clock: Clock,
    /// Randomness for the forwarding plane.
    pub seed: [u8; 32],
    /// The node's secrets; the core gets a clone.
    pub vault: NodeVault,
    /// Where to accept control links (port 0: any); `None` for nodes that take no children.
    pub overlay: Option<SocketAddr>,
    /// Where to send and receive media (port 0: any).
    pub media: SocketAddr,
    /// The root's address and the join token; `None` at the root.
    pub root: Option<(HostPort, JoinToken)>,
    /// Checks join tokens; only the root has one. With it, clients without a certificate may join.
    pub tokens: Option<Arc<dyn TokenCheck>>,
    /// The identity to begin with: the root's. Others get theirs from the root, and accept control
    /// links from then on.
    pub identity: Option<Identity>,
    /// How long a drain may take before the node ends all the same.
    pub drain_timeout: Duration,
    /// Bounds of the control links.
    pub limits: LinkLimits,
    /// The operations endpoint and where it listens; `None`: there is none.
    pub ops: Option<(SocketAddr, Arc<Ops>)>,
}

/// What a node has bound, before its core is made: ports that were asked for as 0 are known.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// Control links.
    pub overlay: Option<SocketAddr>,
    /// Media.
    pub media: SocketAddr,
    /// The operations endpoint.
    pub ops: Option<SocketAddr>,
}

/// Starts nodes.
pub struct Node;

impl Node {
    /// Binds, makes the core with what was bound, and starts everything on the current runtime.
    /// With an operations endpoint the node registers its metrics there and, unless it is the
    /// root, holds its readiness back while it lacks anything that it needs from above (reasons
    /// `attached`: it has no parent; `media`: the media path to it is not open; `root`: the root
    /// is not heard, at a leaf).
    ///
    /// # Errors
    /// If an address cannot be bound, the core cannot be made, or the identity cannot be used.
    pub async fn start<C>(
        options: NodeOptions,
        core: impl FnOnce(&Bound) -> anyhow::Result<C>,
        sink: Box<dyn LocalSink>,
    ) -> anyhow::Result<(NodeHandle<C::Command>, NodeTask)>
    where
        C: Core + 'static,
        C::Command: From<NodeCommand>,
    {
        let listener = match options.overlay {
            Some(at) => Some(bind(at).await.with_context(|| format!("overlay.listen {at}"))?),
            None => None,
        };
        let ops = match options.ops {
            Some((at, ops)) => {
                Some((bind(at).await.with_context(|| format!("ops.listen {at}"))?, ops))
            }
            None => None,
        };
        let needs_parent = options.root.is_some();
        let (plane_events, plane_events_in) = mpsc::channel(MAX_PLANE_EVENTS);
        let media = MediaThread::spawn(
            MediaConfig::new(options.media, options.clock, options.seed, plane_events),
            sink,
        )
        .with_context(|| format!("media.listen {}", options.media))?;
        let bound = Bound {
            overlay: listener.as_ref().map(TcpListener::local_addr).transpose()?,
            media: media.local_addr(),
            ops: ops.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?,
        };
        let core = core(&bound)?;
        let driver_options = DriverOptions {
            clock: options.clock,
            limits: options.limits,
            vault: options.vault,
            listener,
            root: options.root,
            tokens: options.tokens,
            identity: options.identity,
            drain_timeout: options.drain_timeout,
        };
        let plane = MediaPlane::new(media.clone());
        let (driver, task) = driver::start(driver_options, core, plane, plane_events_in)?;
        let stop = CancellationToken::new();
        let ops_task = ops.map(|(listener, ops)| {
            ops.register(driver.counters().clone());
            ops.register(Arc::new(MediaMetrics::new(media.clone())));
            if needs_parent {
                // Before the first answer: nobody sees a node as ready that has no parent.
                hold(&ops, Some(Lack::Parent));
                tokio::spawn(watch_readiness(ops.clone(), driver.lack()));
            }
            tokio::spawn(ops.serve(listener, stop.clone().cancelled_owned()))
        });
        let handle = NodeHandle { driver, media, bound };
        let task = NodeTask { task, ops: ops_task, stop, media: handle.media.clone() };
        Ok((handle, task))
    }
}

async fn bind(at: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(at).await
}

/// Shows what is missing; the new reason comes before the old one goes.
fn hold(ops: &Ops, lack: Option<Lack>) {
    let held = lack.map(name);
    if let (Some(lack), Some(name)) = (lack, held) {
        ops.readiness().hold(name, lack.to_string());
    }
    for other in LACKS.into_iter().filter(|other| Some(*other) != held) {
        ops.readiness().clear(other);
    }
}

/// Ready means that media can come from above.
async fn watch_readiness(ops: Arc<Ops>, mut lack: watch::Receiver<Option<Lack>>) {
    loop {
        let now = *lack.borrow_and_update();
        hold(&ops, now);
        if lack.changed().await.is_err() {
            ops.readiness().hold(name(Lack::Parent), "the node has stopped");
            return;
        }
    }
}

/// The outside of a running node. Clones drive the same node; dropping them does not stop it.
pub struct NodeHandle<T> {
    driver: DriverHandle<T>,
    media: MediaHandle,
    bound: Bound,
}

impl<T> Clone for NodeHandle<T> {
    fn clone(&self) -> Self {
        NodeHandle { driver: self.driver.clone(), media: self.media.clone(), bound: self.bound }
    }
}

impl<T> NodeHandle<T> {
    /// Gives the core a command; `false` if the node has ended (or thousands wait).
    pub fn command(&self, command: T) -> bool {
        self.driver.command(command)
    }

    /// The pipelines that this node knows.
    pub fn pipelines(&self) -> watch::Receiver<Arc<BTreeMap<PipelineId, PipelineDef>>> {
        self.driver.pipelines()
    }

    /// Who this node is, once the root has said so.
    pub fn identity(&self) -> watch::Receiver<Option<Identity>> {
        self.driver.identity()
    }

    /// Uses another certificate from now on (the root renews its own).
    pub fn set_identity(&self, identity: Identity) {
        self.driver.set_identity(identity);
    }

    /// Its id, once the root has given one.
    pub fn id(&self) -> Option<NodeId> {
        self.driver.identity().borrow().as_ref().map(|identity| identity.id.clone())
    }

    /// Whether it has a parent.
    pub fn attached(&self) -> watch::Receiver<bool> {
        self.driver.attached()
    }

    /// What it needs from above and does not have: ready when that is nothing.
    pub fn lack(&self) -> watch::Receiver<Option<Lack>> {
        self.driver.lack()
    }

    /// The forwarding plane.
    pub fn media(&self) -> &MediaHandle {
        &self.media
    }

    /// What its control links count.
    pub fn counters(&self) -> &Arc<LinkCounters> {
        self.driver.counters()
    }

    /// What it has bound.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Leaves the tree gracefully (children and viewers first), then ends.
    pub fn drain(&self, reason: &str) {
        self.driver.drain(reason);
    }
}

/// The running node, to be awaited.
pub struct NodeTask {
    task: JoinHandle<String>,
    ops: Option<JoinHandle<std::io::Result<()>>>,
    stop: CancellationToken,
    media: MediaHandle,
}

impl NodeTask {
    /// Waits until the node has stopped: drained, killed by the root, or failed.
    ///
    /// # Errors
    /// If the driver panicked.
    pub async fn wait(self) -> anyhow::Result<String> {
        let reason = self.task.await;
        self.media.stop();
        self.stop.cancel();
        if let Some(ops) = self.ops {
            // A scraper that keeps its connection open does not keep the program.
            ops.abort();
        }
        reason.context("the control driver failed")
    }

    /// As [`NodeTask::wait`], and drains on SIGTERM or Ctrl-C. A second signal ends at once.
    ///
    /// # Errors
    /// If the driver panicked, or signals cannot be caught.
    pub async fn run_until_signalled<T>(self, handle: NodeHandle<T>) -> anyhow::Result<String> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut waiting = std::pin::pin!(self.wait());
        for last in [false, true] {
            let name = tokio::select! {
                reason = &mut waiting => return reason,
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "Ctrl-C",
            };
            tracing::info!(signal = name, "stopping");
            if last {
                break;
            }
            handle.drain(name);
        }
        Ok("a second signal".into())
    }
}

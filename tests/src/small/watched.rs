//! A relay whose secrets a test may look at, and that may have bad manners: it keeps every key that
//! it was ever given, and need not go when it is told to. Everything else is the real node.

use super::{Small, any};
use relay_node::clock::Clock;
use relay_node::control::NodeCore;
use relay_node::control::api::{Action, Core, Event, NodeCommand, NodeParams};
use relay_node::identity::{JoinToken, NodeVault, random};
use relay_node::io::limits::LinkLimits;
use relay_node::media::api::{NoSink, PipelineKey, PlaneCommand};
use relay_node::node::{Bound, Node, NodeHandle, NodeOptions, NodeTask};
use soleil_protocol::message::{Capacity, ErrorCode, HostPort};
use soleil_protocol::{Body, Epoch, Mono, NodeId, Now, PipelineId, Role};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How it takes being removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// It obeys.
    Good,
    /// It does not hear KILL, nor that it gets no new certificate, and stays as long as it is let.
    Bad,
}

/// What was seen of it.
#[derive(Debug, Default)]
pub struct Seen {
    /// Every key that it was given, in order.
    pub keys: Vec<(PipelineId, Epoch, PipelineKey)>,
    /// How often it was told to stop.
    pub kills: u64,
    /// How often it was refused something for what it is.
    pub refusals: u64,
    /// Whether it has a warm link to a backup.
    pub backed: bool,
}

/// The node.
pub struct Watched {
    /// From outside.
    pub handle: NodeHandle<NodeCommand>,
    /// To be awaited.
    pub task: NodeTask,
    seen: Arc<Mutex<Seen>>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched(..)")
    }
}

impl Watched {
    /// Starts it; nobody waits for it.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(
        tree: &Small,
        name: &str,
        token: &JoinToken,
        manners: Manners,
    ) -> anyhow::Result<Self> {
        let vault = NodeVault::open(None)?;
        let seed = random()?;
        let options = NodeOptions {
            clock: Clock::start(),
            seed: random()?,
            vault: vault.clone(),
            overlay: Some(any()),
            media: any(),
            root: Some((tree.address.clone(), token.clone())),
            tokens: None,
            identity: None,
            drain_timeout: Duration::from_secs(1),
            limits: LinkLimits::default(),
            ops: None,
        };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (name, kept) = (NodeId::new(name)?, seen.clone());
        let core = |bound: &Bound| {
            let params = NodeParams {
                name,
                role: Role::Relay,
                server: bound
                    .overlay
                    .map(|at| HostPort { host: at.ip().to_string(), port: at.port() }),
                media: vec![bound.media],
                http: None,
                // Nobody shall hang below it.
                capacity: Capacity::default(),
                region: String::new(),
                labels: Vec::new(),
            };
            let node = NodeCore::new(params, Box::new(vault), seed);
            Ok(WatchedCore { node, manners, seen: kept })
        };
        let (handle, task) = tree.runtime.block_on(Node::start(options, core, Box::new(NoSink)))?;
        Ok(Self { handle, task, seen })
    }

    /// What was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct WatchedCore {
    node: NodeCore,
    manners: Manners,
    seen: Arc<Mutex<Seen>>,
}

impl WatchedCore {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it does not want to know.
    fn ignores(&self, body: &Body) -> bool {
        let bad = self.manners == Manners::Bad;
        match body {
            Body::Kill(_) => {
                self.seen().kills += 1;
                bad
            }
            Body::Error(report) if report.code == ErrorCode::Unauthorized => {
                self.seen().refusals += 1;
                // Its attempts to come back run on; that it is not renewed does not drive it away.
                bad && self.node.parent().is_some()
            }
            _ => false,
        }
    }
}

impl Core for WatchedCore {
    type Command = NodeCommand;

    fn handle(&mut self, now: Now, event: Event<NodeCommand>) {
        let event = match event {
            Event::Message(_, message) if self.ignores(&message.body) => Event::Timeout,
            other => other,
        };
        self.node.handle(now, event);
    }

    fn poll_action(&mut self) -> Option<Action> {
        let action = self.node.poll_action()?;
        if let Action::Reserve(ready) = &action {
            self.seen().backed = *ready;
        }
        if let Action::Plane(PlaneCommand::AddKey(pipeline, epoch, key)) = &action {
            self.seen().keys.push((*pipeline, *epoch, key.clone()));
        }
        Some(action)
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.node.poll_timeout()
    }
}

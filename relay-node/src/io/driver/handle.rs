//! The driver from outside: what it needs to begin, and the handle that steers it.

use crate::clock::Clock;
use crate::control::api::{Lack, PlaneReport};
use crate::identity::{JoinToken, NodeVault};
use crate::io::TokenCheck;
use crate::io::counters::LinkCounters;
use crate::io::limits::{LinkLimits, MAX_COMMANDS};
use crate::media::api::PlaneCommand;
use soleil_protocol::message::{HostPort, Identity};
use soleil_protocol::pipeline::PipelineDef;
use soleil_protocol::{Now, PipelineId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// The forwarding plane as the driver needs it.
pub trait Plane: Send + 'static {
    /// Does something.
    fn command(&mut self, command: PlaneCommand);
    /// What was measured; CPU and memory are filled in by the driver.
    fn report(&mut self, now: Now) -> PlaneReport;
}

/// What a driver needs beside the core.
pub struct DriverOptions {
    /// The process' clock.
    pub clock: Clock,
    /// Bounds of the control links.
    pub limits: LinkLimits,
    /// The node's secrets.
    pub vault: NodeVault,
    /// Where control links are accepted; `None` for nodes that take no children.
    pub listener: Option<TcpListener>,
    /// The root's address and the join token; `None` at the root.
    pub root: Option<(HostPort, JoinToken)>,
    /// Checks join tokens: the root's.
    pub tokens: Option<Arc<dyn TokenCheck>>,
    /// The identity to begin with: the root's.
    pub identity: Option<Identity>,
    /// How long a drain may take.
    pub drain_timeout: Duration,
}

/// What is asked of the driver itself.
pub(super) enum Control {
    Drain(String),
    Identity(Box<Identity>),
}

/// The outside of a running driver.
#[derive(Debug)]
pub struct DriverHandle<T> {
    pub(super) commands: mpsc::Sender<T>,
    pub(super) control: mpsc::Sender<Control>,
    pub(super) pipelines: watch::Receiver<Arc<BTreeMap<PipelineId, PipelineDef>>>,
    pub(super) identity: watch::Receiver<Option<Identity>>,
    pub(super) attached: watch::Receiver<bool>,
    pub(super) lack: watch::Receiver<Option<Lack>>,
    pub(super) counters: Arc<LinkCounters>,
}

impl<T> Clone for DriverHandle<T> {
    fn clone(&self) -> Self {
        DriverHandle {
            commands: self.commands.clone(),
            control: self.control.clone(),
            pipelines: self.pipelines.clone(),
            identity: self.identity.clone(),
            attached: self.attached.clone(),
            lack: self.lack.clone(),
            counters: self.counters.clone(),
        }
    }
}

impl<T> DriverHandle<T> {
    /// Gives the core a command; `false` if it is not taken (the node has ended, or thousands
    /// wait).
    pub fn command(&self, command: T) -> bool {
        let taken = self.commands.try_send(command);
        if let Err(mpsc::error::TrySendError::Full(_)) = &taken {
            tracing::error!("a command is lost: {MAX_COMMANDS} wait for the core");
        }
        taken.is_ok()
    }

    /// Leaves the tree gracefully, then ends.
    pub fn drain(&self, reason: &str) {
        // Full or closed means that a drain is on its way, or over.
        let _ = self.control.try_send(Control::Drain(reason.to_string()));
    }

    /// Uses another certificate from now on (the root renews its own).
    pub fn set_identity(&self, identity: Identity) {
        if self.control.try_send(Control::Identity(Box::new(identity))).is_err() {
            tracing::error!("an identity was not taken");
        }
    }

    /// The pipelines that this node knows.
    pub fn pipelines(&self) -> watch::Receiver<Arc<BTreeMap<PipelineId, PipelineDef>>> {
        self.pipelines.clone()
    }

    /// Who this node is, once the root has said so.
    pub fn identity(&self) -> watch::Receiver<Option<Identity>> {
        self.identity.clone()
    }

    /// Whether it has a parent.
    pub fn attached(&self) -> watch::Receiver<bool> {
        self.attached.clone()
    }

    /// What it needs from above and does not have: ready when that is nothing.
    pub fn lack(&self) -> watch::Receiver<Option<Lack>> {
        self.lack.clone()
    }

    /// What its control links count.
    pub fn counters(&self) -> &Arc<LinkCounters> {
        &self.counters
    }
}

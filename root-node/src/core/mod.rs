//! The root's core: joins, the model of the tree, the first attach policy, pipelines and their
//! keys, statistics of the whole tree. Pure (DESIGN 2); sockets and secrets are elsewhere.

pub mod api;

use api::{Authority, RootCommand, RootConfig, RootOutput};
use relay_node::control::api::{Action, Core, Event, Vault};
use soleil_protocol::{Mono, Now};

/// The root's control core.
pub struct RootCore {
    _vault: Box<dyn Vault>,
    _authority: Box<dyn Authority>,
}

impl RootCore {
    /// A root without nodes and pipelines.
    pub fn new(
        config: RootConfig,
        vault: Box<dyn Vault>,
        authority: Box<dyn Authority>,
        seed: [u8; 32],
    ) -> Self {
        let _ = (config, seed);
        Self { _vault: vault, _authority: authority }
    }

    /// The next thing that the program around the root has to know; call it until it is `None`
    /// after every `handle`.
    pub fn poll_output(&mut self) -> Option<RootOutput> {
        None
    }
}

impl Core for RootCore {
    type Command = RootCommand;

    fn handle(&mut self, _now: Now, _event: Event<RootCommand>) {}

    fn poll_action(&mut self) -> Option<Action> {
        None
    }

    fn poll_timeout(&self) -> Option<Mono> {
        None
    }
}

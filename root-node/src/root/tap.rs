//! The root's core as the driver runs it: what the core says beyond a node's actions is passed on
//! here, to pages, ingest and the store.

use crate::core::RootCore;
use crate::core::api::{RootCommand, RootOutput, RootView};
use crate::ingest::driver::Order;
use crate::store::writer::Notes;
use crate::streams::Table;
use relay_node::control::api::{Action, Core, Event, NodeCommand};
use soleil_protocol::{Mono, Now};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The core and who listens to it.
pub struct Tap {
    core: RootCore,
    view: watch::Sender<Arc<RootView>>,
    ingest: Table,
    notes: Notes,
    /// Says that the root is on its way out.
    draining: CancellationToken,
    /// The root has no parent: it is attached from the beginning, and says so once.
    attached: bool,
}

impl Tap {
    /// Around a core.
    pub fn new(
        core: RootCore,
        view: watch::Sender<Arc<RootView>>,
        ingest: Table,
        notes: Notes,
        draining: CancellationToken,
    ) -> Self {
        Self { core, view, ingest, notes, draining, attached: false }
    }

    fn pass_on(&self, output: RootOutput) {
        let (pipeline, order) = match output {
            RootOutput::View(view) => {
                self.view.send_replace(view);
                return;
            }
            RootOutput::Key { pipeline, epoch, key } => (pipeline, Order::Key(epoch, key)),
            RootOutput::KeyFrameWanted(pipeline, ssrc) => (pipeline, Order::KeyFrame(ssrc)),
            RootOutput::Remember(memory) => return self.notes.memory(memory),
        };
        let Some(ingest) = self.ingest.get(pipeline) else { return };
        let key = matches!(order, Order::Key(..));
        // A key-frame request comes again; a key does not.
        if !ingest.order(order) && key {
            tracing::error!(%pipeline, "ingest did not take its key");
        }
    }
}

impl Core for Tap {
    type Command = RootCommand;

    fn handle(&mut self, now: Now, event: Event<RootCommand>) {
        if let Event::Command(RootCommand::Node(NodeCommand::Drain(_))) = &event {
            self.draining.cancel();
        }
        self.core.handle(now, event);
        while let Some(output) = self.core.poll_output() {
            self.pass_on(output);
        }
    }

    fn poll_action(&mut self) -> Option<Action> {
        if !self.attached {
            self.attached = true;
            return Some(Action::Attached(true));
        }
        self.core.poll_action()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.core.poll_timeout()
    }
}

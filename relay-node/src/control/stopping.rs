//! The end of a node: KILL of the root, a drain of the operator. Children go first.

use super::NodeCore;
use super::api::Action;
use super::limits::DRAIN_GRACE;
use super::timers::Timer;
use soleil_protocol::message::{Bye, Kill};
use soleil_protocol::{Address, Body};

impl NodeCore {
    pub(super) fn on_kill(&mut self, kill: &Kill) {
        let grace = std::time::Duration::from_secs(u64::from(kill.grace_secs));
        tracing::warn!(reason = %kill.reason, ?grace, "the root stops this node");
        // The root moves the children: it knows already.
        self.begin_stop(format!("killed: {}", kill.reason), grace);
    }

    pub(super) fn drain(&mut self, reason: &str) {
        if self.stopping.is_some() || self.stopped {
            return;
        }
        if let Some(parent) = self.way_up()
            && self.links.child_count() > 0
        {
            // The root moves the children, then we go.
            let bye = Body::Bye(Bye { reason: reason.to_owned() });
            self.send(parent, Some(Address::Root), bye);
        }
        self.begin_stop(reason.to_owned(), DRAIN_GRACE);
    }

    fn begin_stop(&mut self, reason: String, grace: std::time::Duration) {
        if self.stopped {
            return;
        }
        self.stopping = Some(reason);
        self.timers.set(Timer::Grace, self.now.mono.after(grace));
        if self.parent_conn().is_none() {
            // Nobody is there to move the children.
            return self.stop();
        }
        self.check_drained();
    }

    /// While stopping: the last child is gone.
    pub(super) fn check_drained(&mut self) {
        if self.stopping.is_some() && !self.stopped && self.links.child_count() == 0 {
            self.stop();
        }
    }

    pub(super) fn stop(&mut self) {
        let Some(reason) = self.stopping.clone() else { return };
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        self.timers.clear(&Timer::Grace);
        self.drop_children(&reason);
        self.abandon_uplink(&reason);
        self.act(Action::Stopped(reason));
    }
}

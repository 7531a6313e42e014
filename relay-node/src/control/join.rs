//! Asking the root for a place: when there is no parent, when none of those that are known has a way to
//! the root, or when the root may have lost sight of this node. What comes of its answer is in `attach`.

use super::NodeCore;
use super::api::{Action, ConnId, DialTarget};
use super::attach::Dialing;
use super::limits::{
    BACKOFF_MAX, BACKOFF_MIN, DIAL_DOUBLINGS, JOIN_TIMEOUT, RETURN_MAX, ROOT_SILENCE,
};
use super::timers::Timer;
use rand::Rng;
use soleil_protocol::message::Hello;

impl NodeCore {
    /// Goes to the root, unless we are attached, on the way, or about to stop.
    pub(super) fn seek(&mut self) {
        if self.up.parent.is_none() {
            self.ask_root();
        }
    }

    /// Asks the root for a place, unless that is under way; a node that has a parent stays with it
    /// until it has another one.
    pub(super) fn ask_root(&mut self) {
        let busy = self.up.join.is_some() || self.up.attempt.is_some();
        if self.is_root() || busy || self.stopping.is_some() {
            return;
        }
        let dial = self.next_dial();
        self.up.join = Some(Dialing { dial, conn: None, answered: false });
        self.timers.set(Timer::Join, self.now.mono.after(JOIN_TIMEOUT));
        self.act(Action::Dial(dial, DialTarget::Root));
    }

    /// The parent serves and has a way to the root, so the root need not be asked, unless it has been, or
    /// does not hear of us.
    pub(super) fn unask_root(&mut self) {
        let serves = self.up.parent.as_ref().is_some_and(|p| p.open);
        let asked = self.up.join.as_ref().is_none_or(|join| join.conn.is_some());
        if serves && !asked && !self.timers.is_set(&Timer::Return) {
            self.end_join("there is a way again");
        }
    }

    /// Sets the timer for the next try: doubled each time, with jitter so that the children of a
    /// dead parent don't come back in step.
    pub(super) fn back_off(&mut self, hopeless: bool) {
        if self.up.parent.is_some() || self.stopping.is_some() || self.is_root() {
            return;
        }
        let exponent = self.up.failures.min(16);
        let pause = BACKOFF_MIN.saturating_mul(1 << exponent).min(BACKOFF_MAX);
        let pause = if hopeless { BACKOFF_MAX } else { pause };
        self.up.failures = self.up.failures.saturating_add(1);
        let share = self.rng.random_range(750..1_250_u32);
        let pause = pause.saturating_mul(share) / 1_000;
        self.timers.set(Timer::Seek, self.now.mono.after(pause));
    }

    /// The HELLO for the root: with a certificate request.
    pub(super) fn join_hello(&mut self) -> Hello {
        let name = self.id().clone();
        let mut hello = self.hello();
        hello.csr = Some(self.vault.certificate_request(&name));
        hello.wrap_key = Some(self.vault.wrap_key());
        hello
    }

    pub(super) fn end_join(&mut self, why: &str) {
        if let Some(conn) = self.take_join() {
            self.close(conn, why);
        }
    }

    /// The join is over. If the root was asked and its answer is not known it may count on another place
    /// than the one where the node is, and take no news of that: it is asked again.
    pub(super) fn take_join(&mut self) -> Option<ConnId> {
        self.timers.clear(&Timer::Join);
        let join = self.up.join.take()?;
        if join.conn.is_some() && !join.answered {
            self.doubt();
        }
        join.conn
    }

    /// The root may count on another place than the one that this node has or is about to get.
    pub(super) fn doubt(&mut self) {
        self.up.doubted = true;
        if self.up.parent.is_some() {
            self.return_later();
        }
    }

    /// The root finds this node where it is.
    pub(super) fn believed(&mut self) {
        self.up.doubted = false;
        self.up.returns = 0;
        self.timers.clear(&Timer::Return);
    }

    /// There is a new parent, and those above hear of it. A root that was asked in vain does not
    /// believe them.
    pub(super) fn placed(&mut self) {
        self.end_join("attached");
        self.trust_the_root();
        if self.up.doubted {
            self.return_later();
        } else {
            self.timers.clear(&Timer::Return);
        }
    }

    /// The root says that it does not find this node where it is. Many may hear that at once.
    pub(super) fn not_believed(&mut self) {
        self.up.doubted = true;
        let pause = BACKOFF_MIN.saturating_mul(self.rng.random_range(0..2_000)) / 1_000;
        self.timers.set(Timer::Return, self.now.mono.after(pause));
    }

    /// The root is asked for a place if it has not spoken to us by then, ever more seldom: it may
    /// be gone, or have no room.
    pub(super) fn return_later(&mut self) {
        let pause = ROOT_SILENCE.saturating_mul(1 << self.up.returns.min(8)).min(RETURN_MAX);
        let more = if self.up.returns > 0 { self.rng.random_range(0..500_u32) } else { 0 };
        let pause = pause + pause.saturating_mul(more) / 1_000;
        self.timers.set_if_idle(Timer::Return, self.now.mono.after(pause));
    }

    /// The root has not spoken to us since it was asked in vain, or since a move has failed: it may not
    /// find us any more.
    pub(super) fn on_return_timeout(&mut self) {
        if self.up.returns <= DIAL_DOUBLINGS {
            tracing::warn!("the root does not hear of us: it is asked for a place");
        }
        self.up.returns = self.up.returns.saturating_add(1);
        self.ask_root();
        self.return_later();
    }

    /// The root took too long to answer a join.
    pub(super) fn on_join_timeout(&mut self) {
        self.end_join("the root did not answer");
        self.back_off(false);
    }
}

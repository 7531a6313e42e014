//! Life with a parent: its media path, its silence, leaving it, losing it. How one is found is in
//! `attach`.

use super::NodeCore;
use super::api::{Action, ConnId};
use super::attach::Parent;
use super::limits::{OVERLAP, SILENCE_MAX};
use super::links::Use;
use super::timers::Timer;
use crate::media::api::PlaneCommand;
use soleil_protocol::LinkId;

impl NodeCore {
    /// The plane has opened a media path.
    pub(super) fn on_media_open(&mut self, media: LinkId) {
        let now = self.now.mono;
        if let Some(parent) = self.up.parent.as_mut().filter(|p| p.media == media) {
            parent.open = true;
            self.timers.clear(&Timer::Silence);
            if self.up.old.is_some() {
                self.timers.set(Timer::Overlap, now.after(OVERLAP));
            }
        }
    }

    /// The plane hears nothing on a media link. The control link decides whether the parent is
    /// dead: it is asked at once.
    pub(super) fn on_media_silent(&mut self, media: LinkId) {
        let Some(parent) = self.up.parent.as_mut().filter(|p| p.media == media) else { return };
        parent.open = false;
        let conn = parent.conn;
        tracing::warn!(parent = %parent.id, "the parent's media are silent");
        let now = self.now.mono;
        self.timers.set_if_idle(Timer::Silence, now.after(SILENCE_MAX));
        if self.links.get(conn).is_some_and(|l| !l.is_probed()) {
            self.ping(conn);
        }
    }

    /// The media path to the parent did not come back.
    pub(super) fn on_silence_timeout(&mut self) {
        if self.up.parent.as_ref().is_some_and(|p| !p.open) {
            self.rejoin("no media");
        }
    }

    /// Leaves the parent and goes to the root.
    pub(super) fn rejoin(&mut self, why: &str) {
        if self.parent_conn().is_some() {
            tracing::warn!(why, "joining again");
            self.leave_parent(why);
            self.back_off(false);
        }
    }

    /// Leaves the parent in good order, without having another one yet.
    pub(super) fn leave_parent(&mut self, reason: &str) {
        self.leave_old_parent();
        if let Some(parent) = self.up.parent.take() {
            self.say_bye(parent.conn, reason);
            self.parent_gone(&parent);
        }
    }

    /// The overlap is over.
    pub(super) fn leave_old_parent(&mut self) {
        self.timers.clear(&Timer::Overlap);
        if let Some(old) = self.up.old.take() {
            self.say_bye(old.conn, "moved");
            self.act(Action::Plane(PlaneCommand::RemoveLink(old.media)));
        }
    }

    fn parent_gone(&mut self, parent: &Parent) {
        self.timers.clear(&Timer::Silence);
        self.act(Action::Plane(PlaneCommand::RemoveLink(parent.media)));
        self.pipelines.forget_parent();
        self.act(Action::Attached(false));
    }

    /// A connection that we dialed is gone.
    pub(super) fn on_uplink_closed(&mut self, conn: ConnId, purpose: &Use, why: &str) {
        match purpose {
            Use::Join if self.up.join.as_ref().is_some_and(|j| j.conn == Some(conn)) => {
                self.up.join = None;
                self.timers.clear(&Timer::Join);
                if self.up.attempt.is_none() {
                    self.back_off(false);
                }
            }
            Use::Attempt if self.up.attempt.as_ref().is_some_and(|a| a.conn == Some(conn)) => {
                self.attempt_failed(why);
            }
            Use::Parent => {
                if let Some(parent) = self.up.parent.take() {
                    tracing::warn!(parent = %parent.id, why, "the parent is gone");
                    self.parent_gone(&parent);
                    if self.stopping.is_some() {
                        self.stop();
                    } else if self.up.attempt.is_none() {
                        self.back_off(false);
                    }
                }
            }
            Use::OldParent => {
                self.timers.clear(&Timer::Overlap);
                if let Some(old) = self.up.old.take() {
                    self.act(Action::Plane(PlaneCommand::RemoveLink(old.media)));
                }
            }
            _ => {}
        }
    }
}

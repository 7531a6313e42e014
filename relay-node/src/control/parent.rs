//! Life with a parent: its media path, its silence, leaving it, losing it. How one is found is in
//! `attach`.

use super::NodeCore;
use super::api::{Action, ConnId, Lack, PlaneReport};
use super::attach::Parent;
use super::limits::{OVERLAP, RELAY_SILENCE, ROOT_SILENCE, SILENCE_MAX};
use super::links::Use;
use super::timers::Timer;
use crate::media::api::PlaneCommand;
use rand::Rng;
use soleil_protocol::{LinkId, Role};

impl NodeCore {
    /// The plane has opened a media path.
    pub(super) fn on_media_open(&mut self, media: LinkId) {
        let now = self.now.mono;
        if let Some(parent) = self.up.parent.as_mut().filter(|p| p.media == media) {
            parent.open = true;
            parent.opened = true;
            self.timers.clear(&Timer::Silence);
            if self.up.old.is_some() {
                self.timers.set(Timer::Overlap, now.after(OVERLAP));
            }
        } else if self.on_backup_media(media, true) {
            if self.up.parent.as_ref().is_some_and(|p| p.opened && !p.open) {
                // The parent has been silent for a while, and here is who can take over.
                self.fail_over("the parent's media are silent");
            }
        } else if let Some(old) = self.up.old.as_mut().filter(|old| old.media == media) {
            old.open = true;
        } else if let Some(below) = self.links.below_of_media(media) {
            if let Some(link) = self.links.get_mut(below) {
                link.open = true;
            }
            self.show_child(below);
        }
    }

    /// The plane's report repeats what its events say.
    pub(super) fn on_plane_report(&mut self, report: PlaneReport) {
        self.pipelines.report = report;
        self.show_by_report();
    }

    /// The connection that messages up the tree take: during a move the old one, until the new
    /// parent has told those above of us.
    pub(super) fn way_up(&self) -> Option<ConnId> {
        let up = &self.up;
        let moving = up.parent.as_ref().is_none_or(|parent| !parent.opened);
        up.old.as_ref().filter(|_| moving).or(up.parent.as_ref()).map(|parent| parent.conn)
    }

    /// What this node needs from above and does not have. A silence of a path that was open is
    /// not counted: either it passes, or the parent is left over it.
    pub(super) fn lack(&self) -> Option<Lack> {
        let open = |parent: &Option<Parent>| parent.as_ref().is_some_and(|p| p.opened);
        if self.up.parent.is_none() {
            Some(Lack::Parent)
        } else if !open(&self.up.parent) && !open(&self.up.old) {
            Some(Lack::Media)
        } else {
            let leaf = self.params.role == Role::Leaf;
            (self.up.unheard && leaf).then_some(Lack::Root)
        }
    }

    /// Says so if it has changed.
    pub(super) fn say_lack(&mut self) {
        let lack = self.lack();
        if !self.is_root() && !self.stopped && self.up.said != lack {
            self.up.said = lack;
            self.act(Action::Lacks(lack));
        }
    }

    /// The root has spoken to this node, so those above know of it. It polls those that
    /// it knows a way to: a leaf that hears nothing hangs in a part of the tree that is cut off.
    pub(super) fn heard_root(&mut self) {
        self.believed();
        self.trust_the_root();
    }

    /// The root is there, for a while.
    pub(super) fn trust_the_root(&mut self) {
        self.up.unheard = false;
        let silence = match self.params.role {
            Role::Leaf => ROOT_SILENCE,
            _ => RELAY_SILENCE,
        };
        self.timers.set(Timer::Unheard, self.now.mono.after(silence));
    }

    /// The root has not spoken to this node for too long. If nobody above says that it has no way to the
    /// root, the root may have lost sight of us alone, and nothing else would ever tell it. Leaves wait
    /// for longer, each for another time: it may be their relay that is out of sight, whose question
    /// brings all of them back.
    pub(super) fn on_unheard(&mut self) {
        let again = std::mem::replace(&mut self.up.unheard, true);
        let open = self.up.parent.as_ref().is_some_and(|p| p.open);
        let turn = again || self.params.role != Role::Leaf;
        if open && turn && !self.parent_is_cut_off() {
            return self.doubt();
        }
        let pause =
            RELAY_SILENCE + RELAY_SILENCE.saturating_mul(self.rng.random_range(0..1_000)) / 1_000;
        self.timers.set(Timer::Unheard, self.now.mono.after(pause));
    }

    /// The plane hears nothing on a media link. If it is the parent's, the backup takes over; without
    /// one the control link decides whether the parent is dead: it is asked at once.
    pub(super) fn on_media_silent(&mut self, media: LinkId) {
        if self.on_backup_media(media, false) {
            return;
        }
        if let Some(below) = self.links.below_of_media(media)
            && let Some(link) = self.links.get_mut(below)
        {
            link.open = false;
        }
        if let Some(old) = self.up.old.as_mut().filter(|old| old.media == media) {
            old.open = false;
            if self.up.parent.as_ref().is_some_and(|p| !p.opened) {
                self.fail_over("the old parent is silent, and the new one not there yet");
            }
            return;
        }
        let Some(parent) = self.up.parent.as_mut().filter(|p| p.media == media) else { return };
        parent.open = false;
        let conn = parent.conn;
        tracing::warn!(parent = %parent.id, "the parent's media are silent");
        if self.fail_over("the parent's media are silent") {
            return;
        }
        self.hurry_backup();
        let now = self.now.mono;
        self.timers.set_if_idle(Timer::Silence, now.after(SILENCE_MAX));
        if self.links.get(conn).is_some_and(|l| !l.is_probed()) {
            self.ping(conn);
        }
    }

    /// The media path to the parent did not come back.
    pub(super) fn on_silence_timeout(&mut self) {
        let silent = self.up.parent.as_ref().is_some_and(|p| !p.open);
        if silent && !self.fail_over("the parent's media path does not open") {
            tracing::warn!("leaving a parent that sends no media");
            self.drop_backup("no media");
            self.leave_parent("no media");
            self.next_offer("no media");
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

    /// The overlap is over. If nothing has come of the new parent's media, the node stays where it was.
    pub(super) fn on_overlap_timeout(&mut self) {
        let opened = self.up.parent.as_ref().is_none_or(|p| p.opened);
        let served = self.up.old.as_ref().is_some_and(|old| old.open);
        if opened {
            self.leave_old_parent();
        } else if served {
            self.go_back("the new parent's media path does not open");
        } else if !self.fail_over("neither parent sends media") {
            self.leave_old_parent();
        }
    }

    /// A move has failed: the old parent, which serves on and knows all that is below, is the parent
    /// again.
    pub(super) fn go_back(&mut self, why: &str) {
        let Some(old) = self.up.old.take() else { return };
        self.timers.clear(&Timer::Overlap);
        self.timers.clear(&Timer::Silence);
        let (conn, id) = (old.conn, old.id.clone());
        self.links.repurpose(conn, Use::Parent);
        if let Some(new) = self.up.parent.replace(old) {
            tracing::warn!(parent = %new.id, back = %id, why, "the move has failed");
            self.act(Action::Plane(PlaneCommand::RemoveLink(new.media)));
            self.close(new.conn, why);
            self.say_move_failed(conn, &format!("the move to {} failed: {why}", new.id));
        }
        // The new parent may have told others of us, and that it has lost us: nobody above would
        // find us then, and the root's answer does not come.
        self.return_later();
        self.play_at_new_parent();
        self.keep_warm();
    }

    /// The next parent has answered before the last move was over: of the two parents the one stays that
    /// serves.
    pub(super) fn leave_for_the_next(&mut self) {
        let never_served = self.up.parent.as_ref().is_some_and(|p| !p.opened);
        if !never_served || self.up.old.as_ref().is_none_or(|old| !old.open) {
            return self.leave_old_parent();
        }
        if let Some(old) = self.up.old.take() {
            self.links.repurpose(old.conn, Use::Parent);
            if let Some(new) = self.up.parent.replace(old) {
                self.say_bye(new.conn, "moved");
                self.act(Action::Plane(PlaneCommand::RemoveLink(new.media)));
            }
        }
    }

    /// The overlap is cut short, or over.
    pub(super) fn leave_old_parent(&mut self) {
        self.timers.clear(&Timer::Overlap);
        if let Some(old) = self.up.old.take() {
            self.say_bye(old.conn, "moved");
            self.act(Action::Plane(PlaneCommand::RemoveLink(old.media)));
        }
    }

    fn parent_gone(&mut self, parent: &Parent) {
        self.act(Action::Plane(PlaneCommand::RemoveLink(parent.media)));
        self.without_parent();
    }

    fn without_parent(&mut self) {
        self.timers.clear(&Timer::Silence);
        self.pipelines.forget_parent();
        self.act(Action::Attached(false));
    }

    /// A connection that we dialed is gone.
    pub(super) fn on_uplink_closed(&mut self, conn: ConnId, purpose: &Use, why: &str) {
        match purpose {
            Use::Join if self.up.join.as_ref().is_some_and(|j| j.conn == Some(conn)) => {
                self.take_join();
                if self.up.attempt.is_none() {
                    self.back_off(false);
                }
            }
            Use::Attempt if self.up.attempt.as_ref().is_some_and(|a| a.conn == Some(conn)) => {
                self.attempt_failed(why);
            }
            Use::Parent => {
                let served = self.up.old.as_ref().is_some_and(|old| old.open);
                // Those above may know of a new parent that has opened: the backup's ticket is believed
                // then, the old parent's perhaps not.
                let opened = self.up.parent.as_ref().is_some_and(|p| p.opened);
                if served && !(opened && self.backup().is_some()) {
                    return self.go_back("the new parent is gone");
                }
                if let Some(parent) = self.up.parent.take() {
                    tracing::warn!(parent = %parent.id, why, "the parent is gone");
                    self.act(Action::Plane(PlaneCommand::RemoveLink(parent.media)));
                    if self.fail_over("the parent is gone") {
                        return;
                    }
                    self.drop_backup("no parent");
                    self.without_parent();
                    if self.stopping.is_some() {
                        self.stop();
                    } else if self.up.attempt.is_none() {
                        self.next_offer(why);
                    }
                }
            }
            Use::OldParent => {
                self.timers.clear(&Timer::Overlap);
                if let Some(old) = self.up.old.take() {
                    self.act(Action::Plane(PlaneCommand::RemoveLink(old.media)));
                }
                if self.up.parent.as_ref().is_some_and(|p| !p.opened) {
                    self.fail_over("the old parent is gone, and the new one not there yet");
                }
            }
            Use::Backup => self.on_backup_closed(conn, why),
            _ => {}
        }
    }
}

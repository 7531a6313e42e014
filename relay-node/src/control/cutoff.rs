//! A way to the root. A parent that lives but has lost its own way up would be taken for one whose
//! source is idle: its heartbeats go on. So it says with each of them that it is cut off
//! ([`crate::media::rtcp::CUT_OFF_NAME`]), and a child whose backup does not say so goes there. When
//! the root itself is gone everybody says it, and everybody stays.
//!
//! Where neither has a way the node stays, too, but looks for one: at its other backups, one after the
//! other, and at last at the root itself. It does so ever more seldom, for most often it is the root
//! that is gone.

use super::NodeCore;
use super::api::Action;
use super::limits::{
    CUT_OFF_BORNE, CUT_OFF_FORGOTTEN, CUT_OFF_LOOK, CUT_OFF_LOOK_MAX, CUT_OFF_LOOKS,
};
use super::timers::Timer;
use crate::media::api::PlaneCommand;
use rand::Rng;
use soleil_protocol::{LinkId, Mono};
use std::collections::BTreeSet;

/// What is known of ways to the root.
#[derive(Debug, Default)]
pub(super) struct CutOff {
    /// Media links to parents and backups that say that they are cut off.
    links: BTreeSet<LinkId>,
    /// The parent has said so, and the backup has not, for long enough.
    borne: bool,
    /// How often another way has been looked for.
    looks: u32,
    /// Since when the parent has not said that it is cut off.
    well: Option<Mono>,
    /// What we have told our children.
    said: bool,
}

impl NodeCore {
    /// A parent or a backup says that it is cut off, or no longer.
    pub(super) fn on_cut_off(&mut self, media: LinkId, cut_off: bool) {
        if cut_off {
            self.up.cut_off.links.insert(media);
        } else {
            self.up.cut_off.links.remove(&media);
        }
        let up = &mut self.up;
        let parents = [&up.parent, &up.old].into_iter().flatten().map(|p| p.media);
        let known: BTreeSet<LinkId> = parents.chain(up.reserve.media()).collect();
        up.cut_off.links.retain(|link| known.contains(link));
    }

    /// The parent has been cut off for a while.
    pub(super) fn on_cut_off_timeout(&mut self) {
        self.up.cut_off.borne = true;
    }

    fn says_cut_off(&self, media: LinkId) -> bool {
        self.up.cut_off.links.contains(&media)
    }

    /// Whether the parent that is being left still serves and has a way to the root.
    fn old_has_a_way(&self) -> bool {
        self.up.old.as_ref().is_some_and(|old| old.open && !self.says_cut_off(old.media))
    }

    /// Whether the backup could take over and has a way to the root.
    fn backup_has_a_way(&self) -> bool {
        let link = self.backup().and_then(|_| self.backup_link());
        link.is_some_and(|(_, media)| !self.says_cut_off(media))
    }

    fn has_another_way(&self) -> bool {
        self.old_has_a_way() || self.backup_has_a_way()
    }

    pub(super) fn parent_is_cut_off(&self) -> bool {
        self.up.parent.as_ref().is_some_and(|p| self.says_cut_off(p.media))
    }

    /// Whether nothing can come from the root just now, as far as this node knows.
    fn is_cut_off(&self) -> bool {
        let served = self.up.old.as_ref().is_some_and(|old| old.open);
        match &self.up.parent {
            None => true,
            Some(parent) if !parent.open => !served,
            Some(_) => self.parent_is_cut_off() && !self.has_another_way(),
        }
    }

    /// Leaves a parent that is cut off for one that is not, and tells the children if there is no way,
    /// or one again.
    pub(super) fn mind_the_way(&mut self) {
        if self.is_root() || self.stopped {
            return;
        }
        if self.parent_is_cut_off() && self.has_another_way() {
            self.leave_without_a_way();
        } else {
            // When ways come back, the backup's may be known a hop sooner than the parent's: the time
            // begins anew, or all would go to whoever has one first.
            self.up.cut_off.borne = false;
            self.timers.clear(&Timer::CutOff);
        }
        self.mind_the_looks();
        let cut_off = self.is_cut_off();
        if std::mem::replace(&mut self.up.cut_off.said, cut_off) != cut_off {
            self.act(Action::Plane(PlaneCommand::SayCutOff(cut_off)));
        }
    }

    /// Sets the time of the next look, or stops looking. Pauses begin anew when there has been a way for a
    /// while: each new parent has one until it says otherwise.
    fn mind_the_looks(&mut self) {
        let now = self.now.mono;
        if !self.parent_is_cut_off() {
            match self.up.parent {
                Some(_) => drop(self.up.cut_off.well.get_or_insert(now)),
                None => self.up.cut_off.well = None,
            }
            self.timers.clear(&Timer::Look);
            self.unask_root();
            return;
        }
        if self.up.cut_off.well.take().is_some_and(|since| now.since(since) >= CUT_OFF_FORGOTTEN) {
            self.up.cut_off.looks = 0;
        }
        if !self.timers.is_set(&Timer::Look) {
            let pause = CUT_OFF_LOOK.saturating_mul(1 << self.up.cut_off.looks.min(8));
            let share = self.rng.random_range(750..1_250_u32);
            let pause = pause.min(CUT_OFF_LOOK_MAX).saturating_mul(share) / 1_000;
            self.timers.set(Timer::Look, now.after(pause));
        }
    }

    fn leave_without_a_way(&mut self) {
        if !self.up.cut_off.borne {
            self.timers.set_if_idle(Timer::CutOff, self.now.mono.after(CUT_OFF_BORNE));
        } else if self.backup_has_a_way() {
            // Rather than the old parent: those above may know of the new one already.
            let gone = self.fail_over("the parent has no way to the root");
            self.up.cut_off.borne = !gone;
        } else {
            // The root has sent us here before it knew.
            self.up.cut_off.borne = false;
            self.go_back("the new parent has no way to the root");
        }
    }

    /// The parent has had no way for a while: another backup may have one, or the root takes us.
    pub(super) fn on_look_timeout(&mut self) {
        if !self.parent_is_cut_off() || self.has_another_way() {
            return;
        }
        let looks = self.up.cut_off.looks.saturating_add(1);
        self.up.cut_off.looks = looks;
        if self.backup_link().is_some_and(|(_, media)| self.says_cut_off(media)) {
            self.try_another_backup("it has no way to the root either");
        }
        if looks >= CUT_OFF_LOOKS {
            self.ask_root();
        }
    }
}
